"""A result on its way to a file: what the daemon gives, and what the command line makes of it."""

import base64
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from node.admin.operations import result as operations
from node.cli import main, result
from node.cli.run import checks
from protocol import budget, shape
from protocol.errors import Refused
from protocol.kinds.run import Delivery, GateCheck, SealedOutput, output_digest
from protocol.sealing import wrap
from tests.agreements import DOCUMENT, SPONSOR, B, seed, with_rules
from tests.unit.test_context import IRI, VALUE, blob
from tests.unit.test_gate_tables import ROW, stream, table

SEALING = seed("sealing")
RUN = seed("run")
NOISE = {"noise": "laplace", "epsilon": 500_000, "epsilon_total": 2_000_000}


def node(content: bytes, form: str = "json", context: bytes | None = None) -> SimpleNamespace:
    """As much of a node as the operations read: one result of one run."""
    agreed = with_rules(DOCUMENT, B, **NOISE)
    said = replace(
        agreed.outputs[0], format=form, context=None if context is None else seed("context")
    )
    document = replace(agreed, outputs=(said,))
    salt = seed("salt")
    inner = SealedOutput(run=RUN, name="model", salt=salt, format=form, content=content)
    binding = ("output", RUN, b"model", SPONSOR.did)
    sealed = wrap.seal(shape.encode(inner), wrap.public_key(SEALING), *binding)
    delivery = Delivery(
        run=RUN, number=2, name="model", to=SPONSOR.did, person=False, sealed=sealed
    )
    told = SimpleNamespace(name="model", to=SPONSOR.did, digest=output_digest(salt, content))
    run = SimpleNamespace(
        number=2,
        outputs=(told,),
        logs=(),
        technology="simulated",
        contributors=9,
        gate=(
            GateCheck(rule="epsilon", set_by=B.did, limit=500_000, measured=500_000, passed=True),
        ),
        charges=budget.charges(document, ["lung-v1"], [SPONSOR.did]),
    )
    record = SimpleNamespace(id=RUN)
    runs = SimpleNamespace(decided=lambda _: (record, run), committed=lambda: {2: (record, run)})
    found = SimpleNamespace(document=document, runs=runs, id=seed("agreement"))
    rows = [SimpleNamespace(run=RUN, name="model", at=0)]
    return SimpleNamespace(
        journal=SimpleNamespace(results=lambda: rows, result=lambda *_: shape.encode(delivery)),
        world=SimpleNamespace(collaborations=lambda: [found], name=lambda did: did.hex()[:8]),
        keyring=SimpleNamespace(sealing=SEALING, did=SPONSOR.did),
        blobs=SimpleNamespace(get=lambda digest: context if digest == seed("context") else b"?"),
    )


async def test_a_result_comes_with_the_gates_report_and_what_it_cost():
    found = await operations.show(node(json.dumps(VALUE).encode()))
    assert (found["format"], found["result"]) == ("json", VALUE)
    assert [(one["rule"], one["set_by"]) for one in found["gate"]] == [("epsilon", "hospital-b")]
    assert list(checks(found)) == [
        "  ok epsilon: 0.5 (limit 0.5, set by hospital-b)",
        "  charged sponsor 0.5 epsilon on lung-v1, 1.5 epsilon of 2 epsilon left",
    ]
    assert found["charges"] == [
        {"dataset": "lung-v1", "to": "sponsor", "amount": "0.5 epsilon",
         "left": "1.5 epsilon", "in_all": "2 epsilon"}
    ]  # fmt: skip


async def test_an_export_is_exact_and_brings_what_other_forms_need():
    raw = stream(table([ROW]))
    found = await operations.export(node(raw, "arrow"))
    assert (found["file"], found["format"]) == ("run-2-model.arrow", "arrow")
    assert base64.b64decode(found["raw"]) == raw
    shown = await operations.show(node(raw, "arrow"))
    assert (shown["result"], shown["text"]) == (None, None)
    found = await operations.export(node(b"{}", context=blob()))
    assert base64.b64decode(found["context"]) == blob()
    assert found["iri"] == f"urn:village:run:{RUN.hex()}#model"


async def test_an_output_of_another_format_than_agreed_is_refused():
    other = node(stream(table([ROW])), "arrow")
    (found,) = other.world.collaborations()
    outputs = (replace(found.document.outputs[0], format="json"),)
    found.document = replace(found.document, outputs=outputs)
    with pytest.raises(Refused) as refused:
        await operations.show(other)
    assert refused.value.code == "audit.altered"


def answers(monkeypatch, content: bytes, form: str) -> None:
    export = {
        "file": f"run-2-model.{form}",
        "format": form,
        "raw": base64.b64encode(content).decode(),
        "context": base64.b64encode(blob() if form == "json" else b"").decode(),
        "iri": IRI,
    }
    show = {
        "name": "model", "number": 2, "agreement": "lung", "technology": "simulated",
        "gate": [], "charges": [], "result": json.loads(content) if form == "json" else None,
    }  # fmt: skip
    told: dict[str, Any] = {"result.export": export, "result.show": show}
    monkeypatch.setattr(result, "call", lambda method, **_: dict(told[method]))


def test_the_ending_of_the_file_says_the_form(monkeypatch, tmp_path, capsys):
    raw = stream(table([ROW]))
    answers(monkeypatch, raw, "arrow")
    monkeypatch.chdir(tmp_path)
    assert main.main(["result", "export"]) == 0
    assert (tmp_path / "run-2-model.arrow").read_bytes() == raw
    assert main.main(["result", "export", "--out", "cells.csv"]) == 0
    assert (tmp_path / "cells.csv").read_text().splitlines()[0] == (
        '"region","mean","old","tag","people"'
    )
    assert main.main(["result", "export", "--out", "cells.xlsx"]) == 2
    assert "the ending is none of .arrow, .parquet" in capsys.readouterr().err


def test_a_table_is_shown_as_rows_and_json_as_rdf(monkeypatch, capfdbinary):
    answers(monkeypatch, stream(table([ROW])), "arrow")
    assert main.main(["result", "show"]) == 0
    assert b'"people": 9' in capfdbinary.readouterr().out
    assert main.main(["result", "show", "--as", "turtle"]) == 2
    assert b"has no context" in capfdbinary.readouterr().err
    answers(monkeypatch, json.dumps(VALUE).encode(), "json")
    assert main.main(["result", "show", "--as", "ntriples"]) == 0
    assert b'<urn:example:terms#people> "9"' in capfdbinary.readouterr().out


@pytest.mark.parametrize("to", ["parquet", "csv"])
def test_what_is_no_table_is_said(monkeypatch, tmp_path, capsys, to):
    answers(monkeypatch, json.dumps(VALUE).encode(), "json")
    assert main.main(["result", "export", "--out", str(tmp_path / f"a.{to}")]) == 2
    assert "This result is no table" in capsys.readouterr().err
