"""Real quotes of TDX and SGX: verdicts and claims as published, and thousands of negatives.

Derived negatives are seeded here; the soak test flips every byte.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.attestation import intel, quote, sgx, tdx
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.kinds.attestation import SgxTerms, TdxTerms
from tests import attestation_rig_intel as rig
from tests.vectors.attestation import samples
from tests.vectors.attestation.samples import Sample

TDX, SGX = samples.intel("tdx"), samples.intel("sgx")
ALL = TDX + SGX
GOOD = [sample for sample in ALL if sample.accepted]
DAY = 86400
FLIPS = 5
"""For each region of an accepted sample."""


def examined(
    sample: Sample, terms: Any = None, now: int | None = None, roots: intel.Roots = intel.PINNED
) -> tuple[Claims | None, list[str]]:
    """Claims, and the codes of all faults."""
    found, now = Findings(), sample.at if now is None else now
    examine = tdx.examine if sample.about["tech"] == "tdx" else sgx.examine
    claims = examine(sample.evidence, sample.endorsements, terms, now, found, roots)
    return claims, list(found.codes)


def with_collateral(sample: Sample, **texts: Any) -> Sample:
    given = json.loads(sample.endorsements["collateral"])
    changed = json.dumps({**given, **texts}).encode()
    return replace(sample, endorsements={"collateral": changed})


def texts(sample: Sample) -> dict[str, str]:
    return dict(json.loads(sample.endorsements["collateral"]))


def flip(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


# --- verdicts and claims -------------------------------------------------------------------------


def test_there_are_samples_of_both_verdicts() -> None:
    for some in (TDX, SGX):
        assert len(some) >= 5
        assert {sample.about["verdict"] for sample in some} == {"accept", "reject"}


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_verdict(sample: Sample) -> None:
    claims, codes = examined(sample)
    expected = []
    if sample.about["tcb_status"] not in intel.STATUSES or sample.name.startswith("tdx-a187b0da"):
        expected.append("evidence.tcb")
    if sample.about["claims"]["debug"]:
        expected.append("evidence.debug")
    assert codes == expected
    assert sample.accepted == (not codes)
    assert claims is not None
    if sample.about["eval"] is not None:
        assert claims.tcb["evaluation"] <= sample.about["eval"]
    if sample.accepted:
        assert claims.facts["tcb status"] == sample.about["tcb_status"]
        advisories = claims.facts["open advisories"].removeprefix("none").split(", ")
        assert sorted(filter(None, advisories)) == sample.about["advisories"]


@pytest.mark.parametrize("sample", TDX, ids=str)
def test_claims_of_tdx(sample: Sample) -> None:
    claims, _ = examined(sample)
    said = sample.about["claims"]
    assert claims is not None
    assert claims.report_data.hex() == said["report_data"]
    named = {"mrtd": "mr_td", "mrconfigid": "mr_config_id", "mrowner": "mr_owner"}
    for ours, theirs in named.items():
        assert claims.registers[ours].hex() == said[theirs]
    assert [claims.registers[f"rtmr{place}"].hex() for place in range(4)] == said["rtmr"]
    assert ("mrservicetd" in claims.registers) == (said["kind"] == "td15")
    assert bytes(claims.tcb[f"tdx{place}"] for place in range(16)).hex() == said["tee_tcb_svn"]
    assert claims.facts["td attributes"] == said["td_attributes"]
    assert claims.facts["xfam"] == said["xfam"]
    assert claims.facts["quote"] == f"version {said['version']}"
    assert claims.facts["debug"] == ("yes" if said["debug"] else "no")


@pytest.mark.parametrize("sample", SGX, ids=str)
def test_claims_of_sgx(sample: Sample) -> None:
    claims, _ = examined(sample)
    said = sample.about["claims"]
    assert claims is not None
    assert claims.report_data.hex() == said["report_data"]
    assert claims.registers["mrenclave"].hex() == said["mr_enclave"]
    assert claims.registers["mrsigner"].hex() == said["mr_signer"]
    assert claims.facts["attributes"] == said["attributes"]
    assert claims.facts["debug"] == ("yes" if said["debug"] else "no")


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_claims_of_both(sample: Sample) -> None:
    claims, _ = examined(sample)
    assert claims is not None
    assert claims.platform == claims.facts["ppid"]
    assert len(bytes.fromhex(claims.platform)) == 16
    assert {f"svn{place}" for place in range(16)} | {"pce", "qe"} < claims.tcb.keys()
    assert claims.valid_until is not None
    assert sample.at < claims.valid_until < sample.at + 60 * DAY


# --- time and roots ------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", GOOD, ids=str)
def test_times(sample: Sample) -> None:
    claims, _ = examined(sample)
    assert claims is not None
    assert claims.valid_until is not None
    assert examined(sample, now=claims.valid_until - 1)[1] == []
    for now in (claims.valid_until + 1, sample.at + 90 * DAY, sample.at - 90 * DAY, 0, -1, 2**39):
        assert "evidence.collateral" in examined(sample, now=now)[1]
    assert "evidence.chain" in examined(sample, now=sample.at + 20 * 365 * DAY)[1]
    assert "evidence.chain" in examined(sample, now=sample.at - 20 * 365 * DAY)[1]


@pytest.mark.parametrize("sample", GOOD, ids=str)
def test_wrong_roots(sample: Sample) -> None:
    mine, intels = rig.roots(), intel.PINNED
    for roots in (
        mine,
        replace(intels, certificate=mine.certificate),
        replace(intels, fingerprint=mine.fingerprint),
        replace(intels, certificate=b""),
    ):
        assert examined(sample, roots=roots)[1]
    assert "evidence.chain" in examined(sample, roots=mine)[1]
    assert examined(sample, roots=replace(intels, fingerprint=bytes(32)))[1] == ["evidence.chain"]


def test_the_root_is_the_published_one() -> None:
    pem = (samples.folder("roots") / "intel" / "SGX_Root_CA.pem").read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert intel.PINNED.certificate == der
    assert intel.PINNED.fingerprint == hashlib.sha256(der).digest()


# --- terms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", GOOD, ids=str)
def test_terms(sample: Sample) -> None:
    claims, _ = examined(sample)
    assert claims is not None
    status = sample.about["tcb_status"]
    shared: dict[str, Any] = {"accept": (), "statuses": (status,)}
    shared["evaluation"] = claims.tcb["evaluation"]
    terms: TdxTerms | SgxTerms = TdxTerms(**shared)
    if sample in SGX:
        product = int.from_bytes(claims.registers["isv_prod_id"])
        terms = SgxTerms(**shared, isv_prod_id=product, isv_svn=claims.tcb["isv_svn"])
        for strict in (
            replace(terms, isv_svn=terms.isv_svn + 1),
            replace(terms, isv_prod_id=product + 1),
        ):
            assert examined(sample, strict)[1]
    assert examined(sample, terms)[1] == []
    assert examined(sample, replace(terms, evaluation=terms.evaluation + 1))[1] == ["evidence.tcb"]
    (other,) = intel.STATUSES - {status}
    assert examined(sample, replace(terms, statuses=(other,)))[1] == ["evidence.tcb"]


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_a_policy_cannot_allow_more_than_the_baseline(sample: Sample) -> None:
    terms = {"accept": (), "statuses": ("OutOfDate", *intel.STATUSES), "evaluation": 1}
    if sample in SGX:
        terms |= {"isv_prod_id": 0, "isv_svn": 0}
    made = (SgxTerms if sample in SGX else TdxTerms)(**terms)
    assert examined(sample)[1] == [] or examined(sample, made)[1] != []


# --- derived negatives ---------------------------------------------------------------------------


def regions(sample: Sample) -> dict[str, range]:
    """Where the parts of a quote stand."""
    raw = sample.evidence
    body = 48 + (6 if raw[0] == 5 else 0)
    ends = {"header": 48, "report head": body, "report": body + len(quote.read(raw).body)}
    ends["length"] = ends["report"] + 4
    ends["signature"] = ends["length"] + 64
    ends["key"] = ends["signature"] + 64
    ends["type"] = ends["key"] + (6 if raw[0] >= 4 else 0)
    ends["enclave's report"] = ends["type"] + 384
    ends["enclave's signature"] = ends["enclave's report"] + 64
    ends["authentication"] = ends["enclave's signature"] + 34
    ends["certificates' type"] = ends["authentication"] + 6
    ends["certificates"] = len(raw)
    found, start = {}, 0
    for name, end in ends.items():
        found[name], start = range(start, end), end
    return {name: places for name, places in found.items() if places}


@pytest.mark.parametrize("sample", GOOD, ids=str)
def test_no_flipped_bit_of_a_quote_is_accepted(sample: Sample) -> None:
    chance = random.Random(sample.name)  # noqa: S311 (not for secrets)
    assert sum(map(len, regions(sample).values())) == len(sample.evidence)
    for name, places in regions(sample).items():
        for place in chance.choices(places, k=FLIPS):
            raw = flip(sample.evidence, place, chance.randrange(8))
            assert examined(replace(sample, evidence=raw))[1], f"{name}, byte {place}"


@pytest.mark.parametrize("sample", GOOD, ids=str)
def test_no_flipped_bit_of_collateral_is_accepted(sample: Sample) -> None:
    chance = random.Random(sample.name)  # noqa: S311 (not for secrets)
    for name, text in texts(sample).items():
        for place in chance.choices(range(len(text)), k=FLIPS):
            other = chr(ord(text[place]) ^ 1 << chance.randrange(7))
            changed = with_collateral(sample, **{name: text[:place] + other + text[place + 1 :]})
            assert examined(changed)[1], f"{name}, character {place}"
        for other in (text[:-2], text + text, text.title(), text + "\0;", "", None, 7, [text]):
            changed = with_collateral(sample, **{name: other})
            assert examined(changed)[1], f"{name}: {str(other)[:40]}"


PIECES = 32
"""Of a soak: none may run as long as a test that hangs."""


@pytest.mark.soak
@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("sample", GOOD, ids=str)
def test_no_flipped_byte_is_accepted(sample: Sample, piece: int) -> None:
    chance = random.Random(sample.name)  # noqa: S311 (not for secrets)
    for place in range(piece, len(sample.evidence), PIECES):
        raw = flip(sample.evidence, place, chance.randrange(8))
        assert examined(replace(sample, evidence=raw))[1], f"byte {place}"
    given = sample.endorsements["collateral"]
    for place in range(piece, len(given), PIECES):
        raw = flip(given, place, chance.randrange(8))
        assert examined(replace(sample, endorsements={"collateral": raw}))[1], f"byte {place}"


@pytest.mark.parametrize("sample", GOOD, ids=str)
def test_nothing_cut_or_longer_is_accepted(sample: Sample) -> None:
    chance = random.Random(sample.name)  # noqa: S311 (not for secrets)
    raw, given = sample.evidence, sample.endorsements["collateral"]
    for size in {0, 1, len(raw) - 1, *chance.sample(range(len(raw) - 2), 10)}:
        assert examined(replace(sample, evidence=raw[:size]))[1]
        assert examined(replace(sample, evidence=raw[len(raw) - size :]))[1]
    for size in {0, 1, len(given) - 2, *chance.sample(range(len(given) - 2), 10)}:
        assert examined(replace(sample, endorsements={"collateral": given[:size]}))[1]
    for more in (b"\0", b"\n", raw):
        assert examined(replace(sample, evidence=raw + more))[1]
    for endorsements in ({}, {"vcek": given}, {"collateral": given, "crl": b""}):
        assert "evidence.collateral" in examined(replace(sample, endorsements=endorsements))[1]
    doubled = given.rstrip()[:-1] + b', "tcb_info": "{}"}'
    assert examined(replace(sample, endorsements={"collateral": doubled}))[1]


def pairs() -> Iterator[tuple[Sample, Sample]]:
    for sample in GOOD:
        for other in ALL:
            if other.name.split(".")[0] != sample.name.split(".")[0]:
                yield sample, other


def test_items_of_other_collateral_are_refused_or_as_good() -> None:
    """Another's statement is about other processors, of another time, or as good as one's own."""
    for sample, other in pairs():
        own, others = texts(sample), texts(other)
        for names in (("tcb_info", "tcb_info_signature"), ("qe_identity", "qe_identity_signature")):
            for name in names:
                if own[name] != others[name]:
                    assert examined(with_collateral(sample, **{name: others[name]}))[1], name
        swapped = {"tcb_info_issuer_chain": others["pck_crl_issuer_chain"]}
        assert examined(with_collateral(sample, **swapped))[1]


def test_a_quote_is_not_of_the_other_technology() -> None:
    for sample in GOOD:
        other = "sgx" if sample.about["tech"] == "tdx" else "tdx"
        claims, codes = examined(replace(sample, about={**sample.about, "tech": other}))
        assert claims is None
        assert codes == ["evidence.malformed"]


def test_a_quote_of_version_3_pretending_to_be_4_is_refused() -> None:
    for sample in GOOD:
        for version in range(8):
            if version != sample.evidence[0]:
                raw = bytes([version]) + sample.evidence[1:]
                assert "evidence.malformed" in examined(replace(sample, evidence=raw))[1]
