"""Each check of the product, switched off in one process, makes the scene that shows it fail.

A scene is the shortest story that reaches a check, played with a real `village-enclave` process. It
passes with the product as it is. Through tests.hooks.without the same scene must fail and name the
check: so we know that it is this check, and no other, that stops the attack.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enclave_host.server import Client
from protocol import codec, record
from protocol.errors import Refused
from protocol.kinds.host import EnclaveKeys
from tests.enclave_drive import Host, digest_of
from tests.enclave_rig import PROJECT, SCIENTIFIC, Patient, Rig, rows_of
from tests.hooks.without import SWITCHES

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not SCIENTIFIC.is_dir(), reason="needs make setup: algorithm environment"),
]


class CheckMissing(AssertionError):
    """An attack got through; the text begins with the name of the check that should stop it."""


@contextmanager
def stopped_by(check: str, code: str) -> Iterator[None]:
    """What stands in the block must be refused with `code`."""
    try:
        yield
    except Refused as refused:
        if refused.code != code:
            raise CheckMissing(f"{check}: stopped by {refused.code}, not {code}") from refused
    else:
        raise CheckMissing(f"{check}: nothing stopped it, wanted {code}")


def expect(check: str, wanted: object, found: object) -> None:
    if wanted != found:
        raise CheckMissing(f"{check}: {found!r}, wanted {wanted!r}")


# --- the scenes ----------------------------------------------------------------------------------


def consent(rig: Rig, host: Host) -> None:
    """A person's share arrives without a consent."""
    host.join().take_office()
    share = rig.person_share(Patient("row-200"), rows_of(200), host.keys, consent_=b"")
    if share.consent != b"":
        raise CheckMissing("consent: the scene itself is broken")
    with stopped_by("consent", "consent.missing"):
        host.begin(share)


def code(rig: Rig, host: Host) -> None:
    """The host loads code with one byte changed."""
    changed = bytearray(rig.bundle)
    changed[-1] ^= 1
    rig.blobs = (bytes(changed), *rig.blobs[1:])
    with stopped_by("code", "run.code"):
        host.join()


def gate(rig: Rig, host: Host) -> None:
    """The algorithm returns rows where the agreement has a model."""
    _shared(rig, host)
    run = host.compute(1, rig.order("leak"))
    expect("gate", ("refused", "gate.schema"), (run.outcome, run.refusal_code))


def term(rig: Rig, host: Host) -> None:
    """The old host goes on after another one was elected."""
    host.join().take_office()
    other = Host(rig, rig.host_2, host.door)
    other.candidacy = rig.candidacy(rig.host_2, _strange_keys(rig, host))
    certificate = rig.certificate(2, other.candidacy)
    with stopped_by("term", "term.fenced"):
        other.appoint(certificate)
        host.summon()


def withdrawal(rig: Rig, host: Host) -> None:
    """A person withdrew, and the host runs all the same."""
    persons = _shared(rig, host)
    summons = host.summon()
    stop = rig.stop(persons[0], rig.consent(persons[0]))
    prepared = host.prepare(1, rig.statements(summons, stops=host.show(stop)))
    expect("withdrawal", 4, len(prepared.shares))  # two hospitals, two of three people


def min_change(rig: Rig, host: Host) -> None:
    """A second run differs from the first by one person."""
    persons = _shared(rig, host)
    expect("min-change", "released", host.compute(1).outcome)
    host.commit()
    summons = host.summon(2, rig.order())
    stop = rig.stop(persons[0], rig.consent(persons[0]))
    host.load(2, host.prepare(2, rig.statements(summons, stops=host.show(stop))))
    host.concluded = host.conclude(2)
    run = _run(host)
    found = (run["outcome"], run.get("refusal_code"))
    expect("min-change", ("held", "gate.min-change"), found)


def signature(rig: Rig, host: Host) -> None:
    """An order with a forged signature."""
    _shared(rig, host)
    order = bytearray(rig.order().raw)
    order[_place_of_signature(bytes(order))] ^= 1
    with stopped_by("signature", "record.signature"):
        host.summon(1, _Raw(bytes(order)))  # type: ignore[arg-type]


