"""One hostile party, person, provider or algorithm against everybody else's runs."""

import hashlib
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute  # as prepare.answer does
import pytest

from enclave_host import computation, environment
from enclave_host.contract import read_contract
from enclave_host.contributors import Contributor, key
from enclave_host.lineage import Lineage
from enclave_host.output_model import OutputModel
from enclave_host.runners import prepare
from enclave_host.shares import PUSHES
from enclave_host.state import Reading
from node.host import Host as HostNode
from node.wire import Challenge
from protocol import enclave_wire as wire
from protocol import limits, record, shape, token
from protocol.decision import quorum
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds.consent import PersonEnvelope, Stop, sealing_digest
from protocol.sealing import wrap
from tests.enclave_drive import Door, Host, enclaves
from tests.enclave_rig import Patient, Rig, Sealed, arrow, rows_of, seed
from tests.enclave_vitals import CONTRACT

ANN, BOB = Patient("row-101"), Patient("row-102")


@pytest.fixture
def start(tmp_path):
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "numbers.py").write_text("one = 1\n")
    with enclaves(folder) as boot:
        boot.folder = folder
        yield boot


@pytest.fixture
def host(start):
    """A host in office of term 1 with the shares of a and b, stored."""
    rig = Rig(environment.digest(start.folder))
    found = Host(rig, rig.host_1, Door(start())).join().take_office()
    for who, numbers in ((rig.a, (1, 2, 3)), (rig.b, (4, 5, 6))):
        found.keep(rig.share(who, rows_of(*numbers), found.keys))
    return found


# --- a party -------------------------------------------------------------------------------------


def invented(rig, number, right=b""):
    """A withdrawal, rightly signed, of a consent that nobody gave."""
    consent = seed(f"consent {number}")
    body = Stop(agreement=rig.id, what="withdrawal", consent=consent, right=right)
    return token.sign(seed(f"nobody {number}"), "stop", body)


def stop_id(raw):
    return token.open_(raw, "stop", Stop).id


@pytest.mark.parametrize("right", ["none", "forged", "another's"])
def test_the_stops_of_strangers_count_nowhere(host, right):
    """A liar silences itself: its statement names what nobody can show."""
    rig, summons = host.rig, host.summon()
    rights = {
        "none": b"",
        "forged": rig.right(seed("nobody 1"), by=seed("forger")),
        "another's": rig.right(ANN.seed),
    }
    raw = invented(rig, 1, rights[right])
    with pytest.raises(Refused) as caught:
        host.door.ask(wire.Stops(agreement=rig.id, stops=(raw,)), Done)
    assert caught.value.code in ("codec.malformed", "credential.issuer", "credential.subject")
    liar = rig.statement(rig.a, summons, stops=(stop_id(raw),))
    with pytest.raises(Refused, match=r"run\.statements"):
        host.prepare(1, (liar, *rig.statements(summons)[1 : quorum(len(rig.parties))]))
    assert host.door.enclave.sessions[rig.id].consents.stops == {}


def test_more_withdrawals_than_a_record_can_name_are_refused(host, monkeypatch):
    monkeypatch.setattr("protocol.limits.STOPS", 2)
    rig = host.rig
    person = seed("nobody 1"), seed("nobody 2"), seed("nobody 3")
    raws = tuple(invented(rig, n, rig.right(key)) for n, key in enumerate(person, 1))
    with pytest.raises(Refused, match=r"codec\.too-large"):
        host.door.ask(wire.Stops(agreement=rig.id, stops=raws), Done)
    host.door.ask(wire.Stops(agreement=rig.id, stops=raws[:2]), Done)


def test_a_withdrawal_that_ends_a_consent_here_is_never_forgotten(host):
    rig = host.rig
    person = rig.person_share(ANN, rows_of(101), host.keys)
    host.keep(person)
    summons = host.summon()
    honest = rig.statements(summons)
    stop = rig.stop(ANN, person.consent)
    host.door.ask(wire.Stops(agreement=rig.id, stops=(stop,)), Done)
    said = rig.statement(rig.a, summons, stops=(stop_id(stop),))
    assert person.id not in host.prepare(1, (said, *honest[1:])).shares
    assert person.id not in host.prepare(1, honest).shares


def test_a_recipient_whose_key_takes_nothing_is_found_out_before_any_share(start, monkeypatch):
    monkeypatch.setattr(wrap, "public_key", lambda _: bytes(wrap.PUBLIC_BYTES))
    rig = Rig(environment.digest(start.folder))
    monkeypatch.undo()
    host = Host(rig, rig.host_1, Door(start()))
    with pytest.raises(Refused, match=r"share\.wrap"):
        host.join()


