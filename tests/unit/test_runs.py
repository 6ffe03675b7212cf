"""Run numbers: one record each, whatever liars, late records and dead hosts do."""

import random
from dataclasses import replace

import pytest

from protocol import codec, keys, kinds
from protocol.effects import Execute, Release, Summon
from protocol.events import StopHeard
from protocol.kinds.agreement import Suspension
from protocol.kinds.run import Charge, Order, Statement
from protocol.machines.runs import PATIENCE
from protocol.record import Record
from tests.agreements import AT, SPONSOR
from tests.in_force import AGREED, QUORUM, VOTERS, ZERO, Telling, retold

PATIENT = AT + PATIENCE


def summoned(me: str = "hospital-a") -> tuple[Telling, Record]:
    found = Telling(me)
    found.elect()
    order = found.order()
    found.summon(order)
    return found, order


def proposed(me: str = "hospital-a", **changes: object) -> tuple[Telling, Record]:
    """A run record waits for votes."""
    found, order = summoned(me)
    told = [found.state(name) for name in QUORUM]
    found.start()
    return found, found.say("one", "run", found.run(order, told, **changes))


def committed(me: str = "hospital-a") -> tuple[Telling, Record]:
    found, made = proposed(me)
    for name in QUORUM:
        found.vote_run(name, made)
    return found, made


def vote_of(found: Telling, wall: int = AT) -> str | None:
    """The code for which the vote says no, "yes", or None while there is none."""
    votes = found.published("vote", wall=wall)
    assert len(votes) <= 1
    return votes[0].reason or votes[0].choice if votes else None


# --- statements -----------------------------------------------------------------------------------


def test_a_party_answers_a_summons_once_and_a_newer_one_again() -> None:
    found, order = summoned()
    (said,) = found.published("statement")
    found.say("hospital-a", "statement", said)
    assert found.published("statement") == []
    body = replace(found.runs.summons[1, 1][1], nonce=ZERO)
    found.say("one", "summons", body)
    assert found.published("statement")[0].nonce == ZERO
    assert order.id == body.order


def test_a_statement_holds_every_stop_and_the_suspension() -> None:
    found, _ = summoned()
    found.machine.handle(StopHeard(b"s" * 32, ZERO, b"raw"), 0.0)
    found.say("sponsor", "suspension", Suspension(reason="wait"))
    (said,) = found.published("statement")
    assert (said.stops, said.suspended) == ((b"s" * 32,), True)


def test_more_stops_than_a_statement_can_name_stop_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("protocol.limits.STOPS", 2)
    found, _ = summoned()
    for number in range(3):
        found.machine.handle(StopHeard(bytes([number]) * 32, ZERO, b"raw"), 0.0)
    (said,) = found.published("statement")
    assert (len(said.stops), said.suspended) == (2, True)


def test_a_promise_is_kept() -> None:
    found, _ = summoned()
    found.state("hospital-a", term=2)
    assert found.published("statement") == []


# --- votes ----------------------------------------------------------------------------------------


def test_a_sound_record_gets_a_yes_and_ends_the_number_with_a_quorum() -> None:
    found, made = proposed()
    assert vote_of(found) == "yes"
    for name in QUORUM[:3]:
        found.vote_run(name, made)
    found.vote_run(QUORUM[0], made)
    assert found.runs.committed() == {}
    found.vote_run(QUORUM[3], made)
    assert found.runs.committed()[1][0].id == made.id
    assert found.runs.next_number == 2
    assert found.runs.pending_orders() == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"appointment": ZERO}, "election.certificate"),
        ({"entry": "other"}, "run.order"),
        ({"parameters": '{"a":1}'}, "run.order"),
        ({"bundle": ZERO}, "run.code"),
        ({"environment": ZERO}, "run.environment"),
        ({"charges": (Charge(dataset="lung-v1", to=SPONSOR.did, amount=1),)}, "gate.budget"),
        ({"adopts": ZERO}, "run.adopted"),
    ],
)
def test_a_record_that_breaks_a_rule_gets_no_yes(
    changes: dict[str, object], code: str | None
) -> None:
    found, _ = proposed(**changes)
    assert vote_of(found) == code


def test_a_record_that_omits_a_stop_gets_a_no() -> None:
    found, _ = proposed()
    found.machine.handle(StopHeard(keys.digest("stop", b"s"), ZERO, b"s"), 0.0)
    assert vote_of(found) == "run.hidden-stop"


