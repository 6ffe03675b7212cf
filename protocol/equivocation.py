"""Proof that a key equivocated: two headers that it signed for one place in its feed.

The proof needs no body, so it tells nothing of what was said, and anybody can check it: a record
without its body (`record.redact`) keeps id and signature.
"""

from dataclasses import dataclass
from typing import Annotated

from protocol import limits, record, shape
from protocol.errors import Refused
from protocol.shape import Max

RawHeader = Annotated[bytes, Max(limits.HEADER)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivocation:
    """What travels: two redacted records, exact bytes, the one with the lower id first."""

    first: RawHeader
    second: RawHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A verified proof: `key` signed two records for place `seq` of its feed in `topic`.

    All its records from there on are void, in whatever order they come to a node. Only `prove` and
    `open_proof` make one; `raw` is the one encoding of the proof, `first` and `second` its headers.
    """

    topic: bytes
    key: bytes
    seq: int
    first: bytes
    second: bytes
    raw: bytes


def prove(one: bytes, other: bytes) -> Fork:
    """The proof that two raw records make, with or without bodies. Raises Refused as open_proof."""
    found = sorted((record.parse(record.redact(raw)) for raw in (one, other)), key=lambda r: r.id)
    return open_proof(shape.encode(Equivocation(first=found[0].raw, second=found[1].raw)))


def topic_of(raw: bytes) -> bytes:
    """The topic of a proof. Raises Refused as open_proof does."""
    return open_proof(raw).topic


def open_proof(raw: bytes) -> Fork:
    """Verify a proof of anybody against anybody.

    Raises Refused: record.proof if the two do not contradict each other, or are not what travels;
    codec.*, shape.mismatch and record.* as `record.parse` does. A signature or an unprotected
    header that was altered, or a body that was dropped, makes no second id, and so no proof.
    """
    proof = shape.decode(Equivocation, raw, limits.PROOF)
    first, second = record.parse(proof.first), record.parse(proof.second)
    if first.body is not None or second.body is not None:
        raise Refused("record.proof", "a proof has no bodies")
    if first.id >= second.id:
        raise Refused("record.proof", "the same record twice, or the higher id first")
    if (first.topic, first.key, first.seq) != (second.topic, second.key, second.seq):
        raise Refused("record.proof", "the two do not stand at one place of one feed")
    return Fork(
        topic=first.topic,
        key=first.key,
        seq=first.seq,
        first=proof.first,
        second=proof.second,
        raw=raw,
    )
