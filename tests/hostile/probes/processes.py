"""Other processes and programs: starting, signalling, watching, stopping, obeying nobody."""

# ruff: noqa: S603, S606 (what is unsafe is the point here)

import ctypes
import fcntl
import os
import pickle
import resource
import signal
import subprocess
import threading
from collections.abc import Callable

from .probe import (
    AIM,
    Probe,
    address,
    call,
    libc,
    machine_code,
    neighbour,
    outside,
    packed,
    say_through,
    syscall,
)

FORBIDDEN, POLICY = "EPERM", "policy"
CHILD = signal.SIGCHLD


def forked(make: Callable[[], int]) -> Callable[[], object]:
    """Two processes where there was one."""

    def attack() -> object:
        child = make()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return "a second process"

    return attack


def spawned() -> object:
    return subprocess.run(say_through()[1], check=True, stdout=subprocess.DEVNULL).args[0]


def clone3() -> int:
    """struct clone_args, 88 bytes: only the signal at its end."""
    return call("clone3", packed(0, 0, 0, 0, 0, 0, 0, 0, CHILD, size=88), 88)


def executed() -> None:
    program, words = say_through()
    os.execv(program, words)


def executed_by_descriptor() -> object:
    program, words = say_through()
    descriptor = os.open(program, os.O_PATH)
    vector = (ctypes.c_char_p * (len(words) + 1))(*(word.encode() for word in words), None)
    return call("execveat", descriptor, b"", vector, None, 0x1000)  # AT_EMPTY_PATH


def preloaded() -> None:
    """A library of its own in a program that starts with the rights of the old one."""
    program, words = say_through()
    os.execve(program, words, {"LD_PRELOAD": AIM["spare"], "LD_AUDIT": AIM["spare"]})


def executed_from_memory() -> None:
    """A program that never lay on a disk."""
    program, words = say_through()
    memory = os.memfd_create("program")
    with open(program, "rb") as file:
        os.write(memory, file.read())
    os.execve(memory, words, {})


def executed_from_scratch() -> None:
    """A program that it wrote itself."""
    path = f"{AIM['scratch']}/program-{os.getpid()}"
    with open(path, "wb") as file:
        file.write(b"#!/usr/bin/python3.11\nprint('through')\n")
    if outside():
        os.chmod(path, 0o700)
    os.execv(path, [path])


class Payload:
    """What pickle makes of it runs as it is read."""

    def __reduce__(self) -> tuple:
        return os.execv, say_through()


def unpickled() -> object:
    """A file of a provider that is code."""
    return pickle.loads(pickle.dumps(Payload()))  # noqa: S301 that is the point


def signalled(number: int) -> Callable[[], object]:
    def attack() -> object:
        os.kill(neighbour(), number)
        return f"sent {number}"

    return attack


def by_thread() -> object:
    return call("tkill", neighbour(), 0)


def by_thread_group() -> object:
    target = neighbour()
    return call("tgkill", target, target, 0)


def queued() -> object:
    return call("rt_sigqueueinfo", neighbour(), 0, packed(0, 0, -1, size=128))


def its_group() -> object:
    if outside():
        os.setsid()
    os.killpg(0, 0)
    return "its group"


def owner(command: int) -> Callable[[], object]:
    """A pipe with an owner sends it a signal for each byte: also SIGKILL, also to a neighbour."""

    def attack() -> object:
        reading, _ = os.pipe()
        argument = neighbour()
        if command == 15:  # F_SETOWN_EX: struct f_owner_ex, F_OWNER_PID
            return fcntl.fcntl(reading, command, packed(1, argument, size=8).raw)
        return fcntl.fcntl(reading, command, argument if command == 8 else signal.SIGKILL)

    return attack


def asynchronous() -> object:
    reading, _ = os.pipe()
    return fcntl.ioctl(reading, 0x5452, b"\1\0\0\0")  # FIOASYNC


