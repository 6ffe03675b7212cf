"""The static check of SQL algorithms, over trees that DuckDB made."""

import json

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from node import asking, sql_faults
from node.connectors import sql_parser
from protocol import sql_check
from protocol.errors import Refused
from protocol.kinds.algorithm import Bundle, Entry, Manifest, Parameter

AGES = Parameter(name="ages", type="any_of", choices=("young", "old"))
LEAST = Parameter(name="least", type="integer", low=1, high=9)
GOOD = 'SELECT risk, count(DISTINCT _person) AS n FROM "fraud-a" GROUP BY risk'


def bundle(*queries, parameters=(), files=None, inputs=("fraud-a", "fraud-b")):
    """A bundle with outputs q0, q1, ... for these queries."""
    outputs = tuple(f"q{place}" for place in range(len(queries)))
    entry = Entry(name="main", function="queries/main", parameters=parameters, outputs=outputs)
    manifest = Manifest(
        name="overlap",
        version="1",
        kind="sql",
        author="lab",
        licence="MIT",
        environment=bytes(32),
        inputs=inputs,
        entries=(entry,),
        description="For tests.",
    )
    found = {f"queries/main/{name}.sql": text for name, text in zip(outputs, queries, strict=True)}
    found = {path: text.encode() if isinstance(text, str) else text for path, text in found.items()}
    return Bundle(manifest=manifest, files=found | (files or {}))


def faults(*queries, **changes):
    made = bundle(*queries, **changes)
    answer = sql_parser.report(json.loads(sql_check.question(made)))
    return sql_check.faults(made, sql_check.read_report(json.dumps(answer).encode()))


@pytest.mark.parametrize(
    "query",
    [
        GOOD,
        f"-- by class\n{GOOD};\n",
        'FROM "fraud-a" JOIN "Fraud-B" USING (_person) SELECT count(*) AS n',
        'WITH a AS (FROM "fraud-a"), b(x) AS (SELECT risk FROM a) SELECT x FROM b GROUP BY x',
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
        'SELECT (SELECT max(day) FROM "fraud-a") AS last, EXISTS (FROM "fraud-b") AS any',
        "SELECT unnest(list_transform([1, 2], lambda x: x * 2)) AS x, 1 IN (1, 2) AS y",
        "SELECT year(d), date_trunc('month', d), extract(dow FROM d) FROM (SELECT day AS d)",
        'SELECT risk, row_number() OVER (PARTITION BY day ORDER BY risk) AS r FROM "fraud-a"',
        "SELECT * FROM (UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b INTO NAME n VALUE v)",
        "SELECT CAST('1' AS DECIMAL(10, 2)) AS d, coalesce(NULL, 1) AS c, 'a' LIKE 'b' AS l",
        'SELECT risk, count(*) FILTER (WHERE day IS NULL) FROM "fraud-a" GROUP BY ROLLUP (risk)',
        "SELECT 1 AS x UNION ALL SELECT 2 EXCEPT SELECT 3 ORDER BY x DESC LIMIT 5",
        "SELECT r FROM range(3) AS t(r)",
        """SELECT json_extract('{"a": 1}', '$.a') AS x, CASE WHEN true THEN 1 ELSE 2 END AS y""",
        'SELECT _row AS "row", risk FROM "fraud-a"',
        'SELECT a.* EXCLUDE (_person) FROM "fraud-a" AS a QUALIFY rank() OVER (ORDER BY day) = 1',
        "SELECT median(x), quantile_cont(x, 0.9), corr(x, x) FROM (VALUES (1), (2)) AS t(x)",
        'SELECT "fraud-a".current_date FROM "fraud-a"',
    ],
)
def test_what_only_reads_its_inputs_is_no_fault(query):
    assert faults(query) == ()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        # other statements than one SELECT
        ("COPY (SELECT 1) TO '/tmp/x'", "statement of kind COPY"),
        ("ATTACH '/tmp/x.db'", "statement of kind ATTACH"),
        ("SET threads = 9", "statement of kind SET"),
        ("PRAGMA database_list", "statement of kind PRAGMA"),
        ("INSTALL httpfs", "statement of kind LOAD"),
        ("CALL pragma_version()", "statement of kind CALL"),
        ("CREATE TABLE x AS SELECT 1", "statement of kind CREATE"),
        ('DELETE FROM "fraud-a"', "statement of kind DELETE"),
        (
            'WITH x AS (DELETE FROM "fraud-a" RETURNING *) SELECT 1',
            "part of kind DELETE_QUERY_NODE",
        ),
        ("EXPLAIN SELECT 1", "statement of kind EXPLAIN"),
        ("SELECT 1; SELECT 2", "has 2 statements"),
        ("SELECT 1; DROP TABLE x", "statement of kind DROP"),
        ("-- nothing", "has 0 statements"),
        ("SELEC 1", "DuckDB says: syntax error"),
        ("SHOW TABLES", "part of kind SHOW_REF"),
        ('SUMMARIZE "fraud-a"', "part of kind SHOW_REF"),
        # tables
        ("SELECT 1 FROM secrets", "reads secrets, which is no input"),
        ("SELECT 1 FROM '/etc/passwd'", "reads /etc/passwd, which is no input"),
        ('SELECT 1 FROM main."fraud-a"', "names a schema or a database"),
        ("SELECT 1 FROM information_schema.tables", "names a schema or a database"),
        ("SELECT 1 WHERE EXISTS (FROM duckdb_settings)", "which is no input"),
        ('SELECT 1 FROM "fraud-a" AT (VERSION => 3)', "a table's past"),
        ('SELECT 1 FROM "fraud-a" TABLESAMPLE 10%', "draws a sample"),
        ('SELECT 1 FROM "fraud-a" USING SAMPLE 10', "draws a sample"),
        # functions
        ("SELECT 1 FROM read_csv('/etc/passwd')", "function read_csv"),
        ("SELECT 1 FROM READ_TEXT('/etc/passwd')", "function read_text"),
        ("SELECT 1 FROM glob('/*')", "function glob"),
        ("SELECT 1 FROM query('SELECT 1')", "function query"),
        ("SELECT 1 FROM query_table('x')", "function query_table"),
        ("SELECT 1 FROM duckdb_secrets()", "function duckdb_secrets"),
        ("SELECT 1 FROM json_execute_serialized_sql('')", "function json_execute_serialized_sql"),
        ("SELECT 1 FROM (SELECT 2), LATERAL (FROM read_blob('x'))", "function read_blob"),
        ("SELECT getenv('HOME')", "calls getenv"),
        ("SELECT random()", "calls random"),
        ("SELECT now()", "calls now"),
        ("SELECT age(DATE '2020-01-01')", "calls age"),
        ("SELECT today() - 1", "calls today"),
        ("SELECT current_setting('threads')", "calls current_setting"),
        ("SELECT sleep_ms(10)", "calls sleep_ms"),
        ("SELECT error('x')", "calls error"),
        ("SELECT nextval('x')", "calls nextval"),
        ("SELECT 1 ORDER BY uuid()", "calls uuid"),
        ("SELECT list_transform([1], lambda x: x + random())", "calls random"),
        ("SELECT system.main.count(*)", "schema, or a value, before function"),
        ("SELECT current_date", "current_date is another value each time"),
        # people, parameters
        ('SELECT _person, risk FROM "fraud-a"', "returns _person"),
        ('SELECT a._person AS who FROM "fraud-a" AS a', "returns _person"),
        ('SELECT risk AS _person FROM "fraud-a"', "returns _person"),
        ("SELECT $ages", "has no parameter ages"),
        ("SELECT ?", "has no parameter 1"),
    ],
)
def test_what_does_more_is_named(query, words):
    found = faults(query)
    assert words in " ".join(one.detail for one in found)
    assert all(one.fix.endswith(".") and one.file == "queries/main/q0.sql" for one in found)


