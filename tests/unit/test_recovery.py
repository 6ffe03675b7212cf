"""A root is lost: guardians pass the seat on, after a delay, unless a live key says no."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import keys, record
from protocol.effects import Publish
from protocol.errors import Refused
from protocol.events import Received
from protocol.identity import identity_topic
from protocol.kinds.identity import Guardians, Identity, Keys, RecordKey
from protocol.kinds.space import FeedPin, Invite, Join, Recovery, Veto
from protocol.machines.chain import admission_slot
from protocol.machines.recovery import CONFIRM, SUPPORT
from protocol.machines.space import Space
from protocol.record import Place, Record
from protocol.topic import Feeds
from tests.agreements import AT, CAST, UNTIL, Actor, actor
from tests.unit.test_space import FOUNDERS, GUEST, OPENING, ZERO, Telling, yes
from tests.unit.test_space_epochs import check_orders

LOST, *OTHERS = FOUNDERS
GUARDIANS = tuple(CAST[name].did for name in OTHERS[:2])
HEIR = actor("heir")
DELAY = float(Space(OPENING).terms.recovery_delay)


def named(who: Actor, guardians: Guardians) -> bytes:
    """The next identity of a participant, with guardians."""
    last = who.participant
    body = Identity(
        revision=1,
        name=who.name,
        nodes=last.nodes,
        records=(RecordKey(key=last.vote_key, vote=True, until=UNTIL),),
        sealing=last.sealing,
        until=UNTIL,
        guardians=guardians,
    )
    return record.sign(
        who.root,
        topic=identity_topic(who.did),
        author=who.did,
        kind="identity",
        body=body,
        place=Place(seq=1, prev=last.id),
        at=AT,
        salt=bytes(16),
    ).raw


def begun() -> Telling:
    told = Telling().found()
    raw = named(CAST[LOST], Guardians(dids=GUARDIANS, needed=2))
    told.say(LOST, "keys", Keys(identity=raw))
    return told


def body(told: Telling, **changes: object) -> Recovery:
    last = told.feeds.heads[CAST[LOST].participant.vote_key]
    pin = FeedPin(key=CAST[LOST].participant.vote_key, seq=last.seq, head=last.id)
    made = Recovery(
        did=CAST[LOST].did,
        identity=HEIR.participant.raw,
        epoch=told.space.epoch.id,
        pins=(pin,),
        reason="the safe burned",
    )
    return replace(made, **changes)


def support(told: Telling, found: Record, names: list[str]) -> None:
    for name in names:
        told.say(name, "vote", yes(SUPPORT + found.id.hex(), found.id))


def confirm(told: Telling, now: float) -> None:
    """What the nodes of the others publish by themselves."""
    for name in OTHERS:
        one = CAST[name]
        for effect in told.space.duties(one.did, keys.public(one.signing), ZERO, now):
            assert isinstance(effect, Publish)
            told.say(name, effect.kind, effect.body)


def recovered() -> Telling:
    told = begun()
    found = told.say(OTHERS[0], "recovery", body(told))
    support(told, found, OTHERS[:2])
    confirm(told, 0.0)
    confirm(told, DELAY + 1)
    return told


def test_the_seat_passes_to_the_new_root_after_the_delay() -> None:
    told = begun()
    roles = told.space.members()[CAST[LOST].did].roles
    found = told.say(OTHERS[0], "recovery", body(told))
    support(told, found, OTHERS[:1])
    confirm(told, DELAY * 9)
    assert HEIR.did not in told.space.members()  # one guardian is not enough
    support(told, found, OTHERS[1:2])
    confirm(told, 0.0)
    confirm(told, DELAY - 1)
    assert HEIR.did not in told.space.members()
    confirm(told, DELAY + 1)
    members = told.space.members()
    assert members[HEIR.did].roles == roles
    assert CAST[LOST].did not in members
    told.refused("space.removed", LOST, "invite", _invite())
    told.say(HEIR, "invite", _invite())


def _invite() -> object:
    return Invite(identity=actor("guest").participant.raw, roles=(), until=UNTIL)


def test_who_was_recovered_votes_in_nothing_that_was_open_before() -> None:
    told = begun()
    guest = actor("guest")
    invite = told.say(OTHERS[0], "invite", _invite())
    join = told.say(guest, "join", Join(invite=invite.id))
    found = told.say(OTHERS[0], "recovery", body(told))
    support(told, found, OTHERS[:2])
    confirm(told, 0.0)
    confirm(told, DELAY + 1)
    assert HEIR.did in told.space.members()
    slot = admission_slot(told.space.epoch.id, join.id)
    told.refused("decision.voter", HEIR, "vote", yes(slot, join.id))


def test_a_live_key_vetoes_and_nobody_else() -> None:
    told = begun()
    found = told.say(OTHERS[0], "recovery", body(told))
    told.refused("space.recovery", OTHERS[1], "veto", Veto(recovery=found.id, reason="x"))
    told.refused("space.recovery", LOST, "veto", Veto(recovery=ZERO, reason="x"))
    support(told, found, OTHERS[:2])
    confirm(told, 0.0)
    told.say(LOST, "veto", Veto(recovery=found.id, reason="I have it"))
    confirm(told, DELAY * 9)
    assert HEIR.did not in told.space.members()
    assert CAST[LOST].did in told.space.members()


def test_only_guardians_recover() -> None:
    told = begun()
    told.refused("space.recovery", OTHERS[2], "recovery", body(told))
    told.refused("space.recovery", LOST, "recovery", body(told))
    told.refused("space.recovery", OTHERS[0], "recovery", body(told, did=CAST[OTHERS[1]].did))
    told.refused("space.epoch", OTHERS[0], "recovery", body(told, epoch=ZERO))
    own = named(CAST[LOST], Guardians(dids=GUARDIANS, needed=1))
    told.refused("space.recovery", OTHERS[0], "recovery", body(told, identity=own))
    found = told.say(OTHERS[0], "recovery", body(told))
    slot = SUPPORT + found.id.hex()
    told.refused("decision.voter", OTHERS[2], "vote", yes(slot, found.id))
    told.refused("decision.subject", OTHERS[0], "vote", yes(slot, ZERO))
    told.refused("space.recovery", OTHERS[0], "vote", yes(SUPPORT + ZERO.hex(), ZERO))
    told.refused("decision.subject", OTHERS[0], "vote", yes(SUPPORT + "zz", found.id))


def test_of_two_heirs_a_voter_confirms_one() -> None:
    told = begun()
    one = told.say(OTHERS[0], "recovery", body(told))
    other = told.say(OTHERS[1], "recovery", body(told, identity=actor("thief").participant.raw))
    for found in (one, other):
        support(told, found, OTHERS[:2])
    for now in (0.0, DELAY + 1, DELAY * 2):
        confirm(told, now)
    confirmed = [v for v in told.told if str((v.body or {}).get("slot")).startswith(CONFIRM)]
    assert len({vote.author for vote in confirmed}) == len(confirmed) == len(OTHERS)
    assert len(told.space.recoveries.finals) == 1


def test_the_heir_is_heard_before_and_known_to_guests() -> None:
    told = begun()
    assert HEIR.did not in told.space.audience()
    told.say(OTHERS[0], "recovery", body(told))
    assert HEIR.did in told.space.audience()


STORY = recovered().told


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_order_of_arrival_changes_who_is_a_member(chance: random.Random) -> None:
    order = list(STORY)
    chance.shuffle(order)
    space, feeds = Space(OPENING), Feeds(OPENING.topic, "space")
    waiting = order
    for _ in range(len(order)):
        late = []
        for one in waiting:
            try:
                if feeds.check(one, space, one.at):
                    feeds.add(one)
                    space.handle(Received(one), 0.0)
            except Refused:
                late.append(one)
        waiting = late
    assert not waiting
    assert HEIR.did in space.members()
    assert CAST[LOST].did not in space.members()


def test_what_the_lost_showed_after_its_pin_falls_whatever_came_first() -> None:
    """Made again from all records, the state is the same: what it showed is not known."""
    told = begun()
    made = body(told)
    told.invite(LOST)
    found = told.say(OTHERS[0], "recovery", made)
    support(told, found, OTHERS[:2])
    assert GUEST.did in told.space.participants()
    confirm(told, 0.0)
    confirm(told, DELAY + 1)
    assert (told.space.invites, GUEST.did in told.space.participants()) == ({}, False)
    told.refused("record.author", GUEST, "join", Join(invite=ZERO))
    check_orders(told)
