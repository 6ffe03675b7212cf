"""A space: founded by all, joined by vote, and no member's records can break it."""

import random

import pytest

from protocol import record, shape
from protocol.errors import Refused
from protocol.events import Received
from protocol.identity import identity_topic
from protocol.kinds.common import Vote
from protocol.kinds.identity import Claims, Credential, CredentialRevocation, Identity, RecordKey
from protocol.kinds.space import Artifact, Charter, Founder, Invite, Join, Review, Terms
from protocol.machines.chain import admission_slot
from protocol.machines.membership import CHARTER_SLOT
from protocol.machines.space import Space
from protocol.record import Place, Record
from protocol.topic import Feeds, Opening, read_opening
from tests import agreements
from tests.agreements import AT, CAST, UNTIL, Actor, Pen, actor, seed

FOUNDERS = ("hospital-a", "hospital-b", "hospital-c", "registrar")
GUEST = CAST["sponsor"]
ZERO = bytes(32)
CHARTER = shape.encode(
    Charter(
        name="lung",
        purpose="survival",
        founders=tuple(
            Founder(identity=CAST[name].participant.raw, roles=("data-provider",))
            for name in FOUNDERS
        ),
        terms=Terms(registrars=(CAST["registrar"].did,), advisors=(), recovery_delay=3600),
        salt=ZERO,
    )
)
OPENING = read_opening(CHARTER)


class Telling:
    """A space behind its gate."""

    def __init__(self, opening: Opening = OPENING) -> None:
        self.space = Space(opening)
        self.feeds = Feeds(opening.topic, "space")
        self.pens: dict[str, Pen] = {}
        self.told: list[Record] = []

    def tell(self, made: Record) -> None:
        if self.feeds.check(made, self.space, made.at):
            self.feeds.add(made)
            self.told.append(made)
            self.space.handle(Received(made), 0.0)

    def say(self, who: str | Actor, kind: str, body: object, at: int = AT) -> Record:
        made = self.write(who, kind, body, at)
        self.tell(made)
        return made

    def write(self, who: str | Actor, kind: str, body: object, at: int = AT) -> Record:
        found = CAST[who] if isinstance(who, str) else who
        pen = self.pens.setdefault(found.signing.hex(), Pen(found, self.space.id))
        return pen.write(kind, body, at)

    def refused(self, code: str, who: str | Actor, kind: str, body: object, at: int = AT) -> None:
        made = self.write(who, kind, body, at)
        with pytest.raises(Refused) as caught:
            self.tell(made)
        assert caught.value.code == code
        found = CAST[who] if isinstance(who, str) else who
        self.pens[found.signing.hex()].place = Place(seq=made.seq, prev=made.prev)

    def idle(self, code: str, who: str | Actor, kind: str, body: object) -> Record:
        """Say what is taken and counts for nothing; nobody's own node would say it."""
        made = self.say(who, kind, body)
        with pytest.raises(Refused) as caught:
            self.space.check_counts(made)
        assert caught.value.code == code
        return made

    def found(self) -> "Telling":
        for name in FOUNDERS:
            self.say(name, "vote", yes(CHARTER_SLOT, self.space.id))
        return self

    def invite(self, name: str = "hospital-a", guest: Actor = GUEST) -> Record:
        return self.say(name, "invite", invite(guest))

    def admit(self, join: Record, names: tuple[str, ...] = FOUNDERS[:3]) -> None:
        for name in names:
            self.say(name, "vote", yes(admission_slot(self.space.epoch.id, join.id), join.id))


def yes(slot: str, subject: bytes) -> Vote:
    return Vote(slot=slot, subject=subject, choice="yes", identity=ZERO)


def invite(guest: Actor, until: int = UNTIL, roles: tuple[str, ...] = ()) -> Invite:
    return Invite(identity=guest.participant.raw, roles=roles, until=until)


