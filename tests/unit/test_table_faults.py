"""Models of tables are read by the enclave's own code before anyone signs."""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import pytest

from node import judgement, table_faults
from protocol import limits
from protocol.errors import Refused
from tests.agreements import DOCUMENT
from tests.unit.test_gate_tables import CONTRACT

OPEN = CONTRACT.replace("logicalTypeOptions: { maxLength: 8 }, required", "required")


def named(*models: bytes):
    """A document with a table for each of these models, and the blobs that it names."""
    blobs = {hashlib.sha256(one).digest(): one for one in models}
    outputs = tuple(
        replace(DOCUMENT.outputs[0], name=f"t{n}", format="arrow", schema=digest, context=None)
        for n, digest in enumerate(blobs)
    )
    return replace(DOCUMENT, outputs=outputs), blobs


async def test_each_fault_is_told_with_its_output():
    document, blobs = named(
        CONTRACT.encode(), OPEN.encode(), b"\x00", b"# \n" * limits.CONTRACT, b"a: &a [*a]"
    )
    found = await table_faults.find(document, blobs)
    assert [one.split(":")[0].split(" is ")[0] for one in found] == [
        f"the output model of t{n}" for n in (1, 2, 3, 4)
    ]
    assert "open at region" in found[0]
    assert await table_faults.find(*named(CONTRACT.encode())) == ()


async def test_nothing_is_asked_where_no_table_leaves(monkeypatch):
    async def ask(*_):
        raise AssertionError

    monkeypatch.setattr(table_faults, "ask", ask)
    assert await table_faults.find(DOCUMENT, {}) == ()


async def test_silence_is_a_fault(monkeypatch):
    async def ask(*_):
        return None

    monkeypatch.setattr(table_faults, "ask", ask)
    assert await table_faults.find(*named(CONTRACT.encode())) == (
        "the models of t0 cannot be read",
    )


async def test_nobody_signs_for_a_model_that_the_enclave_would_refuse():
    document, blobs = named(OPEN.encode())
    node = SimpleNamespace(blobs=blobs)
    with pytest.raises(Refused, match=r"agreement\.document.*open at region"):
        await judgement.check_models(node, document)
