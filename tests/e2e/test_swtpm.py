"""A TPM in software, live: quotes, credentials, and a whole agreement whose policy names it."""

import hashlib
import json
import secrets
import subprocess
import time

import pytest
import trio

from enclave_host import server
from enclave_host.attest.detect import Source, choose
from enclave_host.attest.tpm import TpmAttester
from node import challenge
from node import wire as node_wire
from protocol import enclave_wire as wire
from protocol.attestation import tpm, tpm_credential
from protocol.attestation.appraise import appraise
from protocol.attestation.evidence import Binding
from protocol.attestation.findings import Findings
from protocol.errors import Refused
from protocol.kinds.attestation import Attestation, TpmTerms
from tests.e2e.test_enclave_process import (
    body_of,
    finish,
    push_hospitals,
    ready,
    result,
    spawn,
)
from tests.enclave_drive import Host, digest_of
from tests.enclave_rig import SCIENTIFIC, Rig
from tests.swtpm import SoftwareTpm, extend, missing, software_tpm

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def machine():
    """A TPM whose register 11 holds what a measured boot put there, and that value."""
    if missing():
        pytest.fail(f"missing {', '.join(missing())}: make setup")
    with software_tpm() as found:
        yield found, extend(found, 11, b"the approved image")


@pytest.fixture(scope="module")
def attester(machine):
    return TpmAttester("swtpm", machine[0].tcti, None, machine[0].collateral)


def policy(technology: str, machine: tuple[SoftwareTpm, bytes], **registers: bytes) -> Attestation:
    terms = TpmTerms(
        accept=(registers or {"pcr11": machine[1]},), authorities=(machine[0].authority,)
    )
    return Attestation(max_age=3600, **{technology: terms})


def faults(evidence, terms, examine=tpm.examine_software):
    found = Findings()
    claims = examine(evidence.raw, evidence.endorsements, terms, int(time.time()), found)
    return claims, list(found.codes)


def test_a_live_quote_is_over_our_data_and_all_registers(machine, attester):
    claims, codes = faults(attester.evidence(b"preimage"), policy("swtpm", machine).swtpm)
    assert (codes, len(claims.registers)) == ([], 24)
    assert claims.report_data == hashlib.sha256(b"preimage").digest()
    assert claims.registers["pcr11"] == machine[1]


def test_a_live_tpm_opens_our_credential_and_survives_hostile_ones(machine, attester):
    evidence = attester.evidence(b"").raw
    secret, seed = secrets.token_bytes(32), secrets.token_bytes(32)
    credential = tpm.credential(evidence, secret, seed)
    assert attester.activate(credential) == secret
    endorsement, _ = tpm._keys(evidence)
    other = tpm_credential.make(endorsement, b"\0\x0b" + bytes(32), secret, seed)
    for hostile in (other, credential[:-1] + b"x", credential[:40], b"", bytes(1024)):
        with pytest.raises(Refused, match=r"enclave\.attester"):
            attester.activate(hostile)
    for _ in range(4):  # nothing is left behind in the TPM, which has room for three objects
        assert attester.activate(credential) == secret


def test_a_credential_of_tpm2_makecredential_opens_too(machine, attester, tmp_path):
    context, public, secret, credential = (tmp_path / name for name in "abcd")
    context.write_bytes(attester._kept["ek.ctx"])
    secret.write_bytes(b"their secret")
    _, name = tpm._keys(attester.evidence(b"").raw)
    run(machine, "readpublic", "-c", context, "-o", public, "-f", "tss")
    run(machine, "flushcontext", "-t")
    files = ("-u", public, "-s", secret, "-o", credential)
    run(machine, "makecredential", *files, "-n", name.hex())
    assert attester.activate(credential.read_bytes()) == b"their secret"


def run(machine, step, *arguments):
    environment_ = {"TPM2TOOLS_TCTI": machine[0].tcti}
    command = [f"/usr/bin/tpm2_{step}", *arguments]
    subprocess.run(command, env=environment_, check=True, capture_output=True, timeout=20)  # noqa: S603


def test_a_software_tpm_never_passes_as_hardware(machine):
    """Also not when its host says that it is one, and its authority is accepted."""
    source = Source(technology="tpm", tcti=machine[0].tcti, collateral=machine[0].collateral)
    attester = choose(source, bytes(32))
    evidence, terms = attester.evidence(b""), policy("tpm", machine).tpm
    assert attester.technology == "tpm"
    assert faults(evidence, terms, tpm.examine)[1] == ["evidence.technology"]


