"""TDX and SGX under a test root: accepted with a fresh nonce, end to end; every parser's edges."""

import dataclasses
import json
import struct
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from protocol import limits, shape
from protocol.attestation import appraise, collateral, intel, intel_library, quote, sgx, tdx
from protocol.attestation.evidence import Binding, EvidenceBundle, binding_hash
from protocol.attestation.findings import Findings
from protocol.errors import Refused
from protocol.kinds.attestation import Attestation, SgxTerms, TdxTerms
from tests import attestation_cases_intel as cases
from tests import attestation_rig_intel as rig
from tests.attestation_rig import binding
from tests.attestation_rig_intel import DAY, NOW

BINDING = binding("tdx", b"\x07" * 32)
EXAMINERS = {module.TECHNOLOGY: partial(module.examine, roots=rig.roots()) for module in (tdx, sgx)}
MEASURED = {name: rig.REGISTERS[name] for name in ("mrtd", "rtmr1", "rtmr2")}
POLICY = Attestation(
    max_age=3600,
    tdx=TdxTerms(accept=(MEASURED,), statuses=("UpToDate",), evaluation=rig.EVALUATION),
    sgx=dataclasses.replace(cases.SGX_TERMS, accept=({"mrenclave": rig.MRENCLAVE},)),
)
KINDS = {
    "tdx-v4": lambda data: rig.quote(4, rig.td_body(data)),
    "tdx-v5": lambda data: rig.quote(5, rig.td_body(data, service=bytes(48))),
    "tdx-v5 with a report of 1.0": lambda data: rig.quote(5, rig.td_body(data)),
    "sgx-v3": lambda data: rig.quote(3, rig.sgx_body(data)),
}


