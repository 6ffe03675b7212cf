"""A run number ends in one record whatever died: void, said again, withheld; and orders that come
too late, too early, twice, or with a payload that nobody agreed on are not run.
"""

import json
from dataclasses import replace

import pytest

from enclave_host import environment
from enclave_host.conduct import TRIES
from protocol import enclave_wire as wire
from protocol import merkle, record, shape
from protocol.kinds import run
from protocol.kinds.agreement import Trigger
from tests.enclave_drive import Door, Host, body_of, booted, refused
from tests.enclave_rig import AT, Patient, Rig, actor, rows_of, seed, sha256

SPONSOR = actor("sponsor").did
DAILY = "0 6 * * *"
DUE = AT - AT % 86_400 + 6 * 3600
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"covariates": {"type": "array"}, "batch": {"type": "string"}},
        "required": ["covariates", "batch"],
        "additionalProperties": False,
    }
).encode()
TIMED = Trigger(
    name="daily", cron=DAILY, entry="fit", parameters='{"covariates":["age"]}', by=(SPONSOR,)
)
EVENT = Trigger(
    name="new", event="batch", schema=sha256(SCHEMA), entry="fit", parameters="{}", by=(SPONSOR,)
)
ANN = Patient("row-101")


@pytest.fixture
def start(tmp_path):
    with booted(tmp_path) as boot:
        yield boot


def office(start, **changes):
    """Host-1 in office of term 1 with the shares of both hospitals."""
    rig = Rig(environment.digest(start.folder), **changes)
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    return stock(host)


def stock(host):
    for who, numbers in ((host.rig.a, (1, 2, 3)), (host.rig.b, (4, 5, 6))):
        host.keep(host.rig.share(who, rows_of(*numbers), host.keys))
    return host


def successor(start, host, term=2):
    """Host-2 in office of a later term, with the same shares."""
    after = Host(host.rig, host.rig.host_2, Door(start())).join()
    return stock(after.take_office(term))


def prepare(host, number=1, order=None, **statement):
    summons = host.summon(number, order)
    return host.prepare(number, host.rig.statements(summons, **statement))


def ends(host, number=1):
    """The run record of a prepared number."""
    host.concluded = host.conclude(number)
    return body_of(host.concluded.run)


def said_before(host, **changes):
    """What the enclave of `host` proposed in its term, as if it had computed it."""
    session = host.door.enclave.sessions[host.rig.id]
    order = changes.pop("order", None) or host.rig.order()
    body = run.Run(
        number=1, term=1, order=order.id, entry="fit", parameters='{"covariates": ["age"]}',
        appointment=session.tenure.id, statements=(), stops=(), shares=(), inputs=seed("inputs"),
        consents=seed("consents"), leaves=seed("leaves"), leaf_count=0, bundle=seed("bundle"),
        environment=seed("environment"), evidence=seed("evidence"), technology="simulated",
        rules=host.rig.document.rules, gate=(), outputs=(), rows=0, contributors=0,
        outcome="released", at=AT,
    )  # fmt: skip
    return session.feed.sign("run", replace(body, **changes)).raw


def predecessor(host):
    return wire.Predecessor(certificate=host.certificate, host=host.candidacy.raw)


def adopt(after, before, accepted, number=1, order=None):
    """Prepare in the next term, where one party shows what it voted for."""
    summons = after.summon(number, order)
    one = after.rig.statement(after.rig.a, summons, accepted=accepted)
    answers = (one, *after.rig.statements(summons)[1:])
    return after.prepare(number, answers, terms=(predecessor(before),))


# --- void -----------------------------------------------------------------------------------------


def test_a_number_whose_attempts_are_used_up_ends_as_void_and_nothing_runs(start):
    host = office(start)
    order = host.rig.order()
    prepared = prepare(host, order=order, attempts=3)
    assert (prepared.shares, prepared.started) == ((), b"")
    body = ends(host)
    assert (body.outcome, body.refusal_code, body.order) == ("void", "run.attempts", order.id)
    assert (body.shares, body.outputs, body.rows, body.lineage) == ((), (), 0, None)
    feed = host.door.enclave.sessions[host.rig.id].feed.signed
    assert [record.parse(raw).kind for raw in feed] == ["summons", "run"]
    assert host.commit() == ()
    assert host.summon(2), "the next number is free"


def test_while_a_void_number_has_no_votes_no_other_order_takes_it(start):
    host = office(start)
    prepare(host, attempts=3)
    ends(host)
    refused("run.slot", host.summon, 1, host.rig.order("by-site"))
    refused("run.slot", host.summon, 2, host.rig.order("by-site"))


def test_a_party_that_lies_about_attempts_makes_nothing_void(start):
    host = office(start)
    summons = host.summon()
    lie = (host.rig.statement(host.rig.a, summons, attempts=99), *host.rig.statements(summons)[1:])
    assert host.prepare(1, lie).started


