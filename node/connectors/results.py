"""A released result in another form: python -m node.connectors.results --to FORM < result > file.

Results come from others' code, and Arrow, CSV and RDF are written by large libraries; so this runs
in a process of its own, never in the daemon, within bounds. RDF is made from the gated JSON by the
agreed context alone: nothing is fetched, and nothing can be added.
"""

# ruff: noqa: ANN401 (pyarrow and rdflib have no usable types)
import argparse
import json
import os
import resource
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from node.connectors import SourceError
from protocol import context, limits
from protocol.errors import Refused

TABLES: Final = ("arrow", "parquet", "csv")
GRAPHS: Final = ("jsonld", "turtle", "ntriples")
FORMS: Final = ("json", *TABLES, *GRAPHS)

MEMORY: Final = 4 * 2**30
"""Bytes of address space."""

CPU: Final = 120
"""Seconds of processor time."""

_LONGEST: Final = 2 * limits.OUTPUT + 4 * limits.CONTRACT
_OBJECT: Final = "village"
"""How the names of objects without an IRI begin."""

_FIX: Final = "Choose another form, or export it as it is."


def convert(content: bytes, form: str, to: str, terms: bytes | None, name: str) -> bytes:
    """A result of `form` (json or arrow) as `to`; `terms` is its context, `name` its IRI.

    Raises SourceError (source.result).
    """
    if to == form and to in ("json", "arrow"):
        return content
    if to in GRAPHS:
        if form != "json" or terms is None:
            raise _refused("This result has no context: nobody agreed what its names mean.")
        return _graph(json.loads(content), to, terms, name)
    return _write(_table(content, form), to)


# --- tables ---------------------------------------------------------------------------------------


def _table(content: bytes, form: str) -> Any:
    """The result as an Arrow table; JSON is one if it is a list of flat objects."""
    import pyarrow as pa

    if form == "arrow":
        return pa.ipc.open_stream(content).read_all()
    rows = json.loads(content)
    while isinstance(rows, dict) and len(rows) == 1:  # one list under one name is that list
        (rows,) = rows.values()
    flat = isinstance(rows, list) and rows and all(map(_is_flat, rows))
    if not flat:
        raise _refused("This result is no table: a table is a list of flat objects.")
    try:
        names = sorted({name for row in rows for name in row})
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except pa.ArrowException as error:
        raise _refused("Its columns hold values of several kinds.") from error


def _is_flat(row: Any) -> bool:
    return isinstance(row, dict) and not any(isinstance(v, dict | list) for v in row.values())


def _write(table: Any, to: str) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    match to:
        case "arrow":
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        case "parquet":
            from pyarrow import parquet

            parquet.write_table(table, sink)
        case "csv":
            from pyarrow import csv

            csv.write_csv(_readable(table), sink)
        case _:
            return json.dumps(_readable(table).to_pylist(), ensure_ascii=False).encode()
    return bytes(sink.getvalue())


def _readable(table: Any) -> Any:
    """Bytes as hexadecimal text."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):
            values = [one if one is None else one.hex() for one in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(values, pa.string()))
    return table


# --- RDF ------------------------------------------------------------------------------------------


def _graph(value: Any, to: str, terms: bytes, name: str) -> bytes:
    try:
        known = context.read(terms)
    except Refused as refused:
        raise _refused(f"The context is refused: {refused.detail}.") from refused
    if not isinstance(value, dict):
        raise _refused("Only an object says something about one thing.")
    head = {"@context": {"@version": 1.1, **known}, "@id": name}
    if to == "jsonld":
        return json.dumps({**head, **value}, ensure_ascii=False, indent=1).encode() + b"\n"
    import rdflib

    graph = rdflib.Graph(bind_namespaces="none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of rdflib about itself
        graph.parse(data=json.dumps({**head, **_named(value, count())}), format="json-ld")
    if to == "turtle":
        return graph.serialize(format="turtle").encode()
    return "".join(_lines(graph, rdflib.URIRef(name))).encode()


def _named(value: Any, numbers: Iterator[int]) -> Any:
    """Every object below the first with a name of its own, so that the triples have one order."""
    match value:
        case dict():
            found = {key: _named(inner, numbers) for key, inner in sorted(value.items())}
            return {
                key: {"@id": f"_:{_OBJECT}{next(numbers):08}", **inner}
                if isinstance(inner, dict)
                else inner
                for key, inner in found.items()
            }
        case list():
            items = [_named(inner, numbers) for inner in value]
            return [
                {"@id": f"_:{_OBJECT}{next(numbers):08}", **one} if isinstance(one, dict) else one
                for one in items
            ]
        case _:
            return value


def _lines(graph: Any, root: Any) -> Iterator[str]:
    """N-Triples in one order, with one name for each blank node: the graph is a tree."""
    import rdflib

    names: dict[Any, Any] = {}
    waiting = deque([root])
    while waiting:
        subject = waiting.popleft()
        for predicate, found in sorted(graph.predicate_objects(subject), key=_first):
            if isinstance(found, rdflib.BNode):
                names[found] = rdflib.BNode(f"b{len(names)}")
                waiting.append(found)
            parts = (names.get(subject, subject), predicate, names.get(found, found))
            yield " ".join(part.n3() for part in parts) + " .\n"


def _first(pair: tuple[Any, Any]) -> tuple[str, str]:
    """Order without the names of the nodes of lists, which differ each time."""
    import rdflib

    predicate, found = pair
    random = isinstance(found, rdflib.BNode) and not found.startswith(_OBJECT)
    return str(predicate), "" if random else found.n3()


def _refused(detail: str) -> SourceError:
    return SourceError("source.result", detail, _FIX)


# --- the process ----------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Read one result from the standard input, write it in the wanted form; the exit code."""
    parser = argparse.ArgumentParser(prog="node.connectors.results", description=__doc__)
    parser.add_argument("--form", choices=("json", "arrow"), required=True)
    parser.add_argument("--to", choices=FORMS, required=True)
    parser.add_argument("--name", default="urn:village:result", help="its IRI")
    parser.add_argument("--context", type=int, default=0, help="bytes of the context, in front")
    options = parser.parse_args(arguments)
    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, CPU)):
        resource.setrlimit(limit, (value, value))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.addaudithook(_refuse_network)
    data = sys.stdin.buffer.read(_LONGEST)
    terms = data[: options.context] if options.context else None
    try:
        made = convert(data[options.context :], options.form, options.to, terms, options.name)
    except SourceError as error:
        sys.stderr.write(f"{error.detail} {error.fix}\n")
        return 1
    except MemoryError:
        sys.stderr.write(f"This needs more memory than it may have. {_FIX}\n")
        return 1
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()
    return os.EX_OK


def _refuse_network(event: str, _: Any) -> None:
    """Whatever a library tries: all that it may need was handed to it."""
    if event.startswith(("socket.", "urllib.")):
        raise PermissionError(event)


if __name__ == "__main__":
    sys.exit(main())
