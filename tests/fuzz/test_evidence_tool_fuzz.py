"""What the tool does with any bytes, evidence or endorsements: an answer, never an exception."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.attestation import endorsements, inspect
from protocol.attestation.roots import amd
from protocol.errors import Refused
from tests.strategies import flipped

CERTIFICATE = amd.ASK[("genoa", "vcek")]
PEM = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(CERTIFICATE)
PEM += b"-----END CERTIFICATE-----\n"

files = st.binary(max_size=300) | flipped(CERTIFICATE) | flipped(PEM) | st.just(PEM * 3)


@pytest.mark.parametrize("technology", inspect.TECHNOLOGIES)
@settings(max_examples=50)
@given(st.binary(max_size=300), st.lists(files, max_size=4), st.integers(-(2**40), 2**40))
def test_any_bytes(technology: str, raw: bytes, given_: list[bytes], now: int) -> None:
    try:
        named = endorsements.by_name(technology, given_)
    except Refused as error:
        found = inspect.refused(technology, "baseline", error.code, error.detail, now)
    else:
        found = inspect.inspect(technology, endorsements.raw(technology, raw), named, None, now)
    assert not found.accepted
    assert found.reasons
    assert json.loads(json.dumps(inspect.as_json(found)))["verdict"] == "refused"
    assert inspect.lines(found)[0].startswith("REFUSED")


@pytest.mark.parametrize("technology", inspect.TECHNOLOGIES)
@settings(max_examples=50)
@given(st.text(alphabet="0123456789abcdefABCDEF+/=-_ \n\0z", max_size=200))
def test_text_is_decoded_to_evidence_or_stays(technology: str, text: str) -> None:
    raw = text.encode()
    found = endorsements.raw(technology, raw)
    assert found == raw or not found.isascii() or found[1:4] in (b"\0\0\0", b"\0\x02\0")