def renewed(who: Actor, revision: int, key: bytes) -> bytes:
    """Another identity of a participant, by its root."""
    body = Identity(
        revision=revision,
        name=who.name,
        nodes=(seed("other node"),),
        records=(RecordKey(key=key, vote=True, until=UNTIL),),
        sealing=bytes(1216),
        until=UNTIL,
    )
    return record.sign(
        who.root,
        topic=identity_topic(who.did),
        author=who.did,
        kind="identity",
        body=body,
        place=Place(seq=revision, prev=ZERO if revision else None),
        at=AT,
        salt=bytes(16),
    ).raw


def test_a_space_stands_once_every_founder_signed() -> None:
    told = Telling()
    for name in FOUNDERS[:3]:
        told.say(name, "vote", yes(CHARTER_SLOT, OPENING.topic))
    assert not told.space.founded
    assert told.space.members() == {}
    early = told.idle("space.member", "hospital-a", "invite", invite(GUEST))
    assert told.space.invites == {}
    told.say(FOUNDERS[3], "vote", yes(CHARTER_SLOT, OPENING.topic))
    assert told.space.founded
    assert set(told.space.invites) == {early.id}
    assert set(told.space.members()) == {CAST[name].did for name in FOUNDERS}


def test_a_founder_that_signs_something_else_unmakes_no_space() -> None:
    told = Telling().found()
    told.say("hospital-a", "vote", yes(CHARTER_SLOT, ZERO))
    assert told.space.founded


def test_a_guest_joins_by_invite_and_vote_and_then_publishes() -> None:
    told = Telling().found()
    told.refused("record.author", GUEST, "join", Join(invite=ZERO))
    made = told.invite()
    told.say(GUEST, "join", Join(invite=ZERO))
    join = told.say(GUEST, "join", Join(invite=made.id))
    review = Review(bundle=ZERO, verdict="approved", text="")
    early = told.idle("space.member", GUEST, "review", review)
    waiting = told.space.waiting_joins(CAST["hospital-a"].did)
    assert [guest.name for _, guest in waiting] == ["sponsor"]
    told.admit(join, FOUNDERS[:2])
    assert GUEST.did not in told.space.members()
    told.admit(join, FOUNDERS[2:3])
    assert GUEST.did in told.space.members()
    said = told.say(GUEST, "review", review)
    assert [record.id for record, _ in told.space.reviews] == [early.id, said.id]


def test_an_invite_is_used_once_in_time_and_by_its_guest() -> None:
    """What answers no invite counts for nothing, and does not end the feed of its author."""
    told = Telling().found()
    made = told.say("hospital-a", "invite", invite(GUEST, AT + 10))
    told.invite(guest=CAST["biostat-lab"])
    told.say("biostat-lab", "join", Join(invite=made.id))
    told.say(GUEST, "join", Join(invite=made.id), AT + 11)
    assert told.space.joins == {}
    join = told.say(GUEST, "join", Join(invite=made.id))
    told.say(GUEST, "join", Join(invite=made.id))
    assert list(told.space.joins) == [join.id]


def test_a_guest_does_not_vote() -> None:
    told = Telling().found()
    join = told.say(GUEST, "join", Join(invite=told.invite().id))
    told.refused(
        "decision.voter", GUEST, "vote", yes(admission_slot(told.space.id, join.id), join.id)
    )


def test_a_vote_stands_in_the_slot_of_its_subject() -> None:
    told = Telling().found()
    told.refused("decision.subject", "hospital-a", "vote", yes("admit/xyz", ZERO))
    told.refused("decision.subject", "hospital-a", "vote", yes("run/1/1", ZERO))


@pytest.mark.parametrize("identity", [b"", b"\xff" * 40, CAST["sponsor"].participant.raw[:-1]])
def test_an_invite_without_a_sound_identity_is_refused_before_it_is_kept(identity: bytes) -> None:
    """It must not reach the journal: every node would fail on it at each start."""
    told = Telling().found()
    bad = Invite(identity=identity, roles=(), until=UNTIL)
    made = told.write("hospital-a", "invite", bad)
    with pytest.raises(Refused):
        told.tell(made)
    assert told.space.invites == {}


