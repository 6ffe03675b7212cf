"""Hostile algorithms, as one table: each attack must be impossible in the datacage.

An attack returns a sentence if it got through. It is stopped if it raises OSError or MemoryError,
or returns None because it found nothing. Any other exception means that the attack is broken.
`QUIET` attacks are survived by their process, so many go into one sandbox. `FATAL` attacks end
theirs: each needs its own sandbox, and its row names the status that the run must end with.
System call numbers are those of x86_64.
"""

# ruff: noqa: S108, S606 (what is unsafe is the point here)

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import select
import socket
import sys
import threading
import time
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
AIM: dict = {}  # what the test tells: port, abstract, inputs, code, environment, secret, neighbour


def run_quiet(tables, parameters):
    AIM.update(parameters)
    return {name: attempt(QUIET[name]) for name in parameters["attacks"]}


def run_fatal(tables, parameters):
    AIM.update(parameters)
    FATAL[parameters["attack"]][1]()
    return {"survived": parameters["attack"]}


def attempt(attack):
    try:
        got = attack()
    except OSError as error:
        return f"stopped: {errno.errorcode.get(error.errno, error)}"
    except MemoryError:
        return "stopped: MemoryError"
    except Exception as error:
        return f"broken: {error!r}"
    return f"ESCAPED: {got}" if got else "stopped: nothing found"


def call(number, *arguments):
    """Make a raw system call; return a sentence if the kernel took it."""
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return f"system call {number} gave {result}"


def syscall(number, *arguments):
    return lambda: call(number, *arguments)


# --- network and neighbours ---------------------------------------------------------------------


def new_socket(family, kind=socket.SOCK_STREAM):
    def attack():
        socket.socket(family, kind).close()
        return "has a socket"

    return attack


def tcp_to_host():
    with socket.create_connection(("127.0.0.1", AIM["port"]), timeout=2):
        return "reached a TCP port of the host"


def udp_to_host():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", AIM["port"]))
    return "sent a datagram"


def unix_to(address):
    def attack():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(address())
        return "reached a unix socket of the host"

    return attack


def resolve_name():
    # socket.gaierror is an OSError; port 0 of a literal address needs no resolver
    return f"resolved {socket.getaddrinfo('localhost', 80)}"


def new_socketpair():
    for end in socket.socketpair():
        end.close()
    return "has a pair of sockets"


def signal_to(target):
    def attack():
        os.kill(target(), 0)
        return "may signal a process"

    return attack