def test_a_fault_names_the_line_and_what_to_write_instead():
    query = '-- çà\nSELECT risk,\n  count(*) AS n\nFROM "fraud-c"\nWHERE day < now()'
    first, second = faults(query)
    assert first.words == (
        "queries/main/q0.sql:4: It reads fraud-c, which is no input of this algorithm. "
        'Read from one of the inputs: "fraud-a", "fraud-b".'
    )
    assert (second.line, second.detail[:12]) == (5, "It calls now")


def test_parameters_are_those_of_the_entry_and_each_is_used():
    query = "SELECT 1 WHERE 'x' IN (SELECT unnest($ages)) LIMIT $least"
    assert faults(query, parameters=(AGES, LEAST)) == ()
    (unused,) = faults(GOOD, query, parameters=(AGES, LEAST, Parameter(name="y", type="integer")))
    assert "uses its parameter y" in unused.detail


def test_each_output_has_a_query_and_each_query_an_output():
    stray = {"queries/main/other.sql": b"SELECT 1", "queries/main/README": b"", "x.sql": b""}
    assert [one.file for one in faults(GOOD, files=stray)] == ["queries/main/other.sql"]
    missing = faults(b"\xff", b"", b"-" * (sql_check.QUERY + 1))
    assert ["there is no query" in one.detail for one in missing] == [True] * 3


def test_queries_that_blow_up_the_report_are_faults():
    deep = "SELECT " + "(" * 5000 + "1" + ")" * 5000
    assert faults(deep) != ()
    wide = "SELECT " + "+".join(["1"] * 30_000)
    assert faults(*[wide] * 4) != ()


@settings(max_examples=30)
@given(st.text(max_size=60))
def test_any_text_is_judged(text):
    faults(text or "x")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda one: (
            st.lists(one)
            | st.dictionaries(
                st.sampled_from(
                    ["class", "type", "select_list", "alias", "column_names", "function", "node"]
                ),
                one,
            )
        ),
    )
)
def test_any_tree_is_judged(tree):
    made = bundle(GOOD)
    answer = {"error": False, "statements": [tree]}
    parsed = {"queries/main/q0.sql": sql_check.Parsed(("SELECT",), answer)}
    sql_check.faults(made, sql_check.Report(parsed, frozenset()))


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"queries": 1, "functions": []}', b"[" * 99_999]
)
def test_no_report_is_refused(answer):
    with pytest.raises(Refused) as refused:
        sql_check.read_report(answer)
    assert refused.value.code == "algorithm.sql"


async def test_the_node_asks_a_process_of_its_own():
    assert await sql_faults.find(bundle(GOOD)) == ()
    with pytest.raises(Refused, match="statement of kind COPY") as refused:
        await sql_faults.check(bundle(GOOD, "COPY (SELECT 1) TO '/tmp/x'"))
    assert refused.value.code == "algorithm.sql"


async def test_a_process_that_does_not_end_is_a_refusal(monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 0.0)
    with pytest.raises(Refused, match="in time"):
        await sql_faults.find(bundle(GOOD))
    await trio.lowlevel.checkpoint()
