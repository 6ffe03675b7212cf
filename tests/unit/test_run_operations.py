"""run.queue, retry, cancel, event and schedule over one agreement, and the clock that orders."""

import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from node.admin.failure import Failure
from node.admin.operations import run, run_queue
from node.admin.peercred import PEER
from node.cli import run_queue as words
from node.documents import fields
from node.documents.agreement_runs import read_runs
from node.orders import check_payload
from node.timetable import TURN, Timetable, due_now
from protocol import limits, policy, schedule
from protocol.diff import diff
from protocol.errors import Refused
from protocol.kinds.agreement import Runs, Trigger
from protocol.kinds.run import Order, OutputDigest
from protocol.machines.agreement import Collaboration
from protocol.terms import tighten_runs
from tests.agreements import AT, CAST, DOCUMENT, SPONSOR, B
from tests.in_force import AGREED, QUORUM, ZERO, Telling, opening
from tests.unit.test_run_queue import end

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"covariates": {"type": "array"}, "batch": {"type": "integer"}},
        "required": ["covariates", "batch"],
        "additionalProperties": False,
    }
).encode()
HOURLY = Trigger(
    name="hourly", cron="0 * * * *", entry="fit", parameters=AGREED, by=(SPONSOR.did, B.did)
)
BATCH = Trigger(
    name="new", event="batch-arrived", schema=hashlib.sha256(SCHEMA).digest(), entry="fit",
    parameters="{}", by=(SPONSOR.did,),
)  # fmt: skip
DUE = AT + 3600 - AT % 3600
RUNS = Runs(by=(SPONSOR.did, B.did), at_most=12, attempts=3, triggers=(HOURLY, BATCH))
METHODS = {one.name: one for one in (*run.METHODS.all, *run_queue.METHODS.all)}


class Office:
    """What the methods need of a node, over one machine."""

    def __init__(self, me: str = "sponsor", **runs: Any) -> None:
        self.me = me
        self.told = Telling(me, opening(replace(DOCUMENT, runs=replace(RUNS, **runs))))
        names = {one.did: name for name, one in CAST.items()}
        self.node = SimpleNamespace(
            keyring=SimpleNamespace(did=CAST[me].did, record=CAST[me].signing),
            pipeline=SimpleNamespace(publish=self.publish, now=lambda: 0.0),
            happenings=SimpleNamespace(count=0),
            journal=SimpleNamespace(state=lambda _: None),
            spread=SimpleNamespace(audience_peers=lambda _: [], fetch_blob=self.blob),
            world=SimpleNamespace(
                collaborations=lambda: [self.told.machine],
                negotiations=list,
                room=lambda _: None,
                name=names.__getitem__,
                participants=dict,
            ),
        )

    async def publish(self, _topic: bytes, kind: str, body: object) -> Any:
        return self.told.say(self.me, kind, body, self.now)

    async def blob(self, digest: bytes, _peers: Any) -> bytes:
        assert digest == BATCH.schema
        return SCHEMA

    now = AT

    async def call(self, name: str, /, **given: Any) -> Any:
        return await METHODS[f"run.{name}"].call(self.node, given)

    @property
    def machine(self) -> Collaboration:
        return self.told.machine


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Office:
    made = Office()
    monkeypatch.setattr("time.time", lambda: float(made.now))
    return made


