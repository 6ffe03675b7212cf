"""Rows out of databases: SQLite and DuckDB files, and SQL over any file that DuckDB reads.

The query is the owner's own, and still sees nothing but the one file of its source: no other path,
no network, no extension from outside. Runs only in a connector's own process.
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import duckdb

from node.connectors import SourceError
from node.connectors.columns import broken, fits, from_rows, no_value, require_columns
from node.connectors.contract import Contract
from node.connectors.formats import ROWS

MEMORY: Final = "2GB"
"""What DuckDB may take for one query; the process has a bound of its own above it."""

VIEW: Final = "source"
"""The name under which a query over a plain file finds it."""

_DUCKDB: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": MEMORY,
    "temp_directory": "",
    "threads": "1",  # also keeps the order of rows the same each time
}
_READERS: Final = {
    ".csv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
    ".parquet": "read_parquet",
    ".tsv": "read_csv",
}
_READ_ONLY: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_ABOUT_THE_QUERY: Final = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.InvalidInputException,
    duckdb.ParserException,
    duckdb.PermissionException,
)
"""Errors whose words are about the query's own text."""

_SOME_ROWS: Final = ROWS // 4
"""Rows of SQLite at once: they are Python values, many times their size in Arrow."""


def query_duckdb(path: Path, contract: Contract, query: str | None) -> Iterator[Any]:
    """Batches of a DuckDB database: of the query, or of its one table. Raises SourceError."""
    try:
        with duckdb.connect(str(path), read_only=True, config=_DUCKDB) as database:
            _lock(database, path)
            tables = [row[0] for row in database.execute("SHOW TABLES").fetchall()]
            yield from _duckdb_rows(database, contract, query or _whole(tables))
    except duckdb.Error as error:
        raise _query_failed(error) from error


def query_file(path: Path, contract: Contract, query: str) -> Iterator[Any]:
    """Batches of a query over a plain file, which it sees as `source`. Raises SourceError."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise SourceError("source.format", f"No query over {path.suffix!r}.", f"One of: {known}.")
    try:
        with duckdb.connect(":memory:", config=_DUCKDB) as database:
            view = f"CREATE VIEW {VIEW} AS SELECT * FROM {reader}({_quoted(str(path))})"  # noqa: S608 (quoted)
            database.execute(view)
            _lock(database, path)
            yield from _duckdb_rows(database, contract, query)
    except duckdb.Error as error:
        raise _query_failed(error) from error


def query_sqlite(path: Path, contract: Contract, query: str | None) -> Iterator[Any]:
    """Batches of an SQLite database: of the query, or of its one table. Raises SourceError."""
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
                database.execute(f"PRAGMA {pragma}")
            names = (
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
            tables = [row[0] for row in database.execute(names)]
            database.set_authorizer(_may_read)
            yield from _sqlite_rows(database, contract, query or _whole(tables))
        finally:
            database.close()
    except sqlite3.Error as error:
        raise _query_failed(error) from error


DATABASES: Final[dict[str, Callable[[Path, Contract, str | None], Iterator[Any]]]] = {
    ".db": query_sqlite,
    ".duckdb": query_duckdb,
    ".sqlite": query_sqlite,
    ".sqlite3": query_sqlite,
}
"""How a name ends -> what reads the database."""


def _whole(tables: list[str]) -> str:
    if len(tables) != 1:
        detail = f"The database has {len(tables)} tables."
        raise SourceError("source.query", detail, 'Say which rows by query = "SELECT ...".')
    return f'SELECT * FROM "{tables[0].replace(chr(34), chr(34) * 2)}"'  # noqa: S608 (quoted)


# --- DuckDB --------------------------------------------------------------------------------------


def _lock(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """From here on no other path can be opened, and no setting changed."""
    database.execute(f"SET allowed_paths = [{_quoted(str(path))}]")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _duckdb_rows(
    database: duckdb.DuckDBPyConnection, contract: Contract, query: str
) -> Iterator[Any]:
    statements = duckdb.extract_statements(query)
    if [one.type for one in statements] != [duckdb.StatementType.SELECT]:
        raise SourceError("source.query", "The query is not one SELECT.", "Only read, only once.")
    reader = database.sql(query).to_arrow_reader(ROWS)
    require_columns(reader.schema.names, contract)
    yield from reader


# --- SQLite --------------------------------------------------------------------------------------


def _may_read(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """SQLite asks before each thing that a query would do: reading alone is allowed."""
    del first
    allowed = action in _READ_ONLY and second != "load_extension"
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _sqlite_rows(database: sqlite3.Connection, contract: Contract, query: str) -> Iterator[Any]:
    cursor = database.execute(query)
    names = [column[0] for column in cursor.description or ()]
    require_columns(names, contract)
    row = 1
    while rows := cursor.fetchmany(_SOME_ROWS):
        found = [dict(zip(names, values, strict=True)) for values in rows]
        for number, one in enumerate(found, row):
            _check_row(one, number, contract)
        yield from_rows(found, contract)
        row += len(rows)


def _check_row(row: dict[str, Any], number: int, contract: Contract) -> None:
    """SQLite has no booleans, and any column may hold any type."""
    for column in contract.columns:
        value = row[column.name]
        if column.type == "boolean" and value in (0, 1) and type(value) is int:
            value = row[column.name] = bool(value)
        if value is not None and not fits(column, value):
            raise no_value(column, number)


def _query_failed(error: Exception) -> SourceError:
    words = str(error).partition("\n")[0]
    if "not a database" in words or "not a valid DuckDB" in words:
        return broken("it is no database of the kind that its name says")
    if isinstance(error, duckdb.Error) and not isinstance(error, _ABOUT_THE_QUERY):
        words = words.partition(":")[0]  # what follows can quote a value
    words = words.partition(" with text ")[0]  # as SQLite quotes text that is not UTF-8
    detail = f"The query failed: {words[:200]}."
    return SourceError("source.query", detail, "Try it in the database.")
