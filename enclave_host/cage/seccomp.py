"""The micro-firewall: the system calls that an algorithm may make, each group with its reason.

One list decides, an allow-list: what does not stand here answers EPERM. The filter is the last
thing that the shim does before it runs the algorithm, and nothing can take it off again.
"""

import errno
import itertools
import os
from functools import cache
from types import ModuleType
from typing import Final, Literal, NamedTuple, assert_never

from enclave_host.cage.job import Broken

ANY_BIT: Final = 2**64 - 1


Answer = Literal["allow", "kill"] | int
"""What a call meets; an errno: it fails, and libraries cope."""


class When(NamedTuple):
    """One argument of a system call: under `mask` it must be one of `values`."""

    position: int  # from 0
    values: tuple[int, ...]
    mask: int = ANY_BIT


class Rule(NamedTuple):
    """System calls that are answered alike, and why; where there is `when`, all of it must hold."""

    why: str
    calls: str  # names as in the kernel, separated by blanks
    answer: Answer = "allow"
    when: tuple[When, ...] = ()


CLONE_THREAD: Final = 0x00010000  # a thread of this process
CLONE_NAMESPACES: Final = 0x7E020080  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, ... NEWTIME

RULES: Final = (
    Rule(
        "use descriptors that are open already",
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close "
        "close_range dup dup2 dup3 sendfile fsync fdatasync ftruncate fallocate",
    ),
    Rule(
        "open and look at files; mounts and Landlock decide which",
        "open openat stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 "
        "readlink readlinkat getdents getdents64 getcwd chdir fchdir umask",
    ),
    Rule(
        "work in the private /tmp; everything else is read-only",
        "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 truncate",
    ),
    Rule(
        "wait for descriptors and wake threads, within the process",
        "pipe pipe2 poll ppoll select pselect6 eventfd2 epoll_create epoll_create1 epoll_ctl "
        "epoll_wait epoll_pwait epoll_pwait2",
    ),
    Rule(
        "have memory; RLIMIT_AS bounds it. Code made at run time meets the same filter",
        "mmap munmap mremap mprotect madvise brk msync",
    ),
    Rule(
        "handle signals sent by the kernel; sending any is not allowed",
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait sigaltstack "
        "restart_syscall",
    ),
    Rule(
        "run threads; RLIMIT_NPROC bounds them",
        "futex futex_waitv set_robust_list set_tid_address rseq arch_prctl sched_yield "
        "sched_getaffinity sched_getparam sched_getscheduler getcpu",
    ),
    Rule(
        "know who and where one is; nothing of it can be changed",
        "gettid getpid getppid getuid geteuid getgid getegid getgroups getresuid getresgid "
        "getrlimit getrusage uname sysinfo",
    ),
    Rule(
        "tell the time, sleep and draw random numbers",
        "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrandom",
    ),
    Rule("end", "exit exit_group"),
    Rule(
        "start a thread, in the same namespaces: CLONE_THREAD, and no CLONE_NEW flag; no fork",
        "clone",
        when=(When(0, (CLONE_THREAD,), CLONE_THREAD | CLONE_NAMESPACES),),
    ),
    Rule(
        "read the limits of this process (pid 0); no new limit (argument 2)",
        "prlimit64",
        when=(When(0, (0,)), When(2, (0,))),
    ),
    Rule("name a thread: PR_SET_NAME PR_GET_NAME", "prctl", when=(When(0, (15, 16)),)),
    Rule(
        "is it a terminal, how much is there, close on exec: TCGETS TIOCGWINSZ FIONREAD FIOCLEX "
        "FIONCLEX; never TIOCSTI, which types into terminals",
        "ioctl",
        when=(When(1, (0x5401, 0x5413, 0x541B, 0x5451, 0x5450)),),
    ),
    Rule(
        "F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC; never F_SETOWN and F_SETSIG, by "
        "which a pipe sends SIGKILL to a neighbour, nor F_SETLEASE, which a neighbour notices",
        "fcntl",
        when=(When(1, (0, 1, 2, 3, 4, 1030)),),
    ),
    Rule(
        "no socket of any family: network namespaces do not stop vsock, nor a unix socket that "
        "lies in an environment",
        "socket socketpair",
        errno.EAFNOSUPPORT,
    ),
    Rule(
        "its flags lie in memory, where no filter sees them; glibc falls back to clone",
        "clone3",
        errno.ENOSYS,
    ),
    Rule("start another program", "execve execveat", "kill"),
    Rule(
        "reach into other processes",
        "ptrace process_vm_readv process_vm_writev kcmp pidfd_open pidfd_getfd pidfd_send_signal "
        "process_madvise process_mrelease",
        "kill",
    ),
    Rule(
        "do input and output past this filter",
        "io_uring_setup io_uring_enter io_uring_register",
        "kill",
    ),
    Rule("watch or extend the kernel", "bpf perf_event_open userfaultfd lookup_dcookie", "kill"),
    Rule(
        "change what the file system looks like",
        "mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick "
        "mount_setattr mknod mknodat open_by_handle_at name_to_handle_at quotactl acct "
        "fanotify_init fanotify_mark",
        "kill",
    ),
    Rule("leave the namespaces", "unshare setns", "kill"),
    Rule(
        "administer the machine",
        "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff "
        "iopl ioperm",
        "kill",
    ),
    Rule("use the kernel's key rings, which outlive the run", "add_key request_key keyctl", "kill"),
    Rule(
        "become someone else",
        "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset",
        "kill",
    ),
    Rule(
        "change this very protection",
        "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self personality",
        "kill",
    ),
    Rule("hide memory from the enclave", "memfd_secret", "kill"),
)
"""All that a filter says. What no rule names, and what fails its conditions, answers EPERM; a call
by the numbers of another machine (32-bit, x32) kills.
"""

