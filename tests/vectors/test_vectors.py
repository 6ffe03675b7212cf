"""Runs every vector, and checks that the files are what `make` writes."""

from collections import Counter
from pathlib import Path

import pytest

from protocol.errors import RULES, ProtocolError
from tests.vectors.judge import JUDGES
from tests.vectors.make import HERE, Vector, read, vectors

FILES = sorted(HERE.glob("*.vector"))


def outcome(vector: Vector) -> str:
    """What our own code says: ok, or the code of its refusal."""
    try:
        JUDGES[vector.kind](vector.data)
    except ProtocolError as error:
        return error.code
    return "ok"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path: Path) -> None:
    vector = read(path)
    assert vector.expect == "ok" or vector.expect in RULES
    assert outcome(vector) == vector.expect


def test_the_files_are_those_that_make_writes() -> None:
    written = list(vectors())
    assert [name for name, times in Counter(one.name for one in written).items() if times > 1] == []
    made = {f"{vector.name}.vector": vector.encode() for vector in written}
    assert {path.name: path.read_bytes() for path in FILES} == made
    assert {path.name.partition("-")[0] for path in FILES} == JUDGES.keys()
