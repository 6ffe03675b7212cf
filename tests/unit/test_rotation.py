"""A party takes a key back in the middle of an agreement: what stands, what falls, who goes on."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits, record, replay, shape
from protocol.errors import Refused
from protocol.identity import History
from protocol.kinds.agreement import AgreementOpening, Suspension
from protocol.kinds.common import Vote
from protocol.kinds.host import Lapse
from protocol.kinds.identity import Keys, Pin
from protocol.kinds.run import Order
from protocol.machines.agreement import Collaboration, Self
from protocol.record import Record
from protocol.topic import Feeds, Head, read_opening
from tests.agreements import AT, SPONSOR, A, Actor, B, Pen, renewed, seed
from tests.in_force import AGREED, OPENING, QUORUM, VOTERS, ZERO, Telling

NEW, OTHER = seed("new key"), seed("other node")


def introduce(found: Telling, who: Actor, name: str) -> Record:
    """`who` brings its newest identity, signed by its newest key; its pen is `name`."""
    found.pens[name] = Pen(who, found.topic)
    return found.say(name, "keys", Keys(identity=who.participant.raw))


def committed(found: Telling, *, with_: str = "hospital-a") -> Record:
    """Run 1 is decided by a quorum in which `with_` signs for hospital-a."""
    order = found.order()
    found.summon(order)
    names = [with_, *QUORUM[1:]]
    statements = [found.state(name) for name in names]
    made = found.say("one", "run", found.run(order, statements))
    for name in names:
        found.vote_run(name, made)
    return made


def test_elections_and_runs_go_on_after_a_rotation_and_old_votes_stand() -> None:
    found = Telling()
    found.elect()
    after = renewed(A, NEW)
    introduce(found, after, "a-new")
    assert found.election.elected() is not None
    made = committed(found, with_="a-new")
    assert found.runs.committed()[1][0].id == made.id
    assert found.machine.parties[A.did] == after.participant


def test_one_party_has_one_vote_whatever_its_keys() -> None:
    found = Telling()
    candidacy = found.offer("host-1")
    appointment = found.appointment(candidacy)
    introduce(found, renewed(A, NEW), "a-new")
    for name in ("hospital-a", "a-new", *QUORUM[1:3]):
        found.vote_host(name, appointment)
    assert found.election.elected() is None  # three parties, four records
    found.vote_host(QUORUM[3], appointment)
    assert found.election.elected() is not None


def test_a_stolen_key_is_worth_its_pins_and_nothing_more() -> None:
    found = Telling()
    candidacy = found.offer("host-1")
    first = found.vote_host("hospital-a", found.appointment(candidacy))
    pin = Pin(topic=found.topic, seq=first.seq, head=first.id)
    introduce(found, renewed(A, NEW, "stolen", (pin,)), "a-new")
    found.refused("identity.retired", "hospital-a", "lapse", Lapse(term=1, reason="thief"))
    for name in QUORUM[1:]:
        found.vote_host(name, found.appointment(candidacy))
    assert found.election.elected() is not None  # the vote within the pins counts
    assert found.machine.ends(lambda _, __: None) == {A.participant.vote_key: 1}


def test_words_of_one_author_by_two_keys_have_an_order() -> None:
    found = Telling()
    found.elect()
    found.say("hospital-a", "suspension", Suspension(reason="wait"), at=AT)
    introduce(found, renewed(A, NEW), "a-new")
    found.say("a-new", "resumption", Suspension(reason="go"), at=AT + 2)
    assert not found.runs.suspended
    backwards = retold(found.told, sorted(found.told, key=lambda one: -one.at))
    assert not backwards.runs.suspended


def test_a_key_without_vote_shares_and_orders_and_decides_nothing() -> None:
    found = Telling()
    found.elect()
    after = renewed(SPONSOR, SPONSOR.signing, others=(OTHER,))
    second = replace(after, signing=OTHER)
    introduce(found, second, "node-2")
    order = found.say("node-2", "order", Order(entry="fit", parameters=AGREED))
    assert order.id in found.runs.orders
    found.refused("record.policy", "node-2", "lapse", Lapse(term=1, reason="x"))
    vote = Vote(slot="host/1", subject=ZERO, choice="yes", identity=ZERO)
    found.refused("record.policy", "node-2", "vote", vote)


def test_an_identity_comes_with_its_own_key_and_of_its_own_author_only() -> None:
    found = Telling()
    after = renewed(A, NEW)
    found.pens["thief"] = Pen(Actor("x", seed("x"), seed("thief"), A.participant), found.topic)
    found.refused("record.author", "thief", "keys", Keys(identity=after.participant.raw))
    found.refused("record.author", "hospital-b", "keys", Keys(identity=after.participant.raw))
    # A key that is known already may bring it.
    found.say("hospital-a", "keys", Keys(identity=after.participant.raw))
    found.refused("record.author", "hospital-a", "keys", Keys(identity=B.participant.raw))


def test_statements_name_the_identities_that_changed() -> None:
    found = Telling()
    found.elect()
    after = renewed(A, NEW)
    introduce(found, after, "a-new")
    found.summon(found.order())
    (said,) = Telling.published(found, "statement") or (None,)
    assert said is not None
    assert said.identities == (after.participant.id,)


# --- void records: the room is a function of the set ----------------------------------------


def retold(told: list[Record], order: list[Record]) -> Collaboration:
    """The machine of another node that gets the same records in another order."""
    opening = read_opening(OPENING)
    feeds = Feeds(opening.topic, "agreement")
    machine = Collaboration(opening, Self(did=B.did, identity=ZERO))
    kept: list[Record] = []
    waiting = list(order)
    for _ in range(len(told) + 1):
        for one in list(waiting):
            try:
                new = feeds.check(one, machine, one.at)
            except Refused:
                continue
            waiting.remove(one)
            if new:
                feeds.add(one)
                kept.append(one)
                machine.handle(replay.Received(one), 0.0)
                if one.kind == "keys" and replay.learn_ends(feeds, machine):
                    machine = rebuilt(feeds, kept)
    return machine


def rebuilt(feeds: Feeds, kept: list[Record]) -> Collaboration:
    """What the node makes of its journal once records turned out to be void."""
    opening = read_opening(OPENING)
    sizes: dict[bytes, Head] = {}
    for one in kept:
        last = sizes.get(one.key)
        if last is None or last.seq < one.seq:
            sizes[one.key] = Head(one.seq, one.id, 0)
    return replay.replay(
        feeds, sizes, lambda: Collaboration(opening, Self(did=B.did, identity=ZERO)), kept, 0.0
    )


def stolen_story() -> list[Record]:
    """A's key is stolen after its first vote; the thief votes and lapses on; A revokes it."""
    found = Telling()
    candidacy = found.offer("host-1")
    appointment = found.appointment(candidacy)
    first = found.vote_host("hospital-a", appointment)
    for name in QUORUM[1:3]:
        found.vote_host(name, appointment)
    found.say("hospital-a", "lapse", Lapse(term=1, reason="thief"))
    found.say(VOTERS[4], "lapse", Lapse(term=1, reason="silent"))
    pin = Pin(topic=found.topic, seq=first.seq, head=first.id)
    introduce(found, renewed(A, NEW, "stolen", (pin,)), "a-new")
    return found.told


