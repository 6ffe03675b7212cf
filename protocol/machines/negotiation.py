"""A negotiation among N parties: versions, counter-offers, signatures, rejections.

    DRAFT --proposal--> PROPOSED --counter-offer--> COUNTERED --> ... --all signed--> AGREED
                            |                           |
                            +-------- rejection --------+--> REJECTED --counter-offer--> COUNTERED

All state is a set of records; nothing depends on the order in which they arrive. The versions form
a tree, because a counter-offer names the record of its parent; the newest is the deepest, between
equals the one with the lowest digest. Honest parties sign only the newest version that they know.
A signature cannot be taken back: what all its parties signed is agreed, whatever came later.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from protocol import identity, kinds, limits, shape, terms, topic
from protocol.consistency import check_document
from protocol.decision import Rule
from protocol.effects import Effect, OpenAgreement, Publish, Tell
from protocol.errors import Refused
from protocol.events import Event, Received
from protocol.identity import History, Participant, learn, open_keys
from protocol.kinds.agreement import (
    Agreement,
    AgreementOpening,
    NegotiationOpening,
    Proposal,
    Rejection,
)
from protocol.kinds.common import Refusal, Vote
from protocol.record import Record
from protocol.topic import Opening

SLOT: Final = "agreement"
"""The slot of signatures: topic.read_opening asks for it."""

_TOLD: Final = {
    "proposal": "agreement.proposed",
    "vote": "agreement.signed",
    "rejection": "agreement.rejected",
    "refusal": "agreement.refused",
}


class State(StrEnum):
    """Where a negotiation stands."""

    DRAFT = "DRAFT"
    PROPOSED = "PROPOSED"
    COUNTERED = "COUNTERED"
    AGREED = "AGREED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A proposal and its place in the tree.

    `record` is the id of its record, `digest` what parties sign, `raw` the document's bytes,
    `identities` the records that it names, `parent` the record of the version that it counters.
    `rule` has the voting key of each party.
    """

    record: bytes
    digest: bytes
    author: bytes
    at: int
    document: Agreement
    raw: bytes
    identities: tuple[bytes, ...]
    parent: bytes | None
    changes: tuple[str, ...]
    rule: Rule
    depth: int = 0