def appraised(kind: str, bound: Binding, expected: Binding, **options: Any) -> appraise.Appraisal:
    technology = kind[:3]
    bound = dataclasses.replace(bound, technology=technology)
    bundle = EvidenceBundle(
        version=1,
        technology=technology,
        evidence=KINDS[kind](binding_hash(bound)),
        endorsements={"collateral": rig.collateral(technology == "tdx")},
        binding=bound,
    )
    return appraise.appraise(
        shape.encode(bundle),
        options.get("policy", POLICY),
        dataclasses.replace(expected, technology=technology),
        options.get("now", NOW),
        examiners=options.get("examiners", EXAMINERS),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_quote_is_accepted_end_to_end(kind: str) -> None:
    for nonce in (b"\x07" * 32, b"\x08" * 32):
        fresh = dataclasses.replace(BINDING, nonce=nonce)
        found = appraised(kind, fresh, fresh)
        assert (found.accepted, found.reasons) == (True, ())
        assert found.keys == BINDING.keys
        assert found.valid_until == NOW + 3600


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_quote_is_refused_for(kind: str) -> None:
    stale = dataclasses.replace(BINDING, nonce=bytes(32))
    assert appraised(kind, stale, BINDING).reasons == ("evidence.stale",)
    other = dataclasses.replace(BINDING, host=bytes(32))
    assert appraised(kind, other, BINDING).reasons == ("evidence.binding",)
    terms = {name: dataclasses.replace(getattr(POLICY, name), accept=({name: b"\1" * 48},))
             for name in ("tdx", "sgx")}  # fmt: skip
    unnamed = dataclasses.replace(POLICY, **terms)
    assert "evidence.measurement" in appraised(kind, BINDING, BINDING, policy=unnamed).reasons
    only = dataclasses.replace(POLICY, **{"sgx" if kind[:3] == "tdx" else "tdx": None})
    assert appraised(kind, BINDING, BINDING, policy=only).accepted
    none = dataclasses.replace(POLICY, **{kind[:3]: None})
    assert "evidence.technology" in appraised(kind, BINDING, BINDING, policy=none).reasons
    machines = {kind[:3]: dataclasses.replace(getattr(POLICY, kind[:3]), platforms=("00",))}
    elsewhere = dataclasses.replace(POLICY, **machines)
    assert appraised(kind, BINDING, BINDING, policy=elsewhere).reasons == ("evidence.platform",)


@pytest.mark.parametrize("kind", KINDS)
def test_a_verdict_ends_with_the_collateral(kind: str) -> None:
    late = NOW + 30 * DAY - 60
    found = appraised(kind, BINDING, BINDING, now=late)
    assert (found.accepted, found.valid_until) == (True, late + 60)
    assert "evidence.collateral" in appraised(kind, BINDING, BINDING, now=late + 61).reasons


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_root_is_refused_by_default(kind: str) -> None:
    found = appraised(kind, BINDING, BINDING, examiners=appraise.EXAMINERS)
    assert "evidence.chain" in found.reasons


def test_what_is_shipped_is_what_is_made() -> None:
    for name, data in rig.files().items():
        assert (rig.FOLDER / name).read_bytes() == data, name


@pytest.mark.parametrize("name", rig.SHIPPED)
def test_what_is_shipped_is_accepted(name: str) -> None:
    raw = (rig.FOLDER / f"{name}.quote").read_bytes()
    given = {"collateral": (rig.FOLDER / f"{name}.collateral.json").read_bytes()}
    module, found = tdx if name.startswith("tdx") else sgx, Findings()
    claims = module.examine(raw, given, None, NOW, found, rig.roots())
    assert claims is not None
    assert list(found.codes) == []
    assert claims.report_data == rig.REPORT_DATA
    assert claims.platform == rig.PPID.hex()
    assert claims.facts["instance"] == rig.INSTANCE.hex()
    assert claims.tcb["evaluation"] == rig.EVALUATION
    assert claims.valid_until == NOW + 30 * DAY
    if module is tdx:
        assert claims.registers.items() >= rig.REGISTERS.items()
    else:
        assert claims.registers == {
            "mrenclave": rig.MRENCLAVE,
            "mrsigner": rig.MRSIGNER,
            "isv_prod_id": b"\0\x07",
            "isv_svn": b"\0\x03",
        }


# --- all faults at once --------------------------------------------------------------------------


def test_all_faults_are_said() -> None:
    given = rig.collateral(
        True,
        tcb=rig.tcb_info(True, "OutOfDate", tcbEvaluationDataNumber=1),
        pck_crl=rig.crl(rig.authority(), rig.machine()),
    )
    found = cases.td_found(cases.td_quote(attributes=1), given)
    assert set(found.codes) == {"evidence.tcb", "evidence.debug", "evidence.revoked"}
    words = " ".join(found.details)
    for part in ("OutOfDate", "evaluation data 1", "SEPT_VE_DISABLE", "debug", "revoked"):
        assert part in words


def test_claims_without_collateral() -> None:
    found = Findings()
    claims = tdx.examine(cases.td_quote(), {}, None, NOW, found, rig.roots())
    assert list(found.codes) == ["evidence.collateral"]
    assert claims is not None
    assert claims.valid_until is None
    assert claims.report_data == rig.REPORT_DATA


# --- the library's door --------------------------------------------------------------------------


def test_a_panic_of_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def broken(*_: object) -> None:
        raise panic("index out of bounds")

    monkeypatch.setattr(intel_library.dcap_qvl, "verify_with_root_ca", broken)
    monkeypatch.setattr(intel_library.dcap_qvl, "parse_pck_extension_from_pem", broken)
    found = cases.td_found()
    assert set(found.codes) == {"evidence.chain", "evidence.malformed"}
    assert "panic: index out of bounds" in found.details


def test_an_interruption_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(intel_library.dcap_qvl, "verify_with_root_ca", stopped)
    with pytest.raises(KeyboardInterrupt):
        cases.td_found()


@pytest.mark.parametrize("broken", [ValueError(""), OverflowError("big"), TypeError("x")])
def test_any_error_of_the_library_is_refused(
    broken: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise broken

    monkeypatch.setattr(intel_library.dcap_qvl, "verify_with_root_ca", breaks)
    assert list(cases.td_found().codes) == ["evidence.tcb"]


# --- quotes, byte by byte ------------------------------------------------------------------------


def patched(place: int, data: bytes, raw: bytes | None = None) -> bytes:
    raw = cases.td_quote() if raw is None else raw
    return raw[:place] + data + raw[place + len(data) :]


AUTH = 48 + 584 + 4 + 128
MALFORMED: Mapping[str, bytes] = {
    "empty": b"",
    "half a header": bytes(20),
    "version 2": patched(0, b"\x02"),
    "version 6": patched(0, b"\x06"),
    "version 4 for SGX": patched(4, b"\0"),
    "an unknown technology": patched(4, b"\x82"),
    "another key type": patched(2, b"\x03"),
    "another vendor": patched(12, b"\0"),
    "one byte more": cases.td_quote() + b"\0",
    "one byte less": cases.td_quote()[:-1],
    "a length of 4 GiB": patched(48 + 584, b"\xff" * 4),
    "a length of 0": patched(48 + 584, bytes(4)),
    "certification data of type 5 outside": patched(AUTH, b"\x05"),
    "certification data of 4 GiB": patched(AUTH + 2, b"\xff" * 4),
    "certification data one byte short": patched(
        AUTH + 2, struct.pack("<I", struct.unpack_from("<I", cases.td_quote(), AUTH + 2)[0] - 1)
    ),
    "long authentication data": patched(AUTH + 6 + 448, b"\xff\xff"),
    "an encrypted PPID instead of certificates": patched(AUTH + 6 + 448 + 34, b"\x03"),
    "a report of unknown type": patched(48, b"\x04", cases.td_quote(5)),
    "a report of SGX in version 5": patched(48, b"\x01", cases.td_quote(5)),
    "a report of another size": patched(50, struct.pack("<I", 648), cases.td_quote(5)),
    "too large": bytes(quote.QUOTE + 1),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_quotes(name: str) -> None:
    with pytest.raises(Refused) as caught:
        quote.read(MALFORMED[name])
    assert caught.value.code == "evidence.malformed"
    assert list(cases.td_found(MALFORMED[name]).codes) == ["evidence.malformed"]


# --- collateral ----------------------------------------------------------------------------------

GIVEN = json.loads(rig.collateral(True))
TCB = json.loads(GIVEN["tcb_info"])


def with_tcb(**changes: Any) -> bytes:
    return rig.collateral(True, tcb={**TCB, **changes})


BROKEN: Mapping[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "no text": b"null",
    "NaN": b"NaN",
    "deep": b"[" * 100_000,
    "a text missing": json.dumps({k: v for k, v in GIVEN.items() if k != "pck_crl"}).encode(),
    "a text too many": json.dumps({**GIVEN, "pck_certificate_chain": ""}).encode(),
    "a text twice": rig.collateral(True)[:-1] + b', "pck_crl": ""}',
    "a number": json.dumps({**GIVEN, "pck_crl": 5}).encode(),
    "not hexadecimal": json.dumps({**GIVEN, "pck_crl": "xx"}).encode(),
    "mixed case": json.dumps({**GIVEN, "tcb_info_signature": "aB" * 64}).encode(),
    "spaces": json.dumps({**GIVEN, "tcb_info_signature": "11 " * 64}).encode(),
    "another statement": json.dumps({**GIVEN, "tcb_info": "[]"}).encode(),
    "no evaluation number": with_tcb(tcbEvaluationDataNumber=None),
    "an evaluation number that is a truth": with_tcb(tcbEvaluationDataNumber=True),
    "an evaluation number that is a fraction": with_tcb(tcbEvaluationDataNumber=18.5),
    "a huge number": with_tcb(version=10**30),
    "a number of 5000 digits": json.dumps({**GIVEN, "tcb_info": "1" * 5000}).encode(),
    "no date": with_tcb(issueDate="yesterday"),
    "a date without zone": with_tcb(issueDate="2026-05-01T00:00:00"),
    "levels that are none": with_tcb(tcbLevels=None),
    "levels of texts": with_tcb(tcbLevels=["x"]),
    "components that are texts": with_tcb(
        tcbLevels=[{"tcb": {"sgxtcbcomponents": [{"svn": "x"}] * 16}, "tcbStatus": "UpToDate"}]
    ),
    "a list that is none": json.dumps({**GIVEN, "root_ca_crl": "3000"}).encode(),
    "no list": json.dumps({**GIVEN, "pck_crl": ""}).encode(),
    "too large": b" " * (limits.EVIDENCE + 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_collateral(name: str) -> None:
    given = {"collateral": BROKEN[name]}
    found = Findings()
    claims = tdx.examine(cases.td_quote(), given, None, NOW, found, rig.roots())
    assert "evidence.collateral" in found.codes
    assert claims is not None


PEM = rig.machine().pem


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "x",
        "-----BEGIN CERTIFICATE-----",
        "-----END CERTIFICATE-----\n" * 100,
        PEM * 4,
        PEM.replace("\n", "\r\n"),
        "x" + PEM,
    ],
    ids=range(7),
)
def test_broken_paths(pem: str) -> None:
    found = Findings()
    assert collateral.read_path(pem.encode(), found) == ()
    assert list(found.codes) == ["evidence.chain"]


def test_the_root_is_pinned_by_its_fingerprint() -> None:
    assert intel.PINNED.fingerprint.hex().startswith("44a0196b2b99f889")
    assert cases.td_found(roots=intel.PINNED).codes.keys() >= {"evidence.chain"}


def test_terms_of_sgx_and_tdx_stand() -> None:
    assert isinstance(POLICY.tdx, TdxTerms)
    assert isinstance(POLICY.sgx, SgxTerms)
    assert appraise.policies.lint(POLICY) == []
