"""The kernel itself: namespaces, mounts, rights, key rings, watching, loosening this protection."""

import ctypes
import os
from collections.abc import Callable

from .probe import AIM, Probe, address, call, outside, packed, syscall

FORBIDDEN, POLICY = "EPERM", "policy"

NAMESPACES = {
    "user": 0x10000000, "net": 0x40000000, "mount": 0x20000, "pid": 0x20000000, "ipc": 0x8000000,
    "uts": 0x4000000, "cgroup": 0x2000000, "time": 0x80,
}  # fmt: skip


def joined() -> object:
    """The network namespace of the first process."""
    return call("setns", os.open("/proc/self/ns/net", os.O_RDONLY) if outside() else 0, 0)


def own_place() -> bytes:
    """A directory to mount at: outside a fresh one."""
    place = f"{AIM['scratch']}/mount-{os.getpid()}" if outside() else "/"
    if outside():
        os.mkdir(place)
    return place.encode()


def mounted() -> object:
    return call("mount", b"none", own_place(), b"tmpfs", 0, None)


def bound() -> object:
    return call("mount", b"/", own_place(), None, 0x1000, None)


def remounted() -> object:
    """Writable again; outside it says only what is so already."""
    if outside():
        place = own_place()
        call("mount", b"none", place, b"tmpfs", 1, None)
        return call("mount", None, place, None, 0x20, None)
    return call("mount", None, b"/", None, 0x1020, None)


def unmounted() -> object:
    return call("umount2", b"/proc", 2)


def pivoted() -> object:
    place = own_place()
    if outside():
        call("mount", b"none", place, b"tmpfs", 0, None)
        os.chdir(place)
    return call("pivot_root", b".", b".")


def rerooted() -> object:
    return call("chroot", b"/")


def attributes() -> object:
    """struct mount_attr: set MOUNT_ATTR_NOSUID."""
    return call("mount_setattr", -100, b"/", 0, packed(2, size=32), 32)


def device_made() -> object:
    place = f"{AIM['scratch']}/device-{os.getpid()}".encode()
    return call("mknod", place, 0o20666, 0x103)  # another /dev/null


def handle_named() -> object:
    handle, mount = packed(128, size=136), ctypes.create_string_buffer(4)
    return call("name_to_handle_at", -100, b"/etc/passwd", handle, mount, 0)


def handle_opened() -> object:
    """Past every directory that cannot be entered."""
    handle, mount = packed(128, size=136), ctypes.create_string_buffer(4)
    above = 0
    if outside():
        call("name_to_handle_at", -100, b"/etc/passwd", handle, mount, 0)
        above = os.open("/etc", os.O_RDONLY)
    return call("open_by_handle_at", above, handle, 0)


def key_requested() -> object:
    if outside():
        call("add_key", b"user", b"probe", b"a row", 5, -2)
    return call("request_key", b"user", b"probe", None, -2)


def map_made() -> object:
    """BPF_MAP_CREATE: an array of one."""
    return call("bpf", 0, packed(2, 4, 8, 1, size=120), 120)


def counted() -> object:
    """struct perf_event_attr: a software event."""
    return call("perf_event_open", packed(1, 64, size=64), 0, -1, -1, 0)


ALLOW = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\xff\x7f", 8)


def allow_all() -> ctypes.Array:
    """struct sock_fprog of one instruction: SECCOMP_RET_ALLOW."""
    return (ctypes.c_uint64 * 2)(1, address(ALLOW))


def loosened() -> object:
    return call("seccomp", 1, 0, allow_all())


def loosened_by_prctl() -> object:
    return call("prctl", 22, 2, allow_all(), 0, 0)


def capable() -> object:
    """All rights, as far as it has them."""
    head, data = packed(0x20080522, 0, size=8), packed(size=24)
    return call("capset", head, data)


def waited_on_faults() -> object:
    return call("userfaultfd", 1)


def prctl(*arguments: int) -> Callable[[], object]:
    padded = (*arguments, 0, 0, 0, 0)[:5]
    return lambda: call("prctl", *padded)


def with_buffer(name: str, *arguments: object, size: int = 256) -> Callable[[], object]:
    """A call whose last argument is a place to write to."""
    return lambda: call(name, *arguments, ctypes.create_string_buffer(size))


def shown_user() -> object:
    ids = (*os.getresuid(), *os.getresgid(), *os.getgroups())
    return f"has ids {ids}" if 0 in ids else None


def spliced() -> object:
    """Move pages between descriptors, past every read and write."""
    if not outside():
        return call("splice", 0, None, 3, None, 1, 0)
    (reading, writing), (_, onward) = os.pipe(), os.pipe()
    os.write(writing, b"x")
    return call("splice", reading, None, onward, None, 1, 0)


def ranged() -> object:
    if not outside():
        return call("copy_file_range", 0, None, 3, None, 1, 0)
    one, other = os.memfd_create("one"), os.memfd_create("other")
    os.write(one, b"x")
    os.lseek(one, 0, 0)
    return call("copy_file_range", one, None, other, None, 1, 0)


def posix_queue() -> object:
    return call("mq_open", f"probe-{os.getpid()}".encode(), 0o102, 0o600, None)


def in_page_cache() -> object:
    """Which pages of a library others use: a channel from every process that shares it."""
    import mmap

    area = mmap.mmap(-1, 4096)
    where = ctypes.addressof(ctypes.c_char.from_buffer(area))
    return call("mincore", where, 4096, ctypes.create_string_buffer(1))


def module_loaded() -> object:
    return call("init_module", None, 0, b"")


CHANGES_MACHINE = "it would change this machine"

