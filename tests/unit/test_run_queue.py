"""Who is next, what waits no more, what is ordered once; and results whose enclave is gone."""

import random
from dataclasses import replace

import pytest

from protocol import limits, schedule
from protocol.consistency import faults
from protocol.effects import Release, Summon
from protocol.events import OrderRefused, ResultKept
from protocol.kinds.agreement import Runs, Trigger
from protocol.kinds.run import Cancel, Missing, Order, OutputDigest
from protocol.record import Record
from tests.agreements import AT, DOCUMENT, SPONSOR, B, Pen
from tests.in_force import AGREED, QUORUM, ZERO, Enclave, Telling, opening, retold

DUE = AT + 3600 - AT % 3600
HOURLY = Trigger(
    name="hourly", cron="0 * * * *", entry="fit", parameters=AGREED, by=(SPONSOR.did, B.did)
)
BATCH = Trigger(
    name="batch", event="batch", schema=ZERO, entry="fit", parameters="{}", by=(SPONSOR.did,)
)


def telling(me: str = "hospital-a", **runs: object) -> Telling:
    """An agreement in force under which both sponsor and hospital B order."""
    base = Runs(by=(SPONSOR.did, B.did), at_most=12, attempts=3)
    document = replace(DOCUMENT, runs=replace(base, **runs))
    assert not [fault for fault in faults(document) if fault.startswith(("runs", "trigger"))]
    return Telling(me, opening(document))


def order(found: Telling, who: str = "sponsor", at: int = AT, **more: object) -> Record:
    return found.say(who, "order", Order(entry="fit", parameters=AGREED, **more), at)


def line(found: Telling, now: int = AT) -> list[bytes]:
    return [one.id for one in found.runs.pending_orders(now)]


def end(found: Telling, one: Record, number: int, outcome: str = "released") -> Record:
    """The order has its run, decided by a quorum, in term 1."""
    found.summon(one, number)
    told = [
        found.state(name, number, nonce=found.runs.summons[number, 1][1].nonce) for name in QUORUM
    ]
    body = found.runs.orders[one.id][1]
    made = found.say(
        "one",
        "run",
        found.run(one, told, number=number, outcome=outcome, trigger=body.trigger, due=body.due),
    )
    for name in QUORUM:
        found.vote_run(name, made, number)
    assert number in found.runs.committed()
    return made


# --- turns ----------------------------------------------------------------------------------------


def test_a_thousand_orders_of_one_party_do_not_keep_another_waiting() -> None:
    found = telling()
    flood = [order(found, "hospital-b") for _ in range(limits.ORDERS + 10)]
    mine = order(found, at=AT + 5)
    assert line(found)[:3] == [sorted(one.id for one in flood)[0], mine.id, line(found)[2]]
    assert len(line(found)) == limits.ORDERS + 1
    assert found.runs.queue.waiting_of(B.did) == limits.ORDERS


def test_who_was_served_waits_for_the_others() -> None:
    found = telling()
    found.elect()
    first, second = order(found, "hospital-b"), order(found, "hospital-b", AT + 1)
    end(found, first, 1)
    mine = order(found, at=AT + 9)
    assert line(found, AT + 9) == [mine.id, second.id]


def test_who_ordered_takes_back_and_nobody_else() -> None:
    found = telling()
    one = order(found)
    found.say("hospital-b", "cancel", Cancel(order=one.id, reason="spite"))
    assert line(found) == [one.id]
    found.say("sponsor", "cancel", Cancel(order=one.id, reason="wrong"))
    assert line(found) == []
    assert found.runs.queue.standing(one.id) == "cancelled"


def test_an_order_expires_by_its_own_word_or_by_the_agreement() -> None:
    found = telling(deadline=100)
    one, two = order(found, deadline=AT + 10), order(found)
    assert line(found, AT + 10) == sorted((one.id, two.id))
    assert line(found, AT + 11) == [two.id]
    assert line(found, AT + 101) == []
    assert found.runs.queue.standing(two.id, AT + 101) == "expired"


def test_an_order_that_the_enclave_refused_lets_others_by() -> None:
    found = telling()
    one, two = order(found), order(found, at=AT + 1)
    found.machine.handle(OrderRefused(one.id, AT + 60), 0.0)
    assert line(found, AT + 59) == [two.id]
    assert line(found, AT + 60) == [one.id, two.id]


# --- the host and the parties ---------------------------------------------------------------------


def summoned(found: Telling, wall: int = AT) -> list[bytes]:
    return [one.order for one in found.owed(wall=wall) if isinstance(one, Summon)]