def test_under_a_suspension_nothing_is_voted_for_or_started() -> None:
    found, _ = proposed()
    found.say("sponsor", "suspension", Suspension(reason="wait"))
    assert vote_of(found) == "run.hidden-stop"
    other, _ = summoned("host-1")
    other.say("sponsor", "suspension", Suspension(reason="wait"))
    for name in QUORUM:
        other.state(name)
    assert not [e for e in other.owed(9.0) if isinstance(e, Execute)]


def test_what_a_record_cites_may_be_late_before_the_voter_says_no() -> None:
    found, order = summoned()
    told = [found.state(name) for name in QUORUM[:3]]
    said = kinds.read(Statement, told[0])
    missing = found.pen(QUORUM[3]).write("statement", said)
    found.say("one", "run", found.run(order, [*told, missing]))
    assert vote_of(found) is None, "it may be on its way"
    found.tell(missing)
    assert vote_of(found) == "yes"


def test_what_never_comes_is_judged_without() -> None:
    found, order = summoned()
    told = [found.state(name) for name in QUORUM[:3]]
    found.say("one", "run", replace(found.run(order, told), statements=(*_ids(told), ZERO)))
    assert vote_of(found) is None
    assert vote_of(found, PATIENT) == "run.statements"


def _ids(told: list[Record]) -> tuple[bytes, ...]:
    return tuple(one.id for one in told)


def test_a_party_that_says_something_else_later_spoils_no_record() -> None:
    """The liar's first statement is cited; the second must not take it away from the voters."""
    found, order = summoned()
    told = [found.state(name) for name in QUORUM]
    found.state(QUORUM[3], nonce=ZERO)
    found.say("one", "run", found.run(order, told))
    assert vote_of(found) == "yes"


def test_two_statements_of_one_party_are_one() -> None:
    found, order = summoned()
    told = [found.state(name) for name in QUORUM[:3]]
    told.append(found.state(QUORUM[2], suspended=False, attempts=1))
    found.say("one", "run", found.run(order, told))
    assert vote_of(found, PATIENT) == "run.statements"


def test_the_agreed_attempts_are_the_last() -> None:
    found, order = summoned()
    told = [found.state(name, attempts=3) for name in QUORUM[:1]]
    told += [found.state(name) for name in QUORUM[1:]]
    found.say("one", "run", found.run(order, told))
    assert vote_of(found) == "yes", "one liar cannot use up the attempts"
    other, order = summoned()
    told = [other.state(name, attempts=3) for name in QUORUM]
    other.say("one", "run", other.run(order, told))
    assert vote_of(other) == "run.attempts"


def test_noes_beyond_what_may_lie_end_the_term() -> None:
    found, made = proposed()
    found.vote_run("hospital-a", made, choice="no")
    assert found.published("lapse") == []
    found.vote_run("hospital-b", made, choice="no")
    (lapse,) = found.published("lapse")
    assert "run.code" in lapse.reason


# --- adoption -------------------------------------------------------------------------------------


def second_term(raw: bytes | None = None, *, adopts: bool = False, **changes: object) -> str | None:
    """How one votes in term 2, where a party shows `raw`: what it voted for in term 1."""
    found, first = proposed()
    found.vote_run(QUORUM[0], first)
    found.lapse(1, VOTERS[1:3])
    found.elect("host-2", "two", 2)
    order = next(iter(found.runs.orders.values()))[0]
    found.summon(order, term=2, enclave="two")
    nonce = found.runs.summons[1, 2][1].nonce
    told = [found.state(QUORUM[0], term=2, nonce=nonce, accepted=raw or first.raw)]
    told += [found.state(name, term=2, nonce=nonce) for name in QUORUM[1:]]
    adopted = first.id if adopts else None
    found.say("two", "run", found.run(order, told, term=2, adopts=adopted, **changes))
    return vote_of(found)


def test_a_newer_term_repeats_the_record_that_is_shown() -> None:
    assert second_term() == "run.adopted"
    assert second_term(adopts=True) == "yes"
    assert second_term(adopts=True, inputs=b"i" * 32) == "run.adopted"


@pytest.mark.parametrize("raw", [b"\xff", codec.encode([1, 2]), bytes(100)])
def test_what_is_no_record_binds_nobody(raw: bytes) -> None:
    assert second_term(raw) == "yes"


def test_a_vote_shown_as_a_run_record_binds_nobody() -> None:
    other, first = proposed()
    assert second_term(other.vote_run(QUORUM[1], first).raw) == "yes"


