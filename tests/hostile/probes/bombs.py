"""Bombs: more of everything than was agreed. Outside each takes it; inside a limit ends it.

The amounts are just beyond LIMITS in tests/hostile/target.py, so that the control does no harm.
"""

import gzip
import mmap
import os
import signal
import sys
import threading
import time

from .probe import AIM, Probe, outside

MIB = 1 << 20


def forks() -> object:
    children = []
    for _ in range(64):
        children.append(os.fork())
        if children[-1] == 0:
            os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    return "64 processes"


def threads() -> object:
    done, started = threading.Event(), []
    try:
        for _ in range(100):
            started.append(threading.Thread(target=done.wait, daemon=True))
            started[-1].start()
    except RuntimeError as error:  # how this module reports EAGAIN
        raise BlockingIOError(11, str(error)) from error
    finally:
        done.set()
        for thread in started:
            if thread.ident:
                thread.join()
    return "100 threads"


def address_space() -> object:
    return [mmap.mmap(-1, 256 * MIB) for _ in range(8)]


def memory() -> object:
    held = [bytearray(64 * MIB) for _ in range(10)]
    return f"{len(held)} times 64 MiB"


def memory_until_it_ends() -> object:
    """Deaf to MemoryError: again and again."""
    held: list = []
    while len(held) < 10 or not outside():
        held.append(b"\1" * (64 * MIB))
    return f"{len(held)} times 64 MiB"


def compressed() -> object:
    """Some hundred kilobytes that become 640 MiB."""
    small = gzip.compress(bytes(64 * MIB), 1) * 10
    return f"{len(small)} bytes became {len(gzip.decompress(small))}"


def stack() -> object:
    """Recursion in C, past every counter of Python."""
    sys.setrecursionlimit(1 << 30)
    threading.stack_size(600 * MIB)
    thread = threading.Thread(target=bytes)
    try:
        thread.start()
    except RuntimeError as error:
        raise BlockingIOError(11, str(error)) from error
    thread.join()
    return "a stack of 600 MiB"


def disk() -> object:
    """16 MiB in files that are each below the limit of one."""
    for number in range(8):
        with open(f"{AIM['scratch']}/fill-{os.getpid()}-{number}", "wb") as file:
            file.write(b"\1" * (2 * MIB))
    return "16 MiB"


def one_file() -> object:
    with open(f"{AIM['scratch']}/long-{os.getpid()}", "wb") as file:
        file.write(b"\1" * (16 * MIB))
    return "16 MiB"


def sparse_file() -> object:
    with open(f"{AIM['scratch']}/sparse-{os.getpid()}", "wb") as file:
        file.truncate(1 << 40)
    return "a tebibyte of nothing"


def many_files() -> object:
    """Empty ones: they take no byte of the file system, and a kilobyte each of the kernel."""
    folder = f"{AIM['scratch']}/many-{os.getpid()}"
    os.mkdir(folder)
    for number in range(5_000):
        os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
    return "5,000 files"


def descriptors() -> object:
    held: list[int] = []
    try:
        while len(held) < 200:
            held.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for one in held:
            os.close(one)
    return "200 descriptors"


def pipes() -> object:
    """Each holds kernel memory that no limit of memory counts."""
    held: list[int] = []
    try:
        while len(held) < 200:
            held += os.pipe()
            os.write(held[-1], b"\1" * 65536)
    finally:
        for one in held:
            os.close(one)
    return "100 full pipes"


def output() -> object:
    written = 0
    while written < 2 * MIB:
        written += os.write(3, b"x" * 65536)
    return f"{written} bytes of output"


def sleep() -> object:
    time.sleep(1.5)
    return "slept"


def sleep_unseen() -> object:
    """With its pipes closed it looks as if it had ended."""
    if not outside():
        for descriptor in range(4):
            os.close(descriptor)
    return sleep()


def spin(seconds: float = 1.3) -> object:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return f"{seconds} s of a processor"


def spin_deaf() -> object:
    """SIGXCPU can be caught; what follows a second later cannot."""
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    return spin(2.3)


def spin_together() -> object:
    """The time of all threads counts; the wall limit alone would let each have its own."""
    spinners = [threading.Thread(target=spin, args=(1.3,)) for _ in range(3)]
    for one in spinners:
        one.start()
    for one in spinners:
        one.join()
    return "3 threads"


def regular_expression() -> object:
    """Time that one call takes, deep in C."""
    import re

    re.match(r"(a+)+$", "a" * 23 + "!" if outside() else "a" * 60 + "!")
    return "matched in the end"


SCRATCH_FULL = {"A": "ENOSPC", "B": "ENOSPC", "C": "EACCES"}
TOO_LONG = {"A": "EFBIG|ENOSPC", "B": "EFBIG|ENOSPC", "C": "EACCES"}

PROBES = [
    Probe("bomb of forks", forks, "EPERM"),
    Probe("bomb of threads", threads, "EAGAIN"),
    Probe("bomb of address space", address_space, "ENOMEM"),
    Probe("bomb of memory", memory, "ENOMEM"),
    Probe("bomb of memory, deaf", memory_until_it_ends, "ENOMEM"),
    Probe("compressed bomb", compressed, "ENOMEM"),
    Probe("bomb of a stack", stack, "EAGAIN"),
    Probe("bomb of disk", disk, SCRATCH_FULL),
    Probe("bomb of one file", one_file, TOO_LONG),
    Probe("bomb of a sparse file", sparse_file, TOO_LONG),
    Probe("bomb of files", many_files, SCRATCH_FULL),
    Probe("bomb of descriptors", descriptors, "EMFILE"),
    Probe("bomb of pipes", pipes, "EMFILE"),
    Probe("bomb of output", output, "limit"),
    Probe("sleep beyond the wall limit", sleep, "limit", wall=1.0),
    Probe("sleep with closed pipes", sleep_unseen, "limit", wall=1.0),
    Probe("busy loop", spin, "limit"),
    Probe("busy loop, deaf to SIGXCPU", spin_deaf, "limit"),
    Probe("busy threads", spin_together, "limit"),
    Probe("busy regular expression", regular_expression, "limit"),
]
