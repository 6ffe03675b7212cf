"""Nitro and SEV-SNP on hostile bytes: never an exception, never accepted, work bounded by size."""

from collections.abc import Callable
from unittest.mock import patch

import cbor2
import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.attestation import chain, nitro, revocation, snp, snp_report
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import SENTENCE, Findings
from tests.attestation_cases import TERMS
from tests.attestation_rig import NitroRig, Produced, SnpRig
from tests.attestation_x509 import NOW
from tests.strategies import flipped, plain

NITRO, CHIP, PROVIDER = NitroRig(), SnpRig("genoa"), SnpRig("turin", "vlek")
DOCUMENT = NITRO.produce(b"\x01" * 64, nonce=b"\x02" * 32)
REPORTS = {
    "vcek": (CHIP, CHIP.produce(crl=CHIP.crl(), ask=CHIP.ask.der)),
    "vlek": (PROVIDER, PROVIDER.produce(crl=PROVIDER.crl(), ask=PROVIDER.ask.der)),
}


def by_nitro(made: Produced, now: int = NOW) -> tuple[Claims | None, Findings]:
    found = Findings()
    claims = nitro.examine(made.evidence, made.endorsements, None, now, found, NITRO.roots)
    return claims, found


def by_chip(made: Produced, rig: SnpRig = CHIP, now: int = NOW) -> tuple[Claims | None, Findings]:
    found = Findings()
    terms = TERMS if rig is CHIP else None
    claims = snp.examine(made.evidence, made.endorsements, terms, now, found, rig.roots)
    return claims, found


def refused(outcome: tuple[Claims | None, Findings]) -> None:
    claims, found = outcome
    assert found.codes
    assert all(code.startswith("evidence.") for code in found.codes)
    assert all(len(detail) <= SENTENCE for detail in found.details)
    assert len(found.details) < 100
    assert claims is None or len(str(claims)) < 20_000


def test_what_is_altered_below_is_accepted_as_it_is() -> None:
    assert not by_nitro(DOCUMENT)[1].codes
    for rig, made in REPORTS.values():
        assert not by_chip(made, rig)[1].codes


@settings(max_examples=200)
@given(st.binary(max_size=400), st.integers(-(2**63), 2**63))
def test_any_bytes(raw: bytes, now: int) -> None:
    refused(by_nitro(Produced(raw), now))
    refused(
        by_chip(Produced(raw.ljust(snp_report.SIZE, b"\0"), {"vcek": raw, "crl": raw}), now=now)
    )


@settings(max_examples=200)
@given(st.lists(plain, max_size=5) | plain)
def test_any_value_as_document(value: object) -> None:
    refused(by_nitro(Produced(cbor2.dumps(value))))
    refused(by_nitro(NITRO.sign(cbor2.dumps(value), b"\xa1\x01\x38\x22", {})))
    refused(by_nitro(Produced(cbor2.dumps([b"", {}, cbor2.dumps(value), b""]))))


@pytest.mark.parametrize("name", sorted(NITRO.document()))
@settings(max_examples=60)
@given(plain)
def test_any_value_as_a_field(name: str, value: object) -> None:
    """Signed by a trusted key: only the field is wrong, or it is one that may stand."""
    claims, found = by_nitro(NITRO.produce(**{name: value}))
    good = claims is not None and not found.codes
    assert not good or name in {"public_key", "user_data", "nonce", "module_id"}


