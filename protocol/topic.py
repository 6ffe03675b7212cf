"""Topics: what opens one, the one gate before its feeds, and what its audience may pull.

A feed is (topic, signing key): seq and prev without gaps. Two different records at one place of a
feed are an equivocation; the two together prove it to anyone.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from protocol import codec, decision, kinds, limits, shape
from protocol.errors import Refused
from protocol.identity import History, Participant, open_identity
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


def read_opening(raw: bytes, histories: Mapping[bytes, History] = MappingProxyType({})) -> Opening:
    """Verify the opening of a space, a negotiation or an agreement.

    A space or negotiation is its own digest; an agreement also needs the votes of all its parties,
    none of them void by what `histories` take back, and the identities that it names. Raises
    Refused (codec.*, shape.mismatch, topic.opening, agreement.certificate, agreement.document,
    identity.*).
    """
    value = codec.decode(raw, limits.FRAME)
    match value.get("type") if isinstance(value, dict) else None:
        case "space":
            return _self_named(raw, "space", shape.read(Charter, value))
        case "negotiation":
            return _self_named(raw, "negotiation", shape.read(NegotiationOpening, value))
        case "agreement-opening":
            return _agreement(raw, shape.read(AgreementOpening, value), histories)
        case _:
            raise Refused("topic.opening", "neither space, negotiation nor agreement")


def _self_named(raw: bytes, type_: str, document: Charter | NegotiationOpening) -> Opening:
    topic = hashlib.sha256(raw).digest()
    return Opening(topic=topic, type=type_, document=document, raw=raw)


def _agreement(
    raw: bytes, opening: AgreementOpening, histories: Mapping[bytes, History]
) -> Opening:
    topic = hashlib.sha256(opening.document).digest()
    document = shape.decode(Agreement, opening.document, limits.DOCUMENT)
    try:
        decision.verify(
            opening.votes,
            topic=document.negotiation,
            subject=topic,
            slot="agreement",
            rule=signing_rule(document),
            histories=_with_shown(histories, opening.identities),
        )
    except Refused as error:
        raise Refused("agreement.certificate", str(error)) from error
    participants = open_participants(document, opening.identities)
    return Opening(
        topic=topic, type="agreement", document=document, raw=raw, participants=participants
    )


def _with_shown(
    histories: Mapping[bytes, History], identities: Sequence[bytes]
) -> dict[bytes, History]:
    """The known histories of whom an opening shows: a key may be newer than what is known."""
    found: dict[bytes, History] = {}
    for one in map(open_identity, identities) if histories else ():
        if one.did in histories:
            known = found.setdefault(one.did, histories[one.did].copy())
            known.introduce(one)
    return found


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


def party_keys(document: Agreement) -> dict[bytes, frozenset[bytes]]:
    """did -> the voting key of every party, as the document names it. Raises Refused
    (agreement.document).
    """
    if not 0 < len(document.parties) <= limits.PARTIES:
        # Without parties no vote would be needed.
        raise Refused("agreement.document", f"{len(document.parties)} parties")
    keys = {party.did: party.vote_key for party in document.parties}
    if len(set(keys.values())) < len(document.parties):
        # One key behind two parties would let one signer vote twice.
        raise Refused("agreement.document", "a party or a voting key stands there twice")
    return {did: frozenset((key,)) for did, key in keys.items()}


class Authority(Protocol):
    """Who may write what into a topic: each machine answers for its own type of topic."""

    def authorise(self, record: Record) -> None:
        """Raise Refused (record.author, record.policy, ...) if the author may not publish this."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record of a feed: its place and id, and the bytes of the feed up to it."""

    seq: int
    id: bytes
    size: int


