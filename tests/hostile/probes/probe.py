"""What a probe is, and how it is made: in the sandbox, and outside it as its own control.

This file travels into the sandbox as part of the bundle `probes`, with the groups beside it. It
uses the standard library only; the numbers of system calls are those of x86_64.
"""

import ctypes
import errno
import importlib
import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

libc = ctypes.CDLL(None, use_errno=True)

THROUGH = "through"  # what a result begins with if the attack got what it wanted
NOTHING = "nothing"  # the attack found nothing to take
STATUSES = ("policy", "limit", "failed")  # ends that take the process with them
PATIENCE = 90.0  # seconds for all controls together, on a busy machine

NEIGHBOURS: list[int] = []  # what a control started to attack; ended with it

AIM: dict = {}
"""What the test tells an attack to aim at; `AIM["outside"]` is true where it is the control."""


@dataclass(frozen=True)
class Probe:
    """One attack. `ends` says how it must end in the sandbox, in all tiers or by tier: the name of
    an errno, NOTHING, or a status of the run; alternatives stand between bars.

    Outside it must get through. `absent` names the errno that there means: this machine has no such
    thing. `harm` says why it is never made outside.
    """

    name: str
    attack: Callable[[], object]
    ends: str | dict[str, str]
    absent: str = "ENOSYS"
    harm: str = ""
    wall: float = 60.0  # seconds that it has in the sandbox

    def endings(self, tier: str) -> list[str]:
        """How it may end in this tier."""
        ends = self.ends if isinstance(self.ends, str) else self.ends[tier]
        return ends.split("|")

    @property
    def alone(self) -> bool:
        """Whether it ends its process in some tier, and so needs a sandbox of its own."""
        ends = self.ends if isinstance(self.ends, str) else "|".join(self.ends.values())
        return not set(STATUSES).isdisjoint(ends.split("|"))


# --- made in the sandbox: the entry points of the bundle ------------------------------------------


def quiet(tables: dict, parameters: dict) -> dict:
    """Make all probes that leave the process alive, one after the other."""
    AIM.update(parameters, outside=False)
    return {
        "results": {name: attempt(one.attack) for name, one in table().items() if not one.alone}
    }


def alone(tables: dict, parameters: dict) -> dict:
    """Make one probe."""
    AIM.update(parameters, outside=False)
    name = parameters["name"]
    return {"results": {name: attempt(table()[name].attack)}}


def attempt(attack: Callable[[], object]) -> str:
    """How an attack ended, as `Probe.ends` says it."""
    try:
        got = attack()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except MemoryError:
        return "ENOMEM"
    except Exception as error:
        return f"broken: {error!r}"
    return NOTHING if got is None else f"{THROUGH}: {got}"


def table() -> dict[str, Probe]:
    """The probes of this kind of environment, by name."""
    from . import GROUPS, WITH_PACKAGES

    groups = WITH_PACKAGES if AIM["packages"] else GROUPS
    return {one.name: one for group in groups for one in group.PROBES}


# --- made outside: the control --------------------------------------------------------------------

NEW_MOUNTS, NEW_NAMES, NEW_IPC = 0x20000, 0x4000000, 0x8000000
PRIVATE = 0x4000 | 0x40000  # MS_REC, MS_PRIVATE
PDEATHSIG = 1


def control(aim: dict) -> dict[str, str]:
    """Make all probes outside, each in a child of its own, all at the same time."""
    AIM.update(aim, outside=True)
    for module in ("pyarrow", "pandas", "duckdb") if AIM["packages"] else ():
        importlib.import_module(module)  # once, not in every child
    children = {name: start(one) for name, one in table().items() if not one.harm}
    deadline = time.monotonic() + PATIENCE
    return {name: collect(*child, deadline) for name, child in children.items()}


def start(probe: Probe) -> tuple[int, int]:
    """A child that makes the probe and writes how it ended into a memory file; both."""
    said = os.memfd_create("said")
    child = os.fork()
    if child == 0:
        # Whatever happens: never go on as a second driver.
        try:
            for descriptor in (1, 2, 3):
                os.dup2(said, descriptor)
            keep_harmless()
            os.write(said, attempt(probe.attack).encode())
        finally:
            try:
                for one in NEIGHBOURS:  # some are stopped by now, and would stay for ever
                    os.kill(one, signal.SIGKILL)
            finally:
                os._exit(0)
    return child, said


