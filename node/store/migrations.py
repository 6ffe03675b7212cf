"""Bring a database to the schema of this code: numbered, recorded, never backwards.

schema.sql holds the numbered sections; each runs once, in one transaction with its own record.
"""

import sqlite3
from collections.abc import Iterator
from importlib import resources

from sqlite_utils import Database, Migrations

from node.store import StoreError

_SECTION = "-- migration "


def migrate(database: Database, schema: str | None = None) -> list[str]:
    """Apply what is missing and return its names, as in "0001: the first schema".

    `schema` is the text of schema.sql unless a test brings its own. Raises StoreError
    ("journal.newer") if the database was made by newer code, and writes nothing then.
    """
    sections = _sections(schema if schema is not None else _shipped())
    steps = Migrations("village")
    for name, statements in sections.items():
        _register(steps, name, statements)
    applied = [step.name for step in steps.applied(database)]
    if unknown := [name for name in applied if _number(name) not in map(_number, sections)]:
        raise StoreError(
            "journal.newer",
            f"The journal has migration {unknown[-1]!r}, which this version does not know.",
            "Start the newer version again; a journal never goes back.",
        )
    pending = [step.name for step in steps.pending(database)]
    steps.apply(database)
    return pending


def _shipped() -> str:
    return resources.files("node.store").joinpath("schema.sql").read_text("utf-8")


def _sections(schema: str) -> dict[str, list[str]]:
    """Name of each migration -> its statements."""
    _, *sections = schema.split(_SECTION)
    named = (section.partition("\n") for section in sections)
    return {name.strip(): list(_statements(text)) for name, _, text in named}


def _statements(text: str) -> Iterator[str]:
    """One complete statement at a time: a script would commit by itself."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _register(steps: Migrations, name: str, statements: list[str]) -> None:
    def apply(database: Database) -> None:
        for statement in statements:
            database.execute(statement)

    steps(name=name)(apply)


def _number(name: str) -> str:
    return name.partition(":")[0]
