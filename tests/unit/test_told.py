"""What is told of numbers that an algorithm chooses."""

from hypothesis import given
from hypothesis import strategies as st

from enclave_host import outputs
from enclave_host.outputs import Leaving
from protocol import limits
from protocol.sealing import wrap
from protocol.told import EXACT, told, words
from tests.agreements import seed

SEALING = wrap.public_key(seed("sealing"))
NUMBERS = st.integers(0, limits.OUTPUT)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_it_keeps_order_and_bounds_and_is_never_less(a, b, limit):
    assert told(a, limit) >= a
    assert (told(a, limit) <= limit) == (a <= limit)
    assert told(min(a, b), limit) <= told(max(a, b), limit)
    assert a > EXACT or told(a, limit) == a


@given(st.sampled_from([limits.OUTPUT, 65_536, 1_000_000]))
def test_few_numbers_are_told(limit):
    edges = {base + step for n in range(25) for base in (1 << n, limit) for step in (-1, 0, 1)}
    found = {told(one, limit) for one in edges | set(range(100)) if one <= limits.OUTPUT}
    assert len(found) <= 38


def test_words():
    assert (words(3), words(17), words(32)) == ("3", "up to 32", "up to 32")


def leaving(content):
    return Leaving(
        name="model",
        to=seed("to"),
        person=False,
        gateway=None,
        sealing=SEALING,
        salt=seed("salt"),
        format="json",
        content=content,
    )


def test_neither_record_nor_delivery_tells_which_of_many_sizes_it_was():
    found = [leaving(b"1" * size) for size in range(513, 1025)]
    assert {one.size for one in found} == {found[0].size}
    told_sizes = {outputs.commitments(seed("agreement"), [one], 1 << 20)[0].size for one in found}
    assert told_sizes == {1024}
    # The padding's own length is written in one to three bytes.
    assert len({len(one.seal(seed("run"), 1).sealed) for one in found}) <= 3
