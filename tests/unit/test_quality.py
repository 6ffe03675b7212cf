"""Data contracts: which rules of ODCS become a check, and which are refused in words."""

import json

import pytest

from enclave_host.contract import read_contract
from enclave_host.quality import MANY
from protocol.errors import Refused

PERSON = {"name": "who", "logicalType": "string", "required": True}


def contract(column=None, table=(), person=PERSON):
    columns = [person, *([{"name": "x", **column}] if column else [])]
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "schema": [{"name": "t", "properties": columns, "quality": list(table)}],
    }
    return read_contract(json.dumps(document).encode(), "who")  # JSON is YAML


def of(kind="string", *quality, **more):
    return contract({"logicalType": kind, "quality": list(quality), **more}).columns[1]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"metric": "nullValues", "mustBe": 0}, {"required": True}),
        ({"rule": "nullCheck"}, {"required": True}),
        ({"metric": "missingValues", "mustBe": 0}, {"required": True}),
        (
            {"metric": "missingValues", "mustBe": 0, "arguments": {"missingValues": [None, "N/A"]}},
            {"required": True, "missing": ("N/A",)},
        ),
        ({"metric": "duplicateValues", "mustBe": 0}, {"unique": True}),
        (
            {"type": "library", "rule": "duplicateCount", "mustBe": 0, "unit": "rows"},
            {"unique": True},
        ),
        ({"rule": "validValues", "validValues": ["a", "b"]}, {"values": ("a", "b")}),
        (
            {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["a"]}},
            {"values": ("a",)},
        ),
        (
            {"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "[a-z]+"}},
            {"pattern": "[a-z]+"},
        ),
        ({"type": "text", "description": "is nice", "severity": "info"}, {}),
        ({"type": "sql", "query": "SELECT 1", "severity": "warning"}, {}),
    ],
    ids=str,
)
def test_a_rule_becomes_a_check(rule, found):
    column = of("string", rule)
    plain = {"required": False, "unique": False, "values": (), "missing": (), "pattern": None}
    assert {name: getattr(column, name) for name in plain} == plain | found


def test_bounds_of_numbers_and_keys():
    options = {"minimum": 0, "exclusiveMaximum": 1}
    column = of("number", logicalTypeOptions=options)
    assert (column.minimum, column.maximum, column.above, column.below) == (0, None, None, 1)
    key = of("integer", primaryKey=True)
    assert (key.required, key.unique) == (True, True)


@pytest.mark.parametrize(
    ("rules", "rows"),
    [
        ([], (0, MANY)),
        ([{"metric": "rowCount", "mustBeBetween": [1, 9]}], (1, 9)),
        ([{"rule": "rowCount", "mustBe": 7}], (7, 7)),
        ([{"metric": "rowCount", "mustBeGreaterThan": 0}], (1, MANY)),
        ([{"metric": "rowCount", "mustBeLessThan": 10}], (0, 9)),
        ([{"metric": "rowCount", "mustBeGreaterOrEqualTo": 2, "mustBeLessOrEqualTo": 5}], (2, 5)),
        (
            [{"metric": "rowCount", "mustBeGreaterThan": 2}, {"metric": "rowCount", "mustBe": 5}],
            (5, 5),
        ),
    ],
    ids=str,
)
def test_the_number_of_rows(rules, rows):
    assert contract(table=rules).rows == rows


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"metric": "freshness", "mustBe": 0}, "column x has the rule freshness: checked are"),
        (
            {"type": "sql", "query": "SELECT 1"},
            "a rule of type sql is not checked: give it severity",
        ),
        ({"type": "custom", "engine": "soda"}, "a rule of type custom is not checked"),
        ({"type": "text", "description": "is nice"}, "a rule of type text is not checked"),
        ({"metric": "nullValues", "mustBeLessThan": 5}, "nullValues is checked as mustBe: 0 only"),
        ({"metric": "nullValues"}, "nullValues is checked as mustBe: 0 only"),
        ({"metric": "duplicateValues", "mustBe": 0, "unit": "percent"}, "only rows are counted"),
        ({"metric": "invalidValues", "mustBe": 0}, "needs validValues or a pattern"),
        ({"metric": "invalidValues", "mustBe": 0, "validValues": []}, "needs a list of values"),
    ],
    ids=str,
)
def test_a_rule_that_nobody_checks_is_refused_in_words(rule, words):
    with pytest.raises(Refused, match=words) as refused:
        of("string", rule)
    assert refused.value.code == "agreement.document"


@pytest.mark.parametrize(
    ("column", "table", "words"),
    [
        ({"logicalType": "date"}, (), "column x has the type date: there are"),
        ({"logicalType": "string", "logicalTypeOptions": {"format": "email"}}, (), "has format"),
        ({"logicalType": "number", "logicalTypeOptions": {"multipleOf": 2}}, (), "has multipleOf"),
        ({"logicalType": "string", "name": "_person"}, (), "_person is no name for a column"),
        (None, [{"metric": "nullValues", "mustBe": 0}], "only rowCount is checked"),
        (None, [{"metric": "rowCount"}], "needs mustBe"),
        (None, [{"metric": "rowCount", "mustNotBe": 0}], "needs mustBe"),
        (
            None,
            [{"metric": "rowCount", "mustBe": 1}, {"metric": "rowCount", "mustBe": 2}],
            "no number of rows keeps both",
        ),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused_in_words(column, table, words):
    with pytest.raises(Refused, match=words):
        contract(column, table)
