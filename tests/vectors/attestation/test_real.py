"""Real evidence of Nitro and SEV-SNP: verdicts and claims as published, thousands of negatives.

Derived negatives are seeded here; the soak test flips every byte of documents and reports, and
every bit of certificates.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ssl import DER_cert_to_PEM_cert

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from protocol import limits, shape
from protocol.attestation import appraise, nitro, snp
from protocol.attestation.evidence import VERSION, Claims, EvidenceBundle
from protocol.attestation.findings import Findings
from protocol.attestation.roots import amd
from protocol.kinds.attestation import Attestation, NitroTerms, SevSnpTerms, SnpFloor
from tests.attestation_rig import binding
from tests.vectors.attestation import samples
from tests.vectors.attestation.samples import Sample

NITRO, SNP = samples.nitro(), samples.snp()
ALL = NITRO + SNP
FLIPS, CUTS = 250, 25
"""For each sample."""

CODES = {"accept": [], "reject": ["evidence.debug"]}


def examined(
    sample: Sample, terms: SevSnpTerms | None = None, now: int | None = None
) -> tuple[Claims | None, list[str]]:
    """Claims, and the codes of all faults."""
    found, now = Findings(), sample.at if now is None else now
    if sample in NITRO or sample.name.startswith("nitro"):
        claims = nitro.examine(sample.evidence, sample.endorsements, None, now, found)
    else:
        claims = snp.examine(sample.evidence, sample.endorsements, terms, now, found)
    return claims, list(found.codes)


def flip(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def faults(sample: Sample) -> set[str]:
    """What is wrong beyond what is wrong with the sample as it came."""
    return set(examined(sample)[1]) - set(CODES[sample.about["verdict"]])


def with_evidence(sample: Sample, data: bytes) -> Sample:
    return replace(sample, evidence=data)


def with_leaf(sample: Sample, data: bytes) -> Sample:
    return replace(sample, endorsements=dict.fromkeys(sample.endorsements, data))


def parts(sample: Sample) -> Iterator[tuple[bytes, object]]:
    """All bytes that the sample has, each with how to put others in their place."""
    yield sample.evidence, with_evidence
    for data in sample.endorsements.values():
        yield data, with_leaf


# --- verdicts and claims -------------------------------------------------------------------------


def test_there_are_samples_of_both_verdicts() -> None:
    for some in (NITRO, SNP):
        assert len(some) >= 6
        assert {sample.about["verdict"] for sample in some} == {"accept", "reject"}


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_verdict(sample: Sample) -> None:
    assert examined(sample)[1] == CODES[sample.about["verdict"]]


@pytest.mark.parametrize("sample", NITRO, ids=str)
def test_claims_of_nitro(sample: Sample) -> None:
    claims, _ = examined(sample)
    said = sample.about["claims"]
    assert claims is not None
    registers = {f"pcr{index}": value for index, value in said["pcrs"].items()}
    assert {name: value.hex() for name, value in claims.registers.items()} == registers
    assert claims.report_data.hex() == (said["user_data"] or "")
    assert claims.facts["module_id"] == said["module_id"]
    assert claims.platform == said["module_id"].split("-enc")[0]
    for name in ("nonce", "public_key"):
        assert claims.facts.get(name) == said[name]
    assert claims.issued is not None
    assert claims.valid_until is not None
    assert abs(claims.issued - sample.at) < 60
    assert sample.at < claims.valid_until <= claims.issued + 4 * 3600


@pytest.mark.parametrize("sample", SNP, ids=str)
def test_claims_of_snp(sample: Sample) -> None:
    claims, _ = examined(sample)
    said = sample.about["claims"]
    assert claims is not None
    assert claims.report_data.hex() == said["report_data"]
    for name in ("measurement", "host_data"):
        assert claims.registers[name].hex() == said[name]
    assert claims.facts["generation"] == said["generation"].lower()
    assert claims.facts["signing_key"] == said["signing_key"].lower()
    for name in ("version", "vmpl", "policy"):
        assert claims.facts[name] == str(said[name])
    names = {"bl": "bootloader", "tee": "tee", "snp": "snp", "ucode": "microcode"}
    assert claims.tcb == {names[name]: value for name, value in said["reported_tcb"].items()}
    if said["signing_key"] == "VLEK":
        assert claims.platform is None
        assert claims.facts["provider"].startswith("CN=")
    else:
        assert claims.platform is not None
        assert claims.platform.startswith(said["chip_id"])
    switched_on = {name.replace("_", "-") for name, on in said["platform"].items() if on}
    assert set(claims.facts["platform_flags"].split(", ")) == switched_on
    assert claims.valid_until == samples.seconds(sample.about["valid_window"][1])


@pytest.mark.parametrize("sample", SNP, ids=str)
def test_a_leaf_may_be_pem(sample: Sample) -> None:
    for data in sample.endorsements.values():
        pem = DER_cert_to_PEM_cert(data).encode()
        assert examined(with_leaf(sample, pem))[1] == CODES[sample.about["verdict"]]
        assert faults(with_leaf(sample, pem[:-60]))
        assert faults(with_leaf(sample, b"\n" + pem))


# --- derived negatives ---------------------------------------------------------------------------


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_no_flipped_bit_is_accepted(sample: Sample) -> None:
    chance = random.Random(sample.name)  # noqa: S311 (not for secrets)
    for data, put in parts(sample):
        for place in sorted(chance.sample(range(len(data)), min(FLIPS, len(data)))):
            flipped = flip(data, place, chance.randrange(8))
            assert faults(put(sample, flipped)), f"byte {place}"


@pytest.mark.soak
@pytest.mark.parametrize("sample", ALL, ids=str)
def test_no_flip_of_any_byte_is_accepted(sample: Sample) -> None:
    chance = random.Random(sample.name)  # noqa: S311 (not for secrets)
    for data, put in parts(sample):
        for place in range(len(data)):
            for bit in chance.sample(range(8), 2 if data is sample.evidence else 8):
                assert faults(put(sample, flip(data, place, bit))), f"byte {place}"


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_nothing_cut_or_longer_is_accepted(sample: Sample) -> None:
    chance = random.Random(sample.name)  # noqa: S311 (not for secrets)
    for data, put in parts(sample):
        for size in {0, 1, len(data) - 1, *chance.sample(range(len(data)), CUTS)}:
            assert faults(put(sample, data[:size])), f"cut to {size}"
            assert faults(put(sample, data[len(data) - size :])), f"the last {size}"
        for more in (b"\0", b"\xff", b"\xf6", data):
            assert faults(put(sample, data + more)), f"{len(more)} bytes more"


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_a_part_of_another_sample_is_refused(sample: Sample) -> None:
    for other in NITRO if sample in NITRO else SNP:
        if other.name != sample.name:
            for size in range(64, len(sample.evidence), 97):
                mixed = sample.evidence[:size] + other.evidence[size:]
                assert mixed in (sample.evidence, other.evidence) or (
                    faults(with_evidence(sample, mixed))
                )


@pytest.mark.parametrize("sample", NITRO, ids=str)
def test_times_of_nitro(sample: Sample) -> None:
    claims, _ = examined(sample)
    assert claims is not None
    assert claims.valid_until is not None
    assert "evidence.chain" not in examined(sample, now=claims.valid_until)[1]
    for now in (
        claims.valid_until + 1,
        claims.valid_until + 10**8,
        claims.issued - 10**6,
        0,
        2**39,
    ):
        assert "evidence.chain" in examined(sample, now=now)[1]


@pytest.mark.parametrize("sample", SNP, ids=str)
def test_times_of_snp(sample: Sample) -> None:
    first, last = map(samples.seconds, sample.about["valid_window"])
    for now in (first, last):
        assert examined(sample, now=now)[1] == CODES[sample.about["verdict"]]
    for now in (first - 1, last + 1, 0, 2**39):
        assert "evidence.chain" in examined(sample, now=now)[1]


@pytest.mark.parametrize("sample", NITRO, ids=str)
def test_wrong_roots_of_nitro(sample: Sample) -> None:
    for roots in ([], [bytes(32)], [bytes.fromhex(pin) for pin in amd.FINGERPRINTS.values()]):
        found = Findings()
        nitro.examine(sample.evidence, {}, None, sample.at, found, roots)
        assert "evidence.chain" in found.codes


@pytest.mark.parametrize("sample", SNP, ids=str)
def test_wrong_roots_of_snp(sample: Sample) -> None:
    """Another fingerprint, another root with its fingerprint, and every other issuer."""
    turned = dict(zip(amd.ARK, [*list(amd.ARK)[1:], *list(amd.ARK)[:1]], strict=True))
    pins = snp.PINNED.fingerprints
    unpinned = snp.Roots({name: bytes(32) for name in pins}, amd.ARK, amd.ASK)
    shifted = snp.Roots(
        {name: pins[turned[name]] for name in pins},
        {name: amd.ARK[turned[name]] for name in pins},
        amd.ASK,
    )
    for roots in (unpinned, shifted):
        found = Findings()
        snp.examine(sample.evidence, sample.endorsements, None, sample.at, found, roots)
        assert "evidence.chain" in found.codes
    (kind,) = sample.endorsements
    right = (sample.about["claims"]["generation"].lower(), kind)
    for which, ask in amd.ASK.items():
        codes = examined(replace(sample, endorsements={**sample.endorsements, "ask": ask}))[1]
        assert ("evidence.chain" in codes) == (which != right)


@pytest.mark.parametrize("sample", SNP, ids=str)
def test_a_leaf_of_another_machine_is_refused(sample: Sample) -> None:
    for other in SNP:
        if other.name != sample.name:
            assert faults(replace(sample, endorsements=other.endorsements))


# --- terms on real evidence ----------------------------------------------------------------------


def terms(sample: Sample, **changes: object) -> SevSnpTerms:
    """The strictest terms that a sample fulfils."""
    claims, _ = examined(sample)
    assert claims is not None
    generation = sample.about["claims"]["generation"].lower()
    floor = SnpFloor(generation=generation, **claims.tcb)
    strict = SevSnpTerms(
        accept=(), generations=(floor,), crl=False, require=(), vmpl=int(claims.facts["vmpl"])
    )
    return replace(strict, **changes)


def raised(sample: Sample, versions: Mapping[str, int]) -> Iterator[SevSnpTerms]:
    for name in versions:
        strict = terms(sample)
        floor = replace(strict.generations[0], **{name: versions[name] + 1})
        yield replace(strict, generations=(floor,))


@pytest.mark.parametrize("sample", SNP, ids=str)
def test_terms_of_snp(sample: Sample) -> None:
    expected = CODES[sample.about["verdict"]]
    claims, _ = examined(sample)
    assert claims is not None
    assert examined(sample, terms(sample))[1] == expected
    assert "evidence.tcb" in examined(sample, terms(sample, generations=()))[1]
    assert "evidence.collateral" in examined(sample, terms(sample, crl=True))[1]
    for strict in raised(sample, claims.tcb):
        assert "evidence.tcb" in examined(sample, strict)[1]
    on = claims.facts["platform_flags"].split(", ")
    for name in ("alias-check", "ecc", "ciphertext-hiding"):
        codes = examined(sample, terms(sample, require=(name,)))[1]
        assert ("evidence.platform" in codes) == (name not in on)
    codes = examined(sample, terms(sample, require=("no-smt",)))[1]
    assert ("evidence.platform" in codes) == ("smt" in on)


# --- what holds for all technologies, on real evidence -------------------------------------------

MAIN = {"nitro": "pcr4", "sev-snp": "measurement"}
"""A register that every sample has."""


def of(sample: Sample) -> str:
    return "nitro" if sample.name.startswith("nitro") else "sev-snp"


def policy(sample: Sample, registers: Mapping[str, bytes]) -> Attestation:
    accept = (dict(registers),)
    if of(sample) == "nitro":
        return Attestation(max_age=3600, nitro=NitroTerms(accept=accept))
    return Attestation(max_age=3600, sev_snp=terms(sample, accept=accept))


def central(sample: Sample, registers: Mapping[str, bytes], now: int | None = None) -> set[str]:
    """The codes of what appraise finds in the claims of real evidence."""
    claims, _ = examined(sample)
    assert claims is not None
    found, now = Findings(), sample.at if now is None else now
    appraise.check_claims(of(sample), claims, policy(sample, registers), now, found)
    return set(found.codes)


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_measurements(sample: Sample) -> None:
    claims, _ = examined(sample)
    assert claims is not None
    every, name = claims.registers, MAIN[of(sample)]
    assert central(sample, every) == set()
    assert central(sample, {}) == {"evidence.measurement"}
    assert central(sample, {**every, "pcr31": bytes(48)}) == {"evidence.measurement"}
    for register, value in every.items():
        assert central(sample, {name: every[name], register: value}) == set()
        for wrong in (flip(value, 0, 0), value[:-1], value + b"\0", b"", bytes(len(value))):
            if wrong != value:
                expected = {"evidence.measurement"}
                assert central(sample, {**every, register: wrong}) == expected


@pytest.mark.parametrize("sample", NITRO, ids=str)
def test_age(sample: Sample) -> None:
    claims, _ = examined(sample)
    assert claims is not None
    assert claims.issued is not None
    assert claims.valid_until is not None
    every = claims.registers
    for now in (claims.issued - limits.CLOCK_SKEW, claims.issued + 3600):
        assert central(sample, every, now) == set()
    for now in (claims.issued - limits.CLOCK_SKEW - 1, claims.issued + 3601):
        assert central(sample, every, now) == {"evidence.stale"}
    assert "evidence.collateral" in central(sample, every, claims.valid_until)


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_recorded_evidence_is_bound_to_nothing_of_ours(sample: Sample) -> None:
    claims, _ = examined(sample)
    assert claims is not None
    bound = binding(of(sample), bytes(32))
    bundle = EvidenceBundle(
        version=VERSION,
        technology=of(sample),
        evidence=sample.evidence,
        endorsements=sample.endorsements,
        binding=bound,
    )
    raw, asked = shape.encode(bundle), policy(sample, {MAIN[of(sample)]: b"\x01" * 48})
    found = appraise.appraise(raw, asked, bound, sample.at)
    assert not found.accepted
    assert {"evidence.binding", "evidence.measurement"} <= set(found.reasons)


# --- roots ---------------------------------------------------------------------------------------


def test_the_roots_are_the_published_ones() -> None:
    roots = samples.folder("roots")
    assert {_pin((roots / "aws" / "nitro-root-G1.pem").read_bytes())} == nitro.PINNED
    for name, der in amd.ARK.items():
        assert der == (roots / "amd" / f"ARK-{name.title()}.der").read_bytes()
        assert snp.PINNED.fingerprints[name] == _pin(der)
    for (name, kind), der in amd.ASK.items():
        assert der == (roots / "amd" / f"ASK-{name.title()}-{kind.upper()}.der").read_bytes()


def _pin(data: bytes) -> bytes:
    load = x509.load_pem_x509_certificate if data[:1] == b"-" else x509.load_der_x509_certificate
    return load(data).fingerprint(hashes.SHA256())
