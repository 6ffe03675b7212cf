"""Runs every vector, and checks that the files are what `make` writes."""

from pathlib import Path

import pytest

from protocol import codec, decision, record
from protocol.errors import RULES, ProtocolError
from tests.vectors.make import HERE, Vector, read, vectors

FILES = sorted(HERE.glob("*.vector"))


def judge(kind: str, data: bytes) -> None:
    """Do with `data` what README.md says for its kind."""
    match kind:
        case "codec":
            codec.decode(data)
        case "record":
            record.parse(data)
        case "certificate":
            value = codec.decode(data)
            rule = decision.Rule(dict(map(tuple, value["voters"])), value["needed"])
            decision.verify(
                value["votes"],
                topic=value["topic"],
                subject=value["subject"],
                slot=value["slot"],
                rule=rule,
            )
        case _:
            pytest.fail(f"unknown kind {kind}")


def outcome(vector: Vector) -> str:
    """What our own code says: ok, or the code of its refusal."""
    try:
        judge(vector.kind, vector.data)
    except ProtocolError as error:
        return error.code
    return "ok"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path: Path) -> None:
    vector = read(path)
    assert vector.expect == "ok" or vector.expect in RULES
    assert outcome(vector) == vector.expect


def test_the_files_are_those_that_make_writes() -> None:
    made = {f"{vector.name}.vector": vector.encode() for vector in vectors()}
    assert {path.name: path.read_bytes() for path in FILES} == made
    assert {path.name.partition("-")[0] for path in FILES} == {"codec", "record", "certificate"}