# --- a person ------------------------------------------------------------------------------------


def test_a_sealing_key_that_takes_nothing_is_refused_before_it_blocks_a_release(host):
    """Deliveries of a run leave together: one recipient's bad key would keep back all of them."""
    rig, vault = host.rig, host.door.enclave.vault
    bad = bytes(wrap.PUBLIC_BYTES)
    said = rig.consent(ANN, sealing=sealing_digest(bad))
    honest = rig.person_share(ANN, rows_of(101), host.keys, consent_=said)
    opened = wrap.open_(honest.opener[host.id], vault.seed, "person-envelope", rig.id, host.id)
    envelope = replace(shape.decode(PersonEnvelope, opened), sealing=bad)
    binding = ("person-envelope", rig.id, host.id)
    sealed = wrap.seal(shape.encode(envelope), host.keys.sealing, *binding)
    hostile = Sealed(honest.id, True, {host.id: sealed}, honest.frames)
    with pytest.raises(Refused, match=r"share\.wrap"):
        host.begin(hostile)


def test_one_person_cannot_use_up_the_places_of_all(host):
    """Each share that one begins and never ends would keep its place, and its rows."""
    rig, shares = host.rig, host.door.enclave.sessions[host.rig.id].shares
    before, used = len(shares.held), host.door.enclave.room.used
    for number in range(PUSHES):
        begun = rig.person_share(ANN, rows_of(101), host.keys, key=seed(f"key {number}"))
        host.begin(begun)
        host.feed(begun.id, begun.frames[0])
        host.feed(begun.id, begun.frames[1])
    assert len(shares.held) == before + 1
    assert host.door.enclave.room.used - used == 512
    with pytest.raises(Refused, match=r"share\.busy"):
        host.begin(rig.person_share(ANN, rows_of(101), host.keys, key=seed("one more")))
    host.keep(rig.person_share(BOB, rows_of(102), host.keys))


def test_a_persons_share_is_rows_not_a_database(host, monkeypatch):
    monkeypatch.setattr(limits, "PERSON_SHARE", 600)
    person = host.rig.person_share(ANN, rows_of(*range(50)), host.keys)
    host.begin(person)
    host.feed(person.id, person.frames[0])
    host.feed(person.id, person.frames[1])
    with pytest.raises(Refused, match=r"share\.chunk"):
        host.feed(person.id, person.frames[2])
    assert host.door.enclave.room.used == 512


def test_a_passers_by_challenge_is_not_the_evidence_of_a_run(host):
    """Nobody keeps what a stranger was answered: a run that named it could not be checked."""
    session = host.door.enclave.sessions[host.rig.id]
    kept = session.evidence
    request = wire.Attest(
        agreement=host.rig.id, host=host.who.did, requester=ANN.key, term=1, nonce=seed("mine")
    )
    bundle = host.door.ask(request, wire.AttestAnswer).bundle
    assert session.evidence == kept
    assert kept not in (None, hashlib.sha256(bundle).digest())


async def test_nobody_challenges_in_the_name_of_a_party():
    asked = []

    async def ask(request, _answer):
        asked.append(request)
        return wire.AttestAnswer(bundle=b"evidence")

    nodes = {"node of a": frozenset({seed("a")}), "node of b": frozenset({seed("b")})}
    world = SimpleNamespace(
        me=SimpleNamespace(did=seed("host")),
        collaboration=lambda _: SimpleNamespace(parties={seed("a"): None, seed("b"): None}),
        owners_of=lambda peer: nodes.get(peer, frozenset()),
    )
    host = SimpleNamespace(world=world, link=SimpleNamespace(ask=ask))
    challenge = Challenge(agreement=seed("x"), requester=seed("a"), term=1, nonce=seed("n"))
    for peer in ("node of b", "a stranger"):
        with pytest.raises(Refused, match=r"session\.audience"):
            await HostNode._challenge(host, challenge, peer)
    assert asked == []
    await HostNode._challenge(host, challenge, "node of a")
    await HostNode._challenge(host, replace(challenge, requester=ANN.key), "a stranger")
    assert [one.requester for one in asked] == [seed("a"), ANN.key]


# --- a provider ----------------------------------------------------------------------------------


