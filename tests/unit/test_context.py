"""JSON-LD contexts: the closed part that is allowed, what must be mapped, and the RDF that comes of
it, in the process that makes it.
"""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import rdflib
from pyarrow import csv, parquet
from rdflib.compare import isomorphic

from node.connectors import SourceError, results
from protocol import context, model_faults, output_model
from protocol.errors import Refused
from tests.agreements import DOCUMENT, seed
from tests.unit.test_gate_tables import ROW, stream, table

DEMO = Path(__file__).parents[2] / "configs/demo/algorithms/cox-ph"
XSD = "http://www.w3.org/2001/XMLSchema#"
TERMS = {
    "@version": 1.1,
    "v": "urn:example:terms#",
    "n": {"@id": "v:people", "@type": f"{XSD}integer"},
    "cells": {"@id": "v:cells", "@container": "@list"},
    "rate": {"@id": "v:rate", "@type": f"{XSD}double"},
    "note": None,
}
IRI = "urn:village:run:00#model"
VALUE = {"n": 9, "cells": [{"n": 3, "rate": 0.5}, {"n": 6, "rate": 1.25}], "note": "unsaid"}


def blob(terms: object = TERMS) -> bytes:
    return json.dumps({"@context": terms}).encode()


def model(*names: str) -> output_model.Model:
    number = {"type": "number", "minimum": 0, "maximum": 9}
    properties = dict.fromkeys(names, number)
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return output_model.read("model", json.dumps(schema).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'{"@context": {}, "@context": {}}',
        json.dumps({"@context": {}, "@graph": []}).encode(),
        blob("https://example.org/context.jsonld"),
        blob([{}, "https://example.org/context.jsonld"]),
        blob({"@import": "https://example.org/context.jsonld"}),
        blob({"@vocab": "urn:example:"}),
        blob({"@base": "urn:example:"}),
        blob({"n": {"@id": "urn:example:n", "@context": "https://example.org/c"}}),
        blob({"n": {"@reverse": "urn:example:n"}}),
        blob({"n": {"@id": "urn:example:n", "@container": "@graph"}}),
        blob({"n": {"@id": "urn:example:n", "@type": "@json"}}),
        blob({"n": "relative"}),
        blob({"n": "unknown:n"}),
        blob({"v": "urn:example", "n": "v:n"}),
        blob({"n": "urn:example:<n>"}),
        blob({"n": "urn:example: n"}),
        blob({"@version": 1.0}),
        b" " * 200_000,
    ],
)
def test_nothing_is_fetched_and_nothing_is_left_to_the_reader(raw):
    with pytest.raises(Refused) as refused:
        context.read(raw)
    assert refused.value.code == "agreement.context"


def test_every_property_is_mapped_or_null_on_purpose():
    assert list(context.faults(model("n", "note"), blob())) == []
    (fault,) = context.faults(model("n", "p"), blob())
    assert fault == "output model: its context does not say what p means; null: nothing"
    (fault,) = context.faults(model("@id"), blob())
    assert fault == "output model: no context can map the property @id"
    rows = {"type": "array", "maxItems": 1, "items": {"type": "boolean"}}
    (fault,) = context.faults(output_model.read("rows", json.dumps(rows).encode()), blob())
    assert fault == "output rows: only an object has a context"


def test_the_demo_says_what_its_result_means():
    schema, terms = (DEMO / f"cox-result.{end}" for end in ("schema.json", "jsonld"))
    found = output_model.read("model", schema.read_bytes())
    assert list(context.faults(found, terms.read_bytes())) == []


def faults(schema: object, **rules: object) -> tuple[str, ...]:
    raw = json.dumps(schema).encode()
    outputs = (replace(DOCUMENT.outputs[0], schema=seed("model")),)
    document = replace(DOCUMENT, outputs=outputs, rules=replace(DOCUMENT.rules, **rules))
    return model_faults.faults(document, {seed("model"): raw})


def closed(properties: dict[str, object], **more: object) -> dict[str, object]:
    required = {"required": list(properties)}
    head = {"type": "object", "additionalProperties": False, **required}
    return {**head, "properties": properties, **more}


NUMBER = {"type": "number", "minimum": 0, "maximum": 9}
L1 = {**NUMBER, "x-village-noise": {"l1": 1}}
LIST = {"type": "array", "maxItems": 3, "items": L1}


def test_without_noise_nothing_needs_a_mark():
    assert faults(closed({"n": NUMBER})) == ()


