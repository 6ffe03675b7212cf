"""Attacks on a run before anything opens: orders, statements, stops, budget, history, lineage."""

from dataclasses import replace

import pytest

from enclave_host import environment
from protocol import enclave_wire as wire
from protocol import record, shape, token
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds import run
from protocol.kinds.consent import Stop
from tests.enclave_drive import Door, Host, body_of, booted, refused
from tests.enclave_rig import AT, UNTIL, Patient, Rig, rows_of, seed

ANN, BOB = Patient("row-101"), Patient("row-102")


@pytest.fixture
def start(tmp_path):
    with booted(tmp_path) as boot:
        yield boot


def office(start, **rules):
    """A host in office of term 1 with the shares of a and b, stored."""
    rig = Rig(environment.digest(start.folder), **rules)
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    for who, numbers in ((rig.a, (1, 2, 3)), (rig.b, (4, 5, 6))):
        host.keep(rig.share(who, rows_of(*numbers), host.keys))
    return host


@pytest.fixture
def host(start):
    return office(start)


def prepare(host, number=1, **statement):
    summons = host.summon(number)
    return host.prepare(number, host.rig.statements(summons, **statement))


# --- orders --------------------------------------------------------------------------------------


def test_only_a_named_party_orders(host):
    refused("run.order", host.summon, 1, host.rig.order(by=host.rig.a))


@pytest.mark.parametrize(
    ("entry", "parameters"),
    [
        ("drop", {}),
        ("fit", {}),
        ("fit", {"covariates": []}),
        ("fit", {"covariates": ["age", "age"]}),
        ("fit", {"covariates": ["income"]}),
        ("fit", {"covariates": "age"}),
        ("fit", {"covariates": [["age"]]}),
        ("fit", {"covariates": ["age"], "more": 1}),
        ("by-site", {"covariates": ["age"]}),
    ],
)
def test_an_order_beyond_the_agreed_entry_is_refused(host, entry, parameters):
    refused("run.order", host.summon, 1, host.rig.order(entry, parameters))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"covariates": ["age"], "covariates": ["sex"]}', "[" * 5000]
)
def test_parameters_that_are_no_plain_json_object_are_refused(host, text):
    order = host.rig.pens["sponsor"].write("order", run.Order(entry="fit", parameters=text))
    refused("run.order", host.summon, 1, order)


def test_a_forged_order_is_refused(host):
    order = host.rig.order()
    with pytest.raises(Refused) as caught:
        host.door.ask(
            wire.Summon(agreement=host.rig.id, number=1, order=order.raw[:-1] + b"\x00"),
            wire.Records,
        )
    assert caught.value.code in ("record.body", "codec.malformed", "codec.not-deterministic")


def test_the_number_of_runs_is_a_budget(host):
    refused("run.budget", host.summon, 6)
    refused("run.slot", host.summon, 0)


def test_a_summons_is_the_same_when_asked_again_and_has_a_fresh_nonce_for_another_order(host):
    order, other = host.rig.order(), host.rig.order("by-site")
    first, again = host.summon(1, order), host.summon(1, order)
    assert first == again
    assert nonce(host.summon(1, other)) != nonce(first)


def nonce(raw):
    return shape.read(run.Summons, dict(record.parse(raw).body or {})).nonce


def test_no_other_order_after_the_start(host):
    prepare(host)
    refused("run.slot", host.summon, 1, host.rig.order("by-site"))


def test_a_number_that_started_is_not_left_to_come_back_to_it_with_other_shares(host):
    host.summon(2)
    prepare(host)
    refused("run.slot", host.summon, 2)


def test_a_summons_needs_an_appointment(start):
    rig = Rig(environment.digest(start.folder))
    host = Host(rig, rig.host_1, Door(start())).join()
    refused("election.certificate", host.summon)


# --- statements ----------------------------------------------------------------------------------


def test_with_every_statement_the_run_starts(host):
    prepared = prepare(host)
    started = shape.read(run.Started, dict(record.parse(prepared.started).body or {}))
    assert (started.shares, started.organizations, started.people) == (2, 2, 0)
    assert set(prepared.shares) == set(host.stored)


def test_too_few_statements_start_nothing(host):
    summons = host.summon()
    statements = host.rig.statements(summons)[: host.rig.quorum - 1]
    refused("run.statements", host.prepare, 1, statements)
    refused("run.statements", host.prepare, 1, statements + statements)


