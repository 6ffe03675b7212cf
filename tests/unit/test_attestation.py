"""Attestation: one honest bundle, and one reason for each thing that can be wrong with it."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host import attest, measure
from enclave_host.attest.simulated import SimulatedAttester
from protocol import codec, keys, limits, shape, token
from protocol.attestation import policy as policies
from protocol.attestation import simulated
from protocol.attestation.appraise import Appraisal, appraise
from protocol.attestation.evidence import (
    Binding,
    Claims,
    EvidenceBundle,
    binding_hash,
    enclave_id,
)
from protocol.errors import RULES, Refused
from protocol.kinds.agreement import Attestation, ReferenceValue
from protocol.kinds.host import EnclaveKeys
from tests.strategies import flipped

NOW = 1_800_000_000
SOFTWARE = b"\x05" * 32
ENCLAVE = EnclaveKeys(signing=b"\x01" * 32, sealing=b"\x02" * 1216)
BINDING = Binding(
    technology="simulated",
    keys=ENCLAVE,
    host=b"\x03" * 32,
    requester=b"\x04" * 32,
    agreement=b"\x06" * 32,
    term=1,
    nonce=b"\x07" * 32,
    software=SOFTWARE,
)
POLICY = Attestation(
    accept=(ReferenceValue(technology="simulated", measurement=SOFTWARE),), max_age=3600
)
BUNDLE = attest.bundle(SimulatedAttester(SOFTWARE), BINDING)


def accepting(*values: tuple[str, bytes], max_age: int = 3600) -> Attestation:
    accept = tuple(ReferenceValue(technology=name, measurement=value) for name, value in values)
    return Attestation(accept=accept, max_age=max_age)


def changed(**parts: object) -> bytes:
    """The honest bundle with other parts."""
    bundle = shape.decode(EvidenceBundle, BUNDLE, limits.EVIDENCE)
    return shape.encode(dataclasses.replace(bundle, **parts))  # type: ignore[arg-type]


def reasons(raw: bytes, policy: Attestation = POLICY, expected: Binding = BINDING) -> set[str]:
    found = appraise(raw, policy, expected, NOW)
    assert found.accepted == (not found.reasons)
    assert len(found.details) >= len(found.reasons)
    assert (found.keys is not None) == (found.software is not None) == found.accepted
    assert all(code in RULES for code in found.reasons)
    return set(found.reasons)


# --- binding -------------------------------------------------------------------------------------


def test_binding_hash_is_as_specified() -> None:
    preimage = b"village/attestation/v1\x00" + shape.encode(BINDING)
    assert binding_hash(BINDING) == hashlib.sha512(preimage).digest()
    assert enclave_id(ENCLAVE) == keys.digest("enclave", ENCLAVE.signing, ENCLAVE.sealing)


OTHER: dict[str, Any] = {
    "technology": "tdx",
    "keys": EnclaveKeys(signing=b"\x01" * 32, sealing=b"\x09" * 1216),
    "host": bytes(32),
    "requester": bytes(32),
    "agreement": bytes(32),
    "term": 2,
    "nonce": bytes(32),
    "software": bytes(32),
}


@pytest.mark.parametrize("part", [part.name for part in dataclasses.fields(Binding)])
def test_every_part_of_the_binding_counts(part: str) -> None:
    other = dataclasses.replace(BINDING, **{part: OTHER[part]})
    assert binding_hash(other) != binding_hash(BINDING)
    assert reasons(BUNDLE, expected=other) == {
        "evidence.stale" if part == "nonce" else "evidence.binding"
    }
    # and a relay that rewrites the binding to what the verifier expects breaks the report data
    assert "evidence.binding" in reasons(changed(binding=other), expected=other)


# --- appraisal -----------------------------------------------------------------------------------


def test_honest_bundle() -> None:
    found = appraise(BUNDLE, POLICY, BINDING, NOW)
    assert found == Appraisal(
        accepted=True,
        reasons=(),
        details=(),
        claims={"label": "SIMULATED, NOT CONFIDENTIAL", "measurement": SOFTWARE.hex()},
        digest=hashlib.sha256(BUNDLE).digest(),
        keys=ENCLAVE,
        software=SOFTWARE,
        valid_until=NOW + 3600,
    )


def test_other_measurement() -> None:
    bundle = attest.bundle(SimulatedAttester(b"\x08" * 32), BINDING)
    assert reasons(bundle) == {"evidence.measurement"}


def test_measurement_of_another_technology() -> None:
    policy = accepting(("tdx", SOFTWARE), ("sgx", b"\x08" * 32))
    assert reasons(BUNDLE, policy) == {"evidence.technology"}


def test_technology_without_a_verifier() -> None:
    binding = dataclasses.replace(BINDING, technology="tdx")
    raw = changed(technology="tdx", binding=binding)
    assert reasons(raw, accepting(("tdx", SOFTWARE)), binding) == {"evidence.technology"}


def test_bundle_and_binding_of_different_technologies() -> None:
    binding = dataclasses.replace(BINDING, technology="tdx")
    bundle = attest.bundle(SimulatedAttester(SOFTWARE), binding)
    assert reasons(bundle, expected=binding) == {"evidence.binding"}


def test_altered_evidence() -> None:
    evidence = bytearray(shape.decode(EvidenceBundle, BUNDLE, limits.EVIDENCE).evidence)
    evidence[-1] ^= 1
    assert reasons(changed(evidence=bytes(evidence))) == {"evidence.signature"}


def test_evidence_with_another_label() -> None:
    report = {
        "label": "CONFIDENTIAL",
        "report_data": binding_hash(BINDING),
        "measurement": SOFTWARE,
    }
    envelope = keys.sign1(bytes(32), "token/simulated-evidence", codec.encode(report))
    assert reasons(changed(evidence=codec.encode(envelope))) == {"evidence.signature"}


def test_evidence_that_is_another_token() -> None:
    report = simulated.SimulatedReport(report_data=binding_hash(BINDING), measurement=SOFTWARE)
    raw = token.sign(bytes(32), "consent", report)
    assert reasons(changed(evidence=raw)) == {"evidence.signature"}


def test_simulated_evidence_with_endorsements() -> None:
    assert reasons(changed(endorsements={"vcek": b"x"})) == {"evidence.signature"}


def test_unknown_version() -> None:
    assert reasons(changed(version=2)) == {"evidence.signature"}


def test_all_reasons_are_reported() -> None:
    expected = dataclasses.replace(BINDING, term=2, nonce=bytes(32))
    policy = accepting(("simulated", b"\x08" * 32), max_age=0)
    assert reasons(BUNDLE, policy, expected) == {
        "evidence.policy",
        "evidence.stale",
        "evidence.binding",
        "evidence.measurement",
    }


def test_too_large() -> None:
    assert reasons(changed(endorsements={"x": bytes(limits.EVIDENCE)})) == {"codec.too-large"}


@given(st.binary(max_size=300))
def test_hostile_bytes(raw: bytes) -> None:
    assert reasons(raw)


@given(flipped(BUNDLE))
def test_any_flipped_bit_is_refused(raw: bytes) -> None:
    assert reasons(raw)


# --- what later verifiers may claim --------------------------------------------------------------


def verdict(verify: object, policy: Attestation = POLICY) -> Appraisal:
    return appraise(BUNDLE, policy, BINDING, NOW, {"simulated": verify})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("issued", "codes"),
    [
        (NOW, ()),
        (NOW - 3600, ()),
        (NOW - 3601, ("evidence.stale",)),
        (NOW + limits.CLOCK_SKEW, ()),
        (NOW + limits.CLOCK_SKEW + 1, ("evidence.stale",)),
    ],
)
def test_age_of_evidence_that_states_its_time(issued: int, codes: tuple[str, ...]) -> None:
    def verify(evidence: bytes, endorsements: Mapping[str, bytes], now: int) -> Claims:
        assert now == NOW
        claims = simulated.verify(evidence, endorsements, now)
        return dataclasses.replace(claims, issued=issued)

    assert verdict(verify).reasons == codes


def test_a_verifier_that_breaks_is_a_refusal() -> None:
    def verify(evidence: bytes, endorsements: Mapping[str, bytes], now: int) -> Claims:
        raise IndexError("x" * 10_000)

    found = verdict(verify)
    assert found.reasons == ("evidence.signature",)
    assert len(found.details[0]) <= 500


# --- policy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [
        accepting(),
        accepting(("simulated", bytes(32))),
        accepting(("simulated", SOFTWARE), ("simulated", SOFTWARE)),
        accepting(("simulated", SOFTWARE), ("tdx", SOFTWARE)),
        accepting(("abacus", SOFTWARE)),
        accepting(("simulated", SOFTWARE), max_age=0),
        accepting(("simulated", SOFTWARE), max_age=limits.EVIDENCE_AGE + 1),
    ],
)
def test_policies_that_refuse_everything(policy: Attestation) -> None:
    assert len(policies.lint(policy)) == 1
    assert "evidence.policy" in reasons(BUNDLE, policy)


def test_policies_that_stand() -> None:
    assert policies.lint(POLICY) == []
    assert policies.lint(accepting(("simulated", SOFTWARE), ("simulated", b"\x08" * 32))) == []
    assert policies.lint(accepting(("tdx", SOFTWARE), ("sev-snp", SOFTWARE))) == []
    assert policies.digest(POLICY) != policies.digest(accepting(("simulated", b"\x08" * 32)))


# --- the enclave's side --------------------------------------------------------------------------


def test_the_simulated_key_is_thrown_away() -> None:
    one, two = SimulatedAttester(SOFTWARE), SimulatedAttester(SOFTWARE)
    assert one.technology == "simulated"
    assert one.evidence(bytes(64)) == one.evidence(bytes(64)) != two.evidence(bytes(64))


def test_simulated_evidence_needs_64_bytes() -> None:
    for size in (63, 65):
        raw = simulated.produce(bytes(32), bytes(size), SOFTWARE)
        with pytest.raises(Refused):
            simulated.verify(raw, {}, NOW)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sample"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "one.py").write_text("1")
    (folder / "two.py").write_text("2")
    monkeypatch.setattr(measure, "_PACKAGES", (SimpleNamespace(__path__=[str(folder)]),))
    return folder


def test_measurement_is_of_names_and_contents(package: Path) -> None:
    assert measure.software() == keys.digest(
        "software", b"sample/one.py", b"1", b"sample/two.py", b"2"
    )
    (package / "__pycache__/one.pyc").write_text("compiled")
    (package / "two.py").rename(package / "three.py")
    renamed = keys.digest("software", b"sample/one.py", b"1", b"sample/three.py", b"2")
    assert measure.software() == renamed


def test_measurement_of_this_software() -> None:
    assert len(measure.software()) == 32
    assert measure.software() == measure.software()
