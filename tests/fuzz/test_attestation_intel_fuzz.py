"""TDX and SGX on hostile bytes: never an exception, never accepted, work bounded by size."""

import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits
from protocol.attestation import chain, collateral, intel_library, intel_tcb, quote, sgx, tdx
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import SENTENCE, Findings
from protocol.attestation.intel import STATUSES
from protocol.errors import Refused
from tests import attestation_rig_intel as rig
from tests.attestation_x509 import NOW
from tests.strategies import flipped

GOOD = {name: make() for name, make in rig.SHIPPED.items()}
NAMES = sorted(GOOD)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["svn", "tcb", "id", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def looked(name: str, raw: bytes, given: bytes, now: int = NOW) -> tuple[Claims | None, Findings]:
    found, module = Findings(), tdx if name.startswith("tdx") else sgx
    claims = module.examine(raw, {"collateral": given}, None, now, found, rig.roots())
    return claims, found


def refused(outcome: tuple[Claims | None, Findings]) -> None:
    claims, found = outcome
    assert found.codes
    assert all(code.startswith("evidence.") for code in found.codes)
    assert all(len(detail) <= SENTENCE for detail in found.details)
    assert len(found.details) < 100
    assert claims is None or len(str(claims)) < 20_000


@pytest.mark.parametrize("name", NAMES)
def test_what_is_altered_below_is_accepted_as_it_is(name: str) -> None:
    assert not looked(name, *GOOD[name])[1].codes


@settings(max_examples=80)
@given(st.binary(max_size=1000), st.sampled_from(NAMES), st.integers(-(2**70), 2**70))
def test_any_bytes(raw: bytes, name: str, now: int) -> None:
    good, given_ = GOOD[name]
    refused(looked(name, raw, raw, now))
    refused(looked(name, raw, given_))
    refused(looked(name, good[: 48 + len(raw)] + raw, given_))
    refused(looked(name, good, raw))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(st.data())
def test_any_alteration(name: str, data: st.DataObject) -> None:
    good, given_ = GOOD[name]
    whole = data.draw(st.sampled_from([good, given_]))
    cut = st.integers(0, len(whole) - 1).map(lambda size: whole[:size])
    more = st.binary(min_size=1, max_size=40).map(lambda tail: whole + b";" + tail)
    bad = data.draw(flipped(whole) | cut | more)
    refused(looked(name, bad, given_) if whole is good else looked(name, good, bad))


@pytest.mark.parametrize("text", sorted(collateral.TEXTS))
@settings(max_examples=20)
@given(values)
def test_any_value_as_a_text_of_collateral(text: str, value: object) -> None:
    good, given_ = GOOD["tdx-v4"]
    changed = json.dumps({**json.loads(given_), text: value}).encode()
    refused(looked("tdx-v4", good, changed))


TCB = rig.tcb_info(True)
QE = rig.qe_identity(True)


@pytest.mark.parametrize("field", sorted(TCB))
@settings(max_examples=15)
@given(values)
def test_any_value_in_a_signed_tcb_info(field: str, value: object) -> None:
    """Signed by the trusted key: whatever it says, an answer comes, and no exception."""
    _, found = looked("tdx-v4", GOOD["tdx-v4"][0], rig.collateral(True, tcb={**TCB, field: value}))
    assert all(code.startswith("evidence.") for code in found.codes)


@pytest.mark.parametrize("field", sorted(QE))
@settings(max_examples=15)
@given(values)
def test_any_value_in_a_signed_identity(field: str, value: object) -> None:
    _, found = looked("tdx-v4", GOOD["tdx-v4"][0], rig.collateral(True, qe={**QE, field: value}))
    assert all(code.startswith("evidence.") for code in found.codes)


@settings(max_examples=60)
@given(st.binary(max_size=600))
def test_any_extension_in_the_machines_certificate(extension: bytes) -> None:
    style = rig.replace(rig.LEAF, extensions=[("1.2.840.113741.1.13.1", extension, False)])
    owner = rig.issue("Intel SGX PCK Certificate", rig.authority(), style=style)
    raw = rig.quote(4, rig.td_body(rig.REPORT_DATA), owner=owner)
    refused(looked("tdx-v4", raw, GOOD["tdx-v4"][1]))


@settings(max_examples=100)
@given(st.binary(max_size=5000) | flipped(GOOD["tdx-v5"][0]))
def test_a_quote_is_read_whole_or_refused(raw: bytes) -> None:
    found = Findings()
    claims = tdx.examine(raw, {}, None, NOW, found, rig.roots())
    if claims is None:
        assert list(found.codes) == ["evidence.malformed"]
    else:
        assert len(raw) == len(GOOD["tdx-v5"][0])
        assert claims.facts["quote"] == "version 5"


STATUS = st.sampled_from(["UpToDate", "SWHardeningNeeded", "OutOfDate", "ConfigurationNeeded"])
SVN = st.integers(0, 4)


def components(svn: tuple[int, ...]) -> list[dict[str, int]]:
    return [{"svn": one} for one in (*svn, *(16 - len(svn)) * (0,))]


levels = st.builds(
    lambda cpu, tee, pce, status: {
        "tcb": {
            "sgxtcbcomponents": components(cpu),
            "tdxtcbcomponents": components(tee),
            "pcesvn": pce,
        },
        "tcbDate": "2026-01-01T00:00:00Z",
        "tcbStatus": status,
    },
    st.tuples(SVN, SVN),
    st.tuples(SVN, SVN, SVN),
    SVN,
    STATUS,
)


def height(level: dict[str, Any]) -> tuple[list[int], int, list[int]]:
    """The order in which the library puts levels, whatever order they come in."""
    sgx, tdx = (
        [one["svn"] for one in level["tcb"][name]]
        for name in ("sgxtcbcomponents", "tdxtcbcomponents")
    )
    return sgx, level["tcb"]["pcesvn"], tdx


@settings(max_examples=120)
@given(
    st.lists(levels, min_size=1, max_size=3),
    st.tuples(SVN, SVN, SVN),
    st.tuples(SVN, SVN, SVN),
    st.tuples(SVN, st.sampled_from(["UpToDate", "OutOfDate"])),
)
def test_both_verifiers_find_the_same_levels_good_enough(
    stated: list[dict[str, Any]],
    machine: tuple[int, int, int],
    tee: tuple[int, int, int],
    module: tuple[int, str],
) -> None:
    """Levels stand from high to low, as Intel writes them."""
    stated.sort(key=height, reverse=True)
    style = rig.machine_style(cpu_svn=bytes(machine[:2]) + bytes(14), pce_svn=machine[2])
    owner = rig.issue("Intel SGX PCK Certificate", rig.authority(), style=style)
    named = TCB["tdxModuleIdentities"][0]
    level = {"tcb": {"isvsvn": module[0]}, "tcbDate": "2026-01-01T00:00:00Z"}
    identity = {
        **named,
        "id": f"TDX_{tee[1]:02X}",
        "tcbLevels": [{**level, "tcbStatus": module[1]}],
    }
    info = {**TCB, "tcbLevels": stated, "tdxModuleIdentities": [identity]}
    body = rig.td_body(rig.REPORT_DATA, tee_svn=bytes(tee) + bytes(13))
    raw, given_ = rig.quote(4, body, owner=owner), rig.collateral(True, tcb=info)
    found = Findings()
    known = collateral.read(given_, found)
    assert known is not None
    assert not found.codes
    said = intel_library.machine(owner.pem.encode())
    ours = intel_tcb.statuses(known, quote.read(raw), said.cpu_svn, said.pce_svn)
    try:
        theirs = intel_library.verify(raw, known, NOW, rig.roots().certificate).status
    except Refused:
        theirs = intel_tcb.NONE
    assert (theirs in STATUSES) == STATUSES.issuperset(ours.values())


# --- bounded work --------------------------------------------------------------------------------


def test_nothing_too_large_is_parsed() -> None:
    good, given_ = GOOD["tdx-v4"]
    with patch.object(chain, "_load") as load:
        refused(looked("tdx-v4", bytes(quote.QUOTE + 1), given_))
    assert load.call_count == 0
    with patch.object(json, "loads") as loads:
        refused(looked("tdx-v4", good, bytes(limits.EVIDENCE + 1)))
    assert loads.call_count == 0


def test_the_library_sees_no_collateral_that_we_cannot_read() -> None:
    good, given_ = GOOD["tdx-v4"]
    with patch.object(intel_library.dcap_qvl, "verify_with_root_ca") as verify:
        refused(
            looked("tdx-v4", good, given_.replace(b"tcb_info_signature", b"tcb_info_signatures"))
        )
        refused(looked("tdx-v4", good, b"[" * 100_000))
    assert verify.call_count == 0


def test_a_chain_of_a_thousand_certificates_is_not_read() -> None:
    raw = rig.quote(4, rig.td_body(rig.REPORT_DATA), pem=rig.machine().pem * 10)
    with patch.object(chain, "_load", wraps=chain._load) as load:
        refused(looked("tdx-v4", raw, GOOD["tdx-v4"][1]))
    assert load.call_count < 10
