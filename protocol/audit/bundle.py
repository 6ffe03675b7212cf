"""The audit file: everything that was signed in the life of an agreement, in one `*.village` file.

It holds records, evidence and leaves, never anything sealed and no consent: the bodies of shares
and rewraps, which carry wrapped keys, are left out; their signed headers stay and still verify.
A manifest names the head of every feed, signed by who exported the file.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from protocol import codec, keys, limits, record, token, topic
from protocol.errors import Refused
from protocol.kinds.space import RawRecord
from protocol.record import Record
from protocol.shape import Count, Hash, Key, Time

TYPE: Final = "audit"
MANIFEST: Final = "audit-manifest"
"""The kind of the manifest's token."""

SEALED_KINDS: Final = frozenset({"share", "rewrap"})
"""Kinds whose bodies hold wrapped keys: they go into the file without body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedHead:
    """The newest record of one feed."""

    key: Key
    seq: Count
    head: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicHeads:
    """The heads of all feeds of one topic."""

    topic: Hash
    feeds: tuple[FeedHead, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The exporter's word that these are all records that it holds (token `audit-manifest`).

    `exporter` is a did, `identity` its identity record, which delegates the key that signs; `blobs`
    is `blobs_digest` of all evidence and leaves.
    """

    type: Literal["audit-manifest"] = "audit-manifest"
    exporter: Key
    identity: RawRecord
    topics: tuple[TopicHeads, ...]
    blobs: Hash
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMaterial:
    """One topic: its opening and its records (raw), each feed in order of its seq."""

    opening: bytes
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What an audit file holds, raw: nothing of it is verified yet."""

    topics: tuple[TopicMaterial, ...]
    evidence: tuple[bytes, ...]
    leaves: tuple[bytes, ...]
    manifest: bytes | None


def build(
    topics: Iterable[TopicMaterial],
    *,
    evidence: Iterable[bytes],
    leaves: Iterable[bytes],
    seed: bytes,
    identity: bytes,
    at: int,
) -> bytes:
    """The audit file of this material.

    `seed` is the exporter's record key and `identity` its identity record; `evidence` are bundles
    that verdicts name, `leaves` concatenated leaves of runs, `at` unix seconds. Raises Refused
    (record.*, topic.*, codec.too-large) if the material itself is broken or too large.
    """
    whole = tuple(_without_sealed(material) for material in topics)
    blobs = {"evidence": _sorted(evidence), "leaves": _sorted(leaves)}
    manifest = Manifest(
        exporter=record.parse(identity).author,
        identity=identity,
        topics=tuple(_heads(material) for material in whole),
        blobs=blobs_digest([*blobs["evidence"], *blobs["leaves"]]),
        at=at,
    )
    signed = token.sign(seed, MANIFEST, manifest)
    shown = [{"opening": each.opening, "records": list(each.records)} for each in whole]
    data = codec.encode({"type": TYPE, "topics": shown, "manifest": signed, **blobs})
    read(data)
    return data


def read(data: bytes) -> Bundle:
    """The parts of an audit file. Raises Refused (codec.*, audit.malformed)."""
    match decode(data):
        case {
            "type": "audit",
            "topics": list(topics),
            "evidence": list(evidence),
            "leaves": list(leaves),
            **rest,
        } if rest.keys() <= {"manifest"}:
            manifest = rest.get("manifest")
        case _:
            _malformed("not the fields of an audit file")
    if manifest is not None and not isinstance(manifest, bytes):
        _malformed("the manifest is no byte string")
    if len(topics) > limits.ITEMS:
        _malformed(f"more than {limits.ITEMS} topics")
    return Bundle(
        topics=tuple(_topic(value) for value in topics),
        evidence=_byte_strings(evidence, limits.EVIDENCE),
        leaves=_byte_strings(leaves, limits.BLOB),
        manifest=manifest,
    )


def decode(data: bytes) -> object:
    """`codec.decode` for large files from anywhere: bounded in bytes and in items. Raises Refused
    (codec.*).
    """
    if len(data) > limits.AUDIT:
        raise Refused("codec.too-large", f"{len(data)} bytes, allowed are {limits.AUDIT}")
    # A byte of CBOR can become a hundred bytes of objects: count before building any.
    for count, _ in enumerate(_heads_of_items(data)):
        if count > limits.AUDIT_ITEMS:
            raise Refused("codec.too-large", f"more than {limits.AUDIT_ITEMS} items")
    return codec.decode(data, limits.AUDIT)


def blobs_digest(blobs: Iterable[bytes]) -> bytes:
    """One digest over the digests of all blobs, whatever their order."""
    return keys.digest("audit-blobs", *sorted(hashlib.sha256(blob).digest() for blob in blobs))


def feed_heads(records: Iterable[Record]) -> tuple[FeedHead, ...]:
    """The record with the highest seq of each key, ordered by key."""
    heads: dict[bytes, Record] = {}
    for one in records:
        known = heads.get(one.key)
        if known is None or one.seq > known.seq:
            heads[one.key] = one
    return tuple(FeedHead(key=key, seq=one.seq, head=one.id) for key, one in sorted(heads.items()))


def _without_sealed(material: TopicMaterial) -> TopicMaterial:
    shown = tuple(
        record.redact(raw) if record.parse(raw).kind in SEALED_KINDS else raw
        for raw in material.records
    )
    return TopicMaterial(opening=material.opening, records=shown)


def _heads(material: TopicMaterial) -> TopicHeads:
    opened = topic.read_opening(material.opening).topic
    records = [record.parse(raw) for raw in material.records]
    if any(one.topic != opened for one in records):
        raise Refused("topic.unknown", "a record of another topic")
    return TopicHeads(topic=opened, feeds=feed_heads(records))


def _sorted(blobs: Iterable[bytes]) -> list[bytes]:
    return sorted(set(blobs))


def _heads_of_items(data: bytes) -> Iterator[int]:
    """The position of every CBOR item; strings are stepped over, bad heads left to the codec."""
    at = 0
    while at < len(data):
        yield at
        major, short = data[at] >> 5, data[at] & 31
        width = {24: 1, 25: 2, 26: 4, 27: 8}.get(short, 0)
        value = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else short
        at += 1 + width + (value if major in (2, 3) else 0)


def _topic(value: object) -> TopicMaterial:
    match value:
        case {"opening": bytes(opening), "records": list(records), **rest} if not rest:
            return TopicMaterial(opening=opening, records=_byte_strings(records, limits.RECORD))
    return _malformed("not the fields of a topic")


def _byte_strings(values: list[object], limit: int) -> tuple[bytes, ...]:
    found = tuple(value for value in values if isinstance(value, bytes) and len(value) <= limit)
    if len(found) < len(values):
        _malformed(f"something else than byte strings of at most {limit} bytes")
    return found


def _malformed(detail: str) -> NoReturn:
    raise Refused("audit.malformed", detail)
