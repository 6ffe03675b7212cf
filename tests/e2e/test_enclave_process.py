"""The enclave with its real sandbox: whole runs, fail-over, and the process on its socket."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from enclave_host import server
from enclave_host.contract import read_contract
from enclave_host.output_model import OutputModel
from protocol import enclave_wire as wire
from protocol import merkle, record, shape, token
from protocol.errors import Refused
from protocol.kinds import run
from protocol.kinds.host import Heartbeat
from protocol.kinds.share import Receipt
from tests.enclave_drive import Door, Host, body_of, digest_of, enclaves, open_delivery
from tests.enclave_rig import PROJECT, SCIENTIFIC, Patient, Rig, arrow, frames, rows_of, sha256

pytestmark = pytest.mark.e2e

ANN, BOB, CAT = Patient("row-101"), Patient("row-102"), Patient("row-103")


@pytest.fixture(scope="module")
def digest():
    if not SCIENTIFIC.is_dir():
        pytest.fail("the environment is missing: make setup")
    return digest_of(SCIENTIFIC)


@pytest.fixture
def start():
    with enclaves(SCIENTIFIC, "any") as boot:
        yield boot


def office(rig, who, enclave, term=1, standbys=()):
    host = Host(rig, who, Door(enclave)).join()
    return host.take_office(term, tuple(one.candidacy for one in standbys))


def push_hospitals(rig, host, *more):
    """Hospitals a and b with 5 people each, all of site 1."""
    shares = [rig.share(rig.a, rows_of(*range(5)), host.keys, *more)]
    shares.append(rig.share(rig.b, rows_of(*range(5, 10)), host.keys, *more))
    for share in shares:
        assert verdict(host.push(share)) == "kept"
    return shares


def verdict(receipt):
    return shape.read(Receipt, dict(receipt.body or {})).verdict


def result(rig, deliveries, who, name="model"):
    (mine,) = (one for one in deliveries if (one.to, one.name) == (who.did, name))
    return open_delivery(mine, who.sealing)


def test_a_run_from_shares_to_results(digest, start):
    rig = Rig(digest)
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    host.push(rig.person_share(ANN, rows_of(101), host.keys))
    silent = rig.consent(BOB, told=False)
    host.push(rig.person_share(BOB, rows_of(102), host.keys, consent_=silent))
    body = host.compute(1)
    assert (body.outcome, body.rows, body.contributors, body.leaf_count) == ("released", 12, 12, 2)
    assert all(check.passed for check in body.gate)

    leaves = merkle.split(host.concluded.leaves)
    assert merkle.root(leaves) == body.leaves
    assert merkle.person_leaf(ANN.secret, rig.id, 1) in leaves
    assert merkle.person_leaf(CAT.secret, rig.id, 1) not in leaves

    early = rig.run_certificate(host.concluded.run, voters=rig.quorum - 1)
    with pytest.raises(Refused, match=r"run\.votes"):
        host.release(early)
    deliveries = host.commit()
    assert host.release(host.runs[-1]) == deliveries
    assert {(one.name, one.to) for one in deliveries} == {
        ("model", rig.sponsor.did), ("model", rig.b.did), ("own-risk", ANN.key),
    }  # fmt: skip
    mean = round((sum(range(10)) + 101 + 102) / 12, 3)
    opened = result(rig, deliveries, rig.sponsor)
    assert json.loads(opened.content) == {"n": 12, "mean": mean}
    told = next(one for one in body.outputs if one.to == rig.sponsor.did)
    assert told.digest == sha256(opened.salt + opened.content)
    (own,) = (one for one in deliveries if one.person)
    assert json.loads(open_delivery(own, ANN.sealing).content) == {
        "relative_risk": round(101 / mean, 3)
    }


def test_what_the_gate_stops_still_ends_the_number(digest, start):
    rig = Rig(digest)
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    assert host.compute(1).outcome == "released"
    host.commit()
    for number, (entry, outcome, code) in enumerate(
        [("leak", "refused", "gate.schema"), ("crash", "failed", "run.failed")], 2
    ):
        body = host.compute(number, rig.order(entry))
        assert (body.outcome, body.refusal_code, body.outputs) == (outcome, code, ())
        assert b"secret" not in host.concluded.run  # nothing of the log
        assert host.commit() == ()
    host.push(rig.person_share(ANN, rows_of(101), host.keys))
    body = host.compute(4)
    assert (body.outcome, body.refusal_code) == ("held", "gate.min-change")
    assert body.refusal_detail == "differs from run 1 by 1 person; 1 more person would release it"
    assert host.commit() == ()


def test_people_who_come_and_go(digest, start):
    rig = Rig(digest)
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    first = {person: rig.consent(person) for person in (ANN, BOB, CAT)}
    for person, said in first.items():
        rows = rows_of(int(person.value[4:]))
        host.push(rig.person_share(person, rows, host.keys, consent_=said))
    stops = tuple(rig.stop(person, first[person]) for person in (ANN, BOB, CAT))
    summons = host.summon(1)
    answers = (rig.statement(rig.a, summons, stops=host.show(*stops)), *rig.statements(summons)[1:])
    host.load(1, host.prepare(1, answers))
    host.concluded = host.conclude(1)
    body = body_of(host.concluded.run)
    assert (body.contributors, body.leaf_count, len(body.stops)) == (10, 0, 3)
    host.commit()
    again = [rig.consent(person, ordinal=2) for person in first]
    for person, said in zip(first, again, strict=True):
        rows = rows_of(int(person.value[4:]))
        host.push(rig.person_share(person, rows, host.keys, consent_=said))
    body = host.compute(2)
    assert (body.outcome, body.contributors) == ("released", 13)
    assert [one.number for one in opened_lineage(host).results] == [1, 2]


def opened_lineage(host):
    return host.open_lineage()


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([*rows_of(1), *rows_of(1)], "share.contract person.unique"),
        ([{"person": "row 1", "site": 1, "value": 1.0}], "share.contract person.pattern"),
        ([{"person": "row-1", "site": 100, "value": 1.0}], "share.contract site.maximum"),
        ([{"person": "row-1", "site": 1, "value": -1.0}], "share.contract value.minimum"),
        ([{"person": "row-1", "site": 1, "value": None}], "share.contract value.required"),
        ([{"person": "row-1", "value": 1.0}], "share.contract table.columns"),
        ([], "share.contract table.rowCount"),
    ],
)
def test_rows_that_break_the_contract_are_named_by_rule_and_never_used(digest, start, rows, why):
    rig = Rig(digest)
    host = office(rig, rig.host_1, start())
    share = rig.share(rig.a, rows, host.keys)
    assert verdict(host.push(share)) == why
    assert host.door.enclave.room.used == 0
    with pytest.raises(Refused, match=r"enclave\.sequence"):
        host.feed(share.id, share.frames[0])
    with pytest.raises(Refused, match=r"share\.contract"):
        host.begin(share, stored=True)


def test_a_persons_rows_may_only_be_about_that_person(digest, start):
    rig = Rig(digest)
    host = office(rig, rig.host_1, start())
    receipt = host.push(rig.person_share(ANN, rows_of(102), host.keys))
    assert verdict(receipt) == "share.contract person.other"


def test_bytes_that_are_no_table_are_refused_in_the_sandbox(digest, start):
    rig = Rig(digest)
    host = office(rig, rig.host_1, start())
    whole = arrow(rows_of(1))
    for plain in (b"", b"ARROW1" * 100, whole[: len(whole) // 2]):
        share = rig.share(rig.a, [], host.keys, plain=plain)
        assert verdict(host.push(share)) == "share.contract table.format"


def test_small_cells_are_refused_and_the_party_is_named(digest, start):
    rig = Rig(digest)
    host = office(rig, rig.host_1, start())
    host.push(rig.share(rig.a, rows_of(*range(5)), host.keys))
    host.push(rig.share(rig.b, rows_of(*range(5, 7), site=2), host.keys))
    body = host.compute(1, rig.order("by-site"))
    assert (body.outcome, body.refusal_code) == ("refused", "gate.small-cells")
    assert (
        body.refusal_detail == "1 of 2 cells count fewer than 3; a coarser table would release it"
    )
    assert body.gate[-1].set_by == rig.b.did


# --- fail-over -----------------------------------------------------------------------------------


@pytest.fixture
def pair(digest, start):
    """Two hosts; the shares are wrapped to both; run 1 is computed at the first, not yet voted."""
    rig = Rig(digest)
    second = Host(rig, rig.host_2, Door(start())).join()
    first = office(rig, rig.host_1, start(), standbys=(second,))
    shares = push_hospitals(rig, first, second.keys)
    person = rig.person_share(ANN, rows_of(101), first.keys, second.keys)
    first.push(person)
    return rig, first, second, [*shares, person]


def take_over(first, second, shares, term=2):
    second.take_office(term)
    for share in shares:
        second.keep(share)
    second.take_over(first)
    return second


def predecessor(host):
    return wire.Predecessor(certificate=host.certificate, host=host.candidacy.raw)


def test_the_standby_goes_on_with_the_lineage_and_no_owner_is_asked(pair):
    rig, first, second, shares = pair
    first.compute(1)
    first.commit()
    take_over(first, second, shares)
    second.push(rig.person_share(BOB, rows_of(102), second.keys))
    body = second.compute(2)
    detail = "differs from run 1 by 1 person; 1 more person would release it"
    assert (body.outcome, body.refusal_detail) == ("held", detail)


def test_a_record_of_the_dead_host_is_computed_again_and_adopted(pair):
    rig, first, second, shares = pair
    proposed = first.compute(1)
    take_over(first, second, shares)
    second.push(rig.person_share(BOB, rows_of(102), second.keys))  # came too late for run 1
    summons = second.summon(1)
    shown = rig.statement(rig.a, summons, accepted=first.concluded.run, attempts=1)
    answers = (shown, *rig.statements(summons)[1:])
    prepared = second.prepare(
        1, answers, terms=(predecessor(first),), leaves=first.concluded.leaves
    )
    assert prepared.adopted == record.parse(first.concluded.run).id
    second.load(1, prepared)
    second.concluded = second.conclude(1)
    again = body_of(second.concluded.run)
    assert again.adopts == prepared.adopted
    assert (again.outputs, again.inputs, again.leaves) == (
        proposed.outputs, proposed.inputs, proposed.leaves,
    )  # fmt: skip
    deliveries = second.commit()
    assert json.loads(result(rig, deliveries, rig.sponsor).content)["n"] == 11
    old = rig.run_certificate(first.concluded.run, term=2)
    with pytest.raises(Refused):
        first.release(old)


def test_other_inputs_are_not_adopted(pair):
    rig, first, second, shares = pair
    first.compute(1)
    take_over(first, second, shares)
    second.push(rig.person_share(BOB, rows_of(102), second.keys))
    summons = second.summon(1)
    answers = rig.statements(summons, accepted=first.concluded.run)
    # The host does not say by the leaves who was in: today's people are not those of the record.
    prepared = second.prepare(1, answers, terms=(predecessor(first),))
    second.load(1, prepared)
    with pytest.raises(Refused, match=r"run\.adopted"):
        second.conclude(1)


def test_a_stream_other_than_the_one_received_is_refused_at_load(pair):
    rig, first, _, shares = pair
    summons = first.summon(1)
    prepared = first.prepare(1, rig.statements(summons))
    share = shares[0]
    other = frames(share.key, share.header, arrow(rows_of(*range(4))))
    first.stored[share.id] = other
    with pytest.raises(Refused, match=r"share\.chunk"):
        first.load(1, prepared)


# --- the process ---------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "enclave.toml"
    file.write_text(
        f'[enclave]\nsocket = "e.sock"\nenvironments = ["{SCIENTIFIC}"]\n'
        '[attestation]\ntechnology = "simulated"\n'
        '[limits]\ndata = "64 MiB"\nmemory = "4 GiB"\n'
    )
    return file


def spawn(file, *more):
    return subprocess.Popen(  # noqa: S603 our own program
        [sys.executable, "-m", "enclave_host.main", "run", "--config", str(file), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )


def ready(process):
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def finish(process):
    process.terminate()
    process.communicate(timeout=30)


def test_the_process_serves_beats_while_it_computes_and_leaves_nothing(digest, settings):
    process = spawn(settings)
    try:
        said = ready(process)
        assert said["technology"] == "SIMULATED, NOT CONFIDENTIAL"
        path = Path(said["ready"])
        assert path.stat().st_mode & 0o777 == 0o600
        rig = Rig(digest)
        client = server.Client(path)
        host = Host(rig, rig.host_1, client).join().take_office()
        push_hospitals(rig, host)
        summons = host.summon(1)
        host.load(1, host.prepare(1, rig.statements(summons)))
        beats = []
        ended = threading.Event()
        listener = threading.Thread(target=listen, args=(path, rig, ended, beats))
        listener.start()
        host.concluded = host.conclude(1)
        ended.set()
        listener.join(30)
        assert body_of(host.concluded.run).outcome == "released"
        assert sum(beats) > 2, "heartbeats waited for the sandbox"
        assert len(host.commit()) == 2
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not path.exists()
    finally:
        finish(process)


def listen(path, rig, ended, beats):
    """Ask for heartbeats; notes of each answer whether the run had not ended by then."""
    client = server.Client(path)
    while not ended.is_set():
        raw = client.ask(wire.Beat(agreement=rig.id), wire.TokenAnswer).token
        assert token.open_(raw, "heartbeat", Heartbeat).body.term == 1
        beats.append(not ended.is_set())
        time.sleep(0.02)
    client.close()


def test_one_enclave_for_a_socket_and_a_killed_one_leaves_it_free(settings):
    first = spawn(settings)
    second = third = None
    try:
        ready(first)
        second = spawn(settings)
        assert second.wait(30) == 1
        assert "enclave.taken" in second.stderr.read()
        second.stdout.close()
        second.stderr.close()
        os.kill(first.pid, signal.SIGKILL)
        first.wait(30)
        third = spawn(settings)  # the socket file is stale now
        ready(third)
        third.send_signal(signal.SIGTERM)
        assert third.wait(30) == 0
    finally:
        for process in (first, third):
            if process is not None:
                finish(process)


def test_garbage_on_the_socket_is_refused_and_harms_nobody(settings):
    process = spawn(settings)
    try:
        path = Path(ready(process)["ready"])
        client = server.Client(path)
        client._socket.sendall(server.pack(b"\xff\xff"))
        answer = server.read_frame(client._stream.read)
        with pytest.raises(Refused, match=r"codec\."):
            wire.WIRE.read_answer(answer, wire.HelloAnswer)
        client._socket.sendall((1 << 31).to_bytes(4, "big"))
        assert client._stream.read() == b""
        client.close()
        other = server.Client(path)
        assert other.ask(wire.Hello(), wire.HelloAnswer).technology == "simulated"
        other.close()
    finally:
        finish(process)


def test_the_files_of_the_demo_are_understood():
    demo = PROJECT / "configs/demo"
    contract = read_contract((demo / "contracts/lung-v1.odcs.yaml").read_bytes(), "person")
    assert contract.rows == (1, 10000)
    assert len(contract.columns) == 7
    found = sorted((demo / "algorithms").glob("*/*.schema.json"))
    assert len(found) == 4
    cells = {file.stem: OutputModel(file.stem, file.read_bytes()).cells for file in found}
    assert cells["by-site.schema"] == {("cells", "*", "n")}


def test_an_order_is_answered_only_by_its_run(digest, start):
    rig = Rig(digest)
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    order = rig.order()
    body = host.compute(1, order)
    assert (body.order, body.entry) == (order.id, "fit")
    assert host.conclude(1) == host.concluded  # asked again, never computed again
    with pytest.raises(Refused, match=r"run\.slot"):
        host.summon(2)  # and then run 1 anew
    # A host that crashed goes through the same steps, and gets the same answers.
    prepared = host.prepare(1, rig.statements(host.summon(1, order)))
    assert prepared.shares == ()
    assert host.conclude(1) == host.concluded
    feed = host.door.ask(wire.Feed(agreement=rig.id, seq=0), wire.Records).records
    assert [record.parse(raw).kind for raw in feed] == [
        "receipt", "receipt", "summons", "started", "bequest", "run",
    ]  # fmt: skip
    assert feed[3:] == (prepared.started, host.concluded.bequest, host.concluded.run)
    assert isinstance(body, run.Run)
