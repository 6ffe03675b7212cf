"""What several test files draw from: bytes, keys, plain values, faults, and signed votes."""

from hypothesis import strategies as st

from protocol import keys, record
from protocol.kinds.common import Vote
from protocol.record import Place, Record

hashes = st.binary(min_size=32, max_size=32)
seeds = hashes

texts = st.text(st.characters(codec="utf-8"), max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40) | texts
)
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(st.integers(0, 23), inner, max_size=4)
    ),
    max_leaves=12,
)
"""Every value that the codec allows."""

SEEDS = [bytes([number]) * 32 for number in range(1, 9)]
"""Eight known signing seeds."""

KEYS = [keys.public(seed) for seed in SEEDS]


@st.composite
def flipped(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` with one bit flipped."""
    at = draw(st.integers(0, len(whole) * 8 - 1))
    changed = bytearray(whole)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def vote(
    seed: bytes,
    subject: bytes,
    *,
    slot: str = "run/1/1",
    choice: str = "yes",
    topic: bytes = bytes(32),
    author: bytes | None = None,
    place: Place | None = None,
    at: int = 1_000,
) -> Record:
    """A signed vote; the author is the key itself unless told otherwise."""
    body = Vote(slot=slot, subject=subject, choice=choice, identity=bytes(32))  # type: ignore[arg-type]
    return record.sign(
        seed,
        topic=topic,
        author=author or keys.public(seed),
        kind="vote",
        body=body,
        place=place or Place(),
        at=at,
        salt=bytes(16),
    )
