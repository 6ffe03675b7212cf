"""DuckDB, locked as the runner locks it: what a query could reach if no static check had read it.

These probes need an environment with duckdb and pyarrow. A statement ends by the name of DuckDB's
error. Outside they go to a database that nobody locked.
"""

import importlib
import os
from collections.abc import Callable

from .probe import AIM, Probe, outside

DENIED = "PermissionException"
LOCKED = "InvalidInputException"
ABSENT = "CatalogException"


def database() -> object:
    """A fresh one: with a table, and locked where this is no control."""
    duckdb = importlib.import_module("duckdb")
    pyarrow = importlib.import_module("pyarrow")
    table = pyarrow.table({"n": [1, 2, 3]})
    if outside():
        unlocked = duckdb.connect()
        unlocked.register("shown", table)
        return unlocked
    runner = importlib.import_module("enclave_host.runners.sql")
    return runner.connect(duckdb, {"shown": table})


def sql(*statements: str) -> Callable[[], object]:
    """Run statements one after the other; {…} are places that the test names."""

    def attack() -> object:
        secret = importlib.import_module("pyarrow").table({"row": [1]})
        duckdb = importlib.import_module("duckdb")
        opened = database()
        places = AIM | {"scratch": f"{AIM['scratch']}/{os.getpid()}-{len(statements)}"}
        try:
            for statement in statements:
                got = opened.execute(statement.format(**places)).fetchall()
        except duckdb.Error as error:
            raise type(type(error).__name__, (OSError,), {})(str(error)) from error
        return f"{got} of {len(secret)}"

    return attack


PROBES = [
    Probe("sql COPY TO", sql("COPY (SELECT 1) TO '{scratch}-a.csv'"), DENIED),
    Probe(
        "sql COPY TO, Parquet", sql("COPY shown TO '{scratch}-b.parquet' (FORMAT parquet)"), DENIED
    ),
    Probe("sql COPY FROM", sql("CREATE TABLE t (x TEXT)", "COPY t FROM '{csv}'"), DENIED),
    Probe("sql EXPORT DATABASE", sql("EXPORT DATABASE '{scratch}-c'"), DENIED),
    Probe("sql ATTACH", sql("ATTACH '{scratch}-d.db' AS d"), DENIED),
    Probe("sql read_csv", sql("SELECT * FROM read_csv('{csv}')"), DENIED),
    Probe("sql read_text", sql("SELECT * FROM read_text('{csv}')"), DENIED),
    Probe("sql read_blob", sql("SELECT * FROM read_blob('/proc/self/environ')"), DENIED),
    Probe("sql read_json", sql("SELECT * FROM read_json('{json}')"), DENIED),
    Probe("sql read_parquet", sql("SELECT * FROM read_parquet('{parquet}')"), DENIED),
    Probe("sql parquet_metadata", sql("SELECT * FROM parquet_metadata('{parquet}')"), DENIED),
    Probe("sql sniff_csv", sql("SELECT * FROM sniff_csv('{csv}')"), DENIED),
    Probe("sql glob", sql("SELECT * FROM glob('/etc/*')"), DENIED),
    Probe("sql a file as a table", sql("SELECT * FROM '{csv}'"), DENIED),
    Probe("sql python replacement scan", sql("SELECT * FROM secret"), ABSENT),
    Probe(
        "sql query of a file",
        sql("SELECT * FROM query('SELECT * FROM read_text(''{csv}'')')"),
        DENIED,
    ),
    Probe("sql unlock", sql("SET lock_configuration = false"), LOCKED),
    Probe("sql file systems", sql("SET disabled_filesystems = ''"), LOCKED),
    Probe("sql RESET", sql("RESET disabled_filesystems"), LOCKED),
    Probe("sql allowed directories", sql("SET allowed_directories = ['/']"), LOCKED),
    Probe("sql more threads", sql("SET threads = 4"), LOCKED),
    Probe("sql more memory", sql("PRAGMA memory_limit = '64GB'"), LOCKED),
    Probe("sql spill to disk", sql("SET temp_directory = '{scratch}-e'"), LOCKED),
    Probe("sql home directory", sql("SET home_directory = '/tmp'"), LOCKED),
    Probe("sql extensions from anywhere", sql("SET autoinstall_known_extensions = true"), LOCKED),
    Probe("sql repository of extensions", sql("SET custom_extension_repository = '/tmp'"), LOCKED),
    Probe("sql python scans again", sql("SET python_enable_replacements = true"), LOCKED),
    Probe("sql profile to a file", sql("PRAGMA enable_profiling = 'json'"), LOCKED),
    Probe("sql log to a file", sql("SET log_query_path = '{scratch}-f'"), LOCKED),
    Probe("sql INSTALL", sql("INSTALL httpfs"), DENIED, harm="it would fetch from the network"),
    Probe("sql LOAD a file", sql("LOAD '{csv}'"), DENIED, harm="it would run code of a stranger"),
    Probe(
        "sql a remote file",
        sql("SELECT * FROM 'https://localhost/x.csv'"),
        DENIED,
        harm="it needs an extension",
    ),
    Probe("sql getenv", sql("SELECT getenv('HOME')"), ABSENT, absent=ABSENT),
    Probe(
        "sql bomb of memory",
        sql("SELECT list(r) IS NULL FROM range(90000000) AS t(r)"),
        "OutOfMemoryException|ENOMEM",
    ),
]