def own_a_pipe_for_neighbour():
    """O_ASYNC with F_SETOWN and F_SETSIG lets a pipe send any signal to its owner."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(reading, fcntl.F_SETOWN, AIM["neighbour"])
    finally:
        os.close(reading)
        os.close(writing)
    return "set the owner of a pipe"


# --- files --------------------------------------------------------------------------------------


def read(path):
    return lambda: f"read {Path(path()).read_bytes()[:20]!r}"


def listed(path):
    return lambda: f"listed {os.listdir(path())[:5]}"


def write(path):
    def attack():
        target = Path(path())
        target.write_bytes(b"out")
        target.unlink()
        return f"wrote {target}"

    return attack


def at(name, rest=""):
    return lambda: AIM[name] + rest


def fixed(path):
    return lambda: path


def open_device(path):
    def attack():
        os.close(os.open(path, os.O_RDWR))
        return f"opened {path}"

    return attack


def to_input(change, *arguments):
    def attack():
        change(AIM["inputs"] + "/spare", *arguments)
        return f"may {change.__name__} an input"

    return attack


def lock_input():
    with open(AIM["inputs"] + "/spare", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    return "took a lock, which is a channel"


def lease_input():
    with open(AIM["inputs"] + "/spare", "rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    return "took a lease, which is a channel"


def link_out_of_tmp():
    os.symlink(AIM["secret"], "/tmp/out-link")
    return f"read {Path('/tmp/out-link').read_bytes()}"


def fill_tmp():
    """Write 64 MiB where 8 MiB are allowed, in files below the limit for each."""
    written = 0
    for number in range(64):
        with open(f"/tmp/fill{number}", "wb") as file:
            for _ in range(4):
                written += file.write(b"\0" * (256 << 10))
    return f"wrote {written} bytes to /tmp"


# --- processes, limits, rights ------------------------------------------------------------------


def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "forked"


def threads_without_end():
    done, threads = threading.Event(), []
    try:
        for _ in range(2000):
            threads.append(threading.Thread(target=done.wait))
            threads[-1].start()
    except RuntimeError:
        return None
    finally:
        done.set()
        for thread in threads:
            if thread.ident:
                thread.join()
    return "started 2000 threads"


def memory_without_end():
    blocks = []
    while len(blocks) < 160:
        blocks.append(bytearray(64 << 20))
    return "took 10 GiB"


def descriptors_without_end():
    held = []
    try:
        while len(held) < 4096:
            held.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for descriptor in held:
            os.close(descriptor)
    return "opened 4096 descriptors"


def raise_limit(which, value):
    def attack():
        try:
            resource.setrlimit(which, (value, value))
        except ValueError as error:  # how this module reports EPERM for a hard limit
            raise PermissionError(errno.EPERM, str(error)) from error
        return "changed a limit"

    return attack


def inherited_descriptors():
    found = []
    for descriptor in range(4, 1024):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        found.append(descriptor)
    return f"inherited {found}" if found else None


def read_stdin():
    got = os.read(0, 100)
    return f"read {got!r} from stdin" if got else None


def read_back_log():
    """The log pipe is written only; nothing may come back through it."""
    ready, _, _ = select.select([1], [], [], 0)
    got = os.read(1, 100) if ready else None
    return f"read {got!r} from the log" if got else None


def enclave_environment():
    leaked = set(os.environ) - set(AIM["environ"])
    return f"sees {sorted(leaked)}" if leaked else None


def command_line():
    """The orders must not be in the command line, where every process of the host reads them."""
    leaked = [word for word in sys.orig_argv if "run_quiet" in word]
    return f"sees {leaked}" if leaked else None


def is_root():
    ids = (*os.getresuid(), *os.getresgid(), *os.getgroups())
    return f"has ids {ids}" if 0 in ids else None


def nice():
    os.nice(-5)
    return "took priority"


def type_into_terminal():
    fcntl.ioctl(0, 0x5412, b"x")
    return "typed"


def affinity():
    os.sched_setaffinity(0, {0})
    return "changed its processors, which is a channel"


QUIET = {
    # network
    "socket inet": new_socket(socket.AF_INET),
    "socket inet6": new_socket(socket.AF_INET6),
    "socket udp": new_socket(socket.AF_INET, socket.SOCK_DGRAM),
    "socket raw": new_socket(socket.AF_INET, socket.SOCK_RAW),
    "socket unix": new_socket(socket.AF_UNIX),
    "socket vsock": new_socket(socket.AF_VSOCK),
    "socket netlink": new_socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "socket packet": new_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "socket crypto": new_socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "socketpair": new_socketpair,
    "tcp to the host": tcp_to_host,
    "udp to the host": udp_to_host,
    "abstract unix socket": unix_to(lambda: "\0" + AIM["abstract"]),
    "unix socket among the inputs": unix_to(at("inputs", "/socket")),
    "resolve a name": resolve_name,
    "connect a descriptor": syscall(42, 1, b"\0" * 16, 16),
    "bind a descriptor": syscall(49, 1, b"\0" * 16, 16),
    "accept on a descriptor": syscall(43, 0, None, None),
    "send a message": syscall(46, 1, b"\0" * 56, 0),
    "receive a message": syscall(47, 0, b"\0" * 56, 0),
    # files outside
    "read a file of the host": read(at("secret")),
    "read through a link among the inputs": read(at("inputs", "/link")),
    "read above the inputs": read(at("inputs", "/../../../../../etc/passwd")),
    "read /etc/passwd": read(fixed("/etc/passwd")),
    "read /etc/shadow": read(fixed("/etc/shadow")),
    "list /root": listed(fixed("/root")),
    "list /home": listed(fixed("/home")),
    "list /proc": listed(fixed("/proc")),
    "list /sys": listed(fixed("/sys")),
    "list /run": listed(fixed("/run")),
    "list /dev/shm": listed(fixed("/dev/shm")),
    "read own memory file": read(fixed("/proc/self/maps")),
    "read a neighbour's environment": read(lambda: f"/proc/{AIM['neighbour']}/environ"),
    "write where the host lets everybody": write(at("open", "/escaped")),
    "write /": write(fixed("/escaped")),
    "write /usr/lib": write(fixed("/usr/lib/escaped")),
    "write code": write(at("code", "/escaped")),
    "write environment": write(at("environment", "/escaped")),
    "write inputs": write(at("inputs", "/escaped")),
    "truncate an input": to_input(os.truncate, 0),
    "remove an input": to_input(os.unlink),
    "rename an input": to_input(os.rename, "renamed"),
    "chmod an input": to_input(os.chmod, 0o777),
    "touch an input": to_input(os.utime, (1, 1)),
    "attribute on an input": to_input(os.setxattr, "user.mark", b"1"),
    "lock an input": lock_input,
    "lease on an input": lease_input,
    "link out of /tmp": link_out_of_tmp,
    "fill /tmp": fill_tmp,
    "watch a directory": syscall(294, 0),
    "open the terminal": open_device("/dev/tty"),
    "open the kernel's log": open_device("/dev/kmsg"),
    "open physical memory": open_device("/dev/mem"),
    "open a disk": open_device("/dev/vda"),
    # channels to others on the machine
    "shared memory": syscall(29, 0, 4096, 0o1600),
    "semaphores": syscall(64, 0, 1, 0o1600),
    "message queue": syscall(68, 0, 0o1600),
    "posix queue": syscall(240, b"escaped", 0x42, 0o600, None),
    "memory file": syscall(319, b"x", 0),
    "page cache": syscall(27, 0, 4096, b"\0"),
    "read the kernel's log": syscall(103, 3, b"\0" * 64, 64),
    "name the host": syscall(170, b"escaped", 7),
    "set the clock": syscall(227, 0, b"\0" * 16),
    "splice": syscall(275, 0, None, 1, None, 1, 0),
    # processes and signals
    "fork": fork,
    "vfork": syscall(58),
    "clone a process": syscall(56, 17, 0, 0, 0, 0),
    "clone into a user namespace": syscall(56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone a thread into a namespace": syscall(56, 0x10000000 | 0x10F00, 0, 0, 0, 0),
    "clone3": syscall(435, b"\0" * 88, 88),
    "signal the first process": signal_to(lambda: 1),
    "signal the enclave": signal_to(lambda: AIM["neighbour"]),
    "signal its group": signal_to(lambda: 0),
    "signal all": signal_to(lambda: -1),
    "signal a thread": syscall(234, 1, 1, 0),
    "queue a signal": syscall(129, 1, 0, b"\0" * 128),
    "signal by a pipe": own_a_pipe_for_neighbour,
    "limits of the enclave": lambda: call(302, AIM["neighbour"], 7, None, b"\0" * 16),
    "priority": nice,
    "real-time priority": syscall(144, 0, 1, b"\1\0\0\0"),
    "disk priority": syscall(251, 1, 0, 0),
    "processors": affinity,
    "timer": syscall(222, 0, None, b"\0" * 8),
    # rights and limits
    "be root": is_root,
    "more memory": raise_limit(resource.RLIMIT_AS, resource.RLIM_INFINITY),
    "more processes": raise_limit(resource.RLIMIT_NPROC, 4096),
    "more files": raise_limit(resource.RLIMIT_NOFILE, 4096),
    "lock memory": syscall(151, 1),
    "be dumpable": syscall(157, 4, 1, 0, 0, 0),
    "outlive the enclave": syscall(157, 1, 0, 0, 0, 0),
    "ambient capability": syscall(157, 47, 2, 21, 0, 0),
    "local descriptor table": syscall(154, 1, b"\0" * 16, 16),
    "type into the terminal": type_into_terminal,
    "many threads": threads_without_end,
    "much memory": memory_without_end,
    "many descriptors": descriptors_without_end,
    # what leaks in
    "inherited descriptors": inherited_descriptors,
    "stdin": read_stdin,
    "read back the log": read_back_log,
    "the enclave's environment": enclave_environment,
    "the enclave's orders": command_line,
}

HARMLESS_OUTSIDE = [
    "socket inet", "socket udp", "socket unix", "socket netlink", "socketpair", "tcp to the host",
    "udp to the host", "abstract unix socket", "unix socket among the inputs", "resolve a name",
    "read a file of the host", "read through a link among the inputs", "read above the inputs",
    "read /etc/passwd", "list /home", "list /proc", "list /run", "read own memory file",
    "write where the host lets everybody", "chmod an input", "touch an input", "lock an input",
    "watch a directory", "memory file", "fork", "signal the enclave",
    "signal by a pipe", "processors", "be dumpable", "outlive the enclave", "inherited descriptors",
    "the enclave's environment",
]  # fmt: skip
"""Attacks that work, and do no harm, without a cage: there they must get through."""


# --- attacks that end their process -------------------------------------------------------------


def execute():
    os.execv("/usr/bin/python3.11", ["python3.11", "-c", "pass"])


def execute_by_descriptor():
    call(322, os.open("/dev/null", os.O_RDONLY), b"", None, None, 0x1000)


def run_shell():
    import subprocess

    subprocess.run(["/usr/bin/python3.11"], check=False)


def become_root():
    os.setuid(0)


def enter_32_bit_kernel():
    """int 0x80 with eax = 20, getpid of the 32-bit table, which no 64-bit rule describes."""
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()


def in_a_thread():
    """A forbidden call in a second thread must take the whole process with it."""
    thread = threading.Thread(target=lambda: call(425, 8, b"\0" * 120))
    thread.start()
    thread.join()


def take_memory():
    memory_holder = []
    while True:
        memory_holder.append(bytearray(64 << 20))


def spin():
    while True:
        pass


def spin_deaf():
    import signal

    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    spin()


def sleep():
    time.sleep(60)


def sleep_with_closed_pipes():
    for descriptor in range(4):
        os.close(descriptor)
    sleep()


def flood_output():
    while True:
        os.write(3, b"x" * (1 << 20))


def flood_log():
    for _ in range(256):
        os.write(1, b"SECRET" * 20000)
    os._exit(1)


def leave_with_a_code():
    os._exit(42)


def die_by_memory_fault():
    ctypes.string_at(0)


def abort():
    os.abort()


def write_then_fail():
    os.write(3, b'{"smuggled": "a row"}')
    raise ValueError("after writing")


POLICY, LIMIT, FAILED = "policy", "limit", "failed"
FATAL = {
    "execve": (POLICY, execute),
    "execveat": (POLICY, execute_by_descriptor),
    "subprocess": (FAILED, run_shell),
    "setuid": (POLICY, become_root),
    "setgid": (POLICY, syscall(106, 0)),
    "setgroups": (POLICY, syscall(116, 0, None)),
    "capset": (POLICY, syscall(126, b"\0" * 8, b"\xff" * 24)),
    "ptrace": (POLICY, syscall(101, 16, 1, 0, 0)),
    "process_vm_readv": (POLICY, syscall(310, 1, None, 0, None, 0, 0)),
    "process_vm_writev": (POLICY, syscall(311, 1, None, 0, None, 0, 0)),
    "pidfd_open": (POLICY, syscall(434, 1, 0)),
    "pidfd_getfd": (POLICY, syscall(438, 3, 0, 0)),
    "io_uring": (POLICY, syscall(425, 8, b"\0" * 120)),
    "bpf": (POLICY, syscall(321, 0, b"\0" * 120, 120)),
    "perf": (POLICY, syscall(298, b"\0" * 120, 0, -1, -1, 0)),
    "userfaultfd": (POLICY, syscall(323, 1)),
    "mount": (POLICY, syscall(165, b"none", b"/tmp", b"tmpfs", 0, None)),
    "remount writable": (POLICY, syscall(165, None, b"/", None, 0x1020, None)),
    "pivot_root": (POLICY, syscall(155, b"/tmp", b"/tmp")),
    "chroot": (POLICY, syscall(161, b"/tmp")),
    "fsopen": (POLICY, syscall(430, b"tmpfs", 0)),
    "open_tree": (POLICY, syscall(428, -100, b"/", 0)),
    "mknod": (POLICY, syscall(133, b"/tmp/disk", 0o60666, 0xFE00)),
    "open_by_handle_at": (POLICY, syscall(304, 0, b"\0" * 64, 0)),
    "unshare user": (POLICY, syscall(272, 0x10000000)),
    "unshare net": (POLICY, syscall(272, 0x40000000)),
    "setns": (POLICY, syscall(308, 0, 0)),
    "keyctl": (POLICY, syscall(250, 0, -3, 0)),
    "init_module": (POLICY, syscall(175, None, 0, b"")),
    "reboot": (POLICY, syscall(169, 0, 0, 0, None)),  # without its magic numbers it does nothing
    "iopl": (POLICY, syscall(172, 3)),
    "personality": (POLICY, syscall(135, 0xFFFFFFFF)),
    "another filter": (POLICY, syscall(317, 1, 0, None)),
    "another ruleset": (POLICY, syscall(446, 0, 0)),
    "memfd_secret": (POLICY, syscall(447, 0)),
    "x32 call": (POLICY, syscall(0x40000000 | 39)),
    "32-bit call": (POLICY, enter_32_bit_kernel),
    "in a thread": (POLICY, in_a_thread),
    "memory": (LIMIT, take_memory),
    "spin": (LIMIT, spin),
    "spin, deaf to SIGXCPU": (LIMIT, spin_deaf),
    "sleep": (LIMIT, sleep),
    "sleep with closed pipes": (LIMIT, sleep_with_closed_pipes),
    "flood the output": (LIMIT, flood_output),
    "flood the log": (FAILED, flood_log),
    "exit code": (FAILED, leave_with_a_code),
    "memory fault": (FAILED, die_by_memory_fault),
    "abort": (FAILED, abort),
    "write, then fail": (FAILED, write_then_fail),
}
