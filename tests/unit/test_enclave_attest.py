"""How an enclave answers challenges: slow hardware, credentials, evidence that a run names."""

import hashlib
import threading

import pytest

from enclave_host import environment
from enclave_host.attest import Evidence
from enclave_host.attest.simulated import SimulatedAttester
from protocol import enclave_wire as wire
from protocol.errors import Refused
from tests.enclave_drive import Door, Host, enclaves
from tests.enclave_rig import Rig, seed


@pytest.fixture
def host(tmp_path):
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "numbers.py").write_text("one = 1\n")
    with enclaves(folder) as start:
        rig = Rig(environment.digest(folder))
        yield Host(rig, rig.host_1, Door(start())).join()


def challenge(host, nonce="n", credential=None):
    return wire.Attest(
        agreement=host.rig.id,
        host=host.who.did,
        requester=host.rig.a.did,
        term=1,
        nonce=seed(nonce),
        credential=credential,
    )


class Chip(SimulatedAttester):
    """Opens the credential b"riddle"; waits for a sign before it gives evidence."""

    activates = True

    def __init__(self):
        super().__init__(seed("software"))
        self.asked, self.may = threading.Event(), threading.Event()
        self.may.set()

    def evidence(self, preimage: bytes) -> Evidence:
        self.asked.set()
        assert self.may.wait(10)
        return super().evidence(preimage)

    def activate(self, credential: bytes) -> bytes:
        if credential != b"riddle":
            raise Refused("enclave.attester", "not for these keys")
        return b"answer"


def test_nothing_waits_for_slow_hardware(host):
    enclave = host.door.enclave
    enclave.attester = chip = Chip()
    chip.may.clear()
    found = []
    thread = threading.Thread(target=lambda: found.append(host.attest()))
    thread.start()
    assert chip.asked.wait(10)
    host.take_office()
    request = wire.Beat(agreement=host.rig.id)
    assert host.door.ask(request, wire.TokenAnswer).token
    assert found == []
    chip.may.set()
    thread.join(10)
    assert len(found) == 1


def test_a_run_names_evidence_that_was_judged_with_its_proof(host):
    enclave = host.door.enclave
    enclave.attester = Chip()
    session = enclave.sessions[host.rig.id]
    kept = session.evidence
    first = host.door.ask(challenge(host, "one"), wire.AttestAnswer)
    assert (first.secret, session.evidence) == (None, kept)
    second = host.door.ask(challenge(host, "two", b"riddle"), wire.AttestAnswer)
    assert second.secret == b"answer"
    assert session.evidence == hashlib.sha256(second.bundle).digest()


def test_a_credential_that_does_not_open_changes_nothing(host):
    enclave = host.door.enclave
    session = enclave.sessions[host.rig.id]
    for attester in (enclave.attester, Chip()):
        enclave.attester, kept = attester, session.evidence
        with pytest.raises(Refused, match=r"enclave\.attester"):
            host.door.ask(challenge(host, credential=b"other"), wire.AttestAnswer)
        assert session.evidence == kept


def test_a_credential_larger_than_any_is_refused_before_it_is_read(host):
    with pytest.raises(Refused, match=r"enclave\.frame|shape\.mismatch"):
        host.door.ask(challenge(host, credential=bytes(1025)), wire.AttestAnswer)