@dataclass(slots=True)
class Feeds:
    """The heads of all feeds of one topic, and the gate in front of them.

    `seen` has the ids of records whose place `held` does not know: with a journal behind `held`
    those of one batch, else all. `barred` has the lowest place at which a key equivocated, `ends`
    the place from which on a key's records are void by any other rule. A `guest` takes what is for
    members without bodies.
    """

    topic: bytes
    type: str
    held: Callable[[bytes, int], bytes | None] | None = None
    heads: dict[bytes, Head] = field(default_factory=dict)
    seen: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    barred: dict[bytes, int] = field(default_factory=dict)
    ends: dict[bytes, int] = field(default_factory=dict)
    guest: bool = False

    def place(self, key: bytes) -> Place:
        """Where the next record of `key` stands."""
        head = self.heads.get(key)
        return Place() if head is None else Place(seq=head.seq + 1, prev=head.id)

    def id_at(self, key: bytes, seq: int) -> bytes | None:
        """Id of the record that this node has for a place, or None."""
        head = self.heads.get(key)
        if head is not None and head.seq == seq:
            return head.id
        found = self.seen.get((key, seq))
        if found is None and self.held is not None:
            found = self.held(key, seq)
        return found

    def count(self) -> int:
        """Records of all feeds."""
        return sum(head.seq + 1 for head in self.heads.values())

    def end(self, key: bytes) -> int:
        """The first place from which on records of `key` are void; limits.FEED if none is."""
        return min(self.barred.get(key, limits.FEED), self.ends.get(key, limits.FEED))

    def check(self, record: Record, authority: Authority, now: int) -> bool:
        """The gate after `record.parse`: True if new, False if known already.

        In this order (G1 to G6 of docs/protocol.md), cheapest first: topic, kind and body, clock,
        known before, another one at its place, whole and within bounds, author and right, feed
        order. Raises Refused; an equivocation bars the key.
        """
        if record.topic != self.topic:
            raise Refused("topic.unknown")
        kinds.check(record, self.type)
        if record.at > now + limits.CLOCK_SKEW:
            raise Refused("record.clock", f"{record.at - now} s ahead")
        if self._is_known(record):
            return False
        self._check_bounds(record)
        authority.authorise(record)
        expected = self.place(record.key)
        if (record.seq, record.prev) != (expected.seq, expected.prev):
            raise Refused("record.gap", f"got seq {record.seq}, expected {expected.seq}")
        return True

    def _is_known(self, record: Record) -> bool:
        """Whether this very record stands in its feed. Another one there bars the key: Refused.

        Beyond the head the node may hold what is void, or not yet entitled: no word on that.
        """
        head = self.heads.get(record.key)
        next_ = 0 if head is None else head.seq + 1
        if record.seq >= next_ and not self.barred and not self.ends:
            return False
        known = self.id_at(record.key, record.seq)
        if known is not None and known != record.id:
            self.bar(record.key, record.seq)
            raise Refused("record.equivocation")
        return known is not None and record.seq < next_

    def _check_bounds(self, record: Record) -> None:
        if record.body is None and not (self.guest and record.kind in kinds.MEMBERS_ONLY):
            # Anybody can drop a body; taking the rest would keep the whole record out for ever.
            raise Refused("record.body", "the body was redacted")
        if record.seq >= limits.FEED:
            raise Refused("record.policy", f"more than {limits.FEED} records of one key")
        if record.seq >= self.barred.get(record.key, limits.FEED):
            raise Refused("record.equivocation", "the key is barred")
        if record.seq >= self.ends.get(record.key, limits.FEED):
            raise Refused("identity.retired", f"void from place {self.ends[record.key]} on")
        head = self.heads.get(record.key)
        if (head.size if head else 0) + len(record.raw) > limits.FEED_BYTES:
            raise Refused("record.policy", f"more than {limits.FEED_BYTES} bytes of one key")

    def add(self, record: Record) -> None:
        """Take a checked record as the new head of its feed."""
        head = self.heads.get(record.key)
        size = (head.size if head else 0) + len(record.raw)
        self.heads[record.key] = Head(record.seq, record.id, size)
        self.seen[record.key, record.seq] = record.id

    def bar(self, key: bytes, seq: int) -> None:
        """Bar a key that equivocated at `seq`: from the lowest such place on all is void."""
        self.barred[key] = min(seq, self.barred.get(key, seq))

    def void(self, key: bytes, seq: int) -> bool:
        """End a feed before `seq` by another rule. True if records that were taken are void now."""
        self.ends[key] = min(seq, self.ends.get(key, seq))
        return self.overrun(key)

    def overrun(self, key: bytes) -> bool:
        """Whether records of `key` that were taken are void."""
        return key in self.heads and self.heads[key].seq >= self.end(key)

    def stands(self, record: Record) -> bool:
        """Whether nothing voids the place of a record."""
        return record.seq < self.end(record.key)

    def cut(self, key: bytes, seq: int) -> None:
        """Let the feed end before `seq`, as if what follows had not come."""
        head = self.heads.get(key)
        if head is None or head.seq < seq:
            return
        before = self.id_at(key, seq - 1) if seq else None
        if before is None:
            del self.heads[key]
        else:
            # The bytes are counted on from where they were: a bound, not a balance.
            self.heads[key] = Head(seq - 1, before, head.size)
