"""The collaboration space: a charter, its members, and what they publish.

No owner and no server. The founders sign the charter; from then on the voters of each epoch decide
who is admitted, and what the next epoch is (protocol.machines.epochs). All state is a function of
the set of records; nothing depends on their order.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from protocol import decision, identity, kinds, limits
from protocol.decision import Ballot, Rule
from protocol.effects import Effect, Publish
from protocol.errors import Refused
from protocol.events import Event, Received
from protocol.identity import History, Participant, learn, open_identity, open_keys
from protocol.kinds.identity import Credential, CredentialRevocation
from protocol.kinds.space import Artifact, Change, Charter, Invite, Review, Seat, Terms
from protocol.machines import recovery
from protocol.machines.advisories import Advisories, Ground
from protocol.machines.chain import Chain, admission_slot
from protocol.machines.epochs import Epoch, read_step
from protocol.machines.invitations import Invitations
from protocol.machines.membership import CHARTER_SLOT, Member, Membership, slot_of
from protocol.machines.recovery import Recoveries
from protocol.record import Record
from protocol.topic import Opening

GOVERNING = frozenset({"vote", "invite", "join", "keys", "leave", "change", "recovery"})
"""Kinds that can change who is a member, or which keys somebody has."""

ANSWERS = frozenset({"invite", "join", "decline", "invite-revocation"})
"""Kinds about invites."""

OF_MEMBERS = frozenset(
    {"invite", "invite-revocation", "leave", "algorithm", "contract", "review", "commitment"}
    | {"advisory", "advisory-withdrawal"}
)
"""Kinds that count from members alone. The gate takes them from all whose keys are known here: an
admission may fall with a vote that a removal voids, and then nobody would know whose feed goes on.
"""


@dataclass(frozen=True, slots=True)
class Publication:
    """An artifact with its author: the record's id, the participant, the document."""

    id: bytes
    author: bytes
    kind: str
    artifact: Artifact