SCENES: dict[str, Callable[[Rig, Host], None]] = {
    "consent": consent,
    "code": code,
    "gate": gate,
    "term": term,
    "withdrawal": withdrawal,
    "min-change": min_change,
    "signature": signature,
}


class _Raw:
    """Bytes where a record is expected."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


def _shared(rig: Rig, host: Host) -> tuple[Patient, ...]:
    """The host in office, two hospitals and three people have shared."""
    host.join().take_office()
    persons = tuple(Patient(f"row-{number}") for number in (201, 202, 203))
    for who, numbers in ((rig.a, (1, 2, 3)), (rig.b, (4, 5, 6))):
        host.push(rig.share(who, rows_of(*numbers), host.keys))
    for person in persons:
        host.push(rig.person_share(person, rows_of(int(person.value[4:])), host.keys))
    return persons


def _strange_keys(rig: Rig, host: Host) -> EnclaveKeys:
    """The keys of another enclave."""
    return EnclaveKeys(signing=rig.host_2.did, sealing=host.keys.sealing)


def _run(host: Host) -> dict[str, object]:
    return dict(record.parse(host.concluded.run).body or {})


def _place_of_signature(raw: bytes) -> int:
    """Where the signature of a record lies: the last element of its COSE_Sign1."""
    (_, _, _, signature_), _ = codec.decode(raw)
    return raw.index(signature_)


# --- the process ---------------------------------------------------------------------------------

CONFIG = """
[enclave]
socket = "enclave.sock"
environments = ["{environment}"]
[attestation]
technology = "simulated"
"""


@contextmanager
def _enclave(folder: Path, without: str | None) -> Iterator[Client]:
    """A `village-enclave run` process, with one check patched out of it or none."""
    config = folder / "enclave.toml"
    config.write_text(CONFIG.format(environment=SCIENTIFIC))
    program = ["village-enclave", "run", "--config", str(config)]
    start = ["-m", "enclave_host.main", *program[1:]]
    if without is not None:
        start = ["-m", "tests.hooks.without", without, "--", *program]
    process = subprocess.Popen(  # noqa: S603 our own program
        [sys.executable, *start], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        assert "ready" in json.loads(process.stdout.readline())
        client = Client(folder / "enclave.sock")
        try:
            yield client
        finally:
            client.close()
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def _play(name: str, folder: Path, without: str | None, rig: Rig) -> None:
    with _enclave(folder, without) as door:
        SCENES[name](rig, Host(rig, rig.host_1, door))


@pytest.fixture(scope="module")
def measured() -> bytes:
    return digest_of(SCIENTIFIC)


@pytest.fixture
def rig(measured: bytes) -> Rig:
    return Rig(measured)


def test_there_is_a_scene_for_each_switch():
    assert SCENES.keys() == SWITCHES.keys()


@pytest.mark.parametrize("name", SCENES)
def test_scene_passes_with_the_product_as_it_is(name: str, rig: Rig, tmp_path: Path):
    _play(name, tmp_path, None, rig)


@pytest.mark.parametrize("name", SCENES)
def test_scene_fails_and_names_the_check_that_is_gone(name: str, rig: Rig, tmp_path: Path):
    with pytest.raises(CheckMissing, match=f"^{name}: "):
        _play(name, tmp_path, name, rig)


def test_the_product_has_no_switch(tmp_path: Path):
    """The names of the hooks are no keys of a configuration, and no variables are read."""
    config = tmp_path / "enclave.toml"
    config.write_text(CONFIG.format(environment=SCIENTIFIC) + '\nwithout = "consent"\n')
    done = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-m", "enclave_host.main", "run", "--config", str(config)],
        cwd=PROJECT,
        env={**os.environ, "WITHOUT": "consent", "VILLAGE_WITHOUT": "consent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "without" in done.stderr