def test_a_cancelled_or_expired_order_gives_way_before_it_started() -> None:
    found = telling("host-1")
    found.elect()
    one, two = order(found, deadline=AT + 10), order(found, at=AT + 1)
    assert summoned(found) == [one.id]
    found.summon(one)
    assert summoned(found) == []
    assert summoned(found, AT + 11) == [two.id]
    found.say("sponsor", "cancel", Cancel(order=one.id, reason="wrong"))
    assert summoned(found) == [two.id]


def test_what_started_ends_by_its_own_order_in_every_term() -> None:
    found = telling("host-1")
    found.elect()
    one, two = order(found, deadline=AT + 10), order(found, at=AT + 1)
    found.summon(one)
    found.start()
    assert summoned(found, AT + 11) == []
    found.lapse(1)
    found.elect("host-1", "two", 2)
    assert summoned(found, AT + 11) == [one.id], "the number began with it"
    assert two.id != one.id


def stated(found: Telling, wall: int = AT) -> bool:
    return bool(found.published("statement", wall=wall))


def test_no_party_lets_an_order_start_that_is_over() -> None:
    for reason in ("cancelled", "expired", "unknown"):
        found = telling()
        found.elect()
        one = order(found, deadline=AT + 10)
        found.summon(one)
        assert stated(found)
        if reason == "cancelled":
            found.say("sponsor", "cancel", Cancel(order=one.id, reason="wrong"))
        elif reason == "unknown":
            stranger = telling()
            found.summon(order(stranger, at=AT + 7))
        assert not stated(found, AT + 11 if reason == "expired" else AT)
        if reason != "unknown":
            found.start()
            assert stated(found, AT + 11), "what began must end"


def test_a_run_that_takes_too_long_ends_its_term() -> None:
    found = telling(within=60)
    found.elect()
    one = order(found)
    found.summon(one)
    found.say("hospital-a", "statement", found.published("statement")[0])
    found.start()
    assert found.published("lapse", wall=AT) == []
    assert found.published("lapse", wall=AT + 60) == []
    (lapse,) = found.published("lapse", wall=AT + 61)
    assert lapse.reason.startswith("run.overdue")


# --- void -----------------------------------------------------------------------------------------


def vote_on(found: Telling, one: Record, attempts: int, **changes: object) -> str | None:
    found.summon(one)
    told = [found.state(name, attempts=attempts) for name in QUORUM]
    found.say("one", "run", found.run(one, told, **changes))
    (vote,) = found.published("vote", wall=AT)
    return vote.reason or vote.choice


@pytest.mark.parametrize(
    ("attempts", "outcome", "says"),
    [(3, "void", "yes"), (3, "released", "run.attempts"), (2, "void", "run.attempts")],
)
def test_void_is_for_numbers_whose_attempts_are_used_up(
    attempts: int, outcome: str, says: str
) -> None:
    found = telling()
    found.elect()
    assert vote_on(found, order(found), attempts, outcome=outcome) == says


def test_nobody_withholds_what_nobody_released() -> None:
    found = telling()
    found.elect()
    assert vote_on(found, order(found), 0, withheld="run.adopted") == "run.adopted"


# --- time tables and events -----------------------------------------------------------------------


def timed(found: Telling, who: str = "sponsor", at: int = AT, due: int = DUE, **more) -> Record:
    return order(found, who, at, trigger="hourly", due=due, **more)


def test_an_order_for_a_due_time_waits_for_it() -> None:
    found = telling(triggers=(HOURLY,))
    one = timed(found)
    assert line(found, DUE - 1) == []
    assert found.runs.queue.standing(one.id, DUE - 1) == "early"
    assert line(found, DUE) == [one.id]


def test_two_orders_for_one_due_time_count_once() -> None:
    found = telling(triggers=(HOURLY,))
    pair = sorted([timed(found).id, timed(found, "hospital-b").id])
    other = timed(found, due=DUE + 3600)
    assert line(found, DUE) == [pair[0]]
    assert found.runs.queue.standing(pair[1], DUE) == "double"
    assert other.id in line(found, DUE + 3600)


def test_who_takes_back_leaves_the_due_time_to_the_other() -> None:
    found = telling(triggers=(HOURLY,))
    both = {who: timed(found, who) for who in ("sponsor", "hospital-b")}
    low = min(both, key=lambda who: both[who].id)
    high = next(who for who in both if who != low)
    found.say(low, "cancel", Cancel(order=both[low].id, reason="not mine"))
    assert line(found, DUE) == [both[high].id]


@pytest.mark.parametrize(
    ("outcome", "again"), [("released", False), ("held", False), ("void", True), ("failed", True)]
)
def test_a_due_time_is_answered_once_unless_nothing_came_of_it(outcome: str, again: bool) -> None:
    found = telling(triggers=(HOURLY,))
    found.elect()
    one, twin = timed(found), timed(found, "hospital-b")
    end(found, one, 1, outcome)
    assert line(found, DUE) == [], "the other order for it is a double, now and for ever"
    retry = timed(found, at=AT + 1, again=one.id)
    assert line(found, DUE) == ([retry.id] if again else [])
    assert twin.id not in line(found, DUE)


