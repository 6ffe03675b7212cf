"""The collaboration space: a charter, its members, and what they publish.

No owner and no server: the founders sign the charter, and an admission needs a quorum of the
members of the epoch in which it is decided. Admissions commute: in the charter's first epoch the
founders vote, whatever order records arrive in. All state is a set of records; nothing depends on
order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from protocol import decision, kinds
from protocol.decision import Ballot, Rule, quorum
from protocol.effects import Effect
from protocol.errors import Refused
from protocol.events import Event, Received
from protocol.identity import Participant, open_identity
from protocol.kinds.identity import Credential, CredentialRevocation
from protocol.kinds.space import Artifact, Charter, Invite, Join, Review
from protocol.record import Record
from protocol.topic import Opening

CHARTER_SLOT = "charter"


@dataclass(frozen=True, slots=True)
class Member:
    """A participant that belongs to the space, its roles, and the record that admitted it."""

    participant: Participant
    roles: tuple[str, ...]
    admitted_by: bytes


@dataclass(frozen=True, slots=True)
class Publication:
    """An artifact with its author: the record's id, the participant, the document."""

    id: bytes
    author: bytes
    kind: str
    artifact: Artifact


@dataclass(slots=True)
class Space:
    """One space as one participant sees it. `handle` takes events, `authorise` is its gate rule."""

    opening: Opening
    founders: dict[bytes, Member] = field(init=False)
    charter_ballot: Ballot = field(init=False)
    invites: dict[bytes, tuple[Record, Invite, Participant]] = field(default_factory=dict)
    joins: dict[bytes, tuple[Record, bytes]] = field(default_factory=dict)
    ballots: dict[str, Ballot] = field(default_factory=dict)
    credentials: dict[bytes, tuple[Record, Credential]] = field(default_factory=dict)
    revoked: set[bytes] = field(default_factory=set)
    publications: dict[bytes, Publication] = field(default_factory=dict)
    reviews: list[tuple[Record, Review]] = field(default_factory=list)
    _keys_of: dict[bytes, set[bytes]] = field(default_factory=dict, init=False)
    _joined: set[tuple[bytes, bytes]] = field(default_factory=set, init=False)
    _guests: dict[bytes, Participant] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Read the founders out of the charter. Raises Refused (identity.*, topic.opening)."""
        self.founders = {}
        for founder in self.charter.founders:
            participant = open_identity(founder.identity)
            if participant.did in self.founders:
                raise Refused("topic.opening", f"{participant.name} founds twice")
            self.founders[participant.did] = Member(participant, founder.roles, self.id)
            self._keys_of[participant.did] = set(participant.record_keys)
        if not self.founders:
            raise Refused("topic.opening", "a space has founders")
        everyone = Rule(self._keys(), len(self.founders))
        self.charter_ballot = Ballot(everyone, CHARTER_SLOT)

    @property
    def id(self) -> bytes:
        """The topic: SHA-256 of the charter."""
        return self.opening.topic

    @property
    def charter(self) -> Charter:
        """The opening document."""
        if not isinstance(self.opening.document, Charter):
            raise Refused("topic.opening", "not a charter")
        return self.opening.document

    @property
    def founded(self) -> bool:
        """Whether every founder signed the charter."""
        return self.charter_ballot.decided() == self.id

    @property
    def admission_rule(self) -> Rule:
        """The founders vote on admissions; a quorum of them decides."""
        return Rule(self._keys(), quorum(len(self.founders)))

    def members(self) -> dict[bytes, Member]:
        """Everybody who belongs to the space now; nobody before it is founded."""
        if not self.founded:
            return {}
        return {**self.founders, **dict(self._admitted())}

    def participants(self) -> dict[bytes, Participant]:
        """Everybody whose keys are known here: founders, and invitees before they are admitted. Of
        a guest the newest identity counts; a founder's stands in the charter.
        """
        founders = {did: member.participant for did, member in self.founders.items()}
        return {**self._guests, **founders}

    def credential(self, did: bytes, now: int) -> Credential | None:
        """The valid credential of a participant by a trusted registrar, if there is one."""
        for record, credential in self.credentials.values():
            if (
                credential.subject == did
                and credential.until > now
                and record.id not in self.revoked
            ):
                return credential
        return None

    def waiting_joins(self, did: bytes) -> list[tuple[Record, Participant]]:
        """Joins that still need the vote of `did`."""
        if did not in self.founders:
            return []
        return [
            (record, self.invites[invite][2])
            for record, invite in self.joins.values()
            if invite in self.invites and not self._voted(did, record.id)
        ]

    def approvals(self, bundle: bytes) -> list[bytes]:
        """Who approved an algorithm bundle; its publisher's own review does not count."""
        authors = {p.author for p in self.publications.values() if p.artifact.blob == bundle}
        return sorted(
            {
                record.author
                for record, review in self.reviews
                if review.bundle == bundle and review.verdict == "approved"
            }
            - authors
        )

    def authorise(self, record: Record) -> None:
        """Who may publish what here. Raises Refused (record.author, space.*, credential.issuer)."""
        if record.key not in self._keys_of.get(record.author, ()):
            raise Refused("record.author")
        match record.kind:
            case "credential" | "credential-revocation":
                if record.author not in self.charter.registrars:
                    raise Refused("credential.issuer")
            case "join":
                self._check_join(record)
            case "vote":
                self._check_vote(record)
            case _:
                self._check_publication(record)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a record into the state; a space asks for nothing by itself: people vote."""
        if isinstance(event, Received):
            self._take(event.record)
        return []

    def _take(self, record: Record) -> None:
        match record.kind:
            case "vote":
                self._ballot(record).add(record)
            case "invite":
                self._take_invite(record)
            case "join":
                invite = kinds.read(Join, record).invite
                self.joins[record.id] = (record, invite)
                self._joined.add((record.author, invite))
            case "credential":
                self.credentials[record.id] = (record, kinds.read(Credential, record))
            case "credential-revocation":
                self.revoked.add(kinds.read(CredentialRevocation, record).credential)
            case "algorithm" | "contract":
                artifact = kinds.read(Artifact, record)
                self.publications[record.id] = Publication(
                    record.id, record.author, record.kind, artifact
                )
            case "review":
                self.reviews.append((record, kinds.read(Review, record)))
            case _:
                return

    def _keys(self) -> dict[bytes, bytes]:
        return {did: member.participant.vote_key for did, member in self.founders.items()}

    def _take_invite(self, record: Record) -> None:
        """Learn of a guest. Keys only add up, so that no order of invites shuts a feed out."""
        invite = kinds.read(Invite, record)
        guest = open_identity(invite.identity)
        self.invites[record.id] = (record, invite, guest)
        known = self._guests.setdefault(guest.did, guest)
        self._guests[guest.did] = max(known, guest, key=lambda one: (one.revision, one.id))
        if guest.did not in self.founders:
            self._keys_of.setdefault(guest.did, set()).update(guest.record_keys)

    def _admitted(self) -> Iterator[tuple[bytes, Member]]:
        in_order = sorted(self.joins.items(), key=lambda one: (one[1][0].at, one[0]))
        for join, (_, invite_id) in in_order:
            ballot = self.ballots.get(admission_slot(join))
            if invite_id in self.invites and ballot is not None and ballot.decided() == join:
                _, invite, guest = self.invites[invite_id]
                yield guest.did, Member(guest, invite.roles, join)

    def _voted(self, did: bytes, join: bytes) -> bool:
        ballot = self.ballots.get(admission_slot(join))
        return ballot is not None and did in ballot.votes

    def _ballot(self, vote: Record) -> Ballot:
        slot = str((vote.body or {}).get("slot"))
        if slot == CHARTER_SLOT:
            return self.charter_ballot
        return self.ballots.setdefault(slot, Ballot(self.admission_rule, slot))

    def _check_publication(self, record: Record) -> None:
        if record.author not in self.members():
            raise Refused("space.member", self.participants()[record.author].name)
        if record.kind == "invite":
            open_identity(kinds.read(Invite, record).identity)

    def _check_join(self, record: Record) -> None:
        """One join for one invite, by the key that could vote: a stranger cannot flood a space."""
        invite = kinds.read(Join, record).invite
        found = self.invites.get(invite)
        if found is None or found[2].did != record.author or found[1].until < record.at:
            raise Refused("space.invite")
        if found[2].vote_key != record.key or (record.author, invite) in self._joined:
            raise Refused("space.invite", "it was accepted already, or by another key")

    def _check_vote(self, record: Record) -> None:
        slot = str((record.body or {}).get("slot"))
        rule = self.charter_ballot.rule if slot == CHARTER_SLOT else self.admission_rule
        vote = decision.check_vote(record, rule, slot)
        if slot not in (CHARTER_SLOT, admission_slot(vote.subject)):
            raise Refused("decision.subject", f"unknown slot {slot!r}")


def admission_slot(join: bytes) -> str:
    """The slot in which the members vote on one join."""
    return f"admit/{join.hex()}"
