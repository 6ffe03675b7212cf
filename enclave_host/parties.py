"""Who may say what under an agreement: its parties and hosts, and the quorum among them."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from protocol import consistency, decision, kinds, record, topic
from protocol.errors import Refused
from protocol.identity import History, Participant, open_identity
from protocol.kinds.agreement import Agreement, Dataset
from protocol.record import Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parties:
    """An agreement that all its parties signed. `id` is its digest and its topic, `opening` the
    bytes that prove it.

    `histories` has the identities of its parties and candidates: those that it names, and newer
    ones that the host showed since. Only their own root keys make them.
    """

    id: bytes
    document: Agreement
    histories: Mapping[bytes, History]
    opening: bytes

    @property
    def members(self) -> dict[bytes, Participant]:
        """The parties, as their newest known identities describe them."""
        return {one.did: self.histories[one.did].participant for one in self.document.parties}

    @property
    def hosts(self) -> dict[bytes, Participant]:
        """The candidate hosts, likewise."""
        named = self.document.hosts.candidates
        return {one.did: self.histories[one.did].participant for one in named}

    def learn(self, identities: Iterable[bytes]) -> None:
        """Take newer identities. Raises Refused (agreement.party, identity.*, record.*)."""
        for raw in identities:
            shown = open_identity(raw)
            if shown.did not in self.histories:
                raise Refused("agreement.party", "an identity of a stranger")
            self.histories[shown.did].learn(shown)

    def check_signed(self) -> None:
        """Refuse to act under a signature whose key was taken back before it signed, now that this
        is known. Raises Refused (agreement.certificate).
        """
        topic.read_opening(self.opening, self.histories)

    def knows(self, identities: Iterable[bytes]) -> bool:
        """Whether all these ids of identity records are known."""
        histories = self.histories.values()
        known = {one.id for history in histories for one in history.revisions()}
        return known.issuperset(identities)

    @property
    def rule(self) -> decision.Rule:
        """The quorum behind elections and runs: each party once, by any of its voting keys."""
        parties = self.document.parties
        voters = {one.did: self.histories[one.did].voting_keys for one in parties}
        return decision.Rule(voters, decision.quorum(len(voters)))

    @property
    def tolerated(self) -> int:
        """f = n - q: how many parties may be absent or lie."""
        return decision.tolerated(len(self.document.parties))

    def name(self, did: bytes | None) -> str:
        """The name of a party for people; "agreement" if it is none."""
        member = self.histories.get(did) if did is not None else None
        return "agreement" if member is None else member.participant.name

    def dataset(self, name: str) -> Dataset | None:
        """The dataset of this id."""
        return next((found for found in self.document.datasets if found.id == name), None)

    def decider(self, rule: str) -> bytes | None:
        """The party that decided an output rule."""
        sources = (one.party for one in self.document.rule_sources if one.rule == rule)
        return next(sources, None)

    def of_party(self, raw: bytes, kind: str) -> Record:
        """A record of `kind` in this topic by a party. Raises Refused (record.*)."""
        return self._by({one.did for one in self.document.parties}, raw, kind)

    def of_host(self, raw: bytes, kind: str) -> Record:
        """A record of `kind` in this topic by a candidate host. Raises Refused (record.*)."""
        return self._by({one.did for one in self.document.hosts.candidates}, raw, kind)

    def _by(self, authors: Container[bytes], raw: bytes, kind: str) -> Record:
        found = record.parse(raw)
        if found.topic != self.id or found.kind != kind:
            raise Refused("record.kind", f"a {found.kind}, or of another topic; wanted {kind}")
        if found.author not in authors:
            raise Refused("record.author")
        self.histories[found.author].may_sign(found)
        kinds.check(found, "agreement")
        return found


def read_agreement(opening: bytes) -> Parties:
    """Verify an agreement's opening. Raises Refused (topic.*, agreement.*, identity.*)."""
    found = topic.read_opening(opening)
    document = found.document
    if not isinstance(document, Agreement):
        raise Refused("topic.opening", "not an agreement")
    consistency.check_document(document)
    histories = {did: History.of(one) for did, one in found.participants.items()}
    return Parties(found.topic, document, histories, opening)