def test_a_record_by_no_elected_enclave_binds_nobody() -> None:
    other, first = proposed()
    run = other.runs.proposals[1, 1][1]
    forged = other.pen("forger").write("run", replace(run, inputs=b"f" * 32))
    assert first.id != forged.id
    assert second_term(forged.raw) == "yes"


# --- the host -------------------------------------------------------------------------------------


def test_the_host_summons_then_executes_after_a_moment_for_the_last() -> None:
    found = Telling("host-1")
    found.elect()
    assert not [e for e in found.owed() if isinstance(e, Summon)], "nothing is ordered"
    order = found.order()
    assert [e.order for e in found.owed() if isinstance(e, Summon)] == [order.id]
    found.summon(order)
    for name in QUORUM:
        found.state(name)
    assert not [e for e in found.owed(1.0) if isinstance(e, Execute)]
    assert [len(e.statements) for e in found.owed(4.0) if isinstance(e, Execute)] == [4]
    found.state(VOTERS[4])
    assert [len(e.statements) for e in found.owed(1.0) if isinstance(e, Execute)] == [5]


def test_a_late_vote_asks_for_no_second_release() -> None:
    found, made = committed("host-1")
    before = [e for e in found.owed() if isinstance(e, Release)]
    found.vote_run(VOTERS[4], made)
    assert [e for e in found.owed() if isinstance(e, Release)] == before
    assert len(before) == 1


def test_after_the_agreed_number_of_runs_nothing_is_summoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, _ = committed("host-1")
    found.order('{"covariates":["sex"]}')
    assert [e for e in found.owed() if isinstance(e, Summon)]
    limited = replace(found.runs.document, runs=replace(found.runs.document.runs, at_most=1))
    monkeypatch.setattr(found.runs, "document", limited)
    assert not [e for e in found.owed() if isinstance(e, Summon)]


def test_a_fenced_host_owes_nothing() -> None:
    found, _ = committed("host-1")
    found.order('{"covariates":["sex"]}')
    found.lapse(1)
    assert not [e for e in found.owed() if isinstance(e, Summon | Execute | Release)]


# --- what a liar can do ---------------------------------------------------------------------------


def test_a_voter_that_contradicts_itself_reopens_no_number() -> None:
    found, made = committed()
    body = replace(found.runs.proposals[1, 1][1], inputs=b"x" * 32)
    second = found.say("one", "run", body)
    found.vote_run(QUORUM[0], second)
    assert found.runs.committed()[1][0].id == made.id
    assert found.runs.next_number == 2


def test_votes_in_invented_slots_end_nothing() -> None:
    found, made = proposed()
    for number in range(2, 100):
        found.vote_run(VOTERS[0], made, number=number, term=number)
    assert found.runs.committed() == {}
    for slot in (
        "run/1",
        "run/01/1",
        "run/1/1/1",
        "run/-1/1",
        "run/\uff11/1",
        "x",
        "run/9999999999/1",
    ):
        (due,) = proposed()[0].published("vote")
        found.refused("decision.subject", "hospital-a", "vote", replace(due, slot=slot))


def test_only_who_is_named_orders() -> None:
    found = Telling()
    wish = Order(entry="fit", parameters=AGREED)
    found.refused("run.order", "hospital-a", "order", wish)
    assert found.say("sponsor", "order", wish).author == SPONSOR.did
    assert len(found.runs.pending_orders()) == 1


def test_order_of_arrival_changes_nothing() -> None:
    found, _ = committed()
    found.lapse(1, VOTERS[2:4])
    found.elect("host-2", "two", 2)
    chance = random.Random(4)  # noqa: S311 (a simulation)
    for _ in range(10):
        chance.shuffle(found.told)
        other = retold(found.told)
        assert other.runs.committed() == found.runs.committed()
        assert other.runs.promised == found.runs.promised
        assert other.runs.statements.keys() == found.runs.statements.keys()


@pytest.mark.parametrize(
    ("entry", "parameters"),
    [
        ("nonsense", AGREED),
        ("fit", "{}"),
        ("fit", "{"),
        ("fit", '{"covariates":[]}'),
        ("fit", '{"covariates":["shoe size"]}'),
        ("fit", '{"covariates":["age"],"covariates":["sex"]}'),
    ],
)
def test_an_order_outside_the_agreement_never_stands_in_the_way(
    entry: str, parameters: str
) -> None:
    """No enclave would run it, so that it would wait for ever before all later orders."""
    found = Telling()
    found.refused("run.order", "sponsor", "order", Order(entry=entry, parameters=parameters))
    assert found.runs.pending_orders() == []