@pytest.mark.parametrize("change", [{"number": 2}, {"term": 2}, {"nonce": seed("other")}])
def test_answers_to_another_question_do_not_count(host, change):
    summons = host.summon()
    refused("run.statements", host.prepare, 1, host.rig.statements(summons, **change))


def test_a_forged_statement_does_not_count(host):
    summons = host.summon()
    statements = list(host.rig.statements(summons)[: host.rig.quorum])
    statements[0] = host.rig.statements(summons)[0][:-1] + b"\x00"
    refused("run.statements", host.prepare, 1, tuple(statements))


def test_one_suspension_stops_the_run(host):
    summons = host.summon()
    statements = [
        *host.rig.statements(summons)[:4],
        host.rig.statement(host.rig.sponsor, summons, suspended=True),
    ]
    error = refused("agreement.ended", host.prepare, 1, tuple(statements))
    assert error.set_by == "sponsor"


def test_an_organization_that_makes_no_statement_is_waited_for(host):
    summons = host.summon()
    without_b = tuple(
        host.rig.statement(one, summons) for one in host.rig.parties if one.name != "hospital-b"
    )
    error = refused("run.share-missing", host.prepare, 1, without_b)
    assert "the statement of hospital-b" in str(error)


def test_an_older_share_than_its_owner_states_is_not_used(host):
    """A host that keeps back the newer one, after a fail-over, say, brings nothing back by it."""
    rig = host.rig
    known = rig.named["hospital-a"]
    newer = rig.share(rig.a, rows_of(1, 2), host.keys)
    summons = host.summon()
    answers = rig.statements(summons)
    error = refused("run.share-missing", host.prepare, 1, answers)
    assert "the share of hospital-a" in str(error)
    host.keep(newer)
    assert newer.id in host.prepare(1, answers).shares
    # Until its owner has the receipt, the one before it counts.
    rig.named["hospital-a"] = known
    assert set(known) <= set(host.prepare(1, rig.statements(summons)).shares)


def test_where_nobody_waits_its_share_is_left_out(start):
    host = office(start, waits=False)
    summons = host.summon()
    without_b = tuple(
        host.rig.statement(one, summons) for one in host.rig.parties if one.name != "hospital-b"
    )
    assert len(host.prepare(1, without_b).shares) == 1


def test_a_missing_share_is_waited_for(start):
    rig = Rig(environment.digest(start.folder))
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    host.keep(rig.share(rig.a, rows_of(1, 2), host.keys))
    error = refused("run.share-missing", prepare, host)
    assert (error.set_by, error.detail) == ("hospital-b", "the share of hospital-b")


def test_an_unfinished_upload_is_no_share(start):
    rig = Rig(environment.digest(start.folder))
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    host.keep(rig.share(rig.a, rows_of(1, 2), host.keys))
    cut = rig.share(rig.b, rows_of(3, 4), host.keys)
    ready = host.begin(cut)
    for frame in cut.frames[:-1]:
        host.feed(ready.share, frame)
    refused("run.share-missing", prepare, host)


def test_data_of_several_organizations_meet_only_where_agreed(host, start):
    refused("agreement.document", office, start, processing=("dpv:Analyse",))
    # Should such an agreement ever be signed, the run itself refuses too.
    session = host.door.enclave.sessions[host.rig.id]
    document = session.parties.document
    purpose = replace(document.purpose, processing=("dpv:Analyse",))
    session.parties = replace(session.parties, document=replace(document, purpose=purpose))
    refused("run.combine", prepare, host)


def test_attempts_are_bounded_by_what_more_than_the_liars_saw(host):
    summons = host.summon()
    lie = (host.rig.statement(host.rig.a, summons, attempts=99), *host.rig.statements(summons)[1:])
    assert host.prepare(1, lie).started
    assert not host.prepare(1, host.rig.statements(summons, attempts=3)).shares


def test_after_its_time_the_agreement_runs_no_more(host):
    summons = host.summon()
    late = AT + 366 * 86_400
    liar = (host.rig.statement(host.rig.a, summons, at=late), *host.rig.statements(summons)[1:])
    host.prepare(1, liar)
    refused("agreement.ended", host.prepare, 1, host.rig.statements(summons, at=late))


# --- people --------------------------------------------------------------------------------------


