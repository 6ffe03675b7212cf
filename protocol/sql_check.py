"""Whether the queries of an SQL algorithm do no more than read the tables that they name.

Only DuckDB knows what its SQL says, and DuckDB is too large for a process that is trusted. So it
parses in a process of its own (in the enclave the sandbox, on a node a connector's process), which
runs PARSE and CATALOGUE and answers with a report; the rules are here, once, and judge the tree.
What is not known to be harmless is a fault. The sandbox stays the wall; this says early, and in
words, what would not run, or would give another result when a run is repeated (U7).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from protocol.errors import Refused
from protocol.kinds.algorithm import Bundle, Entry, queries
from protocol.output_model import PERSON
from protocol.sql_words import (
    CATALOGUE,
    CLOCK,
    EXPRESSIONS,
    MACROS,
    NOT_THESE,
    PARSE,
    PARTS,
    TABLE_FUNCTIONS,
)

ENDING: Final = ".sql"
QUERY: Final = 64 * 1024
"""Bytes of one query."""
REPORT: Final = 16 * 2**20
"""Bytes of a report on all queries of a bundle."""
_NOWHERE: Final = 2**63  # DuckDB's place of what stands nowhere in the text is above


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong in a query, where, and what to write instead."""

    file: str
    line: int = 1
    detail: str
    fix: str

    @property
    def words(self) -> str:
        """One line for people."""
        return f"{self.file}:{self.line}: {self.detail} {self.fix}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """One query as DuckDB reads it: the kind of each statement, and the tree or an error."""

    statements: tuple[str, ...]
    tree: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What a process with DuckDB found: queries by file, and functions as CATALOGUE names them."""

    queries: Mapping[str, Parsed]
    functions: AbstractSet[str]


