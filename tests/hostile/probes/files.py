"""Files: what the host, the enclave and other agreements keep; devices; names of the kernel."""

# ruff: noqa: S108 (what is unsafe is the point here)

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from .probe import AIM, Probe, call, neighbour, outside, unopened

HIDDEN = {"A": "ENOENT", "B": "ENOENT", "C": "EACCES"}
"""A namespace hides what Landlock denies."""
SEALED = {"A": "EROFS", "B": "EROFS", "C": "EACCES"}
"""A read-only mount, or Landlock."""
EITHER = {"A": "ENOENT|EACCES|EROFS", "B": "ENOENT|EACCES|EROFS", "C": "EACCES"}
FORBIDDEN = "EPERM"

Where = Callable[[], str]


def at(name: str, rest: str = "") -> Where:
    """A place that the test names."""
    return lambda: AIM[name] + rest


def fixed(path: str) -> Where:
    return lambda: path


def read(where: Where) -> Callable[[], object]:
    """Some bytes; directories are listed. An empty file tells nothing but that it may be read."""

    def attack() -> object:
        path = where()
        if path.endswith("/"):
            return f"names {os.listdir(path)[:3]}"
        with open(path, "rb", buffering=0) as file:
            return f"bytes {file.read(20)!r}"

    return attack


def of_neighbour(name: str) -> Callable[[], object]:
    """A file of a process: the enclave's, or outside of a child."""

    def attack() -> object:
        return read(fixed(f"/proc/{neighbour()}/{name}"))()

    return attack


def write(where: Where) -> Callable[[], object]:
    def attack() -> object:
        target = Path(where())
        target.write_bytes(b"a row")
        target.unlink()
        return f"wrote {target}"

    return attack


def opened(path: str, flags: int = os.O_RDWR) -> Callable[[], object]:
    return lambda: os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def changed(change: Callable, *arguments: object) -> Callable[[], object]:
    """Change a file of the environment, outside one that may be spoilt."""

    def attack() -> object:
        change(AIM["spare"], *arguments)
        return f"{change.__name__} of a file that is not its own"

    return attack


def memory_of_self() -> object:
    """Past the protection of pages: write into read-only memory."""
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(id(None))
        return f"{len(memory.read(8))} bytes of memory"


def linked() -> object:
    """A link that it makes itself, to a file that it must not see."""
    link = f"{AIM['scratch']}/link-{os.getpid()}"
    os.symlink(AIM["secret"], link)
    return Path(link).read_bytes()


def hard_linked() -> object:
    link = f"{AIM['scratch']}/hard-{os.getpid()}"
    os.link(AIM["spare"], link)
    return Path(link).read_bytes()


def unnamed() -> object:
    """A file that no listing shows."""
    if outside():
        return os.open(AIM["scratch"], os.O_TMPFILE | os.O_RDWR)
    return os.open("/", os.O_TMPFILE | os.O_RDWR)


