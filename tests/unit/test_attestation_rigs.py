"""Nitro and SEV-SNP under a test root: accepted end to end with fresh nonces, and what is not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import shape
from protocol.attestation import nitro, snp
from protocol.attestation.appraise import EXAMINERS, Appraisal, appraise
from protocol.attestation.evidence import VERSION, Binding, EvidenceBundle, binding_hash
from protocol.attestation.findings import Findings
from protocol.kinds.attestation import Attestation, NitroTerms, SevSnpTerms, SnpFloor
from tests.attestation_rig import (
    CHIP,
    ENCLAVE,
    INSTANCE,
    MEASUREMENT,
    PCRS,
    VERSIONS,
    NitroRig,
    Produced,
    binding,
)
from tests.attestation_rig import SnpRig as Chip
from tests.attestation_x509 import LEAF, NOW

NITRO = NitroRig()
CHIPS = {
    f"{generation}-{kind}": Chip(generation, kind)
    for generation in ("milan", "genoa", "turin")
    for kind in ("vcek", "vlek")
}


NITRO_POLICY = Attestation(max_age=3600, nitro=NitroTerms(accept=({"pcr0": PCRS[0]},)))


def snp_policy(rig: Chip, **changes: Any) -> Attestation:
    versions = {name: version for name, version in VERSIONS.items() if name != "fmc" or rig.turin}
    terms = SevSnpTerms(
        accept=({"measurement": MEASUREMENT},),
        generations=(SnpFloor(generation=rig.generation, **versions),),  # type: ignore[arg-type]
        crl=True,
        require=("alias-check",),
        vmpl=0,
    )
    return Attestation(max_age=3600, sev_snp=replace(terms, **changes))


def appraised(
    made: Produced, bound: Binding, policy: Attestation, examine: Callable[..., Any]
) -> Appraisal:
    bundle = EvidenceBundle(
        version=VERSION,
        technology=bound.technology,
        evidence=made.evidence,
        endorsements=made.endorsements,
        binding=bound,
    )
    examiners = {**EXAMINERS, bound.technology: examine}
    return appraise(shape.encode(bundle), policy, bound, NOW, examiners=examiners)


def by_nitro(
    bound: Binding, policy: Attestation = NITRO_POLICY, rig: NitroRig = NITRO, **fields: Any
) -> Appraisal:
    made = rig.produce(fields.pop("user_data", binding_hash(bound)), **fields)
    return appraised(made, bound, policy, partial(nitro.examine, roots=rig.roots))


def by_chip(rig: Chip, bound: Binding, policy: Attestation, data: bytes = b"") -> Appraisal:
    made = rig.produce(data or binding_hash(bound), crl=rig.crl())
    return appraised(made, bound, policy, partial(snp.examine, roots=rig.roots))


# --- accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonce", [bytes([number]) * 32 for number in (1, 2, 255)])
def test_nitro_is_accepted_with_any_nonce(nonce: bytes) -> None:
    verdict = by_nitro(binding("nitro", nonce))
    assert verdict.reasons == ()
    assert verdict.accepted
    assert verdict.keys == ENCLAVE
    assert verdict.valid_until == NOW + 3600


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_is_accepted_with_any_nonce(name: str) -> None:
    rig = CHIPS[name]
    for nonce in (b"\x01" * 32, b"\x02" * 32):
        verdict = by_chip(rig, binding("sev-snp", nonce), snp_policy(rig))
        assert verdict.reasons == ()
        assert verdict.claims["generation"] == rig.generation
        assert verdict.measured is not None
        expected = {name: v for name, v in VERSIONS.items() if name != "fmc" or rig.turin}
        assert verdict.measured.tcb == expected
        chip = rig.chip_id.ljust(64, b"\0").hex()
        assert verdict.measured.platform == (chip if rig.kind == "vcek" else None)


def test_an_issuer_may_come_with_the_report() -> None:
    rig = CHIPS["genoa-vcek"]
    made = rig.produce(crl=rig.crl(), ask=rig.ask.der)
    without = replace(rig.roots, issuers={("genoa", "vcek"): b""})
    bound = binding("sev-snp", bytes(32))
    verdict = appraised(made, bound, snp_policy(rig), partial(snp.examine, roots=without))
    assert verdict.reasons == ("evidence.binding",)


def test_a_verdict_ends_with_its_revocation_list() -> None:
    rig, bound = CHIPS["turin-vcek"], binding("sev-snp", bytes(32))
    soon = datetime.fromtimestamp(NOW + 60, UTC)
    made = rig.produce(binding_hash(bound), crl=rig.crl(last=soon))
    verdict = appraised(made, bound, snp_policy(rig), partial(snp.examine, roots=rig.roots))
    assert verdict.accepted
    assert verdict.valid_until == NOW + 60


# --- refused -------------------------------------------------------------------------------------


def test_evidence_for_another_nonce_is_refused() -> None:
    bound, other = binding("nitro", b"\x01" * 32), binding("nitro", b"\x02" * 32)
    assert by_nitro(bound, user_data=binding_hash(other)).reasons == ("evidence.binding",)
    rig, bound = CHIPS["genoa-vcek"], binding("sev-snp", b"\x01" * 32)
    data = binding_hash(binding("sev-snp", b"\x02" * 32))
    assert by_chip(rig, bound, snp_policy(rig), data).reasons == ("evidence.binding",)


@pytest.mark.parametrize("data", [None, b"", b"short", bytes(64)])
def test_a_document_that_is_bound_to_nothing_is_refused(data: bytes | None) -> None:
    assert by_nitro(binding("nitro", bytes(32)), user_data=data).reasons == ("evidence.binding",)


def test_nonce_and_key_of_a_document_must_be_the_verifiers() -> None:
    bound = binding("nitro", b"\x09" * 32)
    assert by_nitro(bound, nonce=bound.nonce, public_key=bound.keys.signing).accepted
    assert by_nitro(bound, nonce=bytes(32)).reasons == ("evidence.stale",)
    assert by_nitro(bound, public_key=b"another").reasons == ("evidence.binding",)


def test_another_measurement_is_refused() -> None:
    bound = binding("nitro", bytes(32))
    changed = {**PCRS, 0: b"\x77" * 48}
    assert by_nitro(bound, pcrs=changed).reasons == ("evidence.measurement",)
    rig, bound = CHIPS["genoa-vcek"], binding("sev-snp", bytes(32))
    policy = snp_policy(rig, accept=({"measurement": b"\x77" * 48},))
    assert by_chip(rig, bound, policy).reasons == ("evidence.measurement",)


def test_only_platforms_named_are_accepted() -> None:
    bound, terms = binding("nitro", bytes(32)), NITRO_POLICY.nitro
    assert terms is not None
    here = replace(NITRO_POLICY, nitro=replace(terms, platforms=(INSTANCE,)))
    elsewhere = replace(NITRO_POLICY, nitro=replace(terms, platforms=("i-2",)))
    assert by_nitro(bound, here).accepted
    assert by_nitro(bound, elsewhere).reasons == ("evidence.platform",)
    rig, bound = CHIPS["milan-vcek"], binding("sev-snp", bytes(32))
    assert by_chip(rig, bound, snp_policy(rig, platforms=(CHIP.hex(),))).accepted
    refused = by_chip(rig, bound, snp_policy(rig, platforms=("00" * 64,)))
    assert refused.reasons == ("evidence.platform",)
    provider = CHIPS["milan-vlek"]  # says no chip, so it is on no list
    refused = by_chip(provider, bound, snp_policy(provider, platforms=(CHIP.hex(),)))
    assert refused.reasons == ("evidence.platform",)


def test_a_document_that_is_too_old_is_refused() -> None:
    bound, rig = binding("nitro", bytes(32)), NitroRig(styles={"leaf": LEAF})
    assert by_nitro(bound, rig=rig, at=NOW - 3600).accepted
    assert by_nitro(bound, rig=rig, at=NOW - 3601).reasons == ("evidence.stale",)


@pytest.mark.parametrize("name", CHIPS)
def test_a_generation_is_not_taken_for_another(name: str) -> None:
    """A chip of one generation, with the policy and under the roots of another."""
    rig, bound = CHIPS[name], binding("sev-snp", bytes(32))
    for other in CHIPS.values():
        if other.generation != rig.generation:
            assert by_chip(rig, bound, snp_policy(other)).reasons == ("evidence.tcb",)
            made = rig.produce(binding_hash(bound))
            made.endorsements[rig.kind] = other.leaf.der
            found = appraised(
                made, bound, snp_policy(other), partial(snp.examine, roots=other.roots)
            )
            assert not found.accepted


def test_every_fault_is_reported() -> None:
    rig = Chip(product="Milan", certified={"snp": 1})
    made = rig.produce(patch={0x08: b"\0\0\x0d", 0x30: b"\x04", 0x188: bytes(3)}, unknown=b"")
    found = appraised(
        made,
        binding("sev-snp", bytes(32)),
        snp_policy(rig, accept=({"measurement": b"\x77" * 48},)),
        snp.examine,
    )
    assert set(found.reasons) == {
        "evidence.malformed",  # policy bit, unknown endorsement
        "evidence.debug",
        "evidence.measurement",
        "evidence.chain",  # product, versions, root
        "evidence.tcb",
        "evidence.collateral",  # no revocation list
        "evidence.binding",
    }
    assert len(found.details) >= 10


# --- no test root ever counts --------------------------------------------------------------------


def test_without_the_argument_test_roots_are_refused() -> None:
    bound = binding("nitro", bytes(32))
    made = NITRO.produce(binding_hash(bound))
    assert appraised(made, bound, NITRO_POLICY, nitro.examine).reasons == ("evidence.chain",)
    bound = binding("sev-snp", bytes(32))
    for rig in CHIPS.values():
        made = rig.produce(binding_hash(bound), crl=rig.crl(), ask=rig.ask.der)
        found = appraised(made, bound, snp_policy(rig), snp.examine)
        assert set(found.reasons) == {"evidence.chain", "evidence.collateral"}


FAULTS = {
    0x00: (b"\x07", "evidence.malformed"),
    0x08: (b"\0\0\x0b", "evidence.debug"),
    0x30: (b"\x01", "evidence.measurement"),
    0x34: (b"\0", "evidence.signature"),
    0x38: (bytes(8), "evidence.tcb"),
    0x40: (b"\x01", "evidence.platform"),
    0x180: (bytes(8), "evidence.chain"),
    0x1A0: (bytes(64), "evidence.chain"),
}


@settings(max_examples=60)
@given(st.sets(st.sampled_from(sorted(FAULTS))), st.booleans())
def test_any_set_of_faults_is_reported_whole(places: set[int], revoked: bool) -> None:
    rig = CHIPS["genoa-vcek"]
    crl = rig.crl(rig.ask) if revoked else rig.crl()
    made = rig.produce(patch={place: FAULTS[place][0] for place in places}, crl=crl)
    found, terms = Findings(), snp_policy(rig).sev_snp
    snp.examine(made.evidence, made.endorsements, terms, NOW, found, rig.roots)
    expected = {FAULTS[place][1] for place in places}
    expected |= {"evidence.revoked"} if revoked else set()
    expected |= {"evidence.tcb"} if 0x180 in places else set()  # below the floor too
    assert set(found.codes) == expected