def question(bundle: Bundle) -> bytes:
    """What the process with DuckDB is asked: JSON. Files that cannot be read are faults later."""
    paths = {path for entry in bundle.manifest.entries for path in queries(entry).values()}
    texts = {path: text for path in sorted(paths) if (text := _text(bundle, path))}
    asked = {"parse": PARSE, "catalogue": CATALOGUE, "queries": texts, "bytes": REPORT // 2}
    return json.dumps({"task": "check", **asked}).encode()


def read_report(data: bytes) -> Report:
    """The process's answer. Raises Refused (algorithm.sql) if it is none: the SQL broke DuckDB."""
    try:
        if len(data) > REPORT:
            raise ValueError("its report is too long")
        answer = json.loads(data)
        parsed = {
            str(path): Parsed(tuple(map(str, one["statements"])), dict(one["tree"]))
            for path, one in answer["queries"].items()
        }
        return Report(parsed, frozenset(map(str, answer["functions"])))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused("algorithm.sql", f"DuckDB did not read it: {error!r:.100}") from error


def refusal(found: Sequence[Fault]) -> Refused:
    """The refusal that names these faults."""
    return Refused("algorithm.sql", "; ".join(one.words for one in found)[:2000])


def faults(bundle: Bundle, report: Report) -> tuple[Fault, ...]:
    """Every fault of every entry's queries, in the order of the manifest; empty if all is well."""
    found = list(_stray(bundle))
    for entry in bundle.manifest.entries:
        found += _entry_faults(bundle, entry, report)
    return tuple(dict.fromkeys(found))  # two entries may share a folder


def _text(bundle: Bundle, path: str) -> str | None:
    """The query in a file, if there is one that can be read."""
    content = bundle.files.get(path, b"")
    try:
        return content.decode() if len(content) <= QUERY else None
    except UnicodeDecodeError:
        return None


def _entry_faults(bundle: Bundle, entry: Entry, report: Report) -> Iterator[Fault]:
    named = {name.casefold() for name in bundle.manifest.inputs}
    used: set[str] = set()
    missing = False
    for output, path in queries(entry).items():
        text = _text(bundle, path)
        if text:
            query = _Query(path, text, bundle.manifest.inputs, entry, report, set(named), used)
            yield from query.judged()
        else:
            missing = True
            detail = f"Entry {entry.name} promises output {output}, and there is no query for it."
            fix = f"Write one SELECT there, in UTF-8 and at most {QUERY} bytes."
            yield Fault(file=path, detail=detail, fix=fix)
    for name in () if missing else sorted({one.name for one in entry.parameters} - used):
        detail = f"No query of entry {entry.name} uses its parameter {name}."
        yield Fault(file=entry.function, detail=detail, fix=f"Write ${name}, or drop it.")


def _stray(bundle: Bundle) -> Iterator[Fault]:
    """Queries in the folder of an entry that no output stands for: nobody would run them."""
    entries = bundle.manifest.entries
    folders = {entry.function for entry in entries}
    promised = {path for entry in entries for path in queries(entry).values()}
    for path in sorted(bundle.files):
        folder, _, name = path.rpartition("/")
        if folder in folders and name.endswith(ENDING) and path not in promised:
            detail = f"No entry has an output {name.removesuffix(ENDING)}."
            yield Fault(file=path, detail=detail, fix="Name it in outputs, or remove the file.")


@dataclass(frozen=True, slots=True)
class _Query:
    """One query, and what it may name. `used` collects the parameters that it uses, `named` the
    tables that it may read from.
    """

    path: str
    text: str
    tables: tuple[str, ...]
    entry: Entry
    report: Report
    named: set[str]
    used: set[str]

    def judged(self) -> tuple[Fault, ...]:
        """Everything that is wrong with it."""
        try:
            return tuple(self._faults())
        except (TypeError, ValueError, KeyError, AttributeError, IndexError):
            # No tree that DuckDB makes: the text has taken over the process that parsed it.
            return (self._fault(0, "DuckDB did not read it.", "Write a plain SELECT."),)

    def _faults(self) -> Iterator[Fault]:
        parsed = self.report.queries.get(self.path)
        if parsed is None:
            yield self._fault(0, "DuckDB did not read it.", "Make it smaller.")
            return
        others = [kind for kind in parsed.statements if kind != "SELECT"]
        if others:
            detail = f"It has a statement of kind {others[0][:40]}."
            yield self._fault(0, detail, "Write one SELECT; nothing else runs.")
        elif parsed.tree.get("error") is not False:
            yield self._syntax(parsed.tree)
        elif len(parsed.statements) != 1 or len(parsed.tree.get("statements", ())) != 1:
            detail = f"It has {len(parsed.statements)} statements."
            yield self._fault(0, detail, "Write exactly one SELECT.")
        else:
            yield from self._tree(parsed.tree["statements"][0])

    def _syntax(self, tree: Mapping[str, Any]) -> Fault:
        place = str(tree.get("position", ""))
        detail = f"DuckDB says: {str(tree.get('error_message', 'it is no SQL'))[:200]}."
        fix = "Write one SELECT in DuckDB's SQL."
        return self._fault(int(place) if place.isdecimal() else 0, detail, fix)

    def _tree(self, statement: Any) -> Iterator[Fault]:  # noqa: ANN401 (parsed JSON)
        self.named.update(_common_tables(statement))
        yield from self._people(statement)
        for node, place, key in _walk(statement):
            yield from self._node(node, place, key)

    def _node(self, node: Mapping[str, Any], place: int, key: str) -> Iterator[Fault]:
        kind = node.get("class") or node.get("type")
        if not isinstance(kind, str):  # a value's type, or a list of parts
            return
        if kind not in (EXPRESSIONS if "class" in node else PARTS):
            detail = f"It has a part of kind {kind[:40]}, which is not allowed here."
            yield self._fault(place, detail, "Write a plain SELECT.")
        if node.get("sample") is not None:
            fix = "Choose rows by WHERE, so that a repeated run gives the same."
            yield self._fault(place, "It draws a sample.", fix)
        if key != "function":  # of a table function, which is judged as one
            yield from self._named(kind, node, place)

    def _named(self, kind: str, node: Mapping[str, Any], place: int) -> Iterator[Fault]:
        judges = {
            "BASE_TABLE": self._table,
            "TABLE_FUNCTION": self._table_function,
            "FUNCTION": self._function,
            "WINDOW": self._function,
            "PARAMETER": self._parameter,
            "COLUMN_REF": self._column,
        }
        if kind in judges:
            yield from judges[kind](node, place)

    def _table(self, node: Mapping[str, Any], place: int) -> Iterator[Fault]:
        name = str(node.get("table_name"))
        known = ", ".join(f'"{one}"' for one in self.tables) or "none"
        if node.get("schema_name") or node.get("catalog_name"):
            detail = f"It names a schema or a database before table {name[:60]}."
            yield self._fault(place, detail, f"Name the table alone; there are: {known}.")
        elif name.casefold() not in self.named:
            detail = f"It reads {name[:60]}, which is no input of this algorithm."
            yield self._fault(place, detail, f"Read from one of the inputs: {known}.")
        if node.get("at_clause") is not None:
            yield self._fault(place, "It asks for a table's past.", "Leave AT out.")

    def _table_function(self, node: Mapping[str, Any], place: int) -> Iterator[Fault]:
        name, qualified = _function_name(node.get("function") or {})
        if name not in TABLE_FUNCTIONS or qualified:
            known = ", ".join(sorted(TABLE_FUNCTIONS))
            detail = f"It reads from the function {name[:60]}, which may look outside."
            yield self._fault(place, detail, f"Read from an input, or from one of: {known}.")

    def _function(self, node: Mapping[str, Any], place: int) -> Iterator[Fault]:
        name, qualified = _function_name(node)
        known = name in MACROS or (
            name in self.report.functions
            and name not in NOT_THESE
            and not name.startswith("__internal")
        )
        if qualified:
            detail = f"It names a schema, or a value, before function {name[:60]}."
            yield self._fault(place, detail, f"Write {name[:60]}(...), with the value inside.")
        elif not known:
            detail = f"It calls {name[:60]}, which is unknown, or depends on more than its values."
            fix = "Use another function; a day or a seed can come as a parameter, $name."
            yield self._fault(place, detail, fix)

    def _parameter(self, node: Mapping[str, Any], place: int) -> Iterator[Fault]:
        name = str(node.get("identifier"))
        declared = {one.name for one in self.entry.parameters}
        if name in declared:
            self.used.add(name)
            return
        known = ", ".join(f"${one}" for one in sorted(declared)) or "none"
        detail = f"Entry {self.entry.name} has no parameter {name[:60]}."
        yield self._fault(place, detail, f"Declare it in manifest.yaml; there are: {known}.")

    def _column(self, node: Mapping[str, Any], place: int) -> Iterator[Fault]:
        names = node.get("column_names") or [""]
        if len(names) == 1 and str(names[0]).casefold() in CLOCK:
            detail = f"{names[0]} is another value each time, or on each machine."
            yield self._fault(place, detail, "Take it as a parameter, or write TABLE.COLUMN.")

    def _people(self, statement: Any) -> Iterator[Fault]:  # noqa: ANN401 (parsed JSON)
        node = statement.get("node", {}) if isinstance(statement, dict) else {}
        for item in node.get("select_list") or ():
            if PERSON in (item.get("alias"), (item.get("column_names") or [""])[-1]):
                detail = f"It returns {PERSON}, and no row about one person leaves."
                fix = f"Count: count(DISTINCT {PERSON}). To join and to group by it is fine."
                yield self._fault(item.get("query_location", 0), detail, fix)

    def _fault(self, place: int, detail: str, fix: str) -> Fault:
        before = self.text.encode()[:place] if 0 <= place < _NOWHERE else b""
        shown = "".join(one if one.isprintable() else "?" for one in detail)
        return Fault(file=self.path, line=before.count(b"\n") + 1, detail=shown, fix=fix)


def _walk(tree: Any) -> Iterator[tuple[Mapping[str, Any], int, str]]:  # noqa: ANN401
    """Each object of the tree, the place in the text of it or of what holds it, and its key."""
    rest: list[tuple[Any, int, str]] = [(tree, 0, "")]
    while rest:
        one, place, key = rest.pop()
        if isinstance(one, dict):
            here = one.get("query_location")
            place = here if type(here) is int and here < _NOWHERE else place
            yield one, place, key
            rest += [(value, place, name) for name, value in reversed(one.items())]
        elif isinstance(one, list):
            rest += [(value, place, key) for value in reversed(one)]


def _common_tables(tree: Any) -> Iterator[str]:  # noqa: ANN401
    """The names that WITH gives. Where such a name is not in scope, DuckDB finds no table."""
    for node, _, key in _walk(tree):
        if key == "map" and "key" in node:
            yield str(node["key"]).casefold()


def _function_name(node: Mapping[str, Any]) -> tuple[str, bool]:
    """The function's name, and whether something stands before it."""
    qualified = bool(node.get("schema") or node.get("catalog"))
    return str(node.get("function_name")).casefold(), qualified
