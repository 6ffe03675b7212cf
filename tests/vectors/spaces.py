"""Vectors about a space: members, changes in two steps, recovery, credentials.

A `space` is CBOR {charter, now, records, …}: found the space, give the records to its gate in this
order, and then answer what is asked, if anything: is `epoch` the one that lasts; did `recovery`
take effect; is `member` one; does `review` count; has `credential` (a did) one in force at `now`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from protocol import codec, keys, record, shape
from protocol.kinds.common import Vote
from protocol.kinds.identity import (
    Claims,
    Credential,
    CredentialRevocation,
    Guardians,
    Identity,
    Keys,
    Pin,
    RecordKey,
    RetiredKey,
)
from protocol.kinds.space import (
    Change,
    Charter,
    FeedPin,
    Founder,
    Invite,
    Join,
    Leave,
    Recovery,
    Removal,
    Review,
    Seat,
    Terms,
    Veto,
)
from protocol.record import Place, Record
from tests.strategies import KEYS, SEEDS
from tests.vectors.identities import Named, after, sign_identity

NOW, UNTIL = 1_000, 5_000
FOUNDERS = SEEDS[:4]
"""Root seeds of the four founders; three are a quorum."""

HEIR = SEEDS[5]


def signing(root: bytes, revision: int = 0) -> bytes:
    """The seed of the record key that a root delegates in a revision."""
    return bytes([root[0] + 64 + 16 * revision]) * 32


def identity(
    root: bytes,
    before: Record | None = None,
    *,
    revision: int = 0,
    retired: tuple[RetiredKey, ...] = (),
    guardians: Guardians | None = None,
    key: bytes | None = None,
    others: tuple[bytes, ...] = (),
    voting: bool = True,
) -> Record:
    mine = keys.public(key or signing(root, revision))
    body = Identity(
        revision=revision,
        name=f"member {root[0]}",
        nodes=(),
        records=(
            RecordKey(key=mine, vote=voting, until=UNTIL),
            *(RecordKey(key=keys.public(one), vote=False, until=UNTIL) for one in others),
        ),
        sealing=bytes(1216),
        until=UNTIL,
        retired=retired,
        guardians=guardians,
    )
    return sign_identity(root, body, after(before, revision))


FIRST = {root: identity(root) for root in (*FOUNDERS, HEIR)}
TERMS = Terms(registrars=(KEYS[0],), advisors=(), recovery_delay=3_600)
CHARTER = Charter(
    name="trial",
    purpose="vectors",
    founders=tuple(Founder(identity=FIRST[root].raw, roles=()) for root in FOUNDERS),
    terms=TERMS,
    salt=bytes(32),
)


@dataclass
class Told:
    """A space as it is written: records in order, and where each key stands."""

    charter: Charter = CHARTER
    records: list[Record] = field(default_factory=list)
    places: dict[bytes, Place] = field(default_factory=dict)
    epoch: bytes = b""

    def __post_init__(self) -> None:
        """The founders sign the charter."""
        self.epoch = self.id
        for root in FOUNDERS:
            self.vote(root, "charter", self.id)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(shape.encode(self.charter)).digest()

    def say(
        self, root: bytes, kind: str, body: object, *, key: bytes | None = None, at: int = NOW
    ) -> Record:
        seed = key or signing(root)
        made = record.sign(
            seed,
            topic=self.id,
            author=keys.public(root),
            kind=kind,
            body=body,
            place=self.places.get(seed, Place()),
            at=at,
            salt=bytes(16),
        )
        self.places[seed] = Place(seq=made.seq + 1, prev=made.id)
        self.records.append(made)
        return made

    def vote(
        self, root: bytes, slot: str, subject: bytes, choice: str = "yes", key: bytes | None = None
    ) -> Record:
        body = Vote(slot=slot, subject=subject, choice=choice, identity=FIRST[root].id)  # type: ignore[arg-type]
        return self.say(root, "vote", body, key=key)

    def change(self, *, gone: tuple[bytes, ...] = (), **fields: object) -> Change:
        """The change that keeps everybody but `gone`, each at its head."""
        staying = [root for root in FOUNDERS if root not in gone]
        seats = [Seat(did=keys.public(one), identity=FIRST[one].id, roles=()) for one in staying]
        made = Change(
            epoch=self.epoch,
            members=tuple(seats),
            removed=tuple(
                Removal(did=keys.public(one), reason="unreachable", pins=(self.pin(one),))
                for one in gone
            ),
            terms=self.charter.terms,
            reason="it is time",
        )
        return replace(made, **fields)  # type: ignore[arg-type]

    def pin(self, root: bytes) -> FeedPin:
        place = self.places[signing(root)]
        return FeedPin(key=keys.public(signing(root)), seq=place.seq - 1, head=place.prev or b"")

    def step(
        self, kind: str, made: Record, roots: tuple[bytes, ...] | list[bytes], round_: int = 0
    ) -> None:
        for root in roots:
            self.vote(root, f"{kind}/{self.epoch.hex()}/{round_}", made.id)

    def decide(self, body: Change, roots: list[bytes]) -> Record:
        made = self.say(roots[0], "change", body)
        self.step("change", made, roots)
        self.step("confirm", made, roots)
        self.epoch = made.id
        return made

    def judged(self, name: str, expect: str, comment: str, **asked: object) -> Named:
        raws = [one.raw for one in self.records]
        value = {"charter": shape.encode(self.charter), "now": NOW, "records": raws, **asked}
        return name, expect, comment, codec.encode(value)


def spaces() -> Iterator[Named]:
    """All vectors of this kind."""
    yield from _changes()
    yield from _rounds()
    yield from _slots()
    yield from _epochs()
    yield from _voters()
    yield from _members()
    yield from _fallen()
    yield from _recoveries()
    yield from _credentials()


QUORUM = FOUNDERS[:3]


def _changes() -> Iterator[Named]:
    few = "decision.quorum"
    told = Told()
    made = told.decide(told.change(), QUORUM)
    yield told.judged("change-final", "ok", "three of four vote, and confirm", epoch=made.id)
    told.records[5:] = sorted(told.records[5:], key=lambda one: one.author)
    yield told.judged("change-order", "ok", "some confirm before others vote", epoch=made.id)
    for name, voted, confirmed in (("voted", 2, 3), ("confirmed", 3, 2)):
        told = Told()
        made = told.say(FOUNDERS[0], "change", told.change())
        told.step("change", made, QUORUM[:voted])
        told.step("confirm", made, QUORUM[:confirmed])
        comment = f"{voted} votes and {confirmed} confirms, of three that are needed"
        yield told.judged(f"change-{name}", few, comment, epoch=made.id)
    change = "space.change"
    told = Told()
    seats = told.change().members
    for name, comment, fields in (
        ("twice", "a voter stands there twice", {"members": (*seats, seats[0])}),
        ("missing", "a voter neither stays nor is removed", {"members": seats[1:]}),
        ("nobody", "nobody stays", {"members": ()}),
    ):
        told = Told()
        told.say(FOUNDERS[0], "change", told.change(**fields))
        yield told.judged(f"change-{name}", change, comment)
    told = Told()
    told.say(FOUNDERS[0], "change", told.change(epoch=b"\x99" * 32))
    yield told.judged("change-epoch", "space.epoch", "it ends an epoch that nobody knows")


def _rounds() -> Iterator[Named]:
    told = Told()
    one = told.say(FOUNDERS[0], "change", told.change())
    two = told.say(FOUNDERS[1], "change", told.change(reason="another"))
    told.step("change", one, FOUNDERS[:2])
    told.step("change", two, FOUNDERS[2:])
    told.step("change", one, QUORUM, 1)
    told.step("confirm", one, QUORUM, 1)
    yield told.judged("round-next", "ok", "round 0 is split, round 1 decides", epoch=one.id)
    told = Told()
    one = told.say(FOUNDERS[0], "change", told.change())
    told.step("change", one, QUORUM)
    told.step("confirm", one, QUORUM, 1)
    yield told.judged(
        "round-other", "decision.quorum", "votes of round 0, confirms of round 1", epoch=one.id
    )
    told = Told()
    one = told.say(FOUNDERS[0], "change", told.change())
    told.step("change", one, FOUNDERS[:2])
    told.step("change", one, FOUNDERS[2:], 1)
    told.step("confirm", one, QUORUM, 1)
    yield told.judged(
        "round-mixed", "decision.quorum", "two votes in each of two rounds", epoch=one.id
    )


def _slots() -> Iterator[Named]:
    subject = "decision.subject"
    told = Told()
    epoch = told.id.hex()
    for name, expect, comment, slot in (
        ("zeros", subject, "the round is written 00", f"change/{epoch}/00"),
        ("high", subject, "round 256", f"change/{epoch}/256"),
        ("short", "space.epoch", "the epoch has 31 bytes", f"change/{epoch[2:]}/0"),
        ("upper", subject, "the epoch in capitals", f"change/{epoch.upper()}/0"),
        ("unknown", subject, "a slot of no family", "poem/1"),
        ("epoch", "space.epoch", "an epoch that nobody knows", f"confirm/{'99' * 32}/0"),
        ("join", subject, "an admission of another join", f"admit/{epoch[:32]}/{'99' * 32}"),
    ):
        told = Told()
        told.vote(FOUNDERS[0], slot, bytes(32))
        yield told.judged(f"slot-{name}", expect, comment)


def _epochs() -> Iterator[Named]:
    review = Review(bundle=bytes(32), verdict="approved", text="")
    told = Told()
    told.decide(told.change(gone=FOUNDERS[3:]), QUORUM)
    made = told.decide(told.change(members=told.change().members[:3]), QUORUM)
    yield told.judged("epoch-second", "ok", "the three that are left, all needed", epoch=made.id)
    for name, expect, comment, count in (
        ("few", "decision.quorum", "two of the three voters of epoch 1", 2),
        ("gone", "decision.voter", "who was removed votes in epoch 1", 4),
    ):
        told = Told()
        told.decide(told.change(gone=FOUNDERS[3:]), QUORUM)
        made = told.say(FOUNDERS[0], "change", told.change(members=told.change().members[:3]))
        told.step("change", made, FOUNDERS[:count])
        told.step("confirm", made, FOUNDERS[:count])
        yield told.judged(f"epoch-{name}", expect, comment, epoch=made.id)
    for name, expect, comment, before in (
        ("removed-before", "ok", "a review before its author is removed", True),
        ("removed-after", "space.removed", "and one beyond the pin", False),
    ):
        told = Told()
        pinned = told.change(gone=FOUNDERS[3:])
        if before:
            told.say(FOUNDERS[3], "review", review)
            pinned = told.change(gone=FOUNDERS[3:])
        told.decide(pinned, QUORUM)
        if not before:
            told.say(FOUNDERS[3], "review", review)
        yield told.judged(name, expect, comment)


def _voters() -> Iterator[Named]:
    """A voter with a new key, a key that was taken back, a stranger."""
    root, old, new = FOUNDERS[2], signing(FOUNDERS[2]), signing(FOUNDERS[2], 1)

    def told_keys(pinned: int | None, voting: bytes) -> tuple[Told, Record]:
        told = Told()
        charter_vote = told.records[2]
        pins = (Pin(topic=told.id, seq=0, head=charter_vote.id),) if pinned is not None else None
        taken = RetiredKey(key=keys.public(old), reason="stolen" if pins else "rotated", pins=pins)
        later = identity(root, FIRST[root], revision=1, retired=(taken,))
        made = told.say(FOUNDERS[0], "change", told.change())
        slots = [f"{step}/{told.id.hex()}/0" for step in ("change", "confirm")]
        if voting == old:
            for slot in slots:
                told.vote(root, slot, made.id)
        told.say(root, "keys", Keys(identity=later.raw), key=new)
        if voting == new:
            for slot in slots:
                told.vote(root, slot, made.id, key=new)
        told.step("change", made, FOUNDERS[:2])
        told.step("confirm", made, FOUNDERS[:2])
        return told, made

    for name, expect, comment, pinned, voting in (
        ("rotated-new", "ok", "a voter rotated, and votes by its new key", None, new),
        ("rotated-old", "ok", "it voted by its old key before: the vote stands", None, old),
        ("revoked-new", "ok", "the old key was stolen; it votes by its new one", 0, new),
        ("revoked-old", "decision.quorum", "the thief's votes, before the news", 0, old),
    ):
        told, made = told_keys(pinned, voting)
        yield told.judged(name, expect, comment, epoch=made.id)
    told, made = told_keys(0, new)
    told.vote(root, f"change/{told.id.hex()}/1", made.id, key=old)
    yield told.judged("revoked-late", "identity.retired", "the thief votes after the news")
    told = Told()
    brought = identity(HEIR)
    told.say(HEIR, "keys", Keys(identity=brought.raw))
    yield told.judged("stranger", "record.author", "keys of somebody whom nobody invited")
    told = Told()
    forged = identity(HEIR, revision=0)
    told.say(root, "keys", Keys(identity=forged.raw))
    yield told.judged("other-keys", "record.author", "it brings the identity of another")
    told = Told()
    late = told.say(FOUNDERS[0], "change", told.change(), at=UNTIL + 1)
    value = {"charter": shape.encode(told.charter), "now": UNTIL, "records": [
        one.raw for one in told.records]}  # fmt: skip
    assert late.at > UNTIL
    yield "key-expired", "identity.expired", "its key had ended", codec.encode(value)


def _members() -> Iterator[Named]:
    """Who is invited, joins, is admitted, publishes, and leaves."""
    guest, did = HEIR, KEYS[5]
    no, review = "space.member", Review(bundle=bytes(32), verdict="approved", text="")
    invite = Invite(identity=FIRST[guest].raw, roles=(), until=UNTIL)

    def asked(named: Invite = invite, by: bytes = FOUNDERS[0]) -> tuple[Told, Record]:
        told = Told()
        return told, told.say(by, "invite", named)

    def joined(count: int, at: int = NOW, named: Invite = invite) -> Told:
        told, made = asked(named)
        join = told.say(guest, "join", Join(invite=made.id), at=at)
        for root in FOUNDERS[:count]:
            told.vote(root, f"admit/{told.epoch.hex()[:32]}/{join.id.hex()}", join.id)
        return told

    yield joined(3).judged("admitted", "ok", "three of four voters", member=did)
    yield joined(2).judged("admitted-few", no, "two of the three needed", member=did)
    told = joined(3)
    told.decide(told.change(), QUORUM)
    comment = "admitted in epoch 0, a member in epoch 1, though no voter"
    yield told.judged("admitted-stays", "ok", comment, member=did)
    short = replace(invite, until=NOW)
    yield joined(3, named=short).judged("join-last", "ok", "in the last second", member=did)
    late = joined(3, at=NOW + 1, named=short)
    yield late.judged("join-late", no, "a join after the invite's end counts not", member=did)
    other = replace(invite, identity=FIRST[FOUNDERS[1]].raw)
    told, made = asked()
    wrong = told.say(FOUNDERS[3], "invite", other)
    join = told.say(guest, "join", Join(invite=wrong.id))
    for root in QUORUM:
        told.vote(root, f"admit/{told.epoch.hex()[:32]}/{join.id.hex()}", join.id)
    yield told.judged("join-other", no, "a join by the invite of another counts not", member=did)
    for name, expect, comment, count in (
        ("member-before", no, "a guest publishes before it is admitted", 2),
        ("member-after", "ok", "and after", 3),
    ):
        told = joined(count)
        said = told.say(guest, "review", review)
        yield told.judged(name, expect, comment, review=said.id)
    told = Told()
    told.say(guest, "join", Join(invite=bytes(32)))
    yield told.judged("join-stranger", "record.author", "a join by somebody whom nobody invited")
    second = identity(guest, others=(signing(guest, 1),))
    told, made = asked(replace(invite, identity=second.raw))
    told.say(guest, "join", Join(invite=made.id), key=signing(guest, 1))
    yield told.judged("join-key", "space.invite", "a join by a key that does not vote")
    told, _ = asked(replace(invite, identity=identity(guest, voting=False).raw))
    yield told.judged("invite-identity", "identity.keys", "an invite with an unsound identity")
    told, _ = asked()
    made = told.say(guest, "invite", invite)
    join = told.say(guest, "join", Join(invite=made.id))
    for root in QUORUM:
        told.vote(root, f"admit/{told.epoch.hex()[:32]}/{join.id.hex()}", join.id)
    yield told.judged("invite-guest", no, "by an invite of a guest's own", member=did)
    told = Told()
    seat = Seat(did=did, identity=FIRST[guest].id, roles=())
    told.decide(told.change(members=(*told.change().members, seat)), QUORUM)
    yield told.judged("seat-unknown", no, "a seat of somebody of whom nothing is known", member=did)
    told = Told()
    told.say(FOUNDERS[3], "invite", invite)
    pinned = told.change(gone=FOUNDERS[3:])
    late = told.say(FOUNDERS[3], "invite", replace(invite, until=UNTIL - 1))
    told.decide(pinned, QUORUM)
    join = told.say(guest, "join", Join(invite=late.id))
    for root in QUORUM:
        told.vote(root, f"admit/{told.epoch.hex()[:32]}/{join.id.hex()}", join.id)
    yield told.judged("invite-void", no, "by an invite beyond the pin of its author", member=did)
    leave = Leave(revision=0, reason="enough", pins=())
    told = Told()
    told.say(FOUNDERS[3], "leave", leave)
    yield told.judged("left", no, "who left is no member", member=KEYS[3])
    told.say(FOUNDERS[3], "review", review)
    yield told.judged("left-after", "space.removed", "a review after the leave")
    told = Told()
    told.say(FOUNDERS[3], "leave", leave)
    roots = [*FOUNDERS[1:]]
    made = told.decide(told.change(), roots)
    yield told.judged(
        "left-votes", "ok", "until a change its vote on changes counts", epoch=made.id
    )
    told = joined(3)
    told.say(guest, "leave", leave)
    yield told.judged("left-guest", no, "who was admitted leaves", member=did)


def _fallen() -> Iterator[Named]:
    """An admission falls with a vote beyond the pin of who was removed."""
    guest, invite = HEIR, Invite(identity=FIRST[HEIR].raw, roles=(), until=UNTIL)
    told = Told()
    made = told.say(FOUNDERS[0], "invite", invite)
    pinned = told.change(gone=FOUNDERS[:1])
    join = told.say(guest, "join", Join(invite=made.id))
    for root in FOUNDERS[:3]:
        told.vote(root, f"admit/{told.epoch.hex()[:32]}/{join.id.hex()}", join.id)
    told.decide(pinned, [*FOUNDERS[1:]])
    said = told.say(guest, "review", Review(bundle=bytes(32), verdict="approved", text=""))
    yield told.judged("member-fell", "space.member", "no member any more", review=said.id)


def _recoveries() -> Iterator[Named]:
    """A root is lost; guardians pass its seat on, and the voters confirm."""
    lost, guards, no = FOUNDERS[3], FOUNDERS[:2], "space.recovery"
    review = Review(bundle=bytes(32), verdict="approved", text="")

    def begun() -> Told:
        named = Guardians(dids=(KEYS[0], KEYS[1]), needed=2)
        later = identity(lost, FIRST[lost], revision=1, guardians=named, key=signing(lost))
        told = Told()
        told.say(lost, "keys", Keys(identity=later.raw))
        return told

    def body(told: Told, **changes: object) -> Recovery:
        made = Recovery(
            did=keys.public(lost), identity=FIRST[HEIR].raw, epoch=told.id,
            pins=(told.pin(lost),), reason="the safe burned",
        )  # fmt: skip
        return replace(made, **changes)  # type: ignore[arg-type]

    def recovered(supports: int = 2, confirms: int = 3) -> tuple[Told, Record]:
        told = begun()
        made = told.say(guards[0], "recovery", body(told))
        for root in guards[:supports]:
            told.vote(root, f"recover/{made.id.hex()}", made.id)
        for root in FOUNDERS[:confirms]:
            told.vote(root, f"recovered/{made.id.hex()}", made.id)
        return told, made

    for name, expect, comment, counts in (
        ("recovery-final", "ok", "two guardians, three voters", (2, 3)),
        ("recovery-guardians", "decision.quorum", "one guardian of two", (1, 3)),
        ("recovery-voters", "decision.quorum", "two voters of the three needed", (2, 2)),
    ):
        told, made = recovered(*counts)
        yield told.judged(name, expect, comment, recovery=made.id)
    for name, expect, comment, confirms in (
        ("recovered-before", "space.member", "the new root before it is final", 2),
        ("recovered-after", "ok", "and after", 3),
    ):
        told, _ = recovered(2, confirms)
        said = told.say(HEIR, "review", review)
        yield told.judged(name, expect, comment, review=said.id)
    told, _ = recovered()
    told.say(lost, "review", review)
    yield told.judged("recovered-lost", "space.removed", "the lost root's key, after")
    told, _ = recovered(2, 2)
    told.say(lost, "review", review)
    yield told.judged("recovered-own", "ok", "the lost root's key, before")
    told = begun()
    told.say(FOUNDERS[2], "recovery", body(told))
    yield told.judged("recovery-author", no, "proposed by somebody who is no guardian")
    told = begun()
    told.say(guards[0], "recovery", body(told, did=KEYS[2]))
    yield told.judged("recovery-unnamed", no, "of somebody who named no guardians")
    told = begun()
    told.say(guards[0], "recovery", body(told, identity=FIRST[lost].raw))
    yield told.judged("recovery-root", no, "to the root that is lost")
    told, made = recovered(2, 0)
    told.say(guards[1], "veto", Veto(recovery=made.id, reason="no"))
    yield told.judged("recovery-veto", no, "a veto by another participant")
    told, made = recovered(1, 0)
    told.vote(FOUNDERS[2], f"recover/{made.id.hex()}", made.id)
    yield told.judged("recovery-vote", "decision.voter", "a vote by no guardian")


def _credentials() -> Iterator[Named]:
    """A registrar of the terms vouches for an organization."""
    claims, did = Claims(legal_name="Hospital", country="NL"), KEYS[1]
    issuer, expired = "credential.issuer", "credential.expired"

    def issued(
        told: Told, by: bytes = FOUNDERS[0], until: int = UNTIL, subject: bytes = did
    ) -> Record:
        return told.say(by, "credential", Credential(subject=subject, claims=claims, until=until))

    told = Told()
    issued(told)
    yield told.judged("credential-valid", "ok", "by the registrar of the terms", credential=did)
    told = Told()
    issued(told, until=NOW)
    yield told.judged("credential-expired", expired, "it ends now", credential=did)
    told = Told()
    issued(told, until=NOW + 1)
    yield told.judged("credential-last", "ok", "it ends in a second", credential=did)
    told = Told()
    issued(told, by=FOUNDERS[1])
    yield told.judged("credential-issuer", issuer, "by a member who is no registrar")
    told = Told()
    issued(told, subject=KEYS[2])
    yield told.judged("credential-other", expired, "about another organization", credential=did)
    told = Told()
    made = issued(told)
    gone = CredentialRevocation(credential=made.id, reason="closed")
    told.say(FOUNDERS[0], "credential-revocation", gone)
    yield told.judged("credential-revoked", expired, "taken back", credential=did)
    told = Told()
    made = issued(told)
    gone = CredentialRevocation(credential=made.id, reason="closed")
    told.say(FOUNDERS[1], "credential-revocation", gone)
    yield told.judged("revocation-issuer", issuer, "a revocation by no registrar")
    both = replace(CHARTER, terms=replace(TERMS, registrars=(KEYS[0], KEYS[1])))
    told = Told(both)
    made = issued(told, subject=KEYS[2])
    gone = CredentialRevocation(credential=made.id, reason="closed")
    told.say(FOUNDERS[1], "credential-revocation", gone)
    yield told.judged(
        "revocation-other", "ok", "a revocation by another registrar is void", credential=KEYS[2]
    )
    told = Told()
    issued(told)
    told.decide(told.change(terms=replace(TERMS, registrars=())), QUORUM)
    yield told.judged(
        "credential-untrusted", expired, "the terms in force trust nobody", credential=did
    )
