"""Attestation: one honest bundle, and one reason for each thing that can be wrong with it."""

import dataclasses
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_host import attest, measure
from enclave_host.attest.simulated import SimulatedAttester
from protocol import codec, keys, limits, shape, token
from protocol.attestation import simulated
from protocol.attestation.appraise import EXAMINERS, Appraisal, appraise
from protocol.attestation.evidence import (
    Binding,
    Claims,
    EvidenceBundle,
    binding_hash,
    binding_preimage,
    enclave_id,
)
from protocol.attestation.findings import Findings
from protocol.errors import RULES
from protocol.kinds.advisory import Advisory, Measured
from protocol.kinds.attestation import Attestation, NitroTerms, SimulatedTerms, TpmTerms
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
POLICY = Attestation(max_age=3600, simulated=SimulatedTerms(accept=({"software": SOFTWARE},)))
NITRO = NitroTerms(accept=({"pcr0": b"\x0a" * 48},))
HARDWARE = Attestation(max_age=3600, nitro=NITRO)
MEASURED = Measured(technology="simulated", registers={"software": SOFTWARE}, tcb={})
BUNDLE = attest.bundle(SimulatedAttester(SOFTWARE), BINDING)


def accepting(*software: bytes, max_age: int = 3600) -> Attestation:
    accept = tuple({"software": value} for value in software)
    return Attestation(max_age=max_age, simulated=SimulatedTerms(accept=accept))


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
        claims={"label": "SIMULATED, NOT CONFIDENTIAL", "software": SOFTWARE.hex()},
        digest=hashlib.sha256(BUNDLE).digest(),
        keys=ENCLAVE,
        software=SOFTWARE,
        measured=MEASURED,
        valid_until=NOW + 3600,
    )


def test_other_measurement() -> None:
    bundle = attest.bundle(SimulatedAttester(b"\x08" * 32), BINDING)
    assert reasons(bundle) == {"evidence.measurement"}
    found = appraise(bundle, POLICY, BINDING, NOW)
    assert (b"\x08" * 32).hex() in found.details[0]
    assert found.claims["software"] == (b"\x08" * 32).hex(), "people see what it says"
    assert found.measured is None


def test_one_of_several_measurements() -> None:
    assert reasons(BUNDLE, accepting(b"\x08" * 32, SOFTWARE)) == set()


def test_a_technology_that_the_policy_does_not_name() -> None:
    assert reasons(BUNDLE, HARDWARE) == {"evidence.technology"}


def test_technology_without_a_verifier() -> None:
    binding = dataclasses.replace(BINDING, technology="abacus")
    raw = changed(technology="abacus", binding=binding)
    assert reasons(raw, POLICY, binding) == {"evidence.technology"}


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
    assert reasons(changed(evidence=codec.encode(envelope))) == {"evidence.malformed"}


def test_evidence_that_is_another_token() -> None:
    report = simulated.SimulatedReport(report_data=binding_hash(BINDING), measurement=SOFTWARE)
    raw = token.sign(bytes(32), "consent", report)
    assert reasons(changed(evidence=raw)) == {"evidence.signature"}


def test_simulated_evidence_with_endorsements() -> None:
    assert reasons(changed(endorsements={"vcek": b"x"})) == {"evidence.malformed"}


def test_unknown_version() -> None:
    assert reasons(changed(version=2)) == {"evidence.malformed"}


def test_all_reasons_are_reported() -> None:
    expected = dataclasses.replace(BINDING, term=2, nonce=bytes(32))
    policy = accepting(b"\x08" * 32, max_age=0)
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


# --- what a technology may claim -----------------------------------------------------------------


def verdict(policy: Attestation = POLICY, advisories: Any = (), **claimed: Any) -> Appraisal:
    """The appraisal, where the evidence claims something else."""

    def examine(*given: Any) -> Claims | None:
        claims = simulated.examine(*given)
        assert claims is not None
        return dataclasses.replace(claims, **claimed)

    examiners = {"simulated": examine}
    return appraise(BUNDLE, policy, BINDING, NOW, advisories=advisories, examiners=examiners)


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
    assert verdict(issued=issued).reasons == codes


def test_a_verdict_lasts_as_long_as_what_it_rests_on() -> None:
    assert verdict(valid_until=NOW + 60).valid_until == NOW + 60
    assert verdict(valid_until=NOW + 9999).valid_until == NOW + 3600
    assert verdict(issued=NOW - 600).valid_until == NOW + 3000
    assert verdict(issued=NOW + 60).valid_until == NOW + 3600, "not longer by a fast clock"
    assert verdict(valid_until=NOW).reasons == ("evidence.collateral",)
    assert verdict(valid_until=NOW).valid_until == NOW


def test_only_the_machines_that_the_policy_names() -> None:
    def reasons_on(platform: str | None) -> tuple[str, ...]:
        named = dataclasses.replace(NITRO, platforms=("i-1", "i-2"))
        policy = Attestation(max_age=3600, nitro=named)
        binding = dataclasses.replace(BINDING, technology="nitro")
        raw = changed(technology="nitro", binding=binding)
        claims = Claims(
            report_data=binding_hash(binding),
            registers={"pcr0": b"\x0a" * 48, "pcr1": b"\x0b" * 48},
            platform=platform,
            tcb={},
            issued=NOW,
            valid_until=NOW + 60,
            facts={},
        )
        examiners = {"nitro": lambda *_: claims}
        return appraise(raw, policy, binding, NOW, examiners=examiners).reasons

    assert reasons_on("i-2") == ()
    assert reasons_on("i-3") == reasons_on(None) == ("evidence.platform",)