def compressed(rows):
    table = pa.ipc.open_stream(arrow(rows)).read_all()
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def rows_in(plain):
    contract = read_contract(CONTRACT.replace(b"1000]", b"100000]"), "person")
    plan = json.loads(json.dumps({"contract": contract.plain(), "person": "person"}))
    columns = prepare.Columns(pa, plan, None)
    prepare.read_stream(pa, prepare.Counted(io.BytesIO(plain)), columns, lambda _: None)
    return columns.rows


def test_a_small_file_cannot_unfold_to_what_leaves_no_memory_for_the_others():
    """It would keep its contract alone, and then fail every run in which it is put together."""
    rows = [{"person": f"row-{n:06}", "site": 1, "value": 1.0} for n in range(20_000)]
    assert rows_in(arrow(rows)) == 20_000
    bomb = compressed(rows)
    assert len(bomb) < len(arrow(rows)) / 5
    with pytest.raises(prepare.Broken, match=r"table\.format"):
        rows_in(bomb)


# --- an author -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("people", "before", "outcome"),
    [
        ((1, 2), (), ("refused", "gate.min-contributors")),
        ((1, 2, 3, 4), (1, 2, 3), ("held", "gate.min-change")),
    ],
)
def test_code_does_not_start_for_too_few_people(host, monkeypatch, people, before, outcome):
    """Whether it fails, and how, is told to all: bits that no gate looks at."""
    parties = host.door.enclave.sessions[host.rig.id].parties
    known = {
        number: {prepare.tag(key(parties.id), f"row-{n}"): Contributor() for n in who}
        for number, who in enumerate((people, before))
    }
    earlier = computation.Lineage() if not before else _released(known[1])
    monkeypatch.setattr(computation, "combine_shares", lambda _: {})
    monkeypatch.setattr(computation, "people_in", lambda *_: known[0])
    started = pytest.fail
    monkeypatch.setattr(computation, "run_code", lambda *_: started("the algorithm was started"))
    found = computation.compute(_task(host, earlier))
    assert found.stopped is not None
    assert (found.stopped.outcome, found.stopped.code) == outcome


def _released(people):
    from enclave_host.lineage import result

    return Lineage().grown(result(1, "fit", "{}", people), ())


def _task(host, lineage):
    session = host.door.enclave.sessions[host.rig.id]
    return computation.Task(
        asked=None,
        parties=session.parties,
        datacage=None,
        bundle=session.bundle(),
        contracts=session.contracts(),
        models=session.models(),
        entry="fit",
        parameters="{}",
        used=(),
        lineage=lineage,
        reading=Reading(),
        salts=bytes(32),
        tables={},
        noise=bytes(32),
    )


def test_a_model_that_unfolds_without_end_is_refused_at_once():
    """References multiply: five levels of forty are a hundred million places."""
    levels = {
        f"l{n}": {
            "type": "object",
            "additionalProperties": False,
            "properties": {f"p{m}": {"$ref": f"#/$defs/l{n + 1}"} for m in range(40)},
        }
        for n in range(5)
    }
    schema = {"$ref": "#/$defs/l0", "$defs": levels | {"l5": {"type": "boolean"}}}
    with pytest.raises(Refused, match=r"gate\.schema"):
        OutputModel("model", json.dumps(schema).encode())


def test_a_contract_that_takes_minutes_to_read_is_refused_at_once():
    with pytest.raises(Refused, match=r"agreement\.document"):
        read_contract(CONTRACT + b"#" * limits.CONTRACT, "person")


# --- a host --------------------------------------------------------------------------------------


def test_an_enclave_whose_term_is_over_keeps_no_rows_of_a_run(host, start):
    rig = host.rig
    other = Host(rig, rig.host_2, Door(start())).join()
    host.load(1, host.prepare(1, rig.statements(host.summon())))
    room = host.door.enclave.room
    assert room.used > 0
    certificate = rig.certificate(2, other.candidacy)
    host.candidacy = other.candidacy
    with pytest.raises(Refused, match=r"term\.fenced"):
        host.appoint(certificate)
    assert room.used == 0
    assert room.spools == set()


def test_what_was_computed_in_a_term_is_not_signed_in_a_later_one(host):
    rig = host.rig
    host.load(1, host.prepare(1, rig.statements(host.summon())))
    conduct = host.door.enclave.conducts[rig.id]
    task = conduct.begin_conclude(1)
    host.take_office(2)
    before = len(conduct.session.feed.signed)
    with pytest.raises(Refused, match=r"term\.fenced"):
        conduct.finish_conclude(task.asked, computation.Finding(0, {}))
    kinds = [record.parse(raw).kind for raw in conduct.session.feed.signed[before:]]
    assert kinds == []
