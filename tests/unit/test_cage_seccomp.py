"""The filter as the kernel would run it: a small interpreter of classic BPF, no process needed."""

import errno
import operator
import platform
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host.cage import Broken, seccomp

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86_64")

X86_64, I386 = 0xC000003E, 0x40000003  # AUDIT_ARCH_*
ALLOW, KILL = 0x7FFF0000, 0x80000000
CALLS = {
    "read": 0, "ioctl": 16, "socket": 41, "socketpair": 53, "clone": 56, "fork": 57, "execve": 59,
    "kill": 62, "fcntl": 72, "ptrace": 101, "prctl": 157, "unshare": 272, "prlimit64": 302,
    "memfd_create": 319, "execveat": 322, "clone3": 435, "io_uring_setup": 425,
}  # fmt: skip


ONE_ARGUMENT = [
    rule for rule in seccomp.RULES if [when.mask for when in rule.when] == [seccomp.ANY_BIT]
]
JUMPS = {0x15: operator.eq, 0x25: operator.gt, 0x35: operator.ge}
LOAD, AND, JUMP, RETURN = 0x20, 0x54, 0x05, 0x06


def answer(number: int, *arguments: int, arch: int = X86_64) -> int:
    """Return what the filter says to one system call (struct seccomp_data of seccomp(2))."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    program = list(struct.iter_unpack("<HBBI", seccomp.program()))
    accumulator = position = 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == RETURN:
            return operand
        if code == LOAD:
            accumulator = struct.unpack_from("<I", data, operand)[0]
        elif code == AND:
            accumulator &= operand
        elif code == JUMP:
            position += operand
        else:
            position += if_true if JUMPS[code](accumulator, operand) else if_false


def refused_with(error: int) -> int:
    return 0x00050000 | error


def test_program_is_small_and_built_once():
    assert 0 < len(seccomp.program()) <= 8 * 1024
    assert seccomp.program() is seccomp.program()


def test_each_call_stands_in_one_rule_only():
    names = [name for rule in seccomp.RULES for name in rule.calls.split()]
    assert len(names) == len(set(names))


def test_every_rule_says_why():
    reasons = [rule.why for rule in seccomp.RULES]
    assert all(reason.strip() for reason in reasons)
    assert len(reasons) == len(set(reasons))


@given(family=st.integers(0, 2**32 - 1), kind=st.integers(0, 2**32 - 1))
def test_no_socket_of_any_family(family, kind):
    for call in ("socket", "socketpair"):
        assert answer(CALLS[call], family, kind) == refused_with(errno.EAFNOSUPPORT)


@pytest.mark.parametrize("call", ["execve", "execveat", "ptrace", "unshare", "io_uring_setup"])
def test_attacks_kill(call):
    assert answer(CALLS[call]) == KILL


@pytest.mark.parametrize("call", ["fork", "kill", "memfd_create"])
def test_what_is_not_named_is_not_permitted(call):
    assert answer(CALLS[call]) == refused_with(errno.EPERM)


@given(number=st.integers(470, 0x3FFFFFFF))
def test_calls_of_future_kernels_are_not_permitted(number):
    assert answer(number) == refused_with(errno.EPERM)


@given(number=st.integers(0, 0xFFFFFFFF))
def test_calls_of_another_machine_kill(number):
    assert answer(number, arch=I386) == KILL


@given(number=st.integers(0, 600))
def test_x32_calls_kill(number):
    assert answer(0x40000000 | number) == KILL


@given(flags=st.integers(0, 2**32 - 1))
def test_clone_makes_threads_in_the_same_namespaces_only(flags):
    thread = flags & seccomp.CLONE_THREAD and not flags & seccomp.CLONE_NAMESPACES
    assert answer(CALLS["clone"], flags) == (ALLOW if thread else refused_with(errno.EPERM))


def test_clone_of_a_thread_as_glibc_does():
    assert answer(CALLS["clone"], 0x3D0F00) == ALLOW
    assert answer(CALLS["clone3"]) == refused_with(errno.ENOSYS)


@given(rule=st.sampled_from(ONE_ARGUMENT), value=st.integers(0, 2**64 - 1))
def test_arguments_are_compared_in_all_their_bits(rule, value):
    (when,) = rule.when
    arguments = [0] * 6
    arguments[when.position] = value
    expected = ALLOW if value in when.values else refused_with(errno.EPERM)
    assert answer(CALLS[rule.calls], *arguments) == expected


@pytest.mark.parametrize("rule", ONE_ARGUMENT, ids=lambda rule: rule.calls)
def test_each_named_argument_is_allowed(rule):
    (when,) = rule.when
    for value in when.values:
        arguments = [0] * 6
        arguments[when.position] = value
        assert answer(CALLS[rule.calls], *arguments) == ALLOW


@pytest.mark.parametrize("command", [8, 10, 1024, 1031])  # F_SETOWN F_SETSIG F_SETLEASE SETPIPE_SZ
def test_fcntl_sets_no_owner_signal_lease_or_size(command):
    assert answer(CALLS["fcntl"], 3, command) == refused_with(errno.EPERM)


def test_limits_can_be_read_by_their_owner_and_not_set():
    assert answer(CALLS["prlimit64"], 0, 7, 0, 1) == ALLOW
    assert answer(CALLS["prlimit64"], 0, 7, 1, 0) == refused_with(errno.EPERM)
    assert answer(CALLS["prlimit64"], 1, 7, 0, 1) == refused_with(errno.EPERM)


def test_plain_work_is_allowed():
    assert answer(CALLS["read"], 0) == ALLOW


def test_without_the_library_there_is_no_filter_and_no_tier(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyseccomp", None)  # importing it raises ImportError
    seccomp.program.cache_clear()
    try:
        with pytest.raises(Broken, match="libseccomp2"):
            seccomp.program()
    finally:
        seccomp.program.cache_clear()