def test_where_there_is_noise_all_that_could_differ_has_it_or_is_public():
    noise = {"noise": "laplace", "epsilon": 1, "epsilon_total": 1}
    assert faults(closed({"n": L1, "unit": {"const": "mmol"}}), **noise) == ()
    assert faults(closed({"n": L1, "list": {**LIST, "minItems": 3}}), **noise) == ()
    assert faults(closed({"n": NUMBER}, **{"x-village-noise": False}), **noise) == ()
    for properties, said in (
        ({"n": NUMBER}, "n: the number has no sensitivity"),
        ({"n": {"type": "string", "maxLength": 9}}, "n: a string can say anything"),
        ({"n": {"type": "boolean"}}, "n: a boolean can say anything"),
        ({"n": {"enum": ["a", "b"]}}, "n: a choice"),
        ({"list": LIST}, "list: the number of items is not fixed"),
    ):
        (fault,) = faults(closed(properties), **noise)
        assert fault.startswith(f"output model: {said}, and x-village-noise does not call")
    (fault,) = faults({**closed({"n": L1}), "required": []}, **noise)
    assert "n may be left out" in fault
    (fault,) = faults(closed({"n": L1}), **{**noise, "noise": "gaussian", "delta": 1})
    assert fault == "output model: n: its noise needs the sensitivity as l2, the model says l1"


@pytest.mark.parametrize(
    "mark", [True, {}, {"l1": 0}, {"l1": -1}, {"l1": True}, {"l3": 1}, {"l1": 1, "l2": 1}, "l1"]
)
def test_a_mark_says_one_thing(mark):
    with pytest.raises(Refused, match=r"gate\.schema"):
        output_model.read(
            "m", json.dumps(closed({"n": {**NUMBER, "x-village-noise": mark}})).encode()
        )


@pytest.mark.parametrize(
    "schema",
    [
        closed({"n": {**closed({}), "x-village-noise": {"l1": 1}}}),
        closed({"n": {"type": "boolean", "x-village-noise": {"l1": 1}}}),
        closed({"n": {**L1, "multipleOf": 2}}),
        closed({"_person": NUMBER}),
        closed({"n": closed({"_person": {"const": 1}})}),
    ],
)
def test_marks_stand_on_plain_numbers_and_tags_of_people_nowhere(schema):
    with pytest.raises(Refused, match=r"gate\.schema"):
        output_model.read("m", json.dumps(schema).encode())


def converted(to: str, value: object = VALUE, terms: bytes | None = None) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    form = "arrow" if isinstance(value, bytes) else "json"
    return results.convert(raw, form, to, blob() if terms is None else terms, IRI)


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph:DeprecationWarning")
def test_rdf_says_what_the_json_says_and_no_more():
    graph = rdflib.Graph().parse(data=converted("ntriples"), format="nt")
    people = rdflib.URIRef("urn:example:terms#people")
    assert graph.value(rdflib.URIRef(IRI), people) == rdflib.Literal(9)
    assert sorted(int(one) for one in graph.objects(None, people)) == [3, 6, 9]
    assert b"unsaid" not in converted("ntriples")
    assert len(graph) == 10  # 1 + 4 of the cells, the list with its 2 nodes, and its head
    for to, name in (("turtle", "turtle"), ("jsonld", "json-ld")):
        again = rdflib.Graph().parse(data=converted(to), format=name)
        assert isomorphic(again, graph)


def test_the_same_result_gives_the_same_triples():
    assert converted("ntriples") == converted("ntriples")
    assert converted("turtle") == converted("turtle")


def test_rdf_needs_a_context_that_was_agreed():
    for value, terms in ((VALUE, b""), (VALUE, blob("https://example.org/c")), ([1], blob())):
        with pytest.raises(SourceError) as refused:
            converted("turtle", value, terms)
        assert refused.value.code == "source.result"
    with pytest.raises(SourceError):
        results.convert(b"{}", "json", "turtle", None, IRI)


def test_a_table_in_other_forms():
    raw = stream(table([ROW, {**ROW, "mean": None, "tag": None}]))
    assert converted("arrow", raw) == raw
    assert parquet.read_table(io.BytesIO(converted("parquet", raw))).num_rows == 2
    read = csv.read_csv(io.BytesIO(converted("csv", raw)))
    assert read.column_names == ["region", "mean", "old", "tag", "people"]
    assert json.loads(converted("json", raw))[0] == {**ROW, "tag": "61"}


def test_json_is_a_table_where_it_is_rows():
    rows = {"cells": [{"site": 1, "n": 9}, {"site": 2, "n": 7}]}
    assert converted("csv", rows) == b'"n","site"\n9,1\n7,2\n'
    assert pa.ipc.open_stream(converted("arrow", rows)).read_all().num_rows == 2
    for other in (VALUE, [], [1], [{"a": [1]}], [{"a": 1}, {"a": "b"}]):
        with pytest.raises(SourceError):
            converted("csv", other)


def test_the_process_reads_context_and_result_and_says_why_not():
    terms, raw = blob(), json.dumps(VALUE).encode()
    command = [sys.executable, "-m", "node.connectors.results", "--form", "json", "--name", IRI]

    def run(to: str, size: int) -> subprocess.CompletedProcess[bytes]:
        named = [*command, "--to", to, "--context", str(size)]
        return subprocess.run(named, input=terms[:size] + raw, capture_output=True, check=False)  # noqa: S603

    assert run("ntriples", len(terms)).stdout == converted("ntriples")
    refused = run("turtle", 0)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"has no context" in refused.stderr