def typed(command: int) -> Callable[[], object]:
    """Type into a terminal what its shell will run."""

    def attack() -> object:
        end = 0
        if outside():
            import pty

            os.setsid()
            end = pty.openpty()[1]
            fcntl.ioctl(end, 0x540E, 0)  # TIOCSCTTY
        return fcntl.ioctl(end, command, b"\2\0\0\0")

    return attack


def read_memory() -> object:
    return across("process_vm_readv")


def write_memory() -> object:
    return across("process_vm_writev")


def across(name: str) -> int:
    """The memory of a process: outside the child has the same addresses."""
    here, there = ctypes.create_string_buffer(8), ctypes.create_string_buffer(8)
    target = neighbour()
    mine = (ctypes.c_uint64 * 2)(address(here), 8)
    theirs = (ctypes.c_uint64 * 2)(address(there), 8)
    return call(name, target, mine, 1, theirs, 1, 0)


def by_pidfd(name: str, *arguments: object) -> Callable[[], object]:
    """A call on a descriptor of a process; in the sandbox there is none, so any number will do."""

    def attack() -> object:
        return call(name, os.pidfd_open(neighbour()) if outside() else 3, *arguments)

    return attack


def advised() -> object:
    buffer = ctypes.create_string_buffer(4096)
    vector = (ctypes.c_uint64 * 2)(address(buffer) & ~4095, 4096)
    pidfd = os.pidfd_open(neighbour()) if outside() else 3
    return call("process_madvise", pidfd, vector, 1, 20, 0)  # MADV_COLD


def pages() -> object:
    """Where the pages of a process lie, and in which node of memory."""
    where, status = ctypes.create_string_buffer(8), ctypes.create_string_buffer(4)
    page = (ctypes.c_uint64 * 1)(address(where) & ~4095)
    return call("move_pages", neighbour(), 1, page, None, status, 0)


def limits_of_neighbour() -> object:
    return call("prlimit64", neighbour(), 7, None, ctypes.create_string_buffer(16))


def raised(which: int, value: int) -> Callable[[], object]:
    """A higher limit than it was given; outside one that it lowered itself."""

    def attack() -> object:
        new = value
        if outside():
            new = resource.getrlimit(which)[1]
            resource.setrlimit(which, (4096, new))
        both = (ctypes.c_uint64 * 2)(*([new & (1 << 64) - 1] * 2))
        return call("prlimit64", 0, which, both, None)

    return attack


def kinder() -> object:
    return os.nice(-5)


def on_one_processor() -> object:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return "chose its processor, which is a channel"


def in_a_thread() -> object:
    """A forbidden call in a second thread must take the whole process with it."""
    got = []
    parameters = ctypes.create_string_buffer(120)
    thread = threading.Thread(target=lambda: got.append(libc.syscall(425, 8, parameters)))
    thread.start()
    thread.join()
    return got if got[0] >= 0 else None


def old_kernel_entry() -> object:
    """int 0x80 with eax = 20, getpid of the 32-bit table, which no 64-bit rule describes."""
    found = machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    return found if found > 0 else None


def x32() -> object:
    found = libc.syscall(ctypes.c_long(0x40000000 | 39))
    if found < 0:
        raise OSError(ctypes.get_errno(), "x32")
    return found


def timed() -> object:
    """A timer that sends a signal."""
    return call("timer_create", 1, packed(0, 0, 10, 0, size=64), ctypes.create_string_buffer(8))


def kept_alive() -> object:
    """Not to die with the enclave."""
    return f"parent-death signal off: {call('prctl', 1, 0, 0, 0, 0)}"


