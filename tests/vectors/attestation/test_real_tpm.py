"""A real quote of swtpm, made by tpm2-tools: accepted for inspection, never as hardware."""

import random
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from protocol.attestation import tpm
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.kinds.attestation import TpmTerms
from tests.attestation_rig import Produced
from tests.attestation_rig_tpm import decode, encode
from tests.vectors.attestation import samples

FOLDER = samples.folder("tpm")
FILES = {
    "message": "quote.msg",
    "signature": "quote.sig",
    "pcrs": "quote.pcrs",
    "ak_public": "ak.pub",
    "ek_certificate": "ek_rsa.crt",
}
AT = samples.seconds("2027-01-01T00:00:00+00:00")
FLIPS = 120
"""For each part."""


def file(name: str) -> bytes:
    return (FOLDER / f"swtpm-{name}").read_bytes()


CHAIN = file("ca.pem")
PARTS = {name: file(stem) for name, stem in FILES.items()}
REAL = Produced(encode(PARTS), {"ek_chain": CHAIN})
ROOT = x509.load_pem_x509_certificates(CHAIN)[-1].fingerprint(hashes.SHA256())
TERMS = TpmTerms(accept=({"pcr14": bytes(32)},), authorities=(ROOT,))


def examined(
    made: Produced, terms: TpmTerms | None = TERMS, now: int = AT, software: bool = True
) -> tuple[Claims | None, list[str]]:
    found, examine = Findings(), tpm.examine_software if software else tpm.examine
    claims = examine(made.evidence, made.endorsements, terms, now, found)
    return claims, list(found.codes)


def test_it_is_accepted_under_its_authority_and_for_inspection() -> None:
    claims, codes = examined(REAL)
    assert (codes, claims is not None) == ([], True)
    assert claims.report_data.hex() == file("q.hex").decode().strip()
    assert sorted(claims.registers) == sorted(f"pcr{n}" for n in (*range(8), 14))
    assert claims.registers["pcr0"] == bytes(32)
    assert examined(REAL, terms=None, software=False)[1] == []
    assert examined(replace(REAL, endorsements={}), terms=None)[1] == []
    as_other = encode(PARTS | {"ak_public": file("ak.tpmt")})
    assert examined(replace(REAL, evidence=as_other))[1] == []


def test_it_never_passes_as_hardware() -> None:
    assert examined(REAL, software=False)[1] == ["evidence.technology"]


@pytest.mark.parametrize("place", [0, 31])
def test_another_root_is_refused(place: int) -> None:
    root = ROOT[:place] + bytes([ROOT[place] ^ 1]) + ROOT[place + 1 :]
    assert examined(REAL, replace(TERMS, authorities=(root,)))[1] == ["evidence.chain"]


def test_before_its_certificates_it_is_refused() -> None:
    assert examined(REAL, now=samples.seconds("2026-01-01T00:00:00+00:00"))[1] == ["evidence.chain"]


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_flipped_bit_is_refused(name: str) -> None:
    chance, part = random.Random(name), PARTS[name]  # noqa: S311 a seeded choice
    for _ in range(FLIPS):
        place, bit = chance.randrange(len(part)), chance.randrange(8)
        bent = part[:place] + bytes([part[place] ^ 1 << bit]) + part[place + 1 :]
        assert examined(replace(REAL, evidence=encode(PARTS | {name: bent})))[1], (place, bit)


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_cut_or_longer_part_is_refused(name: str) -> None:
    part = PARTS[name]
    for bent in (b"", part[:1], part[: len(part) // 2], part[:-1], part + b"\0"):
        assert examined(replace(REAL, evidence=encode(PARTS | {name: bent})))[1], len(bent)


def test_a_flipped_chain_is_refused() -> None:
    chance = random.Random(7)  # noqa: S311 a seeded choice
    for _ in range(FLIPS):
        place = chance.randrange(len(CHAIN))
        bent = CHAIN[:place] + bytes([CHAIN[place] ^ 1 << chance.randrange(8)]) + CHAIN[place + 1 :]
        if bent.split() != CHAIN.split():  # another kind of space is the same chain
            assert examined(replace(REAL, endorsements={"ek_chain": bent}))[1], place


def test_flipped_text_of_the_evidence_is_refused() -> None:
    chance = random.Random(8)  # noqa: S311 a seeded choice
    for _ in range(2 * FLIPS):
        place, bit = chance.randrange(len(REAL.evidence)), chance.randrange(8)
        raw = bytearray(REAL.evidence)
        raw[place] ^= 1 << bit
        try:
            same = decode(bytes(raw)) == PARTS
        except (ValueError, AttributeError):
            same = False
        assert same or examined(replace(REAL, evidence=bytes(raw)))[1], (place, bit)