def with_people(host, **consent):
    said = {person: host.rig.consent(person, **consent) for person in (ANN, BOB)}
    for person, raw in said.items():
        rows = rows_of(int(person.value[4:]))
        host.keep(host.rig.person_share(person, rows, host.keys, consent_=raw))
    return said


def test_people_are_in_within_their_window(host):
    with_people(host)
    assert len(prepare(host).shares) == 4


def test_outside_the_window_they_are_not(host):
    with_people(host, first=2, last=3)
    assert len(prepare(host).shares) == 2


def test_an_expired_consent_is_none_and_a_liar_cannot_make_it_expire(host):
    with_people(host, until=AT + 200)
    summons = host.summon()
    liar = (host.rig.statement(host.rig.a, summons, at=UNTIL), *host.rig.statements(summons)[1:])
    assert len(host.prepare(1, liar).shares) == 4
    assert len(host.prepare(1, host.rig.statements(summons, at=AT + 201)).shares) == 2


def test_one_party_is_enough_to_bring_a_withdrawal(host):
    said = with_people(host)
    summons = host.summon()
    stop = host.rig.stop(ANN, said[ANN])
    answers = (
        host.rig.statement(host.rig.a, summons, stops=(token.open_(stop, "stop", Stop).id,)),
        *host.rig.statements(summons)[1:],
    )
    # A host that does not show the stop cannot use the statement that names it.
    refused("run.share-missing", host.prepare, 1, answers)
    show(host, stop)
    assert len(host.prepare(1, answers).shares) == 3
    assert len(host.prepare(1, host.rig.statements(summons)).shares) == 3  # for ever


def test_a_statement_with_a_stop_of_another_agreement_does_not_count(host):
    other = Rig(seed("environment"), at_most=4)
    stop = other.stop(ANN, other.consent(ANN))
    summons = host.summon()
    said = host.rig.statements(summons, stops=(token.open_(stop, "stop", Stop).id,))
    with pytest.raises(Refused, match=r"consent\.scope"):
        show(host, stop)
    refused("run.statements", host.prepare, 1, said)


def show(host, stop):
    host.door.ask(wire.Stops(agreement=host.rig.id, stops=(stop,)), Done)


# --- code and environment ------------------------------------------------------------------------


def test_without_the_agreed_bundle_nothing_starts(start):
    rig = Rig(environment.digest(start.folder))
    host = Host(rig, rig.host_1, Door(start()))
    host.door.ask(wire.Join(opening=rig.opening), Done)
    host.attest()
    host.candidacy = rig.candidacy(rig.host_1, host.keys)
    host.take_office()
    host.keep(rig.share(rig.a, rows_of(1), host.keys))
    refused("run.code", prepare, host)


def test_an_environment_that_changed_since_boot_is_refused(host, start):
    (start.folder / "numbers.py").write_text("one = 2\n")
    refused("run.environment", prepare, host)


def test_an_environment_that_is_not_here_is_refused(start):
    rig = Rig(seed("another environment"))
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    host.keep(rig.share(rig.a, rows_of(1), host.keys))
    refused("run.environment", prepare, host)


# --- history -------------------------------------------------------------------------------------


def run_record(host, number, outcome="released", lineage=None):
    """A run record of the enclave, as if it had computed one."""
    enclave = host.door.enclave
    body = run.Run(
        number=number,
        term=1,
        order=seed("order"),
        entry="fit",
        parameters="{}",
        appointment=seed("appointment"),
        statements=(),
        stops=(),
        shares=(),
        inputs=seed("inputs"),
        consents=seed("consents"),
        leaves=seed("leaves"),
        leaf_count=0,
        bundle=seed("bundle"),
        environment=seed("environment"),
        evidence=seed("evidence"),
        technology="simulated",
        rules=host.rig.document.rules,
        gate=(),
        outputs=(),
        rows=0,
        contributors=0,
        lineage=lineage,
        outcome=outcome,
        at=AT,
    )
    return enclave.sessions[host.rig.id].feed.sign("run", body).raw


def test_a_number_needs_all_certificates_before_it(host):
    refused("run.slot", prepare, host, 2)
    certificate = host.rig.run_certificate(run_record(host, 1, "failed"))
    summons = host.summon(2)
    statements = host.rig.statements(summons)
    host.prepare(2, statements, runs=(certificate,))
    refused("run.slot", host.prepare, 2, statements, runs=(certificate, certificate))
    refused("run.slot", host.summon, 1)


