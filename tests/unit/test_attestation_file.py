"""Attestation policies and floors as people write them."""

from pathlib import Path

import pytest

from node.config import ConfigError
from node.documents import attestation
from protocol import limits
from protocol.attestation.policy import lint
from protocol.kinds.attestation import (
    Floors,
    IntelFloors,
    NitroTerms,
    SevSnpFloors,
    SevSnpTerms,
    SgxTerms,
    SnpFloor,
    TdxTerms,
    TpmTerms,
)

WHOLE = f"""
attestation:
  max_age: PT24H
  nitro:
    accept: [{{ pcr0: {"a1" * 48} }}]
    platforms: [i-0123]
  sev-snp:
    accept:
      - {{ measurement: {"a2" * 48} }}
      - {{ measurement: {"a3" * 48}, host_data: {"a4" * 32} }}
    generations:
      - {{ generation: genoa, bootloader: 9, tee: 0, snp: 23, microcode: 72 }}
      - {{ generation: turin, bootloader: 1, tee: 0, snp: 2, microcode: 3, fmc: 1 }}
    require: [alias-check]
  tdx:
    accept: [{{ mrtd: {"b1" * 48}, rtmr1: {"b2" * 48}, rtmr2: {"b3" * 48} }}]
    statuses: [UpToDate]
    evaluation: 17
  sgx:
    accept: [{{ mrenclave: {"c1" * 32} }}]
    statuses: [UpToDate, SWHardeningNeeded]
    evaluation: 17
    isv_prod_id: 0
    isv_svn: 1
  tpm:
    accept: [{{ pcr11: {"d1" * 32} }}]
    authorities: [{"d2" * 32}, "sha256:{"d3" * 32}"]
"""


def load(folder: Path, text: str) -> object:
    path = folder / "policy.yaml"
    path.write_text(text)
    return attestation.load(path)


def test_every_technology(tmp_path: Path) -> None:
    found = load(tmp_path, WHOLE)
    assert found.max_age == 86_400
    assert found.nitro == NitroTerms(accept=({"pcr0": b"\xa1" * 48},), platforms=("i-0123",))
    assert found.sev_snp == SevSnpTerms(
        accept=(
            {"measurement": b"\xa2" * 48},
            {"measurement": b"\xa3" * 48, "host_data": b"\xa4" * 32},
        ),
        generations=(
            SnpFloor(generation="genoa", bootloader=9, tee=0, snp=23, microcode=72),
            SnpFloor(generation="turin", bootloader=1, tee=0, snp=2, microcode=3, fmc=1),
        ),
        crl=True,
        require=("alias-check",),
        vmpl=0,
    )
    assert found.tdx == TdxTerms(
        accept=({"mrtd": b"\xb1" * 48, "rtmr1": b"\xb2" * 48, "rtmr2": b"\xb3" * 48},),
        statuses=("UpToDate",),
        evaluation=17,
    )
    assert found.sgx == SgxTerms(
        accept=({"mrenclave": b"\xc1" * 32},),
        statuses=("UpToDate", "SWHardeningNeeded"),
        evaluation=17,
        isv_prod_id=0,
        isv_svn=1,
    )
    assert found.tpm == TpmTerms(
        accept=({"pcr11": b"\xd1" * 32},), authorities=(b"\xd2" * 32, b"\xd3" * 32)
    )
    assert (found.swtpm, found.simulated) == (None, None)
    assert lint(found) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("max_age: PT24H", "max_age: never", "max_age"),
        ("  nitro:", "  nitra:", "attestation.nitra: This key is unknown"),
        (f"pcr0: {'a1' * 48}", "pcr0: none", "nitro.accept[0].pcr0: This is no value"),
        ("generation: genoa", "generation: rome", "generation: The value is not allowed"),
        ("bootloader: 9, ", "", "bootloader: This is missing"),
        ("snp: 23", "snp: 256", "not a number in range"),
        ("[alias-check]", "[wishes]", "require: A value is not allowed"),
        ("statuses: [UpToDate]", "statuses: [OutOfDate]", "tdx.statuses: A value is not allowed"),
        ("    statuses: [UpToDate]\n", "", "tdx.statuses: This is missing"),
        ("evaluation: 17", "evaluation: 0", "evaluation: This is not a number in range"),
        ("    accept: [{ mrenclave", "    except: [{ mrenclave", "sgx.accept: This is missing"),
        ("isv_svn: 1", "isv_svn: 65536", "isv_svn"),
        (f"[{'d2' * 32}, ", "[d2, ", "authorities: This is no digest"),
        ("platforms: [i-0123]", "platforms: 17", "platforms: This is not a list"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in WHOLE
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, WHOLE.replace(old, new, 1))
    assert told in str(refused.value)


def test_what_is_left_empty_is_seen_by_the_linter(tmp_path: Path) -> None:
    found = load(tmp_path, "attestation: { max_age: PT1H, nitro: { accept: [] } }")
    assert lint(found) == ["nitro: accept is empty."]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        attestation.load(tmp_path / "none.yaml")


def test_floors_ask_what_they_say_and_no_more() -> None:
    assert attestation.floors(b"attestation: {}") == Floors(max_age=limits.EVIDENCE_AGE)
    assert attestation.floors(
        b"""
attestation:
  technologies: [sev-snp, tdx]
  max_age: PT1H
  sev-snp: { crl: true }
  tdx: { statuses: [UpToDate], evaluation: 17 }
  sgx: {}
"""
    ) == Floors(
        technologies=("sev-snp", "tdx"),
        max_age=3600,
        sev_snp=SevSnpFloors(crl=True, require=(), vmpl=3),
        tdx=IntelFloors(statuses=("UpToDate",), evaluation=17),
        sgx=IntelFloors(evaluation=0),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"attestation: { technologies: [] }", "technologies is empty"),
        (b"attestation: { technologies: [abacus] }", "unknown technology"),
        (b"attestation: { max_age: P90D }", "max_age"),
        (b"attestation: { sev-snp: { generations: [] } }", "generations is empty"),
        (b"attestation: { tdx: { accept: [] } }", "tdx.accept: This key is unknown"),
    ],
)
def test_floors_that_make_no_sense(text: bytes, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        attestation.floors(text)
    assert told in str(refused.value)