PROBES = [
    Probe("fork", forked(os.fork), FORBIDDEN),
    Probe("spawn, by vfork", spawned, FORBIDDEN),
    Probe("clone a process", forked(syscall("clone", int(CHILD), 0, 0, 0, 0)), FORBIDDEN),
    Probe("clone3", forked(clone3), "ENOSYS", absent=""),
    Probe("execve", executed, POLICY),
    Probe("execveat", executed_by_descriptor, POLICY),
    Probe("execve with LD_PRELOAD", preloaded, POLICY),
    Probe("execute a memory file", executed_from_memory, FORBIDDEN),
    Probe("execute its own file", executed_from_scratch, {"A": POLICY, "B": POLICY, "C": "EACCES"}),
    Probe("unpickle a program", unpickled, POLICY),
    Probe("signal 0 to the enclave", signalled(0), FORBIDDEN),
    Probe("SIGSTOP to the enclave", signalled(signal.SIGSTOP), FORBIDDEN),
    Probe("SIGKILL to the enclave", signalled(signal.SIGKILL), FORBIDDEN),
    Probe("tkill the enclave", by_thread, FORBIDDEN),
    Probe("tgkill the enclave", by_thread_group, FORBIDDEN),
    Probe("queue a signal", queued, FORBIDDEN),
    Probe("signal the first process", lambda: os.kill(1, 0) or "process 1", FORBIDDEN),
    Probe("signal its parent", lambda: os.kill(os.getppid(), 0) or "its parent", FORBIDDEN),
    Probe("signal its group", its_group, FORBIDDEN),
    Probe("signal everybody", lambda: os.kill(-1, 0) or "all", FORBIDDEN),
    Probe("F_SETOWN", owner(8), FORBIDDEN),
    Probe("F_SETOWN_EX", owner(15), FORBIDDEN),
    Probe("F_SETSIG", owner(10), FORBIDDEN),
    Probe("FIOASYNC", asynchronous, FORBIDDEN),
    Probe("TIOCSTI", typed(0x5412), FORBIDDEN, absent="EIO"),
    Probe("a timer's signal", timed, FORBIDDEN),
    Probe("a group of its own", lambda: os.setpgid(0, 0) or "a group", FORBIDDEN),
    Probe("a session of its own", lambda: os.setsid() or "a session", FORBIDDEN),
    Probe("outlive the enclave", kept_alive, FORBIDDEN),
    Probe("ptrace", syscall("ptrace", 0, 0, 0, 0), POLICY),
    Probe("ptrace the enclave", lambda: call("ptrace", 16, neighbour(), 0, 0), POLICY),
    Probe("process_vm_readv", read_memory, POLICY),
    Probe("process_vm_writev", write_memory, POLICY),
    Probe("kcmp", lambda: call("kcmp", neighbour(), os.getpid(), 0, 0, 0), POLICY),
    Probe("pidfd_open", lambda: call("pidfd_open", neighbour(), 0), POLICY),
    Probe("pidfd_getfd", by_pidfd("pidfd_getfd", 0, 0), POLICY),
    Probe("pidfd_send_signal", by_pidfd("pidfd_send_signal", 0, None, 0), POLICY),
    Probe("process_madvise", advised, POLICY),
    Probe("move_pages", pages, FORBIDDEN),
    Probe("limits of the enclave", limits_of_neighbour, FORBIDDEN),
    Probe("more memory", raised(resource.RLIMIT_AS, -1), FORBIDDEN),
    Probe("more processor time", raised(resource.RLIMIT_CPU, -1), FORBIDDEN),
    Probe("more processes", raised(resource.RLIMIT_NPROC, -1), FORBIDDEN),
    Probe("more descriptors", raised(resource.RLIMIT_NOFILE, 4096), FORBIDDEN),
    Probe("longer files", raised(resource.RLIMIT_FSIZE, -1), FORBIDDEN),
    Probe("a core file", raised(resource.RLIMIT_CORE, -1), FORBIDDEN),
    Probe("priority", kinder, FORBIDDEN),
    Probe("another scheduler", syscall("sched_setscheduler", 0, 1, packed(1, size=4)), FORBIDDEN),
    Probe("priority on disks", syscall("ioprio_set", 1, 0, 2 << 13), FORBIDDEN),
    Probe("its processor", on_one_processor, FORBIDDEN),
    Probe("a forbidden call in a thread", in_a_thread, POLICY),
    Probe("a 32-bit call", old_kernel_entry, POLICY),
    Probe("an x32 call", x32, POLICY),
]