UNKNOWN: Final = -1  # __NR_SCMP_ERROR of seccomp_syscall_resolve_name(3)


@cache
def program() -> bytes:
    """Return the filter as classic BPF for this machine, 8 bytes an instruction (seccomp(2)).

    Names that libseccomp does not know on this machine are left out: such a call is then not
    allowed at all. Raises Broken if libseccomp is not installed, or fails.
    """
    try:
        import pyseccomp  # it looks for the library, and fails, as soon as it is imported

        return _compiled(pyseccomp)
    except (ImportError, RuntimeError, OSError) as error:
        raise Broken(f"no seccomp filter: {error}; install libseccomp2") from error


def _compiled(kit: ModuleType) -> bytes:
    """`kit` is pyseccomp."""
    made = kit.SyscallFilter(defaction=kit.ERRNO(errno.EPERM))
    made.set_attr(kit.Attr.ACT_BADARCH, kit.KILL_PROCESS)
    for rule in RULES:
        action = _action(kit, rule.answer)
        for name in rule.calls.split():
            if kit.resolve_syscall(kit.Arch.NATIVE, name) == UNKNOWN:
                continue
            for values in itertools.product(*(when.values for when in rule.when)):
                conditions = (
                    _condition(kit, *pair) for pair in zip(rule.when, values, strict=True)
                )
                made.add_rule(action, name, *conditions)
    with open(os.memfd_create("seccomp"), "w+b") as memory:
        made.export_bpf(memory)
        memory.seek(0)
        return memory.read()


def _action(kit: ModuleType, answer: Answer) -> object:
    match answer:
        case "allow":
            return kit.ALLOW
        case "kill":
            return kit.KILL_PROCESS
        case int():
            return kit.ERRNO(answer)
        case _:
            assert_never(answer)


def _condition(kit: ModuleType, when: When, value: int) -> object:
    if when.mask == ANY_BIT:
        return kit.Arg(when.position, kit.EQ, value)
    return kit.Arg(when.position, kit.MASKED_EQ, when.mask, value)
