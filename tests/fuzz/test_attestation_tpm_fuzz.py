"""TPM evidence, and what kernels give, on hostile bytes: only refusals."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_host.attest.configfs import certificates
from enclave_host.attest.nitro import _document
from enclave_host.attest.tpm import without_padding
from protocol.attestation import possession, tpm, tpm_credential
from protocol.attestation import tpm_structures as structures
from protocol.attestation.findings import SENTENCE, Findings
from protocol.errors import Refused
from tests.attestation_rig import Produced
from tests.attestation_rig_tpm import TpmRig, decode, encode
from tests.attestation_x509 import NOW
from tests.strategies import flipped

RIG = TpmRig()
MADE = RIG.produce(b"preimage")
PARTS = decode(MADE.evidence)


def refused(made: Produced) -> None:
    found = Findings()
    claims = tpm.examine(made.evidence, made.endorsements, RIG.terms(), NOW, found)
    assert found.codes
    assert all(code.startswith("evidence.") for code in found.codes)
    assert all(len(detail) <= SENTENCE for detail in found.details)
    assert claims is None or len(str(claims)) < 20_000


def test_what_is_altered_below_is_accepted_as_it_is() -> None:
    found = Findings()
    assert tpm.examine(MADE.evidence, MADE.endorsements, RIG.terms(), NOW, found) is not None
    assert not found.codes


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    refused(Produced(raw, MADE.endorsements))


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(st.text(max_size=9), deeper),
    max_leaves=10,
)


@settings(max_examples=60)
@given(JSON)
def test_any_json(value: object) -> None:
    refused(Produced(json.dumps(value).encode()))


@settings(max_examples=300)
@given(st.sampled_from(sorted(PARTS)), st.binary(max_size=300))
def test_any_bytes_as_a_part(name: str, raw: bytes) -> None:
    refused(replace(MADE, evidence=encode(PARTS | {name: raw})))


@settings(max_examples=150)
@given(st.data())
def test_a_flipped_part(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(PARTS)))
    bent = data.draw(flipped(PARTS[name]))
    if bent != PARTS[name]:
        refused(replace(MADE, evidence=encode(PARTS | {name: bent})))


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_chain(raw: bytes) -> None:
    refused(replace(MADE, endorsements={"ek_chain": raw}))


READERS = (
    structures.read_public,
    structures.read_quote,
    structures.read_registers,
    structures.read_signature,
    certificates,
    _document,
    without_padding,
    tpm.holder,
    lambda raw: possession.pose(raw, bytes(32), bytes(32)),
)


@settings(max_examples=300)
@given(st.sampled_from(READERS), st.binary(max_size=200))
def test_readers_refuse_and_do_nothing_else(reader, raw: bytes) -> None:
    with suppress(Refused):
        reader(raw)


@settings(max_examples=100)
@given(st.binary(max_size=200), st.binary(max_size=80))
def test_no_answer_but_the_secret_solves_a_riddle(bundle: bytes, answer: bytes) -> None:
    riddle = possession.Riddle(b"", b"s" * 32, b"keys")
    assert not possession.solved(riddle, bundle, answer)


@settings(max_examples=50)
@given(st.binary(max_size=80), st.binary(min_size=32, max_size=32))
def test_a_credential_opens_for_its_own_name_alone(name: bytes, seed: bytes) -> None:
    curved = TpmRig(endorsement=RIG.attestation)
    made = tpm_credential.make(curved.endorsement.public_key(), name, b"s" * 32, seed)
    assert curved.activate(made, name) == b"s" * 32
    assert curved.activate(made, name + b"x") is None
    assert len(made) <= 1024


@pytest.mark.parametrize("size", [10_000, 200_000, 2_000_000])
def test_long_input_is_refused_at_once(size: int) -> None:
    refused(Produced(b"[" * size))
    refused(replace(MADE, evidence=encode(PARTS | {"pcrs": bytes(size)})))
    refused(replace(MADE, endorsements={"ek_chain": b"-----END CERTIFICATE-----" * (size // 25)}))
