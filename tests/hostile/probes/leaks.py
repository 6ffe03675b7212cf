"""What could lie about in the process: the enclave's words, its descriptors, inputs to spoil."""

import ctypes
import fcntl
import importlib.util
import mmap
import os
import sys
from collections.abc import Callable

from .probe import AIM, Probe, outside, unopened


def environment() -> object:
    """Words of the enclave's own environment."""
    found = sorted(set(os.environ) - set(AIM["environ"]))
    return found or None


def orders() -> object:
    """The job on the command line, where every process of the machine reads it."""
    words = [word for word in sys.orig_argv if AIM["marker"] in word]
    return words or None


def standard_input() -> object:
    return os.read(0, 100) or None


def log_read_back() -> object:
    if outside():
        os.write(1, b"a row")
        os.lseek(1, 0, os.SEEK_SET)
    return os.read(1, 5)


def output_read_back() -> object:
    if outside():
        os.write(3, b"a row")
        os.lseek(3, 0, os.SEEK_SET)
    return os.read(3, 5)


def enclave_code() -> object:
    """Code of the enclave, to be read or run; the bundle of the probes has one file beside it."""
    try:
        return importlib.util.find_spec("protocol.record")
    except ModuleNotFoundError:
        return None


# --- memory files: the inputs are the enclave's, read-only ----------------------------------------


def table() -> int:
    """The descriptor of an input; outside a file of its own, as the enclave has it."""
    if not outside():
        return AIM["inputs"]["state/spare"]
    descriptor = os.memfd_create("datacage")
    os.write(descriptor, b"a row" * 1000)
    return descriptor


def written() -> object:
    return os.pwrite(table(), b"a row", 0)


def truncated() -> object:
    os.ftruncate(table(), 1)
    return "shorter"


def hollowed() -> object:
    os.posix_fallocate(table(), 1 << 20, 4096)
    return "longer"


def mapped() -> object:
    area = mmap.mmap(table(), 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    area[0] = area[0]
    return "mapped to write"


def protected() -> object:
    """Mapped to read, then made writable."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    where = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, table(), ctypes.c_long(0))
    if libc.mprotect(ctypes.c_void_p(where), ctypes.c_size_t(4096), 3):
        raise OSError(ctypes.get_errno(), "mprotect")
    return "writable"


def reopened(path: str) -> Callable[[], object]:
    def attack() -> object:
        descriptor = os.open(path.format(table()), os.O_RDWR)
        return os.pwrite(descriptor, b"a row", 0)

    return attack


def sealed(command: int) -> Callable[[], object]:
    """Seals outlast the run: the next one finds a file that cannot be wiped."""

    def attack() -> object:
        target = os.memfd_create("x", os.MFD_ALLOW_SEALING) if outside() else table()
        return fcntl.fcntl(target, command, fcntl.F_SEAL_GROW)

    return attack


def input_locked() -> object:
    """Two runs with one share could signal to each other."""
    fcntl.flock(table(), fcntl.LOCK_SH)
    return "locked"


def input_chmod() -> object:
    os.fchmod(table(), 0o666)
    return "for everybody"


def input_marked() -> object:
    os.setxattr(table(), "user.mark", b"1")
    return "marked"


def input_touched() -> object:
    os.utime(table(), (1, 1))
    return "touched"


def input_leased() -> object:
    target = os.open(unopened(), os.O_RDONLY) if outside() else table()
    return fcntl.fcntl(target, fcntl.F_SETLEASE, fcntl.F_RDLCK)


def input_sent() -> object:
    """sendfile(2) into an input."""
    return os.sendfile(table(), os.open("/dev/zero", os.O_RDONLY), 0, 1)


PROBES = [
    Probe("environment of the enclave", environment, "nothing"),
    Probe("orders on the command line", orders, "nothing"),
    Probe("standard input", standard_input, "nothing"),
    Probe("read back the log", log_read_back, "EBADF"),
    Probe("read back the output", output_read_back, "EBADF"),
    Probe("code of the enclave", enclave_code, "nothing"),
    Probe("write an input", written, "EBADF"),
    Probe("truncate an input", truncated, "EINVAL|EBADF"),
    Probe("lengthen an input", hollowed, "EBADF"),
    Probe("map an input to write", mapped, "EACCES"),
    Probe("make a mapped input writable", protected, "EACCES"),
    Probe(
        "reopen an input by /proc",
        reopened("/proc/self/fd/{}"),
        {"A": "ENOENT", "B": "ENOENT", "C": "EACCES"},
    ),
    Probe(
        "reopen an input by /dev/fd",
        reopened("/dev/fd/{}"),
        {"A": "ENOENT", "B": "ENOENT", "C": "EACCES"},
    ),
    Probe("seal an input", sealed(1033), "EPERM"),
    Probe("seals of an input", sealed(1034), "EPERM"),
    Probe("lock an input", input_locked, "EPERM"),
    Probe("chmod an input", input_chmod, "EPERM"),
    Probe("mark an input", input_marked, "EPERM", absent="ENOTSUP"),
    Probe("touch an input", input_touched, "EPERM"),
    Probe("lease an input", input_leased, "EPERM"),
    Probe("send into an input", input_sent, "EBADF"),
]
