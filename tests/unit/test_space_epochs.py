"""Changes of a space: two steps, epochs, removals, leaving, coming back; and that nothing of it
depends on the order of records.
"""

import random
from dataclasses import replace

import pytest

from protocol import keys, limits
from protocol.errors import Refused
from protocol.kinds.identity import Claims, Credential, Keys
from protocol.kinds.space import (
    Change,
    Decline,
    FeedPin,
    InviteRevocation,
    Join,
    Leave,
    Removal,
    Review,
    Seat,
    Terms,
)
from protocol.machines.chain import admission_slot
from protocol.machines.epochs import step_slot
from protocol.machines.space import Space
from protocol.record import Record
from protocol.topic import Opening
from tests import agreements
from tests.agreements import AT, CAST, Actor, seed
from tests.unit.test_space import FOUNDERS, GUEST, OPENING, Telling, invite, yes

ZERO = bytes(32)
VOTERS = FOUNDERS[:3]
"""A quorum of the four founders."""

REVIEW = Review(bundle=ZERO, verdict="approved", text="")


def seats(space: Space, without: tuple[str, ...] = ()) -> tuple[Seat, ...]:
    """Everybody who is a member now, but some."""
    gone = {CAST[name].did for name in without}
    return tuple(
        Seat(did=did, identity=one.participant.id, roles=one.roles)
        for did, one in space.members().items()
        if did not in gone
    )


def removal(told: Telling, name: str) -> Removal:
    """Takes somebody out, at the head of its feed as it is here."""
    who = CAST[name]
    key = keys.public(who.signing)
    head = told.feeds.heads[key]
    return Removal(
        did=who.did, reason="unreachable", pins=(FeedPin(key=key, seq=head.seq, head=head.id),)
    )


def change(told: Telling, without: tuple[str, ...] = (), **fields: object) -> Change:
    found = Change(
        epoch=told.space.epoch.id,
        members=seats(told.space, without),
        removed=tuple(removal(told, name) for name in without),
        terms=told.space.terms,
        reason="it is time",
    )
    return replace(found, **fields)  # type: ignore[arg-type]


def step(told: Telling, name: str | Actor, kind: str, subject: bytes, round_: int = 0) -> Record:
    slot = step_slot(kind, told.space.epoch.id, round_)  # type: ignore[arg-type]
    return told.say(name, "vote", yes(slot, subject))


def decide(told: Telling, body: Change, names: tuple[str, ...] = VOTERS) -> Record:
    """Propose a change and bring it through both steps."""
    made = told.say(names[0], "change", body)
    for name in names:
        step(told, name, "change", made.id)
    for name in names:
        due = told.space.duties(CAST[name].did, keys.public(CAST[name].signing), ZERO)
        for effect in due:
            told.say(name, "vote", effect.body)  # type: ignore[union-attr]
    assert told.space.epoch.id == made.id
    return made


def state(space: Space) -> object:
    """All that others read of a space."""
    return (
        space.founded,
        [epoch.id for epoch in space.chain.epochs],
        {did: (one.roles, one.admitted_by) for did, one in space.members().items()},
        {did: one.id for did, one in space.participants().items()},
        sorted(space.audience()),
        sorted(space.publications),
        sorted(record.id for record, _ in space.reviews),
        sorted(space.credentials),
        sorted(space.invites),
        sorted(space.joins),
        sorted(space.chain.admitted.items()),
    )


def retold(
    records: list[Record], barred: dict[bytes, int] | None = None, opening: Opening = OPENING
) -> Telling:
    """The same records in this order, each with the patience that a node has."""
    other = Telling(opening)
    other.space = Space(opening, barred or {})
    waiting = list(records)
    while waiting:
        late = []
        for made in waiting:
            try:
                other.tell(made)
            except Refused:
                late.append(made)
        if len(late) == len(waiting):
            break
        waiting = late
    return other