def test_void_needs_neither_share_nor_lineage(start):
    rig = Rig(environment.digest(start.folder))
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    prepare(host, attempts=3)
    assert ends(host).outcome == "void"


def test_a_void_record_of_an_earlier_term_is_said_again(start):
    host = office(start)
    prepare(host, attempts=3)
    ends(host)
    after = successor(start, host)
    adopt(after, host, host.concluded.run)
    again = ends(after)
    assert (again.outcome, again.adopts) == ("void", record.parse(host.concluded.run).id)


def test_an_enclave_whose_sandbox_breaks_gives_up_its_term(start, monkeypatch):
    def broken(_):
        raise OSError("no memory")

    monkeypatch.setattr("enclave_host.enclave.compute", broken)
    host = office(start, waits=False)
    order = host.rig.order()
    beat = wire.Beat(agreement=host.rig.id)
    for _ in range(TRIES):
        assert host.door.ask(beat, wire.TokenAnswer).token
        host.load(1, prepare(host, order=order))
        refused("enclave.broken", host.conclude, 1)
    refused("enclave.broken", host.door.ask, beat, wire.TokenAnswer)
    host.take_office(2)
    assert host.door.ask(beat, wire.TokenAnswer).token, "in another term it may try again"


# --- a result that its host took with it ----------------------------------------------------------


def test_an_ended_number_is_summoned_again_by_a_later_term_and_never_twice_in_one(start):
    host = office(start)
    prepare(host, attempts=3)
    ends(host)
    host.commit()
    refused("run.slot", host.summon, 1, host.rig.order("by-site"))
    after = successor(start, host)
    assert after.summon(1)


def test_what_cannot_be_computed_again_is_waited_for_and_then_withheld(start):
    host = office(start, runs={"within": 60})
    accepted = said_before(host, shares=(seed("gone"),))
    after = successor(start, host)
    order = after.rig.order()
    refused("run.adopted", adopt, after, host, accepted, order=order)
    after.door.enclave.conducts[after.rig.id].attempt.since -= 61
    adopt(after, host, accepted, order=order)
    body = ends(after)
    assert (body.outcome, body.withheld) == ("released", "run.adopted")
    assert body.adopts == record.parse(accepted).id
    assert after.commit() == ()


def test_after_a_withdrawal_nothing_is_opened_again_and_the_number_ends(start):
    host = office(start)
    consent = host.rig.consent(ANN)
    leaves = shares_with(host, consent)
    accepted = said_before(host, leaf_count=1, leaves=merkle.root([leaves]))
    after = successor(start, host)
    shares_with(after, consent)
    stop = after.show(after.rig.stop(ANN, consent))
    summons = after.summon(1)
    one = after.rig.statement(after.rig.a, summons, accepted=accepted, stops=stop)
    answers = (one, *after.rig.statements(summons)[1:])
    prepared = after.prepare(1, answers, terms=(predecessor(host),), leaves=leaves)
    assert prepared.shares == ()
    assert ends(after).withheld == "consent.withdrawn"


def test_a_consent_that_expired_since_opens_nothing_again(start):
    host = office(start)
    consent = host.rig.consent(ANN, until=AT + 200)
    leaves = shares_with(host, consent)
    accepted = said_before(host, leaf_count=1, leaves=merkle.root([leaves]))
    after = successor(start, host)
    shares_with(after, consent)
    summons = after.summon(1)
    late = after.rig.statements(summons, at=AT + 201)
    one = after.rig.statement(after.rig.a, summons, accepted=accepted, at=AT + 201)
    after.prepare(1, (one, *late[1:]), terms=(predecessor(host),), leaves=leaves)
    assert ends(after).withheld == "consent.withdrawn"


def shares_with(host, consent):
    """A person's share beside those of the hospitals; the person's leaf."""
    host.keep(host.rig.person_share(ANN, rows_of(101), host.keys, consent_=consent))
    return merkle.person_leaf(ANN.secret, host.rig.id, 1)


def test_consents_end_by_no_earlier_time_than_the_last_record(start):
    """Statements whose clocks go back revive no consent that had ended by the last run."""
    host = office(start)
    consent = host.rig.consent(ANN, until=AT + 500)
    shares_with(host, consent)
    first = host.rig.run_certificate(said_before(host, outcome="failed", at=AT + 501))
    summons = host.summon(2)
    prepared = host.prepare(2, host.rig.statements(summons, at=AT), runs=(first,))
    assert len(prepared.shares) == 2


# --- orders in time -------------------------------------------------------------------------------