PROBES = [
    *(
        Probe(f"unshare {name}", syscall("unshare", flag), POLICY, absent="EINVAL|ENOSPC")
        for name, flag in NAMESPACES.items()
    ),
    Probe("setns", joined, POLICY),
    Probe("mount", mounted, POLICY),
    Probe("mount a bind", bound, POLICY),
    Probe("remount writable", remounted, POLICY),
    Probe("umount2", unmounted, POLICY),
    Probe("pivot_root", pivoted, POLICY),
    Probe("chroot", rerooted, POLICY),
    Probe("fsopen", syscall("fsopen", b"tmpfs", 0), POLICY),
    Probe("open_tree", syscall("open_tree", -100, b"/", 1), POLICY),
    Probe("fspick", syscall("fspick", -100, b"/", 0), POLICY),
    Probe("mount_setattr", attributes, POLICY),
    Probe("mknod", device_made, POLICY),
    Probe("name_to_handle_at", handle_named, POLICY, absent="EOPNOTSUPP"),
    Probe("open_by_handle_at", handle_opened, POLICY, absent="EOPNOTSUPP"),
    Probe("quotactl", syscall("quotactl", 0x800001 << 8, None, 0, None), POLICY),
    Probe("acct", syscall("acct", None), POLICY),
    Probe("fanotify_init", syscall("fanotify_init", 0, 0), POLICY),
    Probe("keyctl", syscall("keyctl", 0, -3, 1), POLICY),
    Probe("add_key", syscall("add_key", b"user", b"probe", b"a row", 5, -2), POLICY),
    Probe("request_key", key_requested, POLICY),
    Probe("bpf", map_made, POLICY),
    Probe("perf_event_open", counted, POLICY, absent="ENOSYS|ENOENT|EOPNOTSUPP"),
    Probe("userfaultfd", waited_on_faults, POLICY),
    Probe("io_uring", with_buffer("io_uring_setup", 8), POLICY, absent="ENOSYS|EPERM"),
    Probe("iopl", syscall("iopl", 3), POLICY),
    Probe("ioperm", syscall("ioperm", 0x80, 1, 1), POLICY),
    Probe("setuid", syscall("setuid", 0), POLICY),
    Probe("setgid", syscall("setgid", 0), POLICY),
    Probe("setreuid", syscall("setreuid", 0, 0), POLICY),
    Probe("setresuid", syscall("setresuid", 0, 0, 0), POLICY),
    Probe("setfsuid", syscall("setfsuid", 0), POLICY),
    Probe("setgroups", syscall("setgroups", 0, None), POLICY),
    Probe("capset", capable, POLICY),
    Probe("seccomp", loosened, POLICY),
    Probe("seccomp by prctl", loosened_by_prctl, FORBIDDEN),
    Probe("landlock", syscall("landlock_create_ruleset", None, 0, 1), POLICY),
    Probe("personality", syscall("personality", 0xFFFFFFFF), POLICY),
    Probe("memfd_secret", syscall("memfd_secret", 0), POLICY),
    Probe("memfd_create", syscall("memfd_create", b"x", 0), FORBIDDEN),
    Probe("modify_ldt", with_buffer("modify_ldt", 2), FORBIDDEN),
    Probe("root's ids", shown_user, "nothing"),
    Probe("be dumpable", prctl(4, 1), FORBIDDEN),
    Probe("new rights", prctl(38, 1), FORBIDDEN),
    Probe("what filter it is under", prctl(21), FORBIDDEN),
    Probe("ambient capabilities", prctl(47, 4), FORBIDDEN),
    Probe("keep capabilities", prctl(8, 1), FORBIDDEN),
    Probe("secure bits", prctl(28, 0), FORBIDDEN),
    Probe("adopt orphans", prctl(36, 1), FORBIDDEN),
    Probe("slack of timers", prctl(29, 1), FORBIDDEN),
    Probe("no huge pages", prctl(41, 1), FORBIDDEN),
    Probe("ignore bad memory", prctl(33, 0), FORBIDDEN),
    Probe("shared memory", syscall("shmget", 0, 4096, 0o1600), FORBIDDEN),
    Probe("semaphores", syscall("semget", 0, 1, 0o1600), FORBIDDEN),
    Probe("message queue", syscall("msgget", 0, 0o1600), FORBIDDEN),
    Probe("posix queue", posix_queue, FORBIDDEN),
    Probe("page cache", in_page_cache, FORBIDDEN),
    Probe("the kernel's log", syscall("syslog", 10, None, 0), FORBIDDEN),
    Probe("name of the host", syscall("sethostname", b"escaped", 7), FORBIDDEN),
    Probe("name of the domain", syscall("setdomainname", b"escaped", 7), FORBIDDEN),
    Probe("adjust the clock", with_buffer("adjtimex"), FORBIDDEN),
    Probe("lock memory", syscall("mlockall", 1), FORBIDDEN),
    Probe("all disks at once", syscall("sync"), FORBIDDEN),
    Probe("splice", spliced, FORBIDDEN),
    Probe("copy between files", ranged, FORBIDDEN),
    Probe("interrupt all processors", syscall("membarrier", 1, 0, 0), FORBIDDEN),
    Probe("signals as a file", syscall("signalfd4", -1, packed(size=8), 8, 0), FORBIDDEN),
    Probe("timer as a file", syscall("timerfd_create", 1, 0), FORBIDDEN),
    Probe("load a module", module_loaded, POLICY, harm=CHANGES_MACHINE),
    Probe("another kernel", syscall("kexec_load", 0, 0, None, 0), POLICY, harm=CHANGES_MACHINE),
    Probe("reboot", syscall("reboot", 0, 0, 0, None), POLICY, harm=CHANGES_MACHINE),
    Probe(
        "set the clock",
        syscall("clock_settime", 0, packed(size=16)),
        FORBIDDEN,
        harm=CHANGES_MACHINE,
    ),
]
