"""The micro-firewall: the system calls that an algorithm may make, each group with its reason.

One list decides, an allow-list: what does not stand here answers EPERM. The filter is the last
thing that the shim does before it runs the algorithm, and nothing can take it off again.
"""

import errno
import os
from functools import cache
from types import ModuleType
from typing import Final, NamedTuple

from enclave_host.cage.job import Broken


class Group(NamedTuple):
    """System calls that are treated alike, and why."""

    why: str
    calls: str  # names as in the kernel, separated by blanks


class Argument(NamedTuple):
    """A system call that is allowed only if one of its arguments has one of these values."""

    why: str
    call: str
    position: int  # of the argument, from 0
    values: tuple[int, ...]


class Answer(NamedTuple):
    """System calls that always fail with an error of their own, so that libraries cope."""

    why: str
    error: int  # an errno
    calls: str


ALLOWED: Final = (
    Group(
        "use descriptors that are open already",
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close "
        "close_range dup dup2 dup3 sendfile fsync fdatasync ftruncate fallocate",
    ),
    Group(
        "open and look at files; mounts and Landlock decide which",
        "open openat stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 "
        "readlink readlinkat getdents getdents64 getcwd chdir fchdir umask",
    ),
    Group(
        "work in the private /tmp; everything else is read-only",
        "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 truncate",
    ),
    Group(
        "wait for descriptors and wake threads, within the process",
        "pipe pipe2 poll ppoll select pselect6 eventfd2 epoll_create epoll_create1 epoll_ctl "
        "epoll_wait epoll_pwait epoll_pwait2",
    ),
    Group(
        "have memory; RLIMIT_AS bounds it. Code made at run time meets the same filter",
        "mmap munmap mremap mprotect madvise brk msync",
    ),
    Group(
        "handle signals sent by the kernel; sending any is not allowed",
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait sigaltstack "
        "restart_syscall",
    ),
    Group(
        "run threads; RLIMIT_NPROC bounds them",
        "futex futex_waitv set_robust_list get_robust_list set_tid_address rseq arch_prctl "
        "sched_yield sched_getaffinity sched_getparam sched_getscheduler getcpu wait4 waitid",
    ),
    Group(
        "know who and where one is; nothing of it can be changed",
        "gettid getpid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getgroups "
        "getresuid getresgid getrlimit getrusage uname sysinfo",
    ),
    Group(
        "tell the time, sleep and draw random numbers",
        "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrandom",
    ),
    Group("end", "exit exit_group"),
)

CONDITIONAL: Final = (
    Argument("name a thread: PR_SET_NAME, PR_GET_NAME", "prctl", 0, (15, 16)),
    Argument(
        "is it a terminal, how much is there, close on exec: TCGETS TIOCGWINSZ FIONREAD FIOCLEX "
        "FIONCLEX; never TIOCSTI, which types into terminals",
        "ioctl",
        1,
        (0x5401, 0x5413, 0x541B, 0x5451, 0x5450),
    ),
    Argument(
        "F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC; never F_SETOWN and F_SETSIG, by "
        "which a pipe sends SIGKILL to a neighbour",
        "fcntl",
        1,
        (0, 1, 2, 3, 4, 1030),
    ),
)

ANSWERED: Final = (
    Answer(
        "no socket of any family: network namespaces do not stop vsock, nor a unix socket that "
        "lies in an input folder",
        errno.EAFNOSUPPORT,
        "socket socketpair",
    ),
    Answer(
        "its flags lie in memory, where no filter sees them; glibc falls back to clone",
        errno.ENOSYS,
        "clone3",
    ),
)

KILLED: Final = (
    Group("start another program", "execve execveat"),
    Group(
        "reach into other processes",
        "ptrace process_vm_readv process_vm_writev kcmp pidfd_open pidfd_getfd pidfd_send_signal "
        "process_madvise process_mrelease",
    ),
    Group(
        "do input and output past this filter", "io_uring_setup io_uring_enter io_uring_register"
    ),
    Group("watch or extend the kernel", "bpf perf_event_open userfaultfd lookup_dcookie"),
    Group(
        "change what the file system looks like",
        "mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick "
        "mount_setattr mknod mknodat open_by_handle_at name_to_handle_at quotactl acct "
        "fanotify_init fanotify_mark",
    ),
    Group("leave the namespaces", "unshare setns"),
    Group(
        "administer the machine",
        "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff "
        "iopl ioperm",
    ),
    Group("use the kernel's key rings, which outlive the run", "add_key request_key keyctl"),
    Group(
        "become someone else",
        "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset",
    ),
    Group(
        "change this very protection",
        "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self personality",
    ),
    Group("hide memory from the enclave", "memfd_secret"),
)

UNKNOWN: Final = -1  # __NR_SCMP_ERROR of seccomp_syscall_resolve_name(3)
CLONE_THREAD: Final = 0x00010000  # a thread of this process
CLONE_NAMESPACES: Final = 0x7E020080  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, ... NEWTIME


@cache
def program() -> bytes:
    """Return the filter as classic BPF for this machine, 8 bytes an instruction (seccomp(2)).

    Names that libseccomp does not know on this machine are left out: such a call is then not
    allowed at all. Raises Broken if libseccomp is not installed, or fails.
    """
    try:
        import pyseccomp  # it looks for the library, and fails, as soon as it is imported

        rules = Rules(pyseccomp)
        _state(rules)
        return rules.exported()
    except (ImportError, RuntimeError, OSError) as error:
        raise Broken(f"no seccomp filter: {error}; install libseccomp2") from error


def _state(rules: "Rules") -> None:
    """Say all rules of this file."""
    kit = rules.kit
    for group in ALLOWED:
        rules.add(kit.ALLOW, group.calls)
    for group in KILLED:
        rules.add(kit.KILL_PROCESS, group.calls)
    for answer in ANSWERED:
        rules.add(kit.ERRNO(answer.error), answer.calls)
    for allowed in CONDITIONAL:
        for value in allowed.values:
            rules.add(kit.ALLOW, allowed.call, kit.Arg(allowed.position, kit.EQ, value))
    # A thread of this process, in the same namespaces: no fork.
    mask = CLONE_THREAD | CLONE_NAMESPACES
    rules.add(kit.ALLOW, "clone", kit.Arg(0, kit.MASKED_EQ, mask, CLONE_THREAD))
    # Read (no new limit, argument 2) the limits of this process (pid 0).
    rules.add(kit.ALLOW, "prlimit64", kit.Arg(0, kit.EQ, 0), kit.Arg(2, kit.EQ, 0))


class Rules:
    """A filter in the making: what no rule names answers EPERM."""

    def __init__(self, kit: ModuleType) -> None:
        """Begin with no rule; `kit` is pyseccomp."""
        self.kit = kit
        self._filter = kit.SyscallFilter(defaction=kit.ERRNO(errno.EPERM))
        self._filter.set_attr(kit.Attr.ACT_BADARCH, kit.KILL_PROCESS)  # 32-bit and x32 calls

    def add(self, action: int, calls: str, *conditions: object) -> None:
        """Answer these calls, as far as this machine has them, with an action."""
        for name in calls.split():
            if self.kit.resolve_syscall(self.kit.Arch.NATIVE, name) != UNKNOWN:
                self._filter.add_rule(action, name, *conditions)

    def exported(self) -> bytes:
        """Return the filter's program."""
        with open(os.memfd_create("seccomp"), "w+b") as memory:
            self._filter.export_bpf(memory)
            memory.seek(0)
            return memory.read()
