"""Whatever the members of a space do, its state is a function of the set of their records."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import keys, limits
from protocol.errors import Refused
from protocol.kinds.identity import Keys
from protocol.kinds.space import FeedPin, Join, Leave, Review
from protocol.machines.chain import admission_slot
from protocol.machines.epochs import step_slot
from tests import agreements
from tests.agreements import AT, CAST, Actor, seed
from tests.unit.test_space import FOUNDERS, GUEST, Telling, invite, yes
from tests.unit.test_space_epochs import (
    REVIEW,
    ZERO,
    change,
    check_orders,
    decide,
    guest_in,
    retold,
    state,
)
from tests.vectors.stories import Story

NAMES = (*FOUNDERS, "sponsor", "biostat-lab")


@dataclass
class Life:
    """A space whose members act at random; what the gate refuses, an honest node never sends."""

    random: random.Random
    told: Telling = field(default_factory=lambda: Telling().found())
    actors: dict[str, Actor] = field(default_factory=lambda: dict(CAST))
    count: int = 0

    def act(self) -> None:
        name = self.random.choice(NAMES)
        acts = (
            self.invite, self.join, self.admit, self.admit, self.propose, self.remove, self.vote,
            self.vote, self.vote, self.duty, self.duty, self.duty, self.leave, self.review,
            self.rotate,
        )  # fmt: skip
        self.count += 1
        self.random.choice(acts)(name)

    def say(self, name: str, kind: str, body: object) -> None:
        who = self.actors[name]
        pen = self.told.pens.get(who.signing.hex())
        before = pen.place if pen else None
        made = self.told.write(who, kind, body, AT + self.count)
        try:
            self.told.tell(made)
        except Refused:
            pen = self.told.pens[who.signing.hex()]
            pen.place = before if before is not None else type(pen.place)()

    def invite(self, name: str) -> None:
        guest = self.actors[self.random.choice(NAMES[3:])]
        self.say(name, "invite", invite(guest))

    def join(self, name: str) -> None:
        if self.told.space.invites:
            chosen = self.random.choice(sorted(self.told.space.invites))
            self.say(name, "join", Join(invite=chosen))

    def admit(self, name: str) -> None:
        space = self.told.space
        if space.joins:
            join = self.random.choice(sorted(space.joins))
            epoch = self.random.choice(space.chain.epochs[-2:])
            self.say(name, "vote", yes(admission_slot(epoch.id, join), join))

    def propose(self, name: str) -> None:
        self.say(name, "change", change(self.told, reason=str(self.count)))

    def remove(self, name: str) -> None:
        victim = self.random.choice(NAMES)
        key = keys.public(CAST[victim].signing)
        if key in self.told.feeds.heads and len(self.told.space.members()) > 2:
            self.say(name, "change", change(self.told, (victim,)))

    def vote(self, name: str) -> None:
        space = self.told.space
        proposed = [record.id for record, _ in space.chain.proposed()]
        round_ = space.chain.current.round_for(CAST[name].did)
        if proposed and round_ is not None:
            subject = space.chain.current.bound(round_) or self.random.choice(proposed)
            self.say(name, "vote", yes(step_slot("change", space.epoch.id, round_), subject))

    def duty(self, name: str) -> None:
        who = self.actors[name]
        for effect in self.told.space.duties(who.did, keys.public(who.signing), ZERO, 0.0):
            self.say(name, "vote", effect.body)  # type: ignore[union-attr]

    def leave(self, name: str) -> None:
        if self.random.random() < 0.2 and len(self.told.space.members()) > 3:
            revision = self.actors[name].participant.revision
            self.say(name, "leave", Leave(revision=revision, reason="", pins=()))

    def review(self, name: str) -> None:
        digest = seed(str(self.count))
        self.say(name, "review", Review(bundle=digest, verdict="approved", text=""))

    def rotate(self, name: str) -> None:
        if self.random.random() < 0.3:
            newer = agreements.renewed(self.actors[name], seed(f"{name} {self.count}"))
            before = len(self.told.told)
            old, self.actors[name] = self.actors[name], newer
            self.say(name, "keys", Keys(identity=newer.participant.raw))
            if len(self.told.told) == before:
                self.actors[name] = old


OTHERS = ("hospital-a", "hospital-b", "registrar")


def test_what_a_member_said_whose_admission_fell_counts_nowhere() -> None:
    """Who knew that first takes it all the same: else the feed would end there, and not here."""
    told = Telling().found()
    body = change(told, ("hospital-c",))
    join = told.say(GUEST, "join", Join(invite=told.invite().id))
    told.admit(join, ("hospital-a", "hospital-b", "hospital-c"))
    said = told.say(GUEST, "review", REVIEW)
    told.say(GUEST, "invite", invite(CAST["biostat-lab"]))
    again = told.say(GUEST, "join", Join(invite=told.invite("hospital-b").id))
    assert [record.id for record, _ in told.space.reviews] == [said.id]
    decide(told, body, OTHERS)
    assert not told.space.was_member(GUEST.did)
    assert told.space.reviews == []
    assert CAST["biostat-lab"].did not in told.space.participants()
    assert again.id in told.space.joins
    check_orders(told)
    told.admit(join, OTHERS)
    assert [record.id for record, _ in told.space.reviews] == [said.id]
    check_orders(told)


def test_what_somebody_said_who_was_back_for_a_while_counts_nowhere() -> None:
    told = Telling().found()
    guest_in(told)
    decide(told, change(told, ("sponsor",)), OTHERS)
    body = change(told, ("hospital-c",))
    back = agreements.renewed(GUEST, seed("back"))
    join = told.say(back, "join", Join(invite=told.invite(guest=back).id))
    told.admit(join, ("hospital-a", "hospital-b", "hospital-c"))
    said = told.say(back, "review", REVIEW)
    again = told.say(back, "join", Join(invite=told.invite(guest=back).id))
    assert [record.id for record, _ in told.space.reviews] == [said.id]
    decide(told, body, OTHERS)
    assert told.space.reviews == []
    assert again.id in told.space.joins
    check_orders(told)


def test_a_leave_beyond_the_pin_of_a_removal_ends_nothing() -> None:
    told = Telling().found()
    guest_in(told)
    back = agreements.renewed(GUEST, seed("back"))
    told.say(back, "keys", Keys(identity=back.participant.raw))
    body = change(told, ("sponsor",))
    told.say(back, "review", REVIEW)
    pin = FeedPin(key=keys.public(back.signing), seq=0, head=ZERO)
    told.say(GUEST, "leave", Leave(revision=1, reason="", pins=(pin,)))
    decide(told, body, OTHERS)
    check_orders(told)


def test_who_is_no_member_floods_no_space_with_invites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INVITES", 2)
    told = Telling().found()
    told.say(GUEST, "join", Join(invite=told.invite().id))
    for _ in range(2):
        told.say(GUEST, "invite", invite(CAST["biostat-lab"]))
    told.refused("record.policy", GUEST, "invite", invite(CAST["biostat-lab"]))


def check_life(number: int, acts: int, times: int) -> None:
    life = Life(random.Random(number))  # noqa: S311 (a simulation)
    for _ in range(acts):
        life.act()
    check_orders(life.told, times, f"life {number} of {acts} acts")


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_order_of_arrival_changes_nothing(number: int) -> None:
    check_life(number, 60, 2)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 4000, 100))
def test_order_of_arrival_changes_nothing_for_long(first: int) -> None:
    """514, 538 and 545 once were kept in one order and refused in another."""
    for number in range(first, first + 100):
        check_life(number, 200, 3)


def check_story(seed_: str, acts: int, times: int) -> None:
    """A life in which identities that others show take keys back, and contradict others."""
    story = Story(random.Random(seed_))  # noqa: S311 (a simulation)
    for _ in range(acts):
        if not story.over and len(story.told.records) < 60:
            story.act()
    told = Telling(story.space.opening)
    for one in story.kept:
        told.tell(one)
    wanted = state(told.space)
    told.space.rebuild()
    assert state(told.space) == wanted
    for _ in range(times):
        order = story.chance.sample(told.told, len(told.told))
        found = retold(order, opening=story.space.opening)
        reached = state(found.space)
        found.space.rebuild()
        assert state(found.space) == reached
        # What was void when it came was not taken, nor what stands in its feed after it.
        assert len(found.told) < len(order) or reached == wanted


@pytest.mark.parametrize("number", [7223, *range(12)])
def test_who_is_shown_by_others_changes_nothing_either(number: int) -> None:
    """7223: an invite shows an identity by which it would itself be void."""
    check_story(f"s{number}", 60, 4)


@pytest.mark.soak
def test_who_is_shown_by_others_changes_nothing_for_long() -> None:
    for number in range(2_000):
        check_story(f"s{number}", 60, 2)


def test_the_walk_reaches_what_it_is_for() -> None:
    """Else nothing would be tested."""
    reached = set()
    for number in range(25):
        life = Life(random.Random(number))  # noqa: S311 (a simulation)
        for _ in range(150):
            life.act()
        space = life.told.space
        reached |= {"epochs"} if len(space.chain.epochs) > 2 else set()
        reached |= {"removed"} if any(True for _ in space.chain.removals()) else set()
        reached |= {"left"} if space.membership.leaves else set()
        reached |= {"admitted"} if space.chain.admitted else set()
        reached |= {"rotated"} if any(a is not CAST[n] for n, a in life.actors.items()) else set()
    assert reached == {"epochs", "removed", "left", "admitted", "rotated"}