def test_every_named_register_must_be_equal() -> None:
    two = {"software": SOFTWARE, "other": b"\x01"}
    assert verdict(registers=two).accepted
    assert verdict(registers={"other": SOFTWARE}).reasons == ("evidence.measurement",)
    assert verdict(registers={}).reasons == ("evidence.measurement",)


@pytest.mark.parametrize("technology", ["tpm", "swtpm"])
def test_a_tpm_answers_with_its_own_hash_and_an_opened_credential(technology: str) -> None:
    binding = dataclasses.replace(BINDING, technology=technology)
    raw = changed(technology=technology, binding=binding)
    short = hashlib.sha256(binding_preimage(binding)).digest()
    registers = {"pcr11": b"\x0a" * 32}
    terms = TpmTerms(accept=(registers,), authorities=(b"\x01" * 32,))
    policy = Attestation(max_age=3600, **{technology: terms})

    def found(report_data: bytes, activated: bool) -> tuple[str, ...]:
        claims = Claims(
            report_data=report_data,
            registers=registers,
            platform=None,
            tcb={},
            issued=None,
            valid_until=None,
            facts={},
        )
        examiners = {technology: lambda *_: claims}
        return appraise(raw, policy, binding, NOW, activated=activated, examiners=examiners).reasons

    assert found(short, True) == ()
    assert found(short, False) == ("evidence.binding",)
    assert found(binding_hash(binding), True) == ("evidence.binding",)


@pytest.mark.parametrize("claims", [None, IndexError("x" * 10_000), RecursionError()])
def test_a_verifier_that_breaks_is_a_refusal(claims: Exception | None) -> None:
    def examine(*_: object) -> None:
        if claims is not None:
            raise claims

    found = appraise(BUNDLE, POLICY, BINDING, NOW, examiners={"simulated": examine})
    assert found.reasons == ("evidence.malformed",)
    assert len(found.details[0]) <= 500


def test_claims_with_faults_are_shown_and_refused() -> None:
    def examine(*given: Any) -> Claims | None:
        given[-1].add("evidence.debug", "debug is on")
        return simulated.examine(*given)

    found = appraise(BUNDLE, POLICY, BINDING, NOW, examiners={"simulated": examine})
    assert found.reasons == ("evidence.debug",)
    assert found.claims["software"] == SOFTWARE.hex()
    assert (found.keys, found.software, found.measured) == (None, None, None)


def test_an_advisory_withdraws_what_was_accepted() -> None:
    hit = Advisory(technology="simulated", registers={"software": SOFTWARE}, reason="leaks")
    other = dataclasses.replace(hit, registers={"software": b"\x08" * 32})
    assert verdict(advisories=(other,)).accepted
    found = verdict(advisories=(other, hit))
    assert (found.reasons, found.details) == (("evidence.withdrawn",), ("leaks",))
    assert found.keys is None
    assert found.measured == MEASURED, "so that a voter knows when the advisory is taken back"


# --- hardware, or not ----------------------------------------------------------------------------


@given(st.data())
def test_no_evidence_for_tests_passes_where_hardware_is_asked(data: st.DataObject) -> None:
    technology = data.draw(st.sampled_from(["simulated", "swtpm"]))
    named = data.draw(st.sampled_from([technology, "nitro", "tpm"]))
    binding = dataclasses.replace(BINDING, technology=named)
    evidence = data.draw(
        st.sampled_from([simulated.produce(bytes(32), binding_hash(binding), SOFTWARE)])
        | st.binary(max_size=200)
    )
    raw = changed(technology=technology, binding=binding, evidence=evidence)
    mixed = dataclasses.replace(HARDWARE, simulated=POLICY.simulated)
    for policy in (HARDWARE, mixed):
        for expected in (BINDING, binding):
            found = appraise(raw, policy, expected, NOW, activated=True)
            assert not found.accepted


@pytest.mark.parametrize("technology", sorted(EXAMINERS))
@given(
    evidence=st.binary(max_size=1300),
    endorsements=st.dictionaries(
        st.sampled_from(["vcek", "vlek", "ask", "crl", "collateral", "ek_chain", "x"]),
        st.binary(max_size=200),
        max_size=3,
    ),
)
@settings(max_examples=40, deadline=None)
def test_no_bytes_pass_for_any_technology(
    technology: str, evidence: bytes, endorsements: dict[str, bytes]
) -> None:
    binding = dataclasses.replace(BINDING, technology=technology)
    parts = {"evidence": evidence, "endorsements": endorsements, "binding": binding}
    raw = changed(technology=technology, **parts)
    for policy in (HARDWARE, POLICY):
        assert reasons(raw, policy, binding)


# --- the enclave's side --------------------------------------------------------------------------


def test_the_simulated_key_is_thrown_away() -> None:
    one, two = SimulatedAttester(SOFTWARE), SimulatedAttester(SOFTWARE)
    assert one.technology == "simulated"
    assert one.evidence(bytes(64)) == one.evidence(bytes(64)) != two.evidence(bytes(64))


def test_simulated_evidence_needs_64_bytes() -> None:
    for size in (63, 65):
        raw, found = simulated.produce(bytes(32), bytes(size), SOFTWARE), Findings()
        assert simulated.examine(raw, {}, None, NOW, found) is None
        assert list(found.codes) == ["evidence.malformed"]


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