def locked() -> object:
    """A lock is seen by every other process with the file: a channel."""
    with open(AIM["spare"], "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    return "took a lock"


def record_locked() -> object:
    with open(AIM["spare"], "rb") as file:
        fcntl.lockf(file, fcntl.LOCK_SH)
    return "took a lock"


def leased() -> object:
    with open(unopened(), "rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    return "took a lease"


def watched() -> object:
    return call("inotify_init1", 0)


def found_above() -> object:
    """Walk up from the working directory."""
    os.chdir("../../../..")
    return Path("etc/passwd").read_bytes()[:10]


def through_beneath() -> object:
    """openat2(2), of which the filter cannot see the flags."""
    how = (0).to_bytes(24, "little")
    return call("openat2", -100, b"/etc/passwd", how, 24)


def sized() -> object:
    """Not what is in a file of the host, but that it is there, and how long it is."""
    return os.stat(AIM["secret"]).st_size


def devices() -> list[Probe]:
    names = [
        "mem", "kmsg", "kvm", "fuse", "console", "tty", "ptmx", "loop-control", "loop0", "hwrng",
        "net/tun", "vhost-vsock", "vsock", "sev", "tdx_guest", "nsm", "tpm0", "tpmrm0", "vda",
        "sda", "nvme0n1", "dri/card0", "userfaultfd", "port", "cpu/0/msr", "uinput",
    ]  # fmt: skip
    gone = "ENOENT|ENODEV|ENXIO|EBUSY|EIO|EPERM|EINVAL"
    found = [Probe(f"/dev/{name}", opened(f"/dev/{name}"), HIDDEN, absent=gone) for name in names]
    return [*found, Probe("/dev/null may not be replaced", write(fixed("/dev/escaped")), SEALED)]


def kernel_files() -> list[Probe]:
    reads = (
        "/proc/", "/proc/self/maps", "/proc/self/environ", "/proc/self/cmdline",
        "/proc/self/mountinfo", "/proc/self/fd/", "/proc/self/ns/", "/proc/self/root/etc/passwd",
        "/proc/self/cwd/", "/proc/self/task/", "/proc/self/cgroup", "/proc/1/environ",
        "/proc/kcore", "/proc/kallsyms", "/proc/net/tcp", "/proc/version", "/proc/cpuinfo",
        "/proc/meminfo", "/proc/sys/kernel/hostname", "/proc/keys", "/sys/", "/sys/class/net/",
        "/sys/fs/cgroup/", "/sys/kernel/", "/sys/class/dmi/id/",
    )  # fmt: skip
    gone = "ENOENT|EACCES"  # not this kernel's, or not even root's
    found = [Probe(f"read {path}", read(fixed(path)), HIDDEN, absent=gone) for path in reads]
    for name in ("environ", "maps", "cmdline", "fd/", "root/etc/passwd", "cwd/", "mem", "status"):
        attack = of_neighbour(name) if name != "mem" else memory_of_neighbour
        found.append(Probe(f"/proc/PID/{name} of the enclave", attack, HIDDEN))
    return found


def memory_of_neighbour() -> object:
    with open(f"/proc/{neighbour()}/mem", "rb", buffering=0) as memory:
        memory.seek(id(None))
        return memory.read(8)


def replaced() -> object:
    """The place of a file is taken by another."""
    os.rename(AIM["spare"], AIM["spare"] + "-moved")
    os.rename(AIM["spare"] + "-moved", AIM["spare"])
    return "renamed"


def removed() -> object:
    os.unlink(AIM["environment"] + "/doomed")
    return "removed"


def reached_by_descriptor() -> object:
    """/dev/fd, another name for the same."""
    with open("/dev/fd/3", "wb"):
        return "opened the output by name"


def marked() -> object:
    os.setxattr(AIM["spare"], "user.mark", b"1")
    return "an attribute, which is a channel"


PROBES = [
    Probe("read /etc/passwd", read(fixed("/etc/passwd")), HIDDEN),
    Probe("read /etc/shadow", read(fixed("/etc/shadow")), HIDDEN),
    Probe("list /etc", read(fixed("/etc/")), HIDDEN),
    Probe("list /root", read(fixed("/root/")), HIDDEN),
    Probe("list /home", read(fixed("/home/")), HIDDEN),
    Probe("list /run", read(fixed("/run/")), HIDDEN),
    Probe("list /var/log", read(fixed("/var/log/")), HIDDEN),
    Probe("list /dev/shm", read(fixed("/dev/shm/")), HIDDEN),
    Probe("list /usr/bin", read(fixed("/usr/sbin/")), HIDDEN),
    Probe("data of another agreement", read(at("secret")), HIDDEN),
    Probe("folder of another agreement", read(at("open", "/")), HIDDEN),
    Probe("link in the environment", read(at("link")), HIDDEN),
    Probe("above the environment", read(at("environment", "/../../../../etc/passwd")), HIDDEN),
    Probe("up from the working directory", found_above, HIDDEN),
    Probe("openat2", through_beneath, FORBIDDEN),
    Probe("size of a file of the host", sized, {"A": "ENOENT", "B": "ENOENT", "C": "through"}),
    Probe("a link of its own", linked, {"A": "EPERM", "B": "EPERM", "C": "EPERM"}),
    Probe("a hard link of its own", hard_linked, FORBIDDEN),
    Probe("a file without a name", unnamed, {"A": "EROFS", "B": "EROFS", "C": "EACCES"}),
    Probe("write the environment", write(at("environment", "/escaped")), SEALED),
    Probe("write where the host lets everybody", write(at("open", "/escaped")), EITHER),
    Probe("write /", write(fixed("/escaped")), SEALED),
    Probe("write /usr/lib", write(fixed("/usr/lib/escaped")), SEALED),
    Probe("write /etc", write(fixed("/etc/escaped")), EITHER),
    Probe("write /dev/shm", write(fixed("/dev/shm/escaped")), EITHER),
    Probe("truncate", changed(os.truncate, 0), EITHER),
    Probe("remove", removed, SEALED),
    Probe("rename", replaced, SEALED),
    Probe("chmod", changed(os.chmod, 0o777), FORBIDDEN),
    Probe("chmod to set-uid", changed(os.chmod, 0o4755), FORBIDDEN),
    Probe("chown", changed(os.chown, 0, 0), FORBIDDEN),
    Probe("touch", changed(os.utime, (1, 1)), FORBIDDEN),
    Probe("attribute", marked, FORBIDDEN, absent="ENOTSUP"),
    Probe("lock", locked, FORBIDDEN),
    Probe("lock of a record", record_locked, FORBIDDEN),
    Probe("lease", leased, FORBIDDEN),
    Probe("watch a directory", watched, FORBIDDEN),
    Probe("write its own memory file", memory_of_self, HIDDEN),
    Probe("the output by name", reached_by_descriptor, HIDDEN),
    *devices(),
    *kernel_files(),
]