def test_an_order_that_did_not_start_by_its_deadline_expires(start):
    host = office(start, runs={"deadline": 50})
    error = refused("run.expired", prepare, host)  # by the agreement: dated AT, stated at AT + 100
    assert "50 s" in error.detail
    own = office(start)
    refused("run.expired", prepare, own, order=own.rig.order(deadline=AT + 99))
    assert prepare(own, order=own.rig.order("by-site", {}, deadline=AT + 100)).started


def test_what_started_does_not_expire(start):
    host = office(start, runs={"deadline": 50})
    assert prepare(host, attempts=1).started


def timed(host, due=DUE, **more):
    return host.rig.order(trigger="daily", due=due, **more)


def test_an_order_by_the_clock_runs_at_its_time_and_not_before(start):
    host = office(start, runs={"triggers": (TIMED,)})
    order = timed(host)
    early = {"at": DUE - 1}
    summons = host.summon(1, order)
    lie = host.rig.statement(host.rig.a, summons, at=DUE + 5)
    answers = (lie, *host.rig.statements(summons, **early)[1:])
    refused("run.trigger", host.prepare, 1, answers)
    assert host.prepare(1, host.rig.statements(summons, at=DUE)).started


def test_one_due_time_has_one_run(start):
    host = office(start, runs={"triggers": (TIMED,)})
    earlier = said_before(host, trigger="daily", due=DUE)
    certificate = host.rig.run_certificate(replace_lineage(host, earlier))
    summons = host.summon(2, timed(host))
    answers = host.rig.statements(summons, at=DUE)
    refused("run.trigger", host.prepare, 2, answers, runs=(certificate,))


def test_after_a_void_run_the_due_time_is_ordered_again_by_who_says_so(start):
    host = office(start, runs={"triggers": (TIMED,)})
    first = host.rig.run_certificate(said_before(host, trigger="daily", due=DUE, outcome="void"))
    summons = host.summon(2, timed(host))
    answers = host.rig.statements(summons, at=DUE)
    refused("run.trigger", host.prepare, 2, answers, runs=(first,))
    again = host.summon(2, timed(host, again=seed("first order")))
    assert host.prepare(2, host.rig.statements(again, at=DUE), runs=(first,)).started


def replace_lineage(host, raw):
    """The same record as one from which nothing left: its lineage is not asked for."""
    body = shape.read(run.Run, dict(record.parse(raw).body or {}))
    session = host.door.enclave.sessions[host.rig.id]
    return session.feed.sign("run", replace(body, outcome="held")).raw


@pytest.mark.parametrize(
    "more",
    [
        {"trigger": "daily", "due": DUE + 60},
        {"trigger": "daily"},
        {"trigger": "weekly", "due": DUE},
        {"due": DUE},
        {"trigger": "daily", "due": DUE, "payload": "{}"},
        {"trigger": "new", "due": DUE},
        {"trigger": "new"},
    ],
)
def test_an_order_that_its_trigger_does_not_say_is_refused(start, more):
    host = office(start, runs={"triggers": (TIMED, EVENT)}, events=(SCHEMA,))
    refused("run.trigger", host.summon, 1, host.rig.order(**more))


def test_a_time_table_runs_with_the_agreed_parameters_alone(start):
    host = office(start, runs={"triggers": (TIMED,)})
    other = host.rig.order(parameters={"covariates": ["sex"]}, trigger="daily", due=DUE)
    refused("run.trigger", host.summon, 1, other)
    refused("run.order", host.summon, 1, timed(host, by=host.rig.a))


def told(host, payload, **changes):
    covariates = changes.get("covariates", payload.get("covariates"))
    text = json.dumps(payload)
    return host.rig.order(parameters={"covariates": covariates}, trigger="new", payload=text)


def test_an_event_brings_its_parameters_under_the_agreed_schema(start):
    host = office(start, runs={"triggers": (EVENT,)}, events=(SCHEMA,))
    order = told(host, {"covariates": ["age"], "batch": "7"})
    assert prepare(host, order=order).started
    body = host.door.enclave.conducts[host.rig.id].attempt.wanted
    assert (body.trigger, body.due) == ("new", None)


@pytest.mark.parametrize(
    ("payload", "covariates"),
    [
        ({"covariates": ["age"]}, ["age"]),
        ({"covariates": ["age"], "batch": 7}, ["age"]),
        ({"covariates": ["age"], "batch": "7", "more": 1}, ["age"]),
        ({"covariates": ["age"], "batch": "7"}, ["sex"]),
    ],
)
def test_a_payload_that_the_schema_does_not_describe_orders_nothing(start, payload, covariates):
    host = office(start, runs={"triggers": (EVENT,)}, events=(SCHEMA,))
    order = told(host, payload, covariates=covariates)
    refused("run.trigger", host.summon, 1, order)


def test_without_the_schema_no_event_counts(start):
    host = office(start, runs={"triggers": (EVENT,)})
    order = told(host, {"covariates": ["age"], "batch": "7"})
    refused("run.trigger", host.summon, 1, order)