@dataclass(slots=True)
class Negotiation:
    """One negotiation as `me` (did) sees it. Raises Refused (topic.opening) for another opening.

    `histories` are the identities known in the space, by did: who may sign records as whom. The
    node adds those that it learns of later (`introduce`). It sets `opened` once the agreement's
    topic is open; until then the effect OpenAgreement is asked for again.
    """

    opening: Opening
    me: bytes
    histories: dict[bytes, History]
    opened: bool = False
    document: NegotiationOpening = field(init=False)
    proposals: dict[bytes, Version] = field(default_factory=dict)
    votes: dict[bytes, list[Record]] = field(default_factory=dict)
    rejections: dict[bytes, list[tuple[Record, Rejection]]] = field(default_factory=dict)
    refusals: list[tuple[Record, Refusal]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take the opening document, and the identities that are known so far as its own."""
        if not isinstance(self.opening.document, NegotiationOpening):
            raise Refused("topic.opening", "not a negotiation")
        self.document = self.opening.document
        known, self.histories = self.histories, {}
        self.introduce(known)

    @property
    def id(self) -> bytes:
        """The topic: SHA-256 of the opening document."""
        return self.opening.topic

    @property
    def participants(self) -> dict[bytes, Participant]:
        """did -> newest identity of everybody who is known here."""
        return {did: history.participant for did, history in self.histories.items()}

    def ends(self, id_at: Callable[[bytes, int], bytes | None]) -> dict[bytes, int]:
        """Key -> first void place of its feed, by the identities that are known here."""
        return identity.ends(self.id, self.histories, id_at)

    # --- gate and events ----------------------------------------------------------------------

    def authorise(self, record: Record) -> None:
        """Who may write: members, by their own keys, so much and no more; sound proposals only.

        The answer depends on the record alone, never on what came before. Raises Refused
        (agreement.*, record.*, identity.*, shape.mismatch, codec.*).
        """
        if record.author not in self.document.members:
            raise Refused("agreement.party", "not a member of the negotiation")
        history = self.histories.get(record.author)
        if history is None:
            raise Refused("record.author")
        if record.kind == "keys":
            history.check_keys(record)
        else:
            history.may_sign(record)
        if record.seq >= limits.NEGOTIATION:
            raise Refused("record.policy", f"more than {limits.NEGOTIATION} records of one key")
        match record.kind:
            case "proposal":
                proposal = kinds.read(Proposal, record)
                document = _agreement(proposal)
                self._check_document(document, record.author)
                topic.open_participants(document, proposal.identities)
            case "vote":
                _check_vote(record, history)
            case _:
                return

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a record that passed the gate; ask for what is due. `now` decides nothing here."""
        del now
        effects: list[Effect] = []
        if isinstance(event, Received) and self._take(event.record):
            effects.append(Tell(_TOLD[event.record.kind], event.record.id))
        agreed = self.agreed
        if agreed is not None and not self.opened:
            effects.append(OpenAgreement(shape.encode(self._certified(agreed))))
        return effects

    def _take(self, record: Record) -> bool:
        match record.kind:
            case "proposal":
                if record.id in self.proposals:
                    return False
                self.proposals[record.id] = _version(record)
            case "vote":
                subject = kinds.read(Vote, record).subject
                self.votes.setdefault(subject, []).append(record)
            case "rejection":
                rejection = kinds.read(Rejection, record)
                self.rejections.setdefault(rejection.subject, []).append((record, rejection))
            case "refusal":
                self.refusals.append((record, kinds.read(Refusal, record)))
            case "keys":
                learn(self.histories, open_keys(record))
                return False
            case _:
                return False
        return True

    def introduce(self, known: Mapping[bytes, History]) -> None:
        """Take what is known elsewhere: of members, and of hosts that a document may name."""
        for did, history in known.items():
            self.histories.setdefault(did, History(did)).merge(history)

    def _certified(self, version: Version) -> AgreementOpening:
        votes = (vote.raw for _, vote in sorted(self.signatures(version).items()))
        return AgreementOpening(
            document=version.raw, votes=tuple(votes), identities=version.identities
        )

    def _check_document(self, document: Agreement, author: bytes) -> None:
        """What must hold of a version by `author` whatever its place in the tree."""
        parties = {party.did for party in document.parties}
        if author not in parties:
            raise Refused("agreement.party", "who proposes must be a party")
        if (document.negotiation, document.space) != (self.id, self.document.space):
            raise Refused("agreement.space")
        if not parties.issubset(self.document.members):
            raise Refused("agreement.space", "a party is no member of the negotiation")
        check_document(document)

    def _identities(self, document: Agreement) -> tuple[bytes, ...]:
        """The records that `document` names, which must be the newest known here: an older one
        could hold a key that its owner took back. Raises Refused (agreement.document).
        """
        found = []
        for one in topic.named(document):
            history = self.histories.get(one.did)
            known = None if history is None else history.participant
            if known is None or (known.id, known.vote_key) != (one.identity, one.vote_key):
                detail = f"the identity of {one.name} is not the newest known here"
                raise Refused("agreement.document", detail)
            found.append(known.raw)
        return tuple(found)

    # --- view ---------------------------------------------------------------------------------

    @property
    def versions(self) -> dict[bytes, Version]:
        """Every version that stands in the tree, by record id, parents before children.

        Left out is a proposal with an ancestor that is not known yet, or that says of a rule that
        another party decided its value.
        """
        children: dict[bytes | None, list[Version]] = {}
        for version in self.proposals.values():
            children.setdefault(version.parent, []).append(version)
        tree: dict[bytes, Version] = {}
        layer = _grown(None, children)
        while layer:
            tree.update((version.record, version) for version in layer)
            layer = [child for version in layer for child in _grown(version, children)]
        return tree

    @property
    def newest(self) -> Version | None:
        """The version that can be signed now."""
        return min(self.versions.values(), key=_newest_first, default=None)

    @property
    def agreed(self) -> Version | None:
        """The newest version that all its parties signed."""
        signed = (v for v in self.versions.values() if not self.unsigned(v))
        return min(signed, key=_newest_first, default=None)

    @property
    def state(self) -> State:
        """Where the negotiation stands."""
        newest = self.newest
        if newest is None:
            return State.DRAFT
        if self.agreed is not None:
            return State.AGREED
        if self.rejecting(newest):
            return State.REJECTED
        return State.COUNTERED if newest.depth else State.PROPOSED

    def signatures(self, version: Version) -> dict[bytes, Record]:
        """did -> vote of each party that signed `version` with its voting key in the document."""
        voters = version.rule.voters
        counted: dict[bytes, Record] = {}
        for vote in self.votes.get(version.digest, ()):
            if vote.key in voters.get(vote.author, ()):
                counted.setdefault(vote.author, vote)
        return counted

    def unsigned(self, version: Version) -> tuple[bytes, ...]:
        """The parties whose signature on `version` is missing, in the document's order."""
        signed = self.signatures(version)
        return tuple(p.did for p in version.document.parties if p.did not in signed)

    def rejecting(self, version: Version) -> dict[bytes, tuple[str, ...]]:
        """did -> reasons of each party that rejected `version`."""
        rejections = self.rejections.get(version.digest, ())
        return {
            record.author: rejection.reasons
            for record, rejection in sorted(rejections, key=lambda pair: pair[0].id)
            if record.author in version.rule.voters
        }

    def pending(self, party: bytes | None = None) -> bool:
        """Whether the newest version waits for the answer of `party` (default: mine)."""
        did = self.me if party is None else party
        newest = self.newest
        if newest is None or self.agreed is not None:
            return False
        return did in self.unsigned(newest) and did not in self.rejecting(newest)

    # --- acts of the operator or of the policy ------------------------------------------------

    def propose(self, document: Agreement, changes: tuple[str, ...] = ()) -> list[Effect]:
        """Propose `document`, as a counter-offer if there is a version already.

        Raises Refused (agreement.closed, agreement.party, agreement.space, agreement.document).
        """
        self._check_open()
        self._check_document(document, self.me)
        newest = self.newest
        wrong = terms.misattributed(self.me, document, newest.document if newest else None)
        if wrong:
            raise Refused("agreement.document", f"another party decided {', '.join(wrong)}")
        proposal = Proposal(
            document=shape.encode(document),
            identities=self._identities(document),
            parent=newest.record if newest else None,
            changes=changes,
        )
        return [Publish("proposal", proposal)]

    def accept(self, digest: bytes) -> list[Effect]:
        """Sign the newest version, which must be `digest`: what was read is what is signed.

        Nothing if I signed it already. Raises Refused (agreement.version, agreement.closed,
        agreement.party, agreement.document).
        """
        version = self._mine(digest)
        if self.me in self.signatures(version):
            return []
        self._check_open()
        self._identities(version.document)
        own = next(party for party in version.document.parties if party.did == self.me)
        vote = Vote(slot=SLOT, subject=digest, choice="yes", identity=own.identity)
        return [Publish("vote", vote)]

    def reject(self, digest: bytes, reasons: tuple[str, ...]) -> list[Effect]:
        """Reject the newest version, which must be `digest`. Nothing if I rejected it already.

        Raises Refused as `accept`.
        """
        version = self._mine(digest)
        if self.me in self.rejecting(version):
            return []
        self._check_open()
        return [Publish("rejection", Rejection(subject=digest, reasons=reasons))]

    def _check_open(self) -> None:
        if self.agreed is not None:
            raise Refused("agreement.closed")

    def _mine(self, digest: bytes) -> Version:
        """The newest version, if it is `digest` and I am a party of it."""
        newest = self.newest
        if newest is None or newest.digest != digest:
            raise Refused("agreement.version")
        if self.me not in newest.rule.voters:
            raise Refused("agreement.party")
        return newest


def _agreement(proposal: Proposal) -> Agreement:
    return shape.decode(Agreement, proposal.document, limits.DOCUMENT)


def _version(record: Record) -> Version:
    proposal = kinds.read(Proposal, record)
    document = _agreement(proposal)
    return Version(
        record=record.id,
        digest=hashlib.sha256(proposal.document).digest(),
        author=record.author,
        at=record.at,
        document=document,
        raw=proposal.document,
        identities=proposal.identities,
        parent=proposal.parent,
        changes=proposal.changes,
        rule=topic.signing_rule(document),
    )


def _grown(parent: Version | None, children: dict[bytes | None, list[Version]]) -> list[Version]:
    """The versions that counter `parent`, with their depth."""
    document = None if parent is None else parent.document
    return [
        replace(version, depth=0 if parent is None else parent.depth + 1)
        for version in children.get(None if parent is None else parent.record, ())
        if not terms.misattributed(version.author, version.document, document)
    ]


def _check_vote(record: Record, history: History) -> None:
    vote = kinds.read(Vote, record)
    if record.key not in history.voting_keys:
        raise Refused("decision.voter", "this key may not vote")
    if vote.slot != SLOT or vote.document is not None:
        raise Refused("decision.subject", f"slot {vote.slot!r}, wanted {SLOT!r}")
    if vote.choice != "yes":
        raise Refused("record.policy", "a no is a rejection with reasons")


def _newest_first(version: Version) -> tuple[int, bytes, bytes]:
    return -version.depth, version.digest, version.record