def keep_harmless() -> None:
    """Mounts, names and IPC objects of its own; no other wall."""
    if os.geteuid() == 0 and libc.unshare(NEW_MOUNTS | NEW_NAMES | NEW_IPC) == 0:
        libc.mount(b"none", b"/", None, PRIVATE, None)


def collect(child: int, said: int, deadline: float) -> str:
    """What the child wrote, once it ended."""
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "broken: did not end"
        time.sleep(0.005)
    content = os.pread(said, 1 << 24, 0).decode("utf-8", "replace")
    os.close(said)
    at = content.rfind(THROUGH)
    return content[at:] if at >= 0 else content.strip() or "broken: died"


def outside() -> bool:
    """Whether this is the control."""
    return AIM["outside"]


def neighbour() -> int:
    """A process to attack: in the sandbox the enclave's, outside a child that only sleeps."""
    if not outside():
        return AIM["enclave"]
    child = os.fork()
    if child == 0:
        libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        time.sleep(PATIENCE)
        os._exit(0)
    NEIGHBOURS.append(child)
    return child


def unopened() -> str:
    """A file to take a lease on; outside one that no other control has open to write."""
    if not outside():
        return AIM["spare"]
    path = f"{AIM['scratch']}/{os.getpid()}"
    with open(path, "wb") as file:
        file.write(b"content")
    return path


# --- raw system calls -----------------------------------------------------------------------------

NUMBERS = {
    "mincore": 27, "shmget": 29, "connect": 42, "accept": 43, "sendto": 44, "recvfrom": 45,
    "sendmsg": 46, "shutdown": 48, "bind": 49, "listen": 50, "getsockname": 51, "setsockopt": 54,
    "clone": 56, "semget": 64, "msgget": 68, "ptrace": 101, "syslog": 103, "setuid": 105,
    "setgid": 106, "setpgid": 109, "setsid": 112, "setreuid": 113, "setgroups": 116,
    "setresuid": 117, "setfsuid": 122, "capset": 126, "rt_sigqueueinfo": 129, "mknod": 133,
    "personality": 135, "setpriority": 141, "sched_setscheduler": 144, "mlock": 149,
    "mlockall": 151, "modify_ldt": 154, "pivot_root": 155, "prctl": 157, "adjtimex": 159,
    "chroot": 161, "sync": 162, "acct": 163, "mount": 165, "umount2": 166, "reboot": 169,
    "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "init_module": 175,
    "quotactl": 179, "tkill": 200, "timer_create": 222, "clock_settime": 227, "tgkill": 234,
    "mbind": 237, "mq_open": 240, "kexec_load": 246, "add_key": 248, "request_key": 249,
    "keyctl": 250, "ioprio_set": 251, "inotify_init1": 294, "unshare": 272, "splice": 275,
    "vmsplice": 278, "move_pages": 279, "signalfd4": 289, "perf_event_open": 298,
    "fanotify_init": 300, "prlimit64": 302, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "finit_module": 313, "seccomp": 317, "memfd_create": 319, "bpf": 321, "execveat": 322,
    "userfaultfd": 323, "membarrier": 324, "copy_file_range": 326, "timerfd_create": 283,
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "fsopen": 430, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "openat2": 437, "pidfd_getfd": 438, "process_madvise": 440,
    "mount_setattr": 442, "landlock_create_ruleset": 444, "memfd_secret": 447,
}  # fmt: skip


def call(name: str, *arguments: object) -> int:
    """Make a system call past every library. Raises OSError."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *longs)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def syscall(name: str, *arguments: object) -> Callable[[], int]:
    """An attack that is one system call."""
    return lambda: call(name, *arguments)


def packed(*words: int, size: int) -> ctypes.Array:
    """A structure of 32-bit words that the kernel reads or fills, `size` bytes."""
    raw = b"".join((word & 0xFFFFFFFF).to_bytes(4, "little") for word in words)
    return ctypes.create_string_buffer(raw.ljust(size, b"\0"), size)


def address(buffer: ctypes.Array) -> int:
    """Where a structure lies."""
    return ctypes.addressof(buffer)


def machine_code(code: bytes) -> int:
    """Run bytes as a function; what they return."""
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()


def say_through(program: str = "/usr/bin/python3.11") -> tuple[str, list[str]]:
    """A program to execute, and its words; outside it says that it got through."""
    return program, [program, "-I", "-S", "-c", f"print('{THROUGH}: executed')"]


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from probes import probe  # not __main__: the groups import that module

    json.dump(probe.control(json.loads(sys.argv[1])), sys.stdout)