def test_a_newer_identity_of_a_founder_counts_whoever_brings_it() -> None:
    """Its root signed it; an invite by another is but the carrier."""
    told = Telling().found()
    newer = agreements.renewed(CAST["hospital-b"], seed("new key"))
    told.invite(guest=newer)
    assert told.space.participants()[CAST["hospital-b"].did].revision == 1
    join = told.say(GUEST, "join", Join(invite=told.invite().id))
    told.admit(join, FOUNDERS[:1])
    told.say(newer, "vote", yes(admission_slot(told.space.id, join.id), join.id))
    told.admit(join, FOUNDERS[2:3])
    assert GUEST.did in told.space.members()


def test_of_a_guest_the_newest_identity_counts_in_any_order() -> None:
    key = actor("x", seed("new key")).participant.vote_key
    raws = [GUEST.participant.raw, renewed(GUEST, 5, key), renewed(GUEST, 3, ZERO)]
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        told = Telling().found()
        for number in order:
            body = Invite(identity=raws[number], roles=(), until=UNTIL)
            told.say("hospital-a", "invite", body)
        assert told.space.participants()[GUEST.did].revision == 5


def test_two_admissions_of_one_guest_give_the_roles_of_the_later() -> None:
    told = Telling().found()
    joins = []
    for number, role in enumerate(("data-consumer", "code-provider")):
        made = told.say("hospital-a", "invite", invite(GUEST, roles=(role,)))
        joins.append(told.say(GUEST, "join", Join(invite=made.id), AT + number))
    for join in joins:
        told.admit(join)
    chance = random.Random(2)  # noqa: S311 (a simulation)
    for _ in range(6):
        chance.shuffle(told.told)
        assert retold(told.told).space.members()[GUEST.did].roles == ("code-provider",)


def test_credentials_come_from_registrars_and_end() -> None:
    told = Telling().found()
    claims = Claims(legal_name="Guest BV", country="NL")
    body = Credential(subject=GUEST.did, claims=claims, until=AT + 10)
    told.refused("credential.issuer", "hospital-a", "credential", body)
    made = told.say("registrar", "credential", body)
    assert told.space.credential(GUEST.did, AT) == body
    assert told.space.credential(GUEST.did, AT + 10) is None
    taken = CredentialRevocation(credential=made.id, reason="closed")
    told.refused("credential.issuer", "hospital-a", "credential-revocation", taken)
    told.say("registrar", "credential-revocation", taken)
    assert told.space.credential(GUEST.did, AT) is None


def test_the_publisher_does_not_review_itself() -> None:
    told = Telling().found()
    bundle = Artifact(name="cox", version="1", blob=ZERO, size=1)
    told.say("hospital-a", "algorithm", bundle)
    for name in ("hospital-a", "hospital-b"):
        told.say(name, "review", Review(bundle=ZERO, verdict="approved", text=""))
    assert told.space.approvals(ZERO) == [CAST["hospital-b"].did]


def retold(records: list[Record], opening: Opening = OPENING) -> Telling:
    other = Telling(opening)
    waiting = list(records)
    while waiting:
        late = []
        for made in waiting:
            try:
                other.tell(made)
            except Refused:
                late.append(made)
        assert len(late) < len(waiting), "no progress"
        waiting = late
    return other


def test_order_of_arrival_changes_nothing() -> None:
    told = Telling().found()
    for name in ("sponsor", "biostat-lab", "host-1"):
        join = told.say(name, "join", Join(invite=told.invite(guest=CAST[name]).id))
        told.admit(join)
    chance = random.Random(1)  # noqa: S311 (a simulation)
    for _ in range(8):
        chance.shuffle(told.told)
        other = retold(told.told)
        assert other.space.members() == told.space.members()
        assert other.space.participants() == told.space.participants()