def test_a_skipped_time_ends_with_the_next_one() -> None:
    found = telling(triggers=(replace(HOURLY, missed="skip"),))
    one = timed(found)
    assert line(found, DUE + 3600) == [one.id]
    assert line(found, DUE + 3601) == []


@pytest.mark.parametrize(
    ("code", "who", "more"),
    [
        ("run.trigger", "sponsor", {"trigger": "hourly", "due": DUE + 1}),
        ("run.trigger", "sponsor", {"trigger": "daily", "due": DUE}),
        ("run.trigger", "sponsor", {"due": DUE}),
        ("run.trigger", "sponsor", {"trigger": "batch", "due": DUE, "payload": "{}"}),
        ("run.order", "sponsor", {"trigger": "batch", "payload": "["}),
        ("run.order", "hospital-b", {"trigger": "batch", "payload": AGREED}),
        ("run.trigger", "sponsor", {"trigger": "batch", "payload": '{"covariates":["sex"]}'}),
    ],
)
def test_an_order_that_no_trigger_says_is_refused_at_the_gate(
    code: str, who: str, more: dict[str, object]
) -> None:
    found = telling(triggers=(HOURLY, BATCH))
    found.refused(code, who, "order", Order(entry="fit", parameters=AGREED, **more))


def test_an_event_orders_with_the_parameters_of_its_payload() -> None:
    found = telling(triggers=(BATCH,))
    payload = '{"covariates":["age"],"site":7}'
    one = order(found, trigger="batch", payload=payload, caller="alice (uid 1000)")
    assert line(found) == [one.id]


@pytest.mark.parametrize(
    ("trigger", "fault"),
    [
        (replace(HOURLY, cron="61 * * * *"), "Bad minute"),
        (replace(HOURLY, cron="* * *"), "5 fields"),
        (replace(HOURLY, cron="0 0 30 2 *"), "day"),
        (replace(HOURLY, event="batch"), "either"),
        (replace(HOURLY, cron=None), "either"),
        (replace(BATCH, schema=None), "schema"),
        (replace(HOURLY, schema=ZERO), "schema"),
        (replace(HOURLY, by=()), "nobody"),
        (replace(HOURLY, by=(ZERO,)), "no party"),
        (replace(HOURLY, entry="other"), "no entry"),
        (replace(HOURLY, parameters="{}"), "parameters"),
        (replace(BATCH, parameters='{"shoe":1}'), "parameters"),
        (replace(HOURLY, parameters='{"covariates":["shoe"]}'), "covariates"),
    ],
)
def test_a_trigger_that_could_not_order_is_a_fault(trigger: Trigger, fault: str) -> None:
    document = replace(DOCUMENT, runs=replace(DOCUMENT.runs, triggers=(trigger,)))
    assert any(fault in one for one in faults(document)), faults(document)


def test_times_of_a_table_are_in_utc_and_found_both_ways() -> None:
    (first, second) = schedule.after("0 6 * * 1", AT, 2)
    assert second - first == 7 * 86_400
    assert first % 86_400 == 6 * 3600
    assert schedule.previous("0 6 * * 1", second - 1) == first
    assert schedule.fits("0 6 * * 1", first)
    for off in (first + 1, -first, 2**60):
        assert not schedule.fits("0 6 * * 1", off)


# --- results whose enclave is gone ----------------------------------------------------------------

OUTPUTS = (OutputDigest(name="model", to=B.did, digest=ZERO, size=1),)


def released(me: str, **changes: object) -> tuple[Telling, Record]:
    """Run 1 is released to hospital B in term 1, and the host of that term is gone."""
    found = Telling(me)
    found.elect()
    one = found.order()
    found.summon(one)
    told = [found.state(name) for name in QUORUM]
    found.start()
    made = found.say("one", "run", found.run(one, told, **{"outputs": OUTPUTS, **changes}))
    for name in QUORUM:
        found.vote_run(name, made)
    return found, made


def failed_over(me: str, **changes: object) -> tuple[Telling, Record]:
    found, made = released(me, **changes)
    found.lapse(1)
    found.elect("host-2", "two", 2)
    return found, made


def test_who_lacks_a_result_says_so_once_its_enclave_is_gone() -> None:
    found, made = released("hospital-b")
    assert found.published("missing") == [], "its host is at work"
    found, made = failed_over("hospital-b")
    (said,) = found.published("missing")
    assert said == Missing(number=1, run=made.id)
    found.say("hospital-b", "missing", said)
    assert found.published("missing") == []


