"""A machine from the set of its records: what rested on void records falls with them."""

import copy

from protocol import keys, kinds, record
from protocol.events import Received
from protocol.kinds.common import Vote
from protocol.kinds.space import Commitment, Invite, Join
from protocol.machines.membership import CHARTER_SLOT
from protocol.machines.space import Space
from protocol.record import Place, Record
from protocol.replay import replay
from protocol.topic import Feeds
from tests.agreements import AT, Actor, actor
from tests.sim.space_swarm import SpaceSwarm, Weather

SWARM = SpaceSwarm(1, 3, Weather())
OPENING = SWARM.opening
FOUNDERS = [actor(f"author-{number}") for number in range(3)]
GUEST = actor("guest")


class Pen:
    """A space as it comes about, record by record, through the gate."""

    def __init__(self) -> None:
        self.feeds = Feeds(OPENING.topic, "space")
        self.machine = Space(OPENING)
        self.told: list[Record] = []
        for one in FOUNDERS:
            vote = Vote(
                slot=CHARTER_SLOT, subject=OPENING.topic, choice="yes", identity=one.participant.id
            )
            self.write(one, "vote", vote)

    def write(self, who: Actor, kind: str, body: object) -> Record:
        made = record.sign(
            who.signing,
            topic=OPENING.topic,
            author=who.did,
            kind=kind,
            body=body,
            place=self.feeds.place(keys.public(who.signing)),
            at=AT,
            salt=bytes(16),
        )
        assert self.feeds.check(made, self.machine, AT)
        self.feeds.add(made)
        self.machine.handle(Received(made), 0.0)
        self.told.append(made)
        return made

    def again(self) -> Space:
        """The machine that a restart would make."""
        heads = dict(self.feeds.heads)
        return replay(self.feeds, heads, lambda: Space(OPENING), self.told, 0.0)


def invited() -> tuple[Pen, Record, Record]:
    pen = Pen()
    body = Invite(identity=GUEST.participant.raw, roles=(), until=AT + 99)
    invite = pen.write(FOUNDERS[0], "invite", body)
    return pen, invite, pen.write(GUEST, "join", Join(invite=invite.id))


def test_without_anything_void_a_replay_is_what_was() -> None:
    pen, invite, join = invited()
    heads = dict(pen.feeds.heads)
    again = pen.again()
    assert pen.feeds.heads == heads
    assert again.founded
    assert again.joins.keys() == {join.id}
    assert again.invites.keys() == {invite.id}


def test_what_rested_on_a_void_record_falls_with_it() -> None:
    """The invite is void, so the join has no ground any more; feed and state end before it."""
    pen, invite, join = invited()
    pen.feeds.bar(invite.key, invite.seq)
    again = pen.again()
    assert again.founded, "the liar's vote stands before the fork"
    assert again.invites == {}
    assert again.joins == {}
    assert join.key not in pen.feeds.heads
    assert pen.feeds.heads[invite.key].seq == invite.seq - 1
    assert pen.feeds.place(join.key) == Place()


def test_what_fell_is_taken_again_once_it_has_a_ground() -> None:
    pen, invite, join = invited()
    pen.feeds.bar(invite.key, invite.seq)
    pen.machine = pen.again()
    body = Invite(identity=GUEST.participant.raw, roles=(), until=AT + 99)
    other = pen.write(FOUNDERS[1], "invite", body)
    made = record.sign(
        GUEST.signing,
        topic=OPENING.topic,
        author=GUEST.did,
        kind="join",
        body=Join(invite=other.id),
        place=Place(),
        at=AT,
        salt=bytes(16),
    )
    assert join.id != made.id
    assert pen.feeds.id_at(join.key, 0) == join.id, "what fell is still held"


def test_kinds_that_no_machine_keeps_leave_no_trace() -> None:
    assert kinds.KINDS.keys() >= kinds.JOURNAL_ONLY
    assert kinds.KINDS.keys() >= kinds.MEMBERS_ONLY
    pen = Pen()
    before = copy.deepcopy(pen.machine)
    pen.write(FOUNDERS[0], "commitment", Commitment(digest=bytes(32)))
    assert pen.machine.publications == before.publications
    assert pen.machine._kept.keys() == before._kept.keys()
