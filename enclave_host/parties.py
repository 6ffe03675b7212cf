"""Who may say what under an agreement: its parties and hosts, and the quorum among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from protocol import consistency, decision, kinds, record, topic
from protocol.errors import Refused
from protocol.identity import Participant
from protocol.kinds.agreement import Agreement, Dataset
from protocol.record import Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parties:
    """An agreement that all its parties signed. `id` is its digest and its topic."""

    id: bytes
    document: Agreement
    members: Mapping[bytes, Participant]
    hosts: Mapping[bytes, Participant]

    @property
    def rule(self) -> decision.Rule:
        """The quorum behind elections and runs: each party once, by its voting key."""
        voters = {did: member.vote_key for did, member in self.members.items()}
        return decision.Rule(voters, decision.quorum(len(voters)))

    @property
    def tolerated(self) -> int:
        """f = n - q: how many parties may be absent or lie."""
        return decision.tolerated(len(self.members))

    def name(self, did: bytes | None) -> str:
        """The name of a party for people; "agreement" if it is none."""
        member = self.members.get(did) if did is not None else None
        return "agreement" if member is None else member.name

    def dataset(self, name: str) -> Dataset | None:
        """The dataset of this id."""
        return next((found for found in self.document.datasets if found.id == name), None)

    def decider(self, rule: str) -> bytes | None:
        """The party that decided an output rule."""
        sources = (one.party for one in self.document.rule_sources if one.rule == rule)
        return next(sources, None)

    def of_party(self, raw: bytes, kind: str) -> Record:
        """A record of `kind` in this topic by a party. Raises Refused (record.*)."""
        return self._by(self.members, raw, kind)

    def of_host(self, raw: bytes, kind: str) -> Record:
        """A record of `kind` in this topic by a candidate host. Raises Refused (record.*)."""
        return self._by(self.hosts, raw, kind)

    def _by(self, authors: Mapping[bytes, Participant], raw: bytes, kind: str) -> Record:
        found = record.parse(raw)
        if found.topic != self.id or found.kind != kind:
            raise Refused("record.kind", f"a {found.kind}, or of another topic; wanted {kind}")
        author = authors.get(found.author)
        if author is None or found.key not in author.record_keys:
            raise Refused("record.author")
        kinds.check(found, "agreement")
        return found


def read_agreement(opening: bytes) -> Parties:
    """Verify an agreement's opening. Raises Refused (topic.*, agreement.*, identity.*)."""
    found = topic.read_opening(opening)
    document = found.document
    if not isinstance(document, Agreement):
        raise Refused("topic.opening", "not an agreement")
    consistency.check_document(document)
    known = found.participants
    return Parties(
        id=found.topic,
        document=document,
        members={party.did: known[party.did] for party in document.parties},
        hosts={host.did: known[host.did] for host in document.hosts.candidates},
    )