def test_who_has_it_or_gets_nothing_says_nothing() -> None:
    found, _ = failed_over("hospital-b")
    found.machine.handle(ResultKept(1, "model"), 0.0)
    assert found.published("missing") == []
    assert failed_over("hospital-a")[0].published("missing") == []
    assert failed_over("hospital-b", outcome="held", outputs=())[0].published("missing") == []


def test_the_next_host_puts_the_number_through_its_term_when_nobody_waits() -> None:
    found, made = failed_over("host-2")
    assert summoned(found) == []
    found.say("hospital-b", "missing", Missing(number=1, run=made.id))
    (first,) = found.runs.orders
    assert summoned(found) == [first]
    fresh = found.order('{"covariates":["sex"]}')
    assert summoned(found) == [fresh.id], "who waits comes first"


def test_a_word_by_nobody_who_gets_anything_moves_nothing() -> None:
    found, made = failed_over("host-2")
    found.say("hospital-a", "missing", Missing(number=1, run=made.id))
    found.say("hospital-b", "missing", Missing(number=1, run=ZERO))
    assert summoned(found) == []
    assert found.runs.lacking() == []


def test_parties_state_and_vote_for_the_same_record_again_and_for_no_other() -> None:
    found, made = failed_over("hospital-a")
    one = found.runs.orders[next(iter(found.runs.orders))][0]
    found.summon(one, 1, 2, "two")
    assert not stated(found), "nobody lacks it"
    found.say("hospital-b", "missing", Missing(number=1, run=made.id))
    assert stated(found)
    nonce = found.runs.summons[1, 2][1].nonce
    told = [
        found.state(name, 1, 2, nonce=nonce, accepted=made.raw if name == "hospital-b" else None)
        for name in QUORUM
    ]
    again = found.run(one, told, term=2, adopts=made.id, outputs=OUTPUTS)
    other = retold(found.told)
    other.tell(pen_of(found, "two").write("run", replace(again, inputs=b"i" * 32)))
    assert other.published("vote")[0].reason in ("run.slot", "run.adopted")
    found.say("two", "run", again)
    (vote,) = found.published("vote")
    assert vote.choice == "yes"


def pen_of(found: Telling, name: str) -> Pen:
    """A second pen, that goes on where the first one is: what it writes, this feed never sees."""
    pen = Pen(Enclave(name), found.topic)
    pen.place = found.pen(name).place
    return pen


def test_the_record_of_the_newest_term_releases_and_the_old_one_stays_known() -> None:
    found, made = failed_over("host-2")
    found.say("hospital-b", "missing", Missing(number=1, run=made.id))
    one = found.runs.orders[next(iter(found.runs.orders))][0]
    found.summon(one, 1, 2, "two")
    nonce = found.runs.summons[1, 2][1].nonce
    told = [found.state(name, 1, 2, nonce=nonce, accepted=made.raw) for name in QUORUM]
    again = found.say("two", "run", found.run(one, told, term=2, adopts=made.id, outputs=OUTPUTS))
    for name in QUORUM:
        found.vote_run(name, again, 1, 2)
    assert [e.number for e in found.owed() if isinstance(e, Release)] == [1]
    assert found.runs.committed()[1][0].id == again.id
    assert found.runs.decided(made.id) is not None
    assert found.runs.next_number == 2
    assert found.runs.lacking() == []


def test_what_is_withheld_is_not_asked_for_again() -> None:
    found, made = failed_over("hospital-b", withheld="run.adopted", adopts=ZERO)
    assert made.id in {record.id for record, _ in found.runs.committed().values()}
    assert found.published("missing") == []


def test_the_same_host_in_a_new_term_releases_from_memory() -> None:
    found, made = released("host-1")
    found.lapse(1)
    candidacy = next(iter(found.election.candidacies.values()))[0]
    for name in QUORUM:
        found.vote_host(name, found.appointment(candidacy, 2))
    assert [e.number for e in found.owed() if isinstance(e, Release)] == [1]
    found.say("hospital-b", "missing", Missing(number=1, run=made.id))
    assert found.runs.lacking() == []


def test_order_of_arrival_changes_no_queue() -> None:
    found, made = failed_over("hospital-a")
    found.say("hospital-b", "missing", Missing(number=1, run=made.id))
    two = found.order('{"covariates":["sex"]}')
    found.say("sponsor", "cancel", Cancel(order=two.id, reason="wrong"))
    found.order()
    chance = random.Random(5)  # noqa: S311 (a simulation)
    for _ in range(8):
        chance.shuffle(found.told)
        other = retold(found.told)
        assert other.runs.lacking() == found.runs.lacking()
        assert line(other) == line(found)
        assert other.runs.queue.answered == found.runs.queue.answered