# --- a whole agreement ---------------------------------------------------------------------------


class Party:
    """A party's node: it challenges the enclave behind a host, and judges by the agreement."""

    def __init__(self, rig, host, who):
        self.rig, self.host, self.who = rig, host, who
        self.rounds = []

    async def ask(self, question, _seconds):
        """What the host's node relays."""
        self.rounds.append(question)
        request = wire.Attest(
            agreement=question.agreement,
            host=self.host.who.did,
            requester=question.requester,
            term=question.term,
            nonce=question.nonce,
            credential=question.credential,
        )
        answer = self.host.door.ask(request, wire.AttestAnswer)
        return node_wire.Evidence(bundle=answer.bundle, secret=answer.secret)

    def verdict(self, rules, believes=True):
        """Its appraisal; one that does not believe takes the credential as never opened."""
        nonce, hello = secrets.token_bytes(32), self.host.hello
        question = node_wire.Challenge(
            agreement=self.rig.id, requester=self.who.did, term=1, nonce=nonce
        )
        answer = trio.run(challenge.challenge, self.ask, hello.technology, question)
        expected = Binding(
            technology=hello.technology,
            keys=hello.keys,
            host=self.host.who.did,
            requester=self.who.did,
            agreement=self.rig.id,
            term=1,
            nonce=nonce,
            software=hello.software,
        )
        activated, now = answer.activated and believes, int(time.time())
        return appraise(answer.bundle, rules, expected, now, activated=activated)


@pytest.fixture
def process(machine, tmp_path):
    """The enclave as a process that attests by the TPM, and what it said at start."""
    file = tmp_path / "enclave.toml"
    file.write_text(
        f'[enclave]\nsocket = "e.sock"\nenvironments = ["{SCIENTIFIC}"]\n'
        f'[attestation]\ntechnology = "swtpm"\ntpm = "{machine[0].tcti}"\n'
        f'collateral = "{machine[0].collateral}"\n'
        '[limits]\ndata = "64 MiB"\nmemory = "4 GiB"\n'
    )
    found = spawn(file)
    try:
        yield ready(found)
    finally:
        finish(found)


def test_a_whole_agreement_from_attestation_to_results(machine, process):
    assert process["technology"] == "SOFTWARE TPM, NOT CONFIDENTIAL"
    rig = Rig(digest_of(SCIENTIFIC), attestation=policy("swtpm", machine))
    client = server.Client(process["ready"])
    try:
        host = Host(rig, rig.host_1, client).join()
        hello = host.hello
        host.candidacy = rig.candidacy(host.who, hello.keys, hello.technology, hello.software)
        parties = [Party(rig, host, who) for who in rig.parties]
        rules = rig.document.attestation
        verdicts = [party.verdict(rules) for party in parties]
        assert [one.reasons for one in verdicts] == [()] * len(parties)
        assert {one.keys for one in verdicts} == {hello.keys}
        assert [len(party.rounds) for party in parties] == [2] * len(parties)
        assert parties[0].verdict(rules, believes=False).reasons == ("evidence.binding",)
        other = policy("swtpm", machine, pcr11=hashlib.sha256(b"another image").digest())
        assert parties[0].verdict(other).reasons == ("evidence.measurement",)
        assert parties[0].verdict(policy("tpm", machine)).reasons == ("evidence.technology",)
        host.take_office()
        push_hospitals(rig, host)
        body = host.compute(1)
        assert (body.outcome, body.technology) == ("released", "swtpm")
        assert body == body_of(host.concluded.run)
        assert json.loads(result(rig, host.commit(), rig.sponsor).content)["n"] == 10
    finally:
        client.close()


def test_what_a_run_names_is_evidence_that_a_party_judged(machine, process):
    """The first round only asks for keys; nobody keeps its evidence."""
    rig = Rig(digest_of(SCIENTIFIC), attestation=policy("swtpm", machine))
    client = server.Client(process["ready"])
    try:
        host = Host(rig, rig.host_1, client).join()
        hello = host.hello
        host.candidacy = rig.candidacy(host.who, hello.keys, hello.technology, hello.software)
        judged = Party(rig, host, rig.a).verdict(rig.document.attestation)
        host.attest(nonce=secrets.token_bytes(32))
        host.take_office()
        push_hospitals(rig, host)
        assert host.compute(1).evidence == judged.digest
    finally:
        client.close()