STOLEN = stolen_story()


def view(machine: Collaboration) -> object:
    return (
        machine.election.term,
        {t: sorted(v.id for v in b.votes.values()) for t, b in machine.election.ballots.items()},
        {t: sorted(who) for t, who in machine.election.lapses.items()},
        sorted(machine.histories[A.did].voting_keys),
    )


@settings(max_examples=60, deadline=None)
@given(st.permutations(STOLEN))
def test_a_revocation_before_or_after_what_it_voids_gives_the_same_state(order) -> None:
    assert view(retold(STOLEN, order)) == view(retold(STOLEN, STOLEN))


def test_what_the_thief_said_is_void_and_what_the_owner_said_stands() -> None:
    machine = retold(STOLEN, STOLEN)
    assert A.did not in machine.election.lapses[1]
    assert A.did in machine.election.ballots[1].votes
    assert machine.election.term == 1


def test_an_opening_whose_vote_is_void_is_refused_by_who_knows() -> None:
    after = renewed(A, NEW, "stolen", ())
    known = {A.did: History.of(A.participant, after.participant)}
    with pytest.raises(Refused) as caught:
        read_opening(OPENING, known)
    assert caught.value.code == "agreement.certificate"
    assert shape.encode(read_opening(OPENING).document)


def test_an_opening_may_be_signed_by_a_key_that_is_newer_than_what_is_known() -> None:
    other = renewed(A, NEW).participant
    known = {A.did: History.of(other)}
    assert read_opening(OPENING, known) == read_opening(OPENING)
    assert list(known[A.did].revisions()) == [other]


def test_an_opening_whose_signature_is_within_the_pins_stands() -> None:
    votes = map(record.parse, shape.decode(AgreementOpening, OPENING, limits.FRAME).votes)
    mine = next(one for one in votes if one.author == A.did)
    pin = Pin(topic=mine.topic, seq=mine.seq, head=mine.id)
    after = renewed(A, NEW, "stolen", (pin,))
    known = {A.did: History.of(A.participant, after.participant)}
    assert read_opening(OPENING, known) == read_opening(OPENING)