async def refused(code: str, office: Office, method: str, /, **given: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await office.call(method, **given)
    assert caught.value.code == code, str(caught.value)
    return caught.value


async def test_the_queue_says_what_waits_and_what_is_dead(office: Office) -> None:
    first = await office.call("start", parameters={"covariates": ["age"]}, within=10)
    second = await office.call("start", parameters={"covariates": ["sex"]})
    found = await office.call("queue")
    assert [one["order"] for one in found["waiting"]] == sorted(
        (first["order"], second["order"])
    ), "dated alike: by id"
    assert found["dead_letters"] == []
    office.now = AT + 11
    found = await office.call("queue")
    assert [one["order"] for one in found["waiting"]] == [second["order"]]
    (dead,) = found["dead_letters"]
    assert (dead["order"], dead["code"], dead["set_by"]) == (
        first["order"], "run.expired", "sponsor",
    )  # fmt: skip
    assert "run retry" in dead["fix"]
    lines = "\n".join(words._queue_words(found))
    assert "waits 1" in lines
    assert "run.expired" in lines
    rows = await office.call("list")
    assert [one["outcome"] for one in rows] == ["expired", "ordered"]


async def test_a_void_number_is_a_dead_letter_that_is_ordered_again(office: Office) -> None:
    made = await office.call("start", parameters={"covariates": ["age"]})
    order = office.machine.runs.orders[bytes.fromhex(made["order"])][0]
    office.told.elect()
    end(office.told, order, 1)
    with pytest.raises(Failure, match="not dead"):
        await office.call("retry", order=made["order"])
    other = await office.call("start", parameters={"covariates": ["sex"]})
    await _void(office, other["order"], 2)
    (dead,) = (await office.call("queue"))["dead_letters"]
    assert (dead["code"], dead["set_by"], dead["number"]) == ("run.attempts", "the agreement", 2)
    again = await office.call("retry", order=other["order"][:8], within=60)
    assert again["again"] == other["order"]
    _, given = office.machine.runs.orders[bytes.fromhex(again["order"])]
    assert (given.parameters, given.deadline) == ('{"covariates":["sex"]}', AT + 60)
    shown = await office.call("show", run=again["order"][:8])
    assert (shown["outcome"], shown["again"]) == ("ordered", other["order"])
    assert "repeats" in "\n".join(words.words(shown))


async def test_what_a_later_term_withholds_is_dead_only_for_whom_it_never_reached(
    office: Office,
) -> None:
    made = await office.call("start", parameters={"covariates": ["age"]})
    order = office.machine.runs.orders[bytes.fromhex(made["order"])][0]
    told = office.told
    told.elect()
    result = (OutputDigest(name="model", to=office.machine.me.did, digest=ZERO, size=1),)
    first = told.say("one", "run", told.run(order, [], outputs=result))
    for name in QUORUM:
        told.vote_run(name, first)
    told.lapse(1)
    told.elect(enclave="two", term=2)
    again = told.run(order, [], term=2, adopts=first.id, withheld="run.adopted", outputs=result)
    record = told.say("two", "run", again)
    for name in QUORUM:
        told.vote_run(name, record, term=2)
    (dead,) = (await office.call("queue"))["dead_letters"]
    assert (dead["code"], dead["number"]) == ("run.adopted", 1)
    office.machine.runs.kept.add((1, "model"))
    assert (await office.call("queue"))["dead_letters"] == []


async def _void(office: Office, order: str, number: int) -> None:
    told, id_ = office.told, bytes.fromhex(order)
    record, body = office.machine.runs.orders[id_]
    told.summon(record, number)
    nonce = told.runs.summons[number, 1][1].nonce
    said = [told.state(name, number, nonce=nonce, attempts=3) for name in QUORUM]
    made = told.say(
        "one",
        "run",
        told.run(
            record, said, number=number, outcome="void", refusal_code="run.attempts",
            parameters=body.parameters,
        ),
    )  # fmt: skip
    for name in QUORUM:
        told.vote_run(name, made, number)


async def test_who_ordered_cancels_and_nobody_else(office: Office) -> None:
    mine = await office.call("start", parameters={"covariates": ["age"]})
    other = office.told.say("hospital-b", "order", Order(entry="fit", parameters=AGREED))
    said = await refused("run.order", office, "cancel", order=other.id.hex())
    assert said.set_by == "hospital-b"
    await office.call("cancel", order=mine["order"][:8], reason="wrong covariates")
    assert [one["order"] for one in (await office.call("queue"))["waiting"]] == [other.id.hex()]
    await refused("run.order", office, "cancel", order=mine["order"])
    await refused("run.order", office, "wait", order=mine["order"], seconds=0)


async def test_what_started_is_not_cancelled(office: Office) -> None:
    mine = await office.call("start", parameters={"covariates": ["age"]})
    office.told.elect()
    office.told.summon(office.machine.runs.orders[bytes.fromhex(mine["order"])][0])
    office.told.start()
    await refused("run.order", office, "cancel", order=mine["order"])
    found = await office.call("queue")
    assert (found["running"]["order"], found["running"]["attempts"]) == (mine["order"], 1)
    assert found["waiting"] == []


async def test_a_party_has_a_bounded_number_of_orders_waiting(office: Office) -> None:
    for _ in range(limits.ORDERS):
        await office.call("start", parameters={"covariates": ["age"]})
    await refused("run.queue", office, "start", parameters={"covariates": ["age"]})


async def test_nobody_waits_for_what_expired(office: Office) -> None:
    mine = await office.call("start", parameters={"covariates": ["age"]}, within=1)
    office.now = AT + 2
    await refused("run.expired", office, "wait", order=mine["order"], seconds=60)


# --- events ---------------------------------------------------------------------------------------


async def test_an_event_orders_with_the_name_of_who_told_it(office: Office) -> None:
    before = PEER.set(0)
    try:
        made = await office.call(
            "event", name="batch-arrived", payload={"covariates": ["age"], "batch": 7}
        )
    finally:
        PEER.reset(before)
    assert made["parameters"] == AGREED
    assert made["caller"].startswith("root (uid 0) at ")
    _, order = office.machine.runs.orders[bytes.fromhex(made["order"])]
    assert (order.trigger, json.loads(order.payload or "")["batch"]) == ("new", 7)
    (waiting,) = (await office.call("queue"))["waiting"]
    assert "told by root" in "\n".join(words.words(waiting))


@pytest.mark.parametrize(
    "payload",
    [
        {"covariates": ["age"]},
        {"covariates": ["age"], "batch": "7"},
        {"covariates": ["age"], "batch": 7, "more": 1},
        {},
    ],
)
async def test_an_event_that_is_not_as_agreed_is_refused(
    office: Office, payload: dict[str, Any]
) -> None:
    await refused("run.trigger", office, "event", name="batch-arrived", payload=payload)


async def test_an_event_orders_within_the_types_of_the_entry(office: Office) -> None:
    wrong = {"covariates": ["shoe"], "batch": 7}
    await refused("run.order", office, "event", name="batch-arrived", payload=wrong)
    with pytest.raises(Failure, match="No event"):
        await office.call("event", name="hourly", payload={})


def test_a_payload_is_bounded_and_its_schema_is_one() -> None:
    with pytest.raises(Refused, match=r"run\.trigger"):
        check_payload(SCHEMA, json.dumps({"batch": "x" * limits.TEXT}))
    with pytest.raises(Refused, match=r"run\.trigger"):
        check_payload(b"[", "{}")
    with pytest.raises(Refused, match=r"run\.trigger"):
        check_payload(b'{"$ref":"https://example.org/x.json"}', "{}")


# --- the clock ------------------------------------------------------------------------------------


async def test_a_due_time_is_ordered_once_and_missed_ones_are_made_up_for_once(
    office: Office,
) -> None:
    clock = Timetable(office.node, lambda: office.now)
    office.now = DUE - 1
    await clock.look()
    assert [order.due for _, order in office.machine.runs.orders.values()] == [AT]
    office.now = DUE
    await clock.look()
    await clock.look()
    assert [order.due for _, order in office.machine.runs.orders.values()] == [AT, DUE]
    office.now = DUE + 5 * 3600 + 60
    await clock.look()
    await clock.look()
    dues = [order.due for _, order in office.machine.runs.orders.values()]
    assert dues == [AT, DUE, DUE + 5 * 3600], "of five times that were missed the last"


async def test_the_second_party_waits_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office("hospital-b")
    monkeypatch.setattr("time.time", lambda: float(office.now))
    clock = Timetable(office.node, lambda: office.now)
    office.now = DUE + TURN - 1
    await clock.look()
    assert office.machine.runs.orders == {}
    by_other = Order(entry="fit", parameters=AGREED, trigger="hourly", due=DUE)
    office.told.say("sponsor", "order", by_other)
    office.now = DUE + TURN
    await clock.look()
    assert len(office.machine.runs.orders) == 1
    office.now = DUE + 3600 + TURN
    await clock.look()
    assert len(office.machine.runs.orders) == 2, "the first party is away"


def test_what_is_to_be_skipped_is_not_made_up_for() -> None:
    skipping = replace(HOURLY, missed="skip")
    machine = Office(triggers=(skipping,)).machine
    assert due_now(machine, skipping, DUE + limits.CLOCK_SKEW) == DUE
    assert due_now(machine, skipping, DUE + limits.CLOCK_SKEW + 1) is None
    assert due_now(machine, HOURLY, DOCUMENT.start - 1) is None, "before the agreement began"
    assert due_now(machine, BATCH, DUE) is None


async def test_the_schedule_shows_what_comes(office: Office) -> None:
    timed, event = await office.call("schedule")
    assert timed["next"][0] == "2027-01-15 09:00"
    assert len(timed["next"]) == run_queue.NEXT
    assert schedule.fits(HOURLY.cron or "", DUE)
    assert (event["event"], event["next"]) == ("batch-arrived", [])
    lines = "\n".join(words._schedule_words([timed, event]))
    assert "at 0 * * * * UTC" in lines
    assert "event batch-arrived" in lines
    assert "on demand" in "\n".join(words._schedule_words([]))


# --- the agreement's words ------------------------------------------------------------------------


def runs_of(table: dict[str, Any]) -> Runs:
    problems = fields.Problems("agreement.yaml", {})
    dids = {"@sponsor": SPONSOR.did, "@hospital-b": B.did}
    found = read_runs(
        problems.table(table),
        lambda t, key: tuple(dids[name] for name in t.texts(key)),
        lambda t, key: hashlib.sha256(t.text(key).encode()).digest(),
    )
    problems.check()
    return found


def test_the_old_form_of_runs_stays_valid() -> None:
    found = runs_of({"by": ["@sponsor"], "at_most": 3, "attempts": 2})
    assert found == Runs(by=(SPONSOR.did,), at_most=3, attempts=2)
    assert runs_of({"on": "demand", "by": "@sponsor", "at_most": 3, "attempts": 2}) == found


def test_triggers_are_read_by_name() -> None:
    found = runs_of(
        {
            "at_most": 3,
            "attempts": 2,
            "deadline": "P1D",
            "within": "PT6H",
            "triggers": {
                "hourly": {
                    "cron": "0 * * * *",
                    "entry": "fit",
                    "parameters": {"covariates": ["age"]},
                    "by": ["@sponsor", "@hospital-b"],
                },
                "new": {
                    "event": "batch-arrived",
                    "schema": SCHEMA.decode()[:100],
                    "entry": "fit",
                    "by": "@sponsor",
                    "missed": "skip",
                },
            },
        }
    )
    assert (found.by, found.deadline, found.within) == ((), 86_400, 21_600)
    assert found.triggers[0] == HOURLY
    assert (found.triggers[1].event, found.triggers[1].missed) == ("batch-arrived", "skip")


def test_a_diff_names_triggers_in_words() -> None:
    after = replace(DOCUMENT, runs=replace(RUNS, deadline=60))
    told = {one.field: one.after for one in diff(DOCUMENT, after)}
    assert told["runs.triggers.hourly.cron"] == "0 * * * *"
    assert told["runs.triggers"] == "hourly, new"
    assert told["runs.deadline"] == "60 s"


def test_the_strictest_bounds_of_runs_win() -> None:
    tight = tighten_runs(RUNS, {"at_most": 5, "attempts": 9, "deadline": 60, "within": None})
    assert (tight.at_most, tight.attempts, tight.deadline, tight.within) == (5, 3, 60, None)
    tighter = tighten_runs(tight, {"deadline": 90, "within": 30})
    assert (tighter.deadline, tighter.within) == (60, 30)


def test_a_policy_asks_a_person_where_a_clock_orders() -> None:
    ask = policy.Policy(allow=(), ask=(policy.AskWhen(when=("run by cron",), remind=60),))
    facts = SimpleNamespace(
        used_code={DOCUMENT.algorithm.bundle},
        used_recipients={did for one in DOCUMENT.outputs for did in one.to},
        me=B.did,
    )
    timed = replace(DOCUMENT, runs=RUNS)
    assert list(policy._news(ask, timed, facts)) == ["run by cron: hourly (0 * * * *)"]
    assert list(policy._news(ask, DOCUMENT, facts)) == []
