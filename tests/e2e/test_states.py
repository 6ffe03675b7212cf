"""States with the real sandbox: written in one run, read in a later one, also after a fail-over."""

import json

import pytest

from protocol import enclave_wire as wire
from protocol.kinds.run import output_digest
from tests.enclave_drive import Door, Host, body_of, digest_of, enclaves, open_delivery
from tests.enclave_rig import SCIENTIFIC, Patient, rows_of
from tests.sealed_rig import SealedRig

pytestmark = pytest.mark.e2e

ANN = Patient("row-101")


@pytest.fixture(scope="module")
def digest():
    return digest_of(SCIENTIFIC)


@pytest.fixture
def start():
    with enclaves(SCIENTIFIC, "any") as boot:
        yield boot


@pytest.fixture
def pair(digest, start):
    """Two hosts; hospitals and Ann pushed to the first, their keys are wrapped to both."""
    rig = SealedRig(digest)
    second = Host(rig, rig.host_2, Door(start())).join()
    first = Host(rig, rig.host_1, Door(start())).join().take_office(1, (second.candidacy,))
    consent = rig.consent(ANN)
    shares = [
        rig.share(rig.a, rows_of(*range(5)), first.keys, second.keys),
        rig.share(rig.b, rows_of(*range(5, 10)), first.keys, second.keys),
        rig.person_share(ANN, rows_of(101), first.keys, second.keys, consent_=consent),
    ]
    for share in shares:
        first.push(share)
    return rig, first, second, shares, consent


def take_over(first, second, shares):
    second.take_office(2)
    for share in shares:
        second.keep(share)
    second.take_over(first)
    return second


def kept(host):
    return host.open_lineage()


def model(rig, deliveries):
    (mine,) = (one for one in deliveries if one.to == rig.sponsor.did)
    return json.loads(open_delivery(mine, rig.sponsor.sealing).content)


def test_a_state_is_read_by_a_later_run_after_a_fail_over_and_nobody_gets_it(pair):
    rig, first, second, shares, _ = pair
    trained = first.compute(1, rig.order("train", {}))
    assert trained.outcome == "released", trained.refusal_detail
    deliveries = first.commit()
    assert {one.name for one in deliveries} == {"model"}
    (state,) = kept(first).states
    written = next(one for one in trained.outputs if one.name == "weights")
    assert (written.to, written.size) == (rig.id, 0)
    assert written.digest == output_digest(state.salt, state.content)
    assert state.content not in first.lineage

    second = take_over(first, second, shares)
    body = second.compute(2, rig.order("predict", {}))
    assert body.outcome == "released", body.refusal_detail
    (read,) = body.states
    assert (read.name, read.number, read.used) == ("weights", 1, True)
    assert read.digest == written.digest
    mean = round(json.loads(state.content), 3)
    assert model(rig, second.commit()) == {"n": 11, "mean": mean}


@pytest.mark.soak
def test_people_behind_a_state_count_in_what_is_computed_from_it(digest, start):
    """All together in the record; yet neither the rows alone nor the state may rest on too few."""
    rig = SealedRig(digest, min_contributors=8, waits=False)
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    shares = [rig.share(rig.a, rows_of(*range(10)), host.keys)]
    host.push(shares[0])
    host.compute(1, rig.order("train", {}))
    host.commit()
    for number, rows, expected in ((2, 2, "gate.min-contributors"), (3, 8, None)):
        others = rows_of(*range(50, 50 + rows))
        shares.append(rig.share(rig.a, others, host.keys, replaces=shares[-1].id))
        host.push(shares[-1])
        body = host.compute(number, rig.order("predict", {}))
        assert (body.refusal_code, body.contributors, body.rows) == (expected, 10 + rows, rows)
        host.commit()


@pytest.mark.soak
def test_a_state_may_be_read_and_written_and_is_there_from_then_on(digest, start):
    rig = SealedRig(digest, waits=False)
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    host.push(rig.share(rig.a, rows_of(*range(5)), host.keys))
    for number, word in enumerate((b"+", b"++"), 1):
        body = host.compute(number, rig.order("renew", {}))
        assert (body.outcome, host.commit()) == ("released", ()), body.refusal_detail
        assert [one.content for one in kept(host).states] == [word]
        assert [one.number for one in body.states] == ([1] if number == 2 else [])
    body = host.compute(3, rig.order("swell", {}))
    assert (body.outcome, body.refusal_code) == ("refused", "gate.quota")
    assert host.concluded.lineage is None


def test_a_state_whose_people_withdraw_is_dropped_and_no_run_is_repeated_with_it(pair):
    """Run 2 read a state; before it was repeated after a fail-over, a consent behind it ended."""
    rig, first, second, shares, consent = pair
    first.compute(1, rig.order("train", {}))
    first.commit()
    order = rig.order("predict", {})
    accepted = first.compute(2, order)
    second = take_over(first, second, shares)
    stops = second.show(rig.stop(ANN, consent))
    summons = second.summon(2, order)
    answers = rig.statements(summons, accepted=first.concluded.run, stops=stops)
    shown = wire.Predecessor(certificate=first.certificate, host=first.candidacy.raw)
    second.prepare(2, answers, terms=(shown,), leaves=first.concluded.leaves)
    second.concluded = second.conclude(2)
    again = body_of(second.concluded.run)
    assert (again.withheld, again.lineage) == ("consent.withdrawn", accepted.lineage)
    assert second.commit() == ()
    second.keep_lineage(first.concluded)

    summons = second.summon(3, rig.order("predict", {}))
    second.load(3, second.prepare(3, rig.statements(summons, stops=stops)))
    body = body_of(second.conclude(3).run)
    (dropped,) = body.states
    assert (dropped.name, dropped.number, dropped.used) == ("weights", 1, False)
    # Ten of eleven people: one differs, so it is held; the state is gone all the same.
    assert (body.outcome, body.refusal_code, body.contributors) == ("held", "gate.min-change", 10)