@dataclass(slots=True)
class Space:
    """One space as one participant sees it. `handle` takes events, `authorise` is its gate rule.

    `histories` has everybody whose keys are known here; `barred` the place at which each key
    contradicted itself. `_undercut`: somebody's keys helped to void the very invite that shows
    them; they count until others decide the same without them. `_idle`: a record is kept that does
    not count, or not yet.
    """

    opening: Opening
    barred: dict[bytes, int] = field(default_factory=dict)
    histories: dict[bytes, History] = field(default_factory=dict, init=False)
    chain: Chain = field(init=False)
    charter_ballot: Ballot = field(init=False)
    recoveries: Recoveries = field(init=False)
    membership: Membership = field(init=False)
    credentials: dict[bytes, tuple[Record, Credential]] = field(default_factory=dict)
    revocations: dict[bytes, set[bytes]] = field(default_factory=dict)
    publications: dict[bytes, Publication] = field(default_factory=dict)
    reviews: list[tuple[Record, Review]] = field(default_factory=list)
    advisories: Advisories = field(default_factory=Advisories)
    _keys: list[Record] = field(default_factory=list, init=False)
    _kept: dict[bytes, Record] = field(default_factory=dict, init=False)
    _spoke: set[bytes] = field(default_factory=set, init=False)
    _answers: Counter[tuple[bytes, str]] = field(default_factory=Counter, init=False)
    _idle: bool = field(default=False, init=False)
    _undercut: bool = field(default=False, init=False)
    _shows: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        """Read the founders out of the charter. Raises Refused (identity.*, topic.opening)."""
        seats: dict[bytes, Seat] = {}
        for founder in self.charter.founders:
            one = open_identity(founder.identity)
            if one.did in seats:
                raise Refused("topic.opening", f"{one.name} founds twice")
            seats[one.did] = Seat(did=one.did, identity=one.id, roles=founder.roles)
            learn(self.histories, one)
        if not seats:
            raise Refused("topic.opening", "a space has founders")
        first = Epoch(self.id, 0, seats, self.charter.terms)
        self.chain = Chain(first, self.histories, self.barred)
        self.recoveries = Recoveries(self.histories, self.chain.epoch, self.chain.rule)
        self.membership = Membership(self.chain, self.recoveries)
        self.charter_ballot = Ballot(self._everyone(), CHARTER_SLOT)

    # --- what holds -----------------------------------------------------------------------------

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
    def epoch(self) -> Epoch:
        """The epoch that lasts."""
        return self.chain.newest

    @property
    def terms(self) -> Terms:
        """The terms in force."""
        return self.epoch.terms

    @property
    def ground(self) -> Ground:
        """What every agreement of this space has to heed."""
        given = self.advisories.in_force(self.terms.advisors)
        return Ground(self.terms.attestation, tuple(one.advisory for one in given))

    @property
    def founded(self) -> bool:
        """Whether every founder signed the charter."""
        return self.charter_ballot.decided() == self.id

    @property
    def founders(self) -> Mapping[bytes, Seat]:
        """Who signs the charter."""
        return self.chain.first.seats

    @property
    def admission_rule(self) -> Rule:
        """The voters of the epoch vote on admissions; a quorum of them decides."""
        return self.chain.rule(self.epoch)

    @property
    def invitations(self) -> Invitations:
        """Invites, and what became of them."""
        return self.membership.invitations

    @property
    def invites(self) -> dict[bytes, tuple[Record, Invite, Participant]]:
        """Invite -> its record, what it says, and the guest as it describes it."""
        return self.invitations.invites

    @property
    def joins(self) -> dict[bytes, tuple[Record, bytes]]:
        """Join -> its record, and the invite that it accepts."""
        return self.invitations.joins

    def members(self) -> dict[bytes, Member]:
        """Everybody who belongs to the space now; nobody before it is founded."""
        return self.membership.members() if self.founded else {}

    def was_member(self, did: bytes) -> bool:
        """Whether a participant is or once was a member."""
        return self.founded and did in self.membership.grants()

    def participants(self) -> dict[bytes, Participant]:
        """Everybody whose keys are known here, those who left too: the newest identity of each."""
        return {did: history.participant for did, history in self.histories.items()}

    def audience(self) -> dict[bytes, Participant]:
        """Who may see and hear the space: voters, members, and guests whose invite is open. Who
        left or was removed gets nothing new.
        """
        known = {*self.founders} if not self.founded else {*self.members()}
        for invite, (_, _, guest) in self.invites.items():
            gone = self.membership.departures(guest.did)
            # Who never was a member left nothing.
            ends = (one for one in gone if one.revision is None or self.was_member(one.did))
            pinned = {key for one in ends for key in one.pins}
            if invite not in self.invitations.revoked and guest.vote_key not in pinned:
                known.add(guest.did)
        known |= {one.heir.did for one in self.recoveries.cases.values()}
        return {did: self.histories[did].participant for did in known}

    def credential(self, did: bytes, now: int) -> Credential | None:
        """The valid credential of a participant by a trusted registrar, if there is one."""
        for record, credential in self.credentials.values():
            if (
                credential.subject == did
                and credential.until > now
                and record.author in self.terms.registrars
                and not self.revoked(record.id)
            ):
                return credential
        return None

    def lacks_credential(self, did: bytes, now: int) -> bool:
        """Whether the charter asks this participant for a credential, and none is in force."""
        trusted = self.terms.registrars
        return bool(trusted) and did not in trusted and self.credential(did, now) is None

    def revoked(self, credential: bytes) -> bool:
        """Whether its own registrar took a credential back; another's word about it is void."""
        known = self.credentials.get(credential)
        return known is not None and known[0].author in self.revocations.get(credential, ())

    def waiting_joins(self, did: bytes) -> list[tuple[Record, Participant]]:
        """Joins that still need the vote of `did`."""
        if did not in self.epoch.seats:
            return []
        return [
            (record, self.invites[invite][2])
            for record, invite in self.joins.values()
            if invite in self.invites
            and invite not in self.invitations.revoked
            and record.id not in self.chain.admitted
            and did not in self.admission_votes(record.id)
        ]

    def admission_votes(self, join: bytes) -> Mapping[bytes, Record]:
        """Who said yes to a join in the epoch that lasts."""
        ballot = self.chain.admissions.get(admission_slot(self.epoch.id, join))
        return {} if ballot is None else ballot.votes

    def approvals(self, bundle: bytes) -> list[bytes]:
        """Who approved an algorithm bundle and did not reject it since; its publisher's own review
        does not count.
        """
        authors = {p.author for p in self.publications.values() if p.artifact.blob == bundle}
        said = last_words(one for one in self.reviews if one[1].bundle == bundle)
        return sorted({did for did, one in said.items() if one.verdict == "approved"} - authors)

    def change_faults(self, change: Change, heads: Mapping[bytes, int]) -> list[str]:
        """Why an honest voter does not vote for a change, in words: what it says of people is not
        what is known here. `heads`: key -> place of its newest record in this space.
        """
        staying = {seat.did: seat.identity for seat in change.members}
        pinned = {one.did: {pin.key for pin in one.pins} for one in change.removed}
        keys = {did: self.histories[did].record_keys for did in pinned if did in self.histories}
        known = {did: one.participant.id for did, one in self.histories.items()}
        left = staying.keys() & self.epoch.seats.keys() - self.members().keys()
        lost = self.members().keys() - staying.keys() - pinned.keys()
        old = (did for did, identity in staying.items() if known.get(did) != identity)
        loose = (did for did, all_ in keys.items() if (all_ & heads.keys()) - pinned[did])
        return [
            *(f"the identity of {self._name(did)} is not the newest known here" for did in old),
            *(f"a key of {self._name(did)} is not pinned" for did in loose),
            *(f"{self._name(did)} is a member and stands nowhere" for did in sorted(lost)),
            *(f"{self._name(did)} left and stands among the voters" for did in sorted(left)),
        ]

    # --- the gate -------------------------------------------------------------------------------

    def authorise(self, record: Record) -> None:
        """Who may publish what here; whether it counts, `check_counts` says. Raises Refused
        (record.author, identity.*, space.*, credential.issuer, decision.*, advisory.*,
        record.policy).
        """
        known = self.histories.get(record.author)
        if known is None:
            raise Refused("record.author")
        if record.kind == "keys":
            known.check_keys(record)
        else:
            known.may_sign(record)
        code = self.membership.ended(record)
        if code is not None:
            raise Refused(code, self._name(record.author))
        if record.kind != "keys":
            self._check_right(record)

    def check_counts(self, record: Record) -> None:
        """Refuse an own word that would count for nothing. Raises Refused (space.member,
        space.removed, record.equivocation).
        """
        code = self.membership.void(record)
        if code is None and not self._is_entitled(record):
            code = "space.member"
        if code is not None:
            raise Refused(code, self._name(record.author))

    def _is_entitled(self, record: Record) -> bool:
        return record.kind not in OF_MEMBERS or self.was_member(record.author)

    def _check_right(self, record: Record) -> None:
        match record.kind:
            case "credential" | "credential-revocation":
                if not any(record.author in one.terms.registrars for one in self.chain.epochs):
                    raise Refused("credential.issuer")
            case "join" | "decline":
                self._check_voting_key(record)
                self._check_answer(record)
            case "vote":
                self._check_vote(record)
            case "change":
                self.chain.check_change(record)
            case "recovery" | "veto":
                self.recoveries.check(record)
            case _:
                self._check_publication(record)

    def _check_voting_key(self, record: Record) -> None:
        if record.key not in self.histories[record.author].voting_keys:
            raise Refused("space.invite", "answered by another key than the one that votes")

    def _check_vote(self, record: Record) -> None:
        slot = str((record.body or {}).get("slot"))
        if slot == CHARTER_SLOT:
            decision.check_vote(record, self.charter_ballot.rule, slot)
        elif recovery.is_slot(slot):
            self.recoveries.check_vote(record, slot)
        else:
            self.chain.check_vote(record, slot)

    def _check_publication(self, record: Record) -> None:
        if record.kind in ANSWERS:
            self._check_answer(record)
        if record.kind == "leave":
            self._check_voting_key(record)
        if record.kind in ("advisory", "advisory-withdrawal"):
            self.advisories.check(record)

    def _check_answer(self, record: Record) -> None:
        """Refuse an invite without a sound identity, and more than anybody needs."""
        if record.kind == "invite":
            open_identity(kinds.read(Invite, record).identity)
        if self._answers[record.key, record.kind] >= limits.INVITES:
            detail = f"more than {limits.INVITES} records of kind {record.kind} by one key"
            raise Refused("record.policy", detail)

    # --- taking ---------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a record into the state. People vote; what follows from votes is in `duties`."""
        if isinstance(event, Received):
            self._take(event.record)
        return []

    def duties(self, did: bytes, key: bytes, on: bytes, now: float = 0.0) -> list[Effect]:
        """What a voter's node publishes by itself: confirms, and votes for what is certified. `key`
        is the one with which it signs, `on` the identity record that delegates it, `now` monotonic
        seconds.
        """
        if key not in self.admission_rule.voters.get(did, ()):
            return []
        delay = self.terms.recovery_delay
        owed = (self.chain.current.due(did, on), self.recoveries.due(did, on, now, delay))
        return [Publish("vote", vote) for vote in owed if vote is not None]

    def ends(self, id_at: Callable[[bytes, int], bytes | None]) -> dict[bytes, int]:
        """Key -> first void place of its feed, by the identities that are known here. What a
        departure voids is no part of it: that follows from votes, and never voids these votes.
        """
        return identity.ends(self.id, self.histories, id_at)

    def rebuild(self) -> None:
        """Make the state again from the records that are kept; only those that stand count."""
        self.histories.clear()
        for founder in self.charter.founders:
            learn(self.histories, open_identity(founder.identity))
        for record in self._keys:
            learn(self.histories, open_keys(record))
        known = None
        while known != (known := {did: one.extent for did, one in self.histories.items()}):
            # An identity that an invite brings may give a voter its key.
            self._recount()
        shown = {guest.id for _, _, guest in self.invites.values()}
        shown |= {case.heir.id for case in self.recoveries.cases.values()}
        self._undercut = any(not one.introduced <= shown for one in self.histories.values())

    def _recount(self) -> None:
        self.recoveries.finals = ()
        if any(one.kind == "recovery" for one in self._kept.values()):
            # What a recovery voids has a say in recoveries, but shows nobody.
            self._shows = False
            self._count_all()
            self.recoveries.settle()
            self._shows = True
        self._count_all()

    def _count_all(self) -> None:
        self.membership.invitations, self.advisories = Invitations(), Advisories()
        self.credentials, self.revocations, self.publications = {}, {}, {}
        self.reviews = []
        self.charter_ballot = Ballot(self._everyone(), CHARTER_SLOT)
        self.chain.restart()
        self.recoveries.restart()
        waiting = list(self._kept.values())
        progress = True
        while progress:
            # Who came back has a voice again only once its admission is counted.
            self.membership.forget()
            later = [one for one in waiting if not self._count(one)]
            progress = 0 < len(later) < len(waiting)
            waiting = later
        self._idle = bool(waiting)
        self.membership.forget()

    def _take(self, record: Record) -> None:
        if record.kind in kinds.JOURNAL_ONLY:
            return
        before = self._shape(record)
        self._keep(record)
        if record.kind in GOVERNING:
            self.membership.forget()
        while self.chain.advance():
            continue
        undercut = self._undercut and record.kind in GOVERNING
        always = record.kind in ("leave", "recovery") or recovery.is_slot(slot_of(record))
        if undercut or always or self._shape(record) != before:
            self.rebuild()

    def _keep(self, record: Record) -> None:
        step = read_step(slot_of(record))
        match record.kind:
            case "keys":
                self._keys.append(record)
                learn(self.histories, open_keys(record))
            case "leave":
                self.membership.leaves[record.id] = record
            case "change":
                self.chain.propose(record)
            case "vote" if step is not None:
                self.chain.step(record, step)
            case _:
                self._kept[record.id] = record
                self._spoke.add(record.author)
                self._answers[record.key, record.kind] += record.kind in ANSWERS
                self._idle |= not self._count(record)

    def _shape(self, record: Record) -> tuple[int, int, object]:
        """What decides which records count: epochs, who came in or back, and the keys of voters and
        of everybody who spoke. An invite may show again whom a void one had shown.
        """
        heeded = self._idle or self.membership.anybody_gone()
        grants = sum(map(len, self.membership.grants().values())) + self.founded if heeded else 0
        if record.kind not in ("keys", "invite", "recovery"):
            return len(self.chain.epochs), grants, ()
        voters = {did for epoch in self.chain.epochs for did in epoch.seats}
        known = sorted(self.histories.keys() & {*voters, *self._spoke, record.author})
        extents = tuple(self.histories[did].extent for did in known)
        return len(self.chain.epochs), grants, extents

    def _count(self, record: Record) -> bool:
        """Let a record count, if it stands. False if it does not, or not yet."""
        if record.author not in self.histories or not self.membership.stands(record):
            return False
        if not self._is_entitled(record):
            return False
        if record.kind == "vote":
            return self._count_vote(record, slot_of(record))
        if record.kind in ANSWERS:
            self.invitations.take(record)
            if record.kind == "invite":
                self._introduce(self.invites[record.id][2])
            return True
        self._show(record)
        return True

    def _show(self, record: Record) -> None:
        match record.kind:
            case "credential":
                self.credentials[record.id] = (record, kinds.read(Credential, record))
            case "credential-revocation":
                taken = kinds.read(CredentialRevocation, record).credential
                self.revocations.setdefault(taken, set()).add(record.author)
            case "advisory" | "advisory-withdrawal":
                self.advisories.take(record)
            case "recovery" | "veto":
                self._take_recovery(record)
            case "algorithm" | "contract":
                artifact = kinds.read(Artifact, record)
                self.publications[record.id] = Publication(
                    record.id, record.author, record.kind, artifact
                )
            case "review":
                self.reviews.append((record, kinds.read(Review, record)))
            case _:
                return

    def _take_recovery(self, record: Record) -> None:
        self.recoveries.take(record)
        case = self.recoveries.cases.get(record.id)
        if case is not None:
            self._introduce(case.heir)

    def _introduce(self, one: Participant) -> None:
        """Whose identity others show is known from then on. More it cannot do: what stood without
        it stands with it, so that no invite voids the votes that decide whether it stands.
        """
        if self._shows:
            self.histories.setdefault(one.did, History(one.did)).introduce(one)

    def _count_vote(self, record: Record, slot: str) -> bool:
        if recovery.is_slot(slot):
            return self.recoveries.count(record, slot)
        if slot != CHARTER_SLOT:
            return self.chain.admit(record, slot)
        if record.key in self.charter_ballot.rule.voters.get(record.author, ()):
            self.charter_ballot.add(record)
            return True
        return False

    def _everyone(self) -> Rule:
        seats = self.chain.first.seats
        return Rule({did: self.histories[did].voting_keys for did in seats}, len(seats))

    def _name(self, did: bytes) -> str:
        history = self.histories.get(did)
        return did.hex()[:12] if history is None else history.participant.name


def last_words(reviews: Iterable[tuple[Record, Review]]) -> dict[bytes, Review]:
    """Reviewer -> its last review of one bundle: the newest of each feed, of these by date."""
    newest: dict[bytes, tuple[Record, Review]] = {}
    for record, review in reviews:
        known = newest.get(record.key)
        if known is None or known[0].seq < record.seq:
            newest[record.key] = (record, review)
    in_order = sorted(newest.values(), key=lambda one: (one[0].at, one[0].id))
    return {record.author: review for record, review in in_order}
