"""A column of bytes against its contract, as the sandbox checks it and hands it on."""

import io

import pyarrow as pa
import pyarrow.compute
import pytest
from pyarrow import ipc

from enclave_host.runners import prepare

PERSON = {"name": "person", "type": "string", "required": True, "unique": True}
SCAN = {"name": "scan", "type": "binary", "required": True, "unique": False}
NO_RULES = dict.fromkeys(("minimum", "maximum", "min_length", "max_length", "pattern"))
BLOBS = [b"\x00\xff", b"", b"\xed\xa0\x80"]


def plan(**rules):
    columns = [{**NO_RULES, "values": [], **PERSON}, {**NO_RULES, "values": [], **SCAN, **rules}]
    contract = {"columns": columns, "rows": [0, 10]}
    return {"contract": contract, "person": "person", "shares": [{"person": None}]}


def stream(values, kind=None):
    table = pa.table({"person": ["a", "b", "c"], "scan": pa.array(values, kind or pa.binary())})
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return io.BytesIO(sink.getvalue())


def fault(data, **rules):
    return prepare.check(pa, plan(**rules), data)["fault"]


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


def test_different_bytes_are_different_contents():
    table = ipc.open_stream(stream([b"\xff", b"\xff", b"\xfe"])).read_all()
    first, second, third = prepare.contents(pa, table, plan())
    assert first == second != third
