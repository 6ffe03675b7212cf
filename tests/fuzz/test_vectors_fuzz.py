"""Every vector, altered whole and byte by byte: whatever comes, only ProtocolError goes out.

The corpus are the vectors of tests/vectors. What is signed to the last byte must also be refused in
every alteration. Time is bounded by the bytes that are decoded, memory by what a judgement takes.
"""

import random
import tracemalloc
from collections.abc import Iterator

import pytest

from protocol import codec
from protocol.errors import ProtocolError
from tests.vectors.judge import JUDGES
from tests.vectors.make import HERE, Vector, read

CORPUS = [read(path) for path in sorted(HERE.glob("*.vector"))]
KINDS = sorted(JUDGES)
SEED = 20_261_124

SEALED = frozenset({"record", "identity", "presentation"})
"""Kinds whose every byte is signed, or is the signature, key, or head of what is signed."""

SHARE = {"space": 6, "opening": 12}
"""Alterations of one vector in the small size, where one judgement checks many signatures."""

MEMORY = 64
"""Bytes of memory that a judgement may take for each byte that it judges, beyond 4 MiB."""


def passes(kind: str, data: bytes) -> bool:
    """Whether the door lets `data` in; fails on anything but a ProtocolError."""
    try:
        JUDGES[kind](data)
    except ProtocolError:
        return False
    return True


MAPS = frozenset({"certificate", "history", "feed", "token", "stop", "space", "proof"})
"""Kinds that are maps of records, tokens or documents: each is altered too, see `inside`."""


def altered(data: bytes, at: int, chance: random.Random) -> Iterator[bytes]:
    """One byte flipped, one put in, all cut off there, and that byte left out."""
    yield data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    yield data[:at] + bytes([chance.randrange(256)]) + data[at:]
    yield data[:at]
    yield data[:at] + data[at + 1 :]


def parts(value: object) -> Iterator[tuple[list[object] | dict[object, object], object, bytes]]:
    """Each record, token or document in a decoded vector, with where it stands."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    for key, item in pairs:
        if isinstance(item, bytes) and len(item) > 32:
            yield value, key, item  # type: ignore[misc]
        elif isinstance(item, list | dict):
            yield from parts(item)


def inside(vector: Vector, chance: random.Random, most: int) -> Iterator[bytes]:
    """The vector with one byte of one of its records, tokens or documents altered."""
    value = codec.decode(vector.data)
    places = list(parts(value))
    for _ in range(most if places else 0):
        holder, key, good = chance.choice(places)
        for bad in altered(good, chance.randrange(len(good)), chance):
            holder[key] = bad  # type: ignore[index]
            yield codec.encode(value)
        holder[key] = good  # type: ignore[index]


def try_all(vector: Vector, chance: random.Random, most: int | None) -> None:
    """Alter `most` places of a vector, or every one."""
    places = range(len(vector.data))
    if most is not None:
        places = chance.sample(places, min(most, len(places)))  # type: ignore[assignment]
    sealed = vector.kind in SEALED and vector.expect == "ok"
    for at in places:
        for data in altered(vector.data, at, chance):
            let_in = passes(vector.kind, data)
            assert not (let_in and data != vector.data and sealed), (at, data.hex())
    if vector.kind in MAPS:
        for data in inside(vector, chance, most or len(vector.data) // 8):
            passes(vector.kind, data)


@pytest.mark.parametrize("kind", KINDS)
def test_some_bytes_of_each_vector(kind: str) -> None:
    chance = random.Random(f"{SEED} {kind}")  # noqa: S311 (a fuzzer)
    chosen = [one for one in CORPUS if one.kind == kind]
    for vector in chance.sample(chosen, min(8, len(chosen))):
        try_all(vector, chance, SHARE.get(kind, 40))


@pytest.mark.soak
@pytest.mark.parametrize("vector", CORPUS, ids=lambda one: one.name)
def test_every_byte_of_each_vector(vector: Vector) -> None:
    chance = random.Random(f"{SEED} {vector.name}")  # noqa: S311 (a fuzzer)
    try_all(vector, chance, 200 if vector.kind in ("space", "opening") else None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_judges_the_bytes_of_every_other(kind: str) -> None:
    chance = random.Random(f"{SEED} other {kind}")  # noqa: S311 (a fuzzer)
    for vector in chance.sample(CORPUS, 25):
        if vector.kind != kind:
            passes(kind, vector.data)


HEADS = [
    b"",
    b"\x9a\xff\xff\xff\xff",
    b"\x5b" + b"\xff" * 8,
    b"\xbb" + b"\xff" * 8,
    b"\x81" * 70_000,
    b"\xa1\x61a" * 30_000,
    b"\x9f" * 1_000,
    b"\xd8\x1c\x81" * 5_000,
    b"\x99\xff\xf0" + b"\x80" * 65_520,
    b"\x80" * 65_537,
]
"""Little that promises much: lists, maps and strings of any length, nesting, tags."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_judgement_takes_memory_by_the_size_of_what_it_judges(kind: str) -> None:
    good = max((one for one in CORPUS if one.kind == kind), key=lambda one: len(one.data))
    tracemalloc.start()
    try:
        for data in (*HEADS, *(head + good.data for head in HEADS), good.data):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            passes(kind, data)
            taken = tracemalloc.get_traced_memory()[1] - before
            assert taken < 4 * 2**20 + MEMORY * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_judgement_decodes_what_it_judges_a_few_times(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock would lie on a busy machine: bytes that are decoded count."""
    read_, decoded = codec.decode, [0]

    def counted(data: bytes, limit: int = 65_536) -> object:
        decoded[0] += len(data)
        return read_(data, limit)

    for vector in (one for one in CORPUS if one.kind == kind):
        decoded[0] = 0
        with monkeypatch.context() as patch:
            patch.setattr(codec, "decode", counted)
            passes(kind, vector.data)
        assert decoded[0] <= 24 * len(vector.data) + 1_000, vector.name
