"""Topics: what opens one, the one gate before its feeds, and what its audience may pull.

A feed is (topic, signing key): seq and prev without gaps. Two different records at one place of a
feed are an equivocation; the two together prove it to anyone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from protocol import codec, decision, kinds, limits, shape
from protocol.errors import Refused
from protocol.identity import Participant, open_identity
from protocol.kinds.agreement import (
    Agreement,
    AgreementOpening,
    Candidate,
    NegotiationOpening,
    Party,
)
from protocol.kinds.space import Charter
from protocol.record import Place, Record

Document = Charter | NegotiationOpening | Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A verified opening: the topic's id, its type, the document that defines it, exact bytes.

    `participants` of an agreement: did -> each of its parties and candidate hosts.
    """

    topic: bytes
    type: str
    document: Document
    raw: bytes
    participants: Mapping[bytes, Participant] = field(default_factory=dict)


def read_opening(raw: bytes) -> Opening:
    """Verify the opening of a space, a negotiation or an agreement.

    A space or negotiation is its own digest; an agreement also needs the votes of all its parties,
    and the identities that it names. Raises Refused (codec.*, shape.mismatch, topic.opening,
    agreement.certificate, agreement.document, identity.*).
    """
    value = codec.decode(raw, limits.FRAME)
    match value.get("type") if isinstance(value, dict) else None:
        case "space":
            return _self_named(raw, "space", shape.read(Charter, value))
        case "negotiation":
            return _self_named(raw, "negotiation", shape.read(NegotiationOpening, value))
        case "agreement-opening":
            return _agreement(raw, shape.read(AgreementOpening, value))
        case _:
            raise Refused("topic.opening", "neither space, negotiation nor agreement")


def _self_named(raw: bytes, type_: str, document: Charter | NegotiationOpening) -> Opening:
    topic = hashlib.sha256(raw).digest()
    return Opening(topic=topic, type=type_, document=document, raw=raw)


def _agreement(raw: bytes, opening: AgreementOpening) -> Opening:
    topic = hashlib.sha256(opening.document).digest()
    document = shape.decode(Agreement, opening.document, limits.DOCUMENT)
    try:
        decision.verify(
            opening.votes,
            topic=document.negotiation,
            subject=topic,
            slot="agreement",
            rule=signing_rule(document),
        )
    except Refused as error:
        raise Refused("agreement.certificate", str(error)) from error
    participants = open_participants(document, opening.identities)
    return Opening(
        topic=topic, type="agreement", document=document, raw=raw, participants=participants
    )


def open_participants(document: Agreement, identities: Sequence[bytes]) -> dict[bytes, Participant]:
    """did -> participant of every party and candidate, from the records that the document names.

    `identities` has one record each, in the document's order: parties, then candidates. Raises
    Refused (agreement.document, record.*, identity.*).
    """
    everyone = named(document)
    if len(identities) != len(everyone):
        detail = f"{len(identities)} identities, named are {len(everyone)}"
        raise Refused("agreement.document", detail)
    found: dict[bytes, Participant] = {}
    for one, raw in zip(everyone, identities, strict=True):
        participant = open_identity(raw)
        # Else whoever names a party or host could pass off keys of its own as another's.
        if (participant.id, participant.did, participant.vote_key) != (
            one.identity,
            one.did,
            one.vote_key,
        ):
            raise Refused("agreement.document", f"the identity of {one.name} is not its own")
        if one.did in found:
            raise Refused("agreement.document", f"{one.name} stands there twice")
        found[one.did] = participant
    return found


def named(document: Agreement) -> tuple[Party | Candidate, ...]:
    """Whom a document names with key and identity: parties, then candidates."""
    return (*document.parties, *document.hosts.candidates)


def signing_rule(document: Agreement) -> decision.Rule:
    """All parties must sign, each with the voting key that the document names."""
    return decision.Rule(voters=party_keys(document), needed=len(document.parties))


def party_keys(document: Agreement) -> dict[bytes, bytes]:
    """did -> voting key of every party. Raises Refused (agreement.document)."""
    if not 0 < len(document.parties) <= limits.PARTIES:
        # Without parties no vote would be needed.
        raise Refused("agreement.document", f"{len(document.parties)} parties")
    keys = {party.did: party.vote_key for party in document.parties}
    if len(set(keys.values())) < len(document.parties):
        # One key behind two parties would let one signer vote twice.
        raise Refused("agreement.document", "a party or a voting key stands there twice")
    return keys


class Authority(Protocol):
    """Who may write what into a topic: each machine answers for its own type of topic."""

    def authorise(self, record: Record) -> None:
        """Raise Refused (record.author, record.policy, ...) if the author may not publish this."""


@dataclass(slots=True)
class Feeds:
    """The heads of all feeds of one topic, and the gate in front of them."""

    topic: bytes
    type: str
    heads: dict[bytes, Record] = field(default_factory=dict)
    seen: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    barred: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    sizes: dict[bytes, int] = field(default_factory=dict)

    def place(self, key: bytes) -> Place:
        """Where the next record of `key` stands."""
        head = self.heads.get(key)
        return Place() if head is None else Place(seq=head.seq + 1, prev=head.id)

    def check(self, record: Record, authority: Authority, now: int) -> bool:
        """The gate after `record.parse`: True if new, False if known already.

        In this order (G1 to G6 of docs/protocol.md), cheapest first: topic, kind and body, clock,
        known before, whole and within bounds, author and right, feed order. Raises Refused; an
        equivocation bars the key.
        """
        if record.topic != self.topic:
            raise Refused("topic.unknown")
        kinds.check(record, self.type)
        if record.at > now + limits.CLOCK_SKEW:
            raise Refused("record.clock", f"{record.at - now} s ahead")
        known = self.seen.get((record.key, record.seq))
        if known == record.id:
            return False
        self._check_bounds(record)
        authority.authorise(record)
        if known is not None:
            self.barred[record.key] = (known, record.id)
            raise Refused("record.equivocation")
        expected = self.place(record.key)
        if (record.seq, record.prev) != (expected.seq, expected.prev):
            raise Refused("record.gap", f"got seq {record.seq}, expected {expected.seq}")
        return True

    def _check_bounds(self, record: Record) -> None:
        if record.body is None:
            # Anybody can drop a body; taking the rest would keep the whole record out for ever.
            raise Refused("record.body", "the body was redacted")
        if record.key in self.barred:
            raise Refused("record.equivocation", "the key is barred")
        if record.seq >= limits.FEED:
            raise Refused("record.policy", f"more than {limits.FEED} records of one key")
        if self.sizes.get(record.key, 0) + len(record.raw) > limits.FEED_BYTES:
            raise Refused("record.policy", f"more than {limits.FEED_BYTES} bytes of one key")

    def add(self, record: Record) -> None:
        """Take a checked record as the new head of its feed."""
        self.heads[record.key] = record
        self.seen[record.key, record.seq] = record.id
        self.sizes[record.key] = self.sizes.get(record.key, 0) + len(record.raw)