def check_orders(told: Telling, times: int = 12, again: str = "") -> None:
    wanted = state(told.space)
    chance = random.Random(7)  # noqa: S311 (a simulation)
    records = list(told.told)
    for _ in range(times):
        chance.shuffle(records)
        found = retold(records + records[: len(records) // 2], opening=told.space.opening)
        assert state(found.space) == wanted, again


def guest_in(told: Telling, who: Actor = GUEST) -> Record:
    join = told.say(who, "join", Join(invite=told.invite(guest=who).id))
    told.admit(join)
    return join


def test_a_change_takes_two_steps() -> None:
    told = Telling().found()
    terms = Terms(registrars=(), advisors=(CAST["hospital-a"].did,), recovery_delay=60)
    made = told.say("hospital-a", "change", change(told, terms=terms))
    for name in VOTERS:
        assert told.space.chain.current.certificate() is None
        step(told, name, "change", made.id)
    assert told.space.chain.current.certificate() == (0, made.id)
    for name in VOTERS:
        assert told.space.epoch.number == 0
        step(told, name, "confirm", made.id)
    assert (told.space.epoch.number, told.space.terms) == (1, terms)
    check_orders(told)


def test_confirms_without_a_certificate_decide_nothing() -> None:
    told = Telling().found()
    made = told.say("hospital-a", "change", change(told))
    for name in VOTERS:
        step(told, name, "confirm", made.id)
    assert told.space.epoch.number == 0
    for name in VOTERS[:2]:
        step(told, name, "change", made.id)
    assert told.space.epoch.number == 0


def test_who_is_admitted_votes_from_the_next_epoch() -> None:
    told = Telling().found()
    guest_in(told)
    other = told.say(CAST["biostat-lab"], "join", Join(invite=_invite_lab(told).id))
    slot = admission_slot(told.space.id, other.id)
    told.refused("decision.voter", GUEST, "vote", yes(slot, other.id))
    decide(told, change(told))
    told.say(GUEST, "vote", yes(admission_slot(told.space.epoch.id, other.id), other.id))
    assert told.space.admission_rule.needed == 4
    assert GUEST.did in told.space.epoch.seats
    check_orders(told)


def _invite_lab(told: Telling) -> Record:
    return told.invite(guest=CAST["biostat-lab"])


def test_an_admission_that_crosses_a_change_stands() -> None:
    """Votes of the old epoch may be complete only after its change is final."""
    told = Telling().found()
    body = change(told)
    join = told.say(GUEST, "join", Join(invite=told.invite().id))
    told.admit(join, VOTERS[:2])
    late = told.write(VOTERS[2], "vote", yes(admission_slot(told.space.id, join.id), join.id))
    told.tell(late)
    assert GUEST.did in told.space.members()
    decide(told, body)
    assert GUEST.did not in told.space.epoch.seats
    assert told.space.members()[GUEST.did].admitted_by == join.id
    check_orders(told)


def test_what_a_removed_member_signed_up_to_its_pin_stands_and_nothing_after() -> None:
    told = Telling().found()
    guest_in(told)
    before = told.say(GUEST, "review", REVIEW)
    body = change(told, ("sponsor",))
    after = told.say(GUEST, "review", replace(REVIEW, bundle=seed("other")))
    decide(told, body)
    assert GUEST.did not in told.space.members()
    assert [record.id for record, _ in told.space.reviews] == [before.id]
    assert after.id in {one.id for one in told.told}
    told.refused("space.removed", GUEST, "review", REVIEW)
    assert GUEST.did not in told.space.audience()
    assert GUEST.did in told.space.participants()
    check_orders(told)


def test_an_answer_counts_again_once_another_invite_shows_its_author() -> None:
    """It waits meanwhile: the invite that showed its author fell with who was removed."""
    told = Telling().found()
    body = change(told, ("hospital-c",))
    told.invite("hospital-c")
    late = told.write("hospital-b", "invite", invite(GUEST))
    join = told.say(GUEST, "join", Join(invite=late.id))
    decide(told, body, ("hospital-a", "hospital-c", "registrar"))
    assert GUEST.did not in told.space.participants()
    told.tell(late)
    assert set(told.space.joins) == {join.id}
    check_orders(told)


def test_who_left_though_never_admitted_is_a_guest_still() -> None:
    """Its admission fell with a removed voter; who knew that took no leave of it."""
    told = Telling().found()
    body = change(told, ("hospital-c",))
    join = told.say(GUEST, "join", Join(invite=told.invite().id))
    told.admit(join, ("hospital-b", "hospital-c", "registrar"))
    told.say(GUEST, "leave", Leave(revision=0, reason="", pins=()))
    assert GUEST.did not in told.space.audience()
    decide(told, body, ("hospital-a", "hospital-c", "registrar"))
    assert not told.space.was_member(GUEST.did)
    assert GUEST.did in told.space.audience()
    check_orders(told)


def test_a_founder_is_removed_by_the_others_and_the_charter_stands() -> None:
    told = Telling().found()
    decide(told, change(told, ("hospital-c",)), ("hospital-a", "hospital-b", "registrar"))
    assert told.space.founded
    assert CAST["hospital-c"].did not in told.space.members()
    told.refused("space.removed", "hospital-c", "invite", invite(GUEST))
    assert told.space.admission_rule.needed == 3
    check_orders(told)


def test_the_removed_may_have_confirmed_its_own_removal() -> None:
    """Its confirm stands beyond its pin: it cannot make the change undone that it made final."""
    told = Telling().found()
    body = change(told, ("hospital-c",))
    made = told.say("hospital-a", "change", body)
    names = ("hospital-a", "hospital-b", "hospital-c")
    for name in names:
        step(told, name, "change", made.id)
    for name in names:
        step(told, name, "confirm", made.id)
    assert told.space.epoch.id == made.id
    told.space.rebuild()
    assert told.space.epoch.id == made.id
    check_orders(told)


def test_an_admission_vote_beyond_the_pin_is_void() -> None:
    told = Telling().found()
    body = change(told, ("hospital-c",))
    join = told.say(GUEST, "join", Join(invite=told.invite().id))
    told.admit(join, ("hospital-a", "hospital-b", "hospital-c"))
    assert GUEST.did in told.space.members()
    decide(told, body, ("hospital-a", "hospital-b", "registrar"))
    assert GUEST.did not in told.space.members()
    told.admit(join, ("hospital-a", "hospital-b", "registrar"))
    assert GUEST.did in told.space.members()
    check_orders(told)


def test_who_was_removed_comes_back_by_invite_with_a_new_key() -> None:
    told = Telling().found()
    guest_in(told)
    decide(told, change(told, ("sponsor",)))
    back = agreements.renewed(GUEST, seed("back"))
    made = told.say("hospital-a", "invite", invite(back))
    told.refused("space.removed", GUEST, "join", Join(invite=made.id))
    assert GUEST.did in told.space.audience()
    join = told.say(back, "join", Join(invite=made.id))
    early = told.idle("space.removed", back, "review", REVIEW)
    assert told.space.reviews == []
    told.admit(join)
    said = told.say(back, "review", REVIEW)
    assert {record.id for record, _ in told.space.reviews} == {early.id, said.id}
    check_orders(told)


def test_who_left_is_gone_at_once_and_cannot_undo_its_votes() -> None:
    told = Telling().found()
    join = guest_in(told)
    revision = CAST["hospital-a"].participant.revision
    told.say("hospital-a", "leave", Leave(revision=revision, reason="merged", pins=()))
    assert CAST["hospital-a"].did not in told.space.members()
    assert join.id in told.space.chain.admitted
    told.refused("space.removed", "hospital-a", "invite", invite(GUEST))
    assert CAST["hospital-a"].did not in told.space.audience()
    # It still counts as a voter, until a change says who votes from now on.
    assert told.space.admission_rule.needed == 3
    body = change(told, removed=(removal(told, "hospital-a"),))
    assert told.space.change_faults(body, {}) == []
    decide(told, body, ("hospital-b", "hospital-c", "registrar"))
    check_orders(told)


def test_leaving_again_after_coming_back() -> None:
    told = Telling().found()
    guest_in(told)
    told.say(GUEST, "leave", Leave(revision=0, reason="", pins=()))
    back = agreements.renewed(GUEST, seed("back"))
    join = told.say(back, "join", Join(invite=told.invite(guest=back).id))
    told.admit(join)
    assert GUEST.did in told.space.members()
    told.say(back, "leave", Leave(revision=1, reason="", pins=()))
    assert GUEST.did not in told.space.members()
    check_orders(told)


def test_a_rotated_key_votes_and_the_old_votes_stand() -> None:
    told = Telling().found()
    join = told.say(GUEST, "join", Join(invite=told.invite().id))
    told.admit(join, ("hospital-a", "hospital-b"))
    newer = agreements.renewed(CAST["hospital-b"], seed("new b"))
    told.say(newer, "keys", Keys(identity=newer.participant.raw))
    told.refused(
        "record.author", agreements.renewed(GUEST, seed("x")), "keys",
        Keys(identity=newer.participant.raw),
    )  # fmt: skip
    told.say(newer, "vote", yes(admission_slot(told.space.id, join.id), join.id))
    assert GUEST.did not in told.space.members(), "one participant has one vote"
    told.admit(join, ("hospital-c",))
    assert GUEST.did in told.space.members()
    check_orders(told)


def test_a_barred_key_is_not_replaced_without_a_decision() -> None:
    told = Telling().found()
    liar = CAST["hospital-c"]
    key = keys.public(liar.signing)
    pens = told.pens
    told = retold(told.told, {key: told.feeds.heads[key].seq + 1})
    told.pens = pens
    back = agreements.renewed(liar, seed("new c"))
    told.say(back, "keys", Keys(identity=back.participant.raw))
    told.idle("record.equivocation", back, "invite", invite(GUEST))
    join = told.say(GUEST, "join", Join(invite=told.invite().id))
    slot = admission_slot(told.space.id, join.id)
    told.refused("decision.voter", back, "vote", yes(slot, join.id))
    decide(told, change(told), ("hospital-a", "hospital-b", "registrar"))
    told.say(back, "vote", yes(admission_slot(told.space.epoch.id, join.id), join.id))
    told.say(back, "review", REVIEW)


def test_a_change_names_each_voter_once() -> None:
    told = Telling().found()
    whole = change(told)
    told.refused("space.change", "hospital-a", "change", replace(whole, members=whole.members[1:]))
    twice = (*whole.members, whole.members[0])
    told.refused("space.change", "hospital-a", "change", replace(whole, members=twice))
    told.refused("space.change", "hospital-a", "change", replace(whole, members=()))
    told.refused("space.epoch", "hospital-a", "change", replace(whole, epoch=ZERO))
    told.refused("space.epoch", "hospital-a", "vote", yes(step_slot("change", ZERO, 0), ZERO))
    for slot in (
        "change/xyz/0",
        f"change/{ZERO.hex()}/{limits.ROUNDS}",
        f"confirm/{ZERO.hex()}/01",
    ):
        told.refused("decision.subject", "hospital-a", "vote", yes(slot, ZERO))
    guest_in(told)
    told.refused("decision.voter", GUEST, "change", whole)


def test_an_honest_voter_sees_what_a_change_hides() -> None:
    told = Telling().found()
    guest_in(told)
    heads = {key: head.seq for key, head in told.feeds.heads.items()}
    sound = change(told)
    assert told.space.change_faults(sound, heads) == []
    without = replace(sound, members=seats(told.space, ("sponsor",)))
    assert "stands nowhere" in told.space.change_faults(without, heads)[0]
    loose = change(told, ("sponsor",))
    loose = replace(loose, removed=(replace(loose.removed[0], pins=()),))
    assert "not pinned" in told.space.change_faults(loose, heads)[0]
    old = replace(sound, members=(replace(sound.members[0], identity=ZERO), *sound.members[1:]))
    assert "newest" in told.space.change_faults(old, heads)[0]


def test_a_split_round_is_followed_by_the_next() -> None:
    told = Telling().found()
    one = told.say("hospital-a", "change", change(told))
    other = told.say("hospital-b", "change", change(told, reason="another way"))
    for name, made in zip(FOUNDERS, (one, one, other, other), strict=True):
        rounds = told.space.chain.current
        assert rounds.round_for(CAST[name].did) == 0
        step(told, name, "change", made.id)
    rounds = told.space.chain.current
    assert rounds.certificate() is None
    assert {rounds.round_for(CAST[name].did) for name in FOUNDERS} == {1}
    for name in VOTERS:
        step(told, name, "change", other.id, 1)
    for name in FOUNDERS:
        for effect in told.space.duties(CAST[name].did, keys.public(CAST[name].signing), ZERO):
            told.say(name, "vote", effect.body)  # type: ignore[union-attr]
    assert told.space.epoch.id == other.id
    check_orders(told)


def test_invites_are_declined_and_taken_back() -> None:
    told = Telling().found()
    first, second = told.invite(), told.say("hospital-b", "invite", invite(CAST["biostat-lab"]))
    told.say(
        "hospital-b", "invite-revocation", InviteRevocation(invite=first.id, reason="not mine")
    )
    assert told.space.invitations.revoked == {}
    told.say(GUEST, "decline", Decline(invite=first.id, reason="no time"))
    told.say("biostat-lab", "decline", Decline(invite=first.id, reason="not mine"))
    join = told.say("biostat-lab", "join", Join(invite=second.id))
    told.say("hospital-b", "invite-revocation", InviteRevocation(invite=second.id, reason="oops"))
    states = [
        told.space.invitations.state(one.id, frozenset(told.space.chain.admitted), AT)
        for one in (first, second)
    ]
    assert states == ["declined", "revoked"]
    assert told.space.waiting_joins(CAST["hospital-a"].did) == []
    assert join.id in told.space.joins
    check_orders(told)


def test_one_key_cannot_flood_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INVITES", 2)
    monkeypatch.setattr(limits, "CHANGES", 2)
    told = Telling().found()
    for _ in range(2):
        told.invite()
        told.say("hospital-a", "change", change(told))
    told.refused("record.policy", "hospital-a", "invite", invite(GUEST))
    told.refused("record.policy", "hospital-a", "change", change(told))


def test_registrars_of_any_epoch_speak_and_those_of_the_newest_count() -> None:
    told = Telling().found()
    claims = Claims(legal_name="Guest BV", country="NL")
    body = Credential(subject=GUEST.did, claims=claims, until=AT + 100)
    told.say("registrar", "credential", body)
    assert told.space.credential(GUEST.did, AT) == body
    terms = replace(told.space.terms, registrars=(CAST["hospital-a"].did,))
    decide(told, change(told, terms=terms))
    assert told.space.credential(GUEST.did, AT) is None
    told.say("registrar", "credential", body)
    told.say("hospital-a", "credential", body)
    assert told.space.credential(GUEST.did, AT) == body
    check_orders(told)


def test_more_liars_than_the_bound_are_named() -> None:
    """Two finals in one epoch: whoever brought it about stands in the proof."""
    told = Telling().found()
    one = told.say("hospital-a", "change", change(told))
    other = told.say("hospital-b", "change", change(told, reason="another way"))
    for made, names in ((one, VOTERS), (other, FOUNDERS[1:])):
        for name in names:
            step(told, name, "change", made.id)
    lies = list(told.space.chain.current.lies())
    assert {lie.voter for lie in lies} == {CAST[name].did for name in FOUNDERS[1:3]}


def test_a_tie_of_confirms_hides_no_certified_change() -> None:
    """Above the bound of liars: enough confirms for two changes, a certificate for one."""
    told = Telling().found()
    made = [told.say("hospital-a", "change", change(told, reason=str(n))) for n in range(2)]
    other, one = sorted((each.id for each in made), reverse=False)
    for name in VOTERS:
        step(told, name, "change", one)
    for subject in (other, one):
        for name in VOTERS:
            step(told, name, "confirm", subject)
    assert told.space.epoch.id == one


def test_an_invite_cannot_void_the_votes_of_whom_it_shows() -> None:
    """Shown by another, a revocation counts once its owner says so: the votes may decide whether
    the invite stands at all.
    """
    told = Telling().found()
    made = told.say("hospital-a", "change", change(told))
    for name in VOTERS:
        step(told, name, "change", made.id)
    newer = agreements.renewed(CAST["hospital-a"], seed("other"), "stolen", ())
    told.say("hospital-a", "invite", invite(newer))
    for name in VOTERS:
        step(told, name, "confirm", made.id)
    assert told.space.epoch.id == made.id
    told.space.rebuild()
    assert told.space.epoch.id == made.id
    check_orders(told)
    told.say(newer, "keys", Keys(identity=newer.participant.raw))
    assert told.space.epoch.number == 0