@pytest.mark.parametrize(
    "payload",
    [
        b"\x9f" * 3000,  # lists without end
        b"\x81" * 3000 + b"\xf6",  # depth
        b"\xd8\x1c\x82" * 900 + b"\xf6" * 901,  # shared references
        b"\xbf" + b"\x61a\xf6" * 2000 + b"\xff",  # a key again and again
        b"\x9b" + b"\xff" * 8,  # a list of 2^64 - 1
        b"\x5b\x7f" + b"\xff" * 7,  # bytes of 2^63
        b"\xc2\x59\x0b\xb8" + b"\xff" * 3000,  # a large number
        b"\xd8\x23\x78\x1e(a+)+" + b"a" * 24,  # a pattern
        b"\xa1\x81\x01\x02",  # a key that is a list
        b"\x7f\x61\xff\xff",  # no UTF-8
    ],
    ids=lambda payload: payload[:4].hex(),
)
def test_bombs_of_cbor(payload: bytes) -> None:
    refused(by_nitro(Produced(payload)))
    refused(by_nitro(NITRO.sign(payload, b"\xa1\x01\x38\x22", {})))
    refused(by_nitro(Produced(cbor2.dumps([payload[:500], {}, payload, bytes(96)]))))


@settings(max_examples=150)
@given(st.data())
def test_any_alteration_of_a_document(data: st.DataObject) -> None:
    good = DOCUMENT.evidence
    cut = st.integers(0, len(good) - 1).map(lambda size: good[:size])
    more = st.binary(min_size=1, max_size=40).map(lambda tail: good + tail)
    refused(by_nitro(Produced(data.draw(flipped(good) | cut | more))))


@pytest.mark.parametrize("kind", REPORTS)
@settings(max_examples=150)
@given(st.data())
def test_any_alteration_of_a_report(kind: str, data: st.DataObject) -> None:
    rig, good = REPORTS[kind]
    which = data.draw(st.sampled_from(["evidence", kind, "ask", "crl"]))
    whole = good.evidence if which == "evidence" else good.endorsements[which]
    cut = st.integers(0, len(whole) - 1).map(lambda size: whole[:size])
    more = st.binary(min_size=1, max_size=40).map(lambda tail: whole + tail)
    bad = data.draw(flipped(whole) | cut | more)
    if which == "evidence":
        refused(by_chip(Produced(bad, good.endorsements), rig))
    else:
        refused(by_chip(Produced(good.evidence, {**good.endorsements, which: bad}), rig))


@settings(max_examples=100)
@given(st.binary(max_size=200) | flipped(CHIP.leaf.der), st.sampled_from([b"", b"-----BEGIN X"]))
def test_readers_of_certificates_and_lists_return_none_or_the_whole(raw: bytes, pem: bytes) -> None:
    found = Findings()
    certificate, crl = chain.read(pem + raw, found), revocation.read(pem + raw, found)
    assert crl is None
    assert isinstance(certificate, x509.Certificate) or found.codes


# --- bounded work --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [9, 500, 5_000])
def test_no_certificate_of_a_path_that_is_too_long_is_read(count: int) -> None:
    with patch.object(chain, "read") as read:
        refused(by_nitro(NITRO.produce(cabundle=[b""] * count)))
    assert read.call_count == 0


@pytest.mark.parametrize("size", [chain.CERTIFICATE + 1, 200_000])
def test_nothing_too_large_is_parsed(size: int) -> None:
    raw = CHIP.leaf.der.ljust(size, b"\0")
    with patch.object(chain, "_load") as load:
        refused(by_chip(Produced(REPORTS["vcek"][1].evidence, {"vcek": raw})))
    assert load.call_count == 0
    found = Findings()
    assert revocation.read(bytes(chain.CRL + 1), found) is None
    assert found.codes
    with patch.object(cbor2, "CBORDecoder") as decoder:
        refused(by_nitro(Produced(bytes(nitro.DOCUMENT + 1))))
    assert decoder.call_count == 0


@pytest.mark.parametrize("examine", [by_nitro, by_chip])
def test_a_signature_is_checked_at_most_once_for_each_certificate(
    examine: Callable[..., object],
) -> None:
    """Work is a constant for each certificate, of which there are at most PATH."""
    made = DOCUMENT if examine is by_nitro else REPORTS["vcek"][1]
    with patch.object(chain, "check_issued", wraps=chain.check_issued) as issued:
        examine(made)
    assert issued.call_count < chain.PATH
