"""A process that does nothing but parse records: signatures of a long sync, on another core.

It has no secret and opens nothing. Both ends of its pipe are this program; frames are a 4-byte
length and a list in marshal's form: raw records one way, their parts or a refusal back.
"""

import marshal
import sys
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, BinaryIO

from protocol import record
from protocol.errors import Refused
from protocol.record import Record

Verified = Record | Refused
"""A record, or why its bytes are none."""

_NAMES = tuple(field.name for field in fields(Record) if field.name != "raw")
_PARTS = attrgetter(*_NAMES)


def parse(raw: bytes) -> Verified:
    """The record in these bytes, or the refusal in its place."""
    try:
        return record.parse(raw)
    except Refused as error:
        return error


def pack(raws: Sequence[bytes]) -> bytes:
    """A question to the worker."""
    return _framed(list(raws))


def unpack(answer: bytes, raws: Sequence[bytes]) -> list[Verified]:
    """What the worker found of these raw records."""
    rows = marshal.loads(answer)  # noqa: S302 (of our own process)
    return [_restored(row, raw) for row, raw in zip(rows, raws, strict=True)]


def _framed(value: list[Any]) -> bytes:
    data = marshal.dumps(value)
    return len(data).to_bytes(4, "big") + data


def _restored(row: tuple[object, ...], raw: bytes) -> Verified:
    if len(row) == 2:
        return Refused(str(row[0]), str(row[1]))
    parts: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    return Record(raw=raw, **parts)


def _parts(found: Verified) -> tuple[object, ...]:
    if isinstance(found, Refused):
        return found.code, found.detail
    parts: tuple[object, ...] = _PARTS(found)
    return parts


def main(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the pipe ends."""
    while head := questions.read(4):
        raws = marshal.loads(questions.read(int.from_bytes(head, "big")))  # noqa: S302
        answers.write(_framed([_parts(parse(raw)) for raw in raws]))
        answers.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
