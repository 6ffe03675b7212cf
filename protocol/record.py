"""Signed records: `parse` turns bytes into a verified record, or refuses.

A record on the wire is the CBOR array [COSE_Sign1, body]. The signed payload is a header {v, topic,
kind, author, seq, prev, at, body: SHA-256 of the body}; the body travels beside it and begins with
a random salt. So a proof of equivocation is two headers, redaction is dropping a body (null), and a
header never leaks what it hides.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol import codec, keys, limits, shape
from protocol.errors import Refused
from protocol.shape import Count, Hash, Key, Name, Time

VERSION = 1
CONTEXT = "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The signed part of a record."""

    v: int
    topic: Hash
    kind: Name
    author: Key
    seq: Count
    prev: Hash | None = None
    at: Time
    body: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A verified record. Only `parse` and `sign` make one.

    `id` is SHA-256 of the COSE to-be-signed bytes; `author` the participant (or, for enclaves and
    people, the signing key itself); `key` the signing key; a feed is (topic, key). `body` is the
    decoded body, or None where it was redacted. `raw` are the exact bytes received.
    """

    id: bytes
    topic: bytes
    kind: str
    author: bytes
    key: bytes
    seq: int
    prev: bytes | None
    at: int
    body: Mapping[str, Any] | None
    raw: bytes

    @property
    def said(self) -> tuple[int, int, bytes]:
        """Orders the words of one author, who may write by several keys: the highest is the last.

        Whoever dates its own records wrongly says the wrong thing last, for everybody alike.
        """
        return self.at, self.seq, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a feed the next record stands: `seq` from 0, `prev` the id of the one before."""

    seq: int = 0
    prev: bytes | None = None


def parse(raw: bytes) -> Record:
    """Verify `raw` and return its record. The checks are numbered R1 to R6 in docs/protocol.md.

    Raises Refused: codec.* (R1 size and encoding), shape.mismatch (R2), record.algorithm and
    record.signature (R3), record.version (R4), record.body (R5), record.gap (R6 seq without prev).
    """
    match codec.decode(raw, limits.RECORD):
        case [list(envelope), (bytes() | None) as body]:
            pass
        case _:
            raise Refused("shape.mismatch", "a record is [COSE_Sign1, body]")
    key, payload, to_be_signed = keys.open1(envelope, CONTEXT)
    header = shape.decode(Header, payload)
    if header.v != VERSION:
        raise Refused("record.version", str(header.v))
    if (header.seq == 0) != (header.prev is None):
        raise Refused("record.gap", "the first record has no predecessor, every other has one")
    return Record(
        id=hashlib.sha256(to_be_signed).digest(),
        topic=header.topic,
        kind=header.kind,
        author=header.author,
        key=key,
        seq=header.seq,
        prev=header.prev,
        at=header.at,
        body=None if body is None else _open_body(header, body),
        raw=raw,
    )


def sign(
    seed: bytes,
    *,
    topic: bytes,
    author: bytes,
    kind: str,
    body: object,
    place: Place,
    at: int,
    salt: bytes,
) -> Record:
    """Return the record that the key of `seed` makes of `body` (a document dataclass).

    `salt` are 16 fresh random bytes, `at` unix seconds. Raises Refused (codec.too-large).
    """
    body_bytes = salt + shape.encode(body)
    header = Header(
        v=VERSION,
        topic=topic,
        kind=kind,
        author=author,
        seq=place.seq,
        prev=place.prev,
        at=at,
        body=hashlib.sha256(body_bytes).digest(),
    )
    envelope = keys.sign1(seed, CONTEXT, shape.encode(header))
    return parse(codec.encode([envelope, body_bytes]))


def redact(raw: bytes) -> bytes:
    """The same record without its body; signature and id stay verifiable."""
    envelope, _ = codec.decode(raw, limits.RECORD)
    return codec.encode([envelope, None])


def _open_body(header: Header, body: bytes) -> Mapping[str, Any]:
    if hashlib.sha256(body).digest() != header.body:
        raise Refused("record.body")
    if len(body) < limits.SALT:
        raise Refused("record.body", "shorter than its salt")
    content = codec.decode(body[limits.SALT :])
    if not isinstance(content, dict):
        raise Refused("shape.mismatch", "a body is a map")
    return content
