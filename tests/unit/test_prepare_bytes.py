"""A column against its contract, as the sandbox checks it and hands it on."""

import io
import json
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute
import pytest
from pyarrow import ipc

from enclave_host.contract import Column
from enclave_host.runners import prepare
from enclave_host.runners.columns import Broken, checked

PERSON = Column(name="person", type="string", required=True, unique=True)
BLOBS = [b"\x00\xff", b"", b"\xed\xa0\x80"]


def column(**rules):
    found = {"name": "scan", "type": "binary", "required": True, "unique": False, **rules}
    return json.loads(json.dumps(asdict(Column(**found))))


def plan(**rules):
    person = json.loads(json.dumps(asdict(PERSON)))
    contract = {"columns": [person, column(**rules)], "rows": [0, 10]}
    return {"contract": contract, "person": "person", "shares": [{"person": None}]}


def stream(values, kind=None):
    table = pa.table({"person": ["a", "b", "c"], "scan": pa.array(values, kind or pa.binary())})
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return io.BytesIO(sink.getvalue())


def fault(data, **rules):
    asked = plan(**rules)
    return prepare.check(pa, asked, asked["shares"][0], data)["fault"]


def test_bytes_keep_a_contract():
    assert fault(stream(BLOBS), max_length=3) is None
    assert fault(stream(BLOBS, pa.large_binary())) is None


@pytest.mark.parametrize(
    ("rules", "broken"),
    [
        ({"max_length": 2}, "scan.max_length"),
        ({"min_length": 1}, "scan.min_length"),
        ({"type": "string"}, "scan.type"),
    ],
    ids=str,
)
def test_bytes_that_break_a_rule_are_named(rules, broken):
    assert fault(stream(BLOBS), **rules) == broken


def test_text_is_no_bytes_and_nothing_is_no_value():
    assert fault(stream(["a", "b", "c"], pa.string())) == "scan.type"
    assert fault(stream([b"a", None, b"c"])) == "scan.required"
    assert fault(stream([b"a", b"a", b"c"]), unique=True) == "scan.unique"


@pytest.mark.parametrize(
    ("values", "rules", "broken"),
    [
        ([1.0, 2.0], {"minimum": 1, "maximum": 2}, None),
        ([0.9], {"minimum": 1}, "minimum"),
        ([2.1], {"maximum": 2}, "maximum"),
        ([float("nan")], {"minimum": 1}, "minimum"),
        ([float("inf")], {"maximum": 2}, "maximum"),
        ([1.0], {"above": 1}, "above"),
        ([1.1, None], {"above": 1, "below": 2}, None),
        ([2.0], {"below": 2}, "below"),
        ([float("nan")], {"below": 2}, "below"),
        ([-1.0, 3.0], {"missing": [-1]}, "missing"),
        ([1.0, 3.0], {"missing": [-1]}, None),
        ([None], {"required": True}, "required"),
        ([], {"minimum": 1, "required": True}, None),
    ],
    ids=str,
)
def test_numbers_and_their_bounds(values, rules, broken):
    array, about = pa.array(values, pa.float64()), column(type="number", required=False)
    about |= rules
    if broken is None:
        assert checked(pa, array, about).to_pylist() == values
    else:
        with pytest.raises(Broken, match=rf"^scan\.{broken}$"):
            checked(pa, array, about)


@pytest.mark.parametrize(
    ("values", "rules", "broken"),
    [
        (["NL12", "BE3"], {"pattern": "[A-Z]{2}[0-9]+"}, None),
        (["xNL12"], {"pattern": "[A-Z]{2}[0-9]+"}, "pattern"),
        (["NL12\n"], {"pattern": "[A-Z]{2}[0-9]+"}, "pattern"),
        (["low", "high"], {"values": ["low", "high"]}, None),
        (["lower"], {"values": ["low", "high"]}, "values"),
        (["N/A"], {"missing": ["", "N/A"]}, "missing"),
        (["é"], {"max_length": 1}, None),
        (["éé"], {"max_length": 1}, "max_length"),
    ],
    ids=str,
)
def test_texts_and_their_forms(values, rules, broken):
    array, about = pa.array(values), column(type="string") | rules
    if broken is None:
        assert checked(pa, array, about).to_pylist() == values
    else:
        with pytest.raises(Broken, match=rf"^scan\.{broken}$"):
            checked(pa, array, about)
