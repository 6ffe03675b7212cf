"""The schema explains itself, and a journal never goes back to older code."""

import re
from importlib import resources

import pytest
from sqlite_utils import Database

from node.store import StoreError
from node.store.migrations import migrate

SCHEMA = resources.files("node.store").joinpath("schema.sql").read_text("utf-8")


def tables():
    database = Database(memory=True, strict=True)
    migrate(database)
    rows = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite_%'"
    )
    return dict(rows.fetchall())


def test_every_table_is_strict_and_every_column_has_its_sentence():
    found = tables()
    assert {"topic", "record", "refusal", "mail", "share_key"} <= found.keys()
    database = Database(memory=True)
    migrate(database)
    for name, sql in found.items():
        assert sql.rstrip().endswith("STRICT"), name
        for column in database[name].columns:
            assert re.search(rf"^    {column.name} [^\n]*-- \S", sql, re.MULTILINE), column


def test_migrations_run_once_and_are_recorded():
    database = Database(memory=True)
    assert migrate(database) == [
        "0001: the first schema",
        "0002: heads of feeds, and records that no machine keeps",
    ]
    assert migrate(database) == []


def test_a_later_migration_is_applied_to_an_older_journal():
    database = Database(memory=True)
    migrate(database)
    database.execute("INSERT INTO state (name, value) VALUES ('a', x'01')")
    later = SCHEMA + "\n-- migration 9002: colour\nALTER TABLE state ADD COLUMN colour TEXT; -- c\n"
    assert migrate(database, later) == ["9002: colour"]
    assert list(database.query("SELECT name, colour FROM state")) == [{"name": "a", "colour": None}]


def test_a_failing_migration_leaves_nothing():
    database = Database(memory=True)
    migrate(database)
    broken = f"{SCHEMA}\n-- migration 9002: broken\n" + (
        "CREATE TABLE half (a TEXT) STRICT;\nINSERT INTO nowhere VALUES (1);\n"
    )
    with pytest.raises(Exception, match="nowhere"):
        migrate(database, broken)
    assert not database["half"].exists()
    assert migrate(database) == []


def test_a_newer_journal_is_refused_untouched():
    database = Database(memory=True)
    newer = SCHEMA + "\n-- migration 9002: from the future\nCREATE TABLE future (a TEXT) STRICT;\n"
    migrate(database, newer)
    with pytest.raises(StoreError) as caught:
        migrate(database)
    assert caught.value.code == "journal.newer"
    assert "from the future" in caught.value.detail
