"""The last trusted code before the algorithm: it takes every right away from its own process.

Runs inside the sandbox as `python3.11 -I -S -B -c SOURCE`, alone, with the standard library only;
the trusted process reads this file but never runs it. Its orders come on descriptor 0: an 8-byte
length, JSON, and the bytes of the algorithm's files (see launcher.py). Any step that fails ends the
process before the algorithm is loaded.
"""

import ctypes
import errno
import fcntl
import itertools
import json
import os
import resource
import signal
import sys
import types
from typing import Any, NoReturn

OUTPUT = 3  # the only way out, a pipe
READY = b"\x06"  # first byte of the output: all walls stand, the algorithm comes next

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
PR_CAP_AMBIENT, CLEAR_ALL = 47, 4
CAPABILITIES_3 = 0x20080522  # capset(2): the version of its structures
NOSUID_NODEV_REMOUNT = 2 | 4 | 32
SECCOMP_MODE_FILTER = 2
# Landlock, include/uapi/linux/landlock.h; these system calls have one number on every machine.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG, RULE_PATH_BENEATH = 1, 1
WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
FILE_RIGHTS = WRITE_FILE | READ_FILE | TRUNCATE  # what a rule on a plain file may name
RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}  # number of file system rights; 16 from ABI 5 on
NETWORK_ABI, SCOPE_ABI = 4, 6  # TCP; abstract unix sockets and signals

libc = ctypes.CDLL(None, use_errno=True)


class Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr."""

    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class PathBeneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction)))


def refuse(step: str) -> NoReturn:
    """End the process: a wall does not stand."""
    reason = errno.errorcode.get(ctypes.get_errno(), "")
    os.write(2, f"shim: {step} failed {reason}\n".encode())
    os._exit(1)


def bound_scratch(scratch: list[int] | None) -> None:
    """Let /tmp hold so many bytes, and so many files: bwrap cannot bound these."""
    if scratch:
        size, files = scratch
        options = f"size={size},nr_inodes={files}".encode()
        if libc.mount(None, b"/tmp", None, NOSUID_NODEV_REMOUNT, options):
            refuse("bounding /tmp")


def drop_root(identity: list[int] | None) -> None:
    """Tier B starts as root: become the dedicated user. Nobody goes on as root in any tier."""
    if identity:
        user, group = identity
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    if 0 in os.getresuid() + os.getresgid():
        refuse("leaving root")


def drop_capabilities() -> None:
    """Keep none, effective, permitted, inheritable or ambient, in any tier."""
    header, none = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    if libc.prctl(PR_CAP_AMBIENT, CLEAR_ALL, 0, 0, 0) or libc.capset(header, none):
        refuse("dropping capabilities")


def die_with_parent(parent: int | None) -> None:
    """Be killed when the enclave dies; `parent` is its process where we share its namespace."""
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        refuse("PR_SET_PDEATHSIG")
    if parent and os.getppid() != parent:
        refuse("finding the enclave alive")


def arrange_descriptors(output: int, feed: int | None, inputs: dict[str, int]) -> dict[str, int]:
    """Keep 0 (the feed, or nothing), 1 and 2 (the log), 3 (the output) and the inputs; close all
    others. Returns the inputs' numbers.
    """
    moved = {
        name: fcntl.fcntl(number, fcntl.F_DUPFD, OUTPUT + 1) for name, number in inputs.items()
    }
    os.dup2(os.open("/dev/null", os.O_RDONLY) if feed is None else feed, 0)
    os.dup2(output, OUTPUT)
    kept = [OUTPUT, *sorted(moved.values()), 1 << 30]
    for before, after in itertools.pairwise(kept):
        os.closerange(before + 1, after)
    return moved


def set_limits(limits: dict[str, list[int]]) -> None:
    """Set each RLIMIT_name to (soft, hard)."""
    for name, (soft, hard) in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (soft, hard))


def forbid_new_rights() -> None:
    """No set-uid program gives rights back, and no process of the same user may look inside."""
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        refuse("PR_SET_NO_NEW_PRIVS")
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        refuse("PR_SET_DUMPABLE")


def restrict_files(readable: list[str], writable: list[str], *, required: bool) -> None:
    """Landlock: nothing but these paths. Required where no namespace hides the others."""
    abi = libc.syscall(CREATE_RULESET, None, 0, VERSION_FLAG)
    if abi < SCOPE_ABI and required:
        refuse(f"Landlock ABI {SCOPE_ABI}")
    if abi < 1:
        return
    every_right = (1 << RIGHTS_OF_ABI.get(abi, 16)) - 1
    wanted = Ruleset(every_right, 3 if abi >= NETWORK_ABI else 0, 3 if abi >= SCOPE_ABI else 0)
    size = 24 if abi >= SCOPE_ABI else 16 if abi >= NETWORK_ABI else 8
    rules = libc.syscall(CREATE_RULESET, ctypes.byref(wanted), size, 0)
    if rules < 0:
        refuse("landlock_create_ruleset")
    for path in readable:
        allow_beneath(rules, path, (READ_FILE | READ_DIR) & every_right)
    for path in writable:
        allow_beneath(rules, path, every_right & ~1)  # all but execute
    if libc.syscall(RESTRICT_SELF, rules, 0):
        refuse("landlock_restrict_self")
    os.close(rules)


def allow_beneath(rules: int, path: str, rights: int) -> None:
    """Add one Landlock rule: these rights on this file, or on all beneath this directory."""
    parent = os.open(path, os.O_PATH)
    allowed = rights if os.path.isdir(path) else rights & FILE_RIGHTS
    rule = PathBeneath(allowed, parent)
    if libc.syscall(ADD_RULE, rules, RULE_PATH_BENEATH, ctypes.byref(rule), 0):
        refuse(f"landlock_add_rule {path}")
    os.close(parent)


def install_filter(program: bytes) -> None:
    """Load the seccomp filter; from here on nothing can be loosened."""
    count = len(program) // ctypes.sizeof(Instruction)
    instructions = (Instruction * count).from_buffer_copy(program)
    filter_ = Program(count, instructions)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0):
        refuse("PR_SET_SECCOMP")


def read_letter() -> tuple[dict[str, Any], dict[str, bytes]]:
    """The orders, and the algorithm's files by relative path."""
    with open(0, "rb", closefd=False) as letter:
        order: dict[str, Any] = json.loads(letter.read(int.from_bytes(letter.read(8), "big")))
        return order, {path: letter.read(size) for path, size in order["code"]}


def load(name: str, source: str) -> types.ModuleType:
    """Make a trusted module that the next one may import by its name."""
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)  # noqa: S102 trusted source
    return module


def main() -> None:
    """Build the walls from outside to inside, then hand over to the runner."""
    order, code = read_letter()
    bound_scratch(order["scratch"])
    drop_root(order["identity"])
    drop_capabilities()
    die_with_parent(order["parent"])
    inputs = arrange_descriptors(order["output"], order["feed"], order["inputs"])
    runner = [load(name, source) for name, source in order["modules"]][-1]
    program = bytes.fromhex(order["filter"])
    set_limits(order["limits"])
    forbid_new_rights()
    restrict_files(order["readable"], order["writable"], required=order["landlock_required"])
    install_filter(program)
    os.write(OUTPUT, READY)
    runner.run({**order["job"], "code": code, "inputs": inputs}, OUTPUT)


main()