def test_too_few_votes_are_no_history(host):
    raw = run_record(host, 1, "failed")
    certificate = host.rig.run_certificate(raw, voters=host.rig.quorum - 1)
    summons = host.summon(2)
    refused("run.votes", host.prepare, 2, host.rig.statements(summons), runs=(certificate,))


def test_without_the_lineage_of_a_released_run_nothing_starts(host):
    certificate = host.rig.run_certificate(run_record(host, 1, lineage=seed("lineage")))
    summons = host.summon(2)
    statements = host.rig.statements(summons)
    refused("gate.lineage", host.prepare, 2, statements, runs=(certificate,))
    refused("gate.lineage", host.prepare, 2, statements, runs=(certificate,), lineage=b"other")


# --- load ----------------------------------------------------------------------------------------


def test_stored_frames_must_be_whole_unaltered_and_asked_for(host):
    prepared = prepare(host)
    first, second = prepared.shares
    stored = host.stored[first]
    refused("enclave.sequence", host.load_frame, 1, seed("nothing"), stored[0], False)
    host.load_frame(1, first, stored[0], False)
    altered = stored[1][:-1] + bytes([stored[1][-1] ^ 1])
    refused("share.chunk", host.load_frame, 1, first, altered, False)
    refused("share.chunk", host.load_frame, 1, first, host.stored[second][1], False)
    refused("share.unfinished", host.load_frame, 1, first, stored[1], True)
    refused("run.share-missing", host.conclude, 1)


def test_conclude_comes_after_prepare(host):
    host.summon()
    refused("enclave.sequence", host.conclude, 1)


# --- what was accepted in an earlier term --------------------------------------------------------


def second_term(start, host):
    """Another enclave in office of term 2, with the same shares."""
    rig = host.rig
    after = Host(rig, rig.host_2, Door(start())).join()
    after.take_office(2)
    for who, numbers in ((rig.a, (1, 2, 3)), (rig.b, (4, 5, 6))):
        after.keep(rig.share(who, rows_of(*numbers), after.keys))
    return after


def predecessor(host):
    return wire.Predecessor(certificate=host.certificate, host=host.candidacy.raw)


def first_record(host, outcome):
    body = body_of(run_record(host, 1, outcome))
    session = host.door.enclave.sessions[host.rig.id]
    body = replace(body, appointment=session.tenure.id)
    return session.feed.sign("run", body).raw


def test_a_record_of_an_earlier_term_is_said_again(start, host):
    after = second_term(start, host)
    accepted = first_record(host, "held")
    summons = after.summon()
    one = after.rig.statement(after.rig.a, summons, accepted=accepted)
    answers = (one, *after.rig.statements(summons)[1:])
    prepared = after.prepare(1, answers, terms=(predecessor(host),))
    assert prepared.adopted == record.parse(accepted).id
    assert prepared.shares == ()
    again = body_of(after.conclude(1).run)
    assert (again.outcome, again.adopts, again.term) == ("held", prepared.adopted, 2)


def test_what_no_appointed_enclave_signed_is_not_adopted(start, host):
    after = second_term(start, host)
    forged = first_record(after, "held")  # by the wrong enclave, about term 1
    summons = after.summon()
    answers = after.rig.statements(summons, accepted=forged)
    refused("run.statements", after.prepare, 1, answers, terms=(predecessor(host),))


def test_a_host_that_hides_an_earlier_term_loses_the_statements_about_it(start, host):
    after = second_term(start, host)
    accepted = first_record(host, "released")
    summons = after.summon()
    answers = after.rig.statements(summons, accepted=accepted)
    refused("run.statements", after.prepare, 1, answers)


def test_what_was_released_is_not_adopted_without_its_shares(start, host):
    after = second_term(start, host)
    rig = after.rig
    body = body_of(first_record(host, "released"))
    session = host.door.enclave.sessions[rig.id]
    raw = session.feed.sign("run", replace(body, shares=(seed("gone"),))).raw
    summons = after.summon()
    answers = rig.statements(summons, accepted=raw)
    refused("run.adopted", after.prepare, 1, answers, terms=(predecessor(host),))


def test_a_token_of_another_kind_is_no_stop(host):
    raw = token.sign(ANN.seed, "consent", run.Order(entry="a", parameters=""))
    request = wire.Stops(agreement=host.rig.id, stops=(raw,))
    refused("record.signature", host.door.ask, request, Done)
