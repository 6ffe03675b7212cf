"""The gate: each rule with what just passes and what just does not, and the order of the rules."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host import cells, contributors, outputs
from enclave_host.contributors import Contributor, smallest_change
from enclave_host.gate import Gate, Passed, Stopped
from enclave_host.lineage import Lineage, result
from enclave_host.output_model import OutputModel
from enclave_host.parties import Parties, read_agreement
from protocol.errors import Refused
from tests.enclave_rig import Rig, seed
from tests.enclave_vitals import SCHEMAS
from tests.framing import framed, frames


def rig_parties(**rules: object) -> tuple[Rig, Parties]:
    rig = Rig(seed("environment"), **rules)
    return rig, read_agreement(rig.opening)


def people(*numbers: int, **more: object) -> dict[bytes, Contributor]:
    return {seed(f"row-{n}")[:16]: Contributor(**more) for n in numbers}


def gate(rig: Rig, parties: Parties, who: dict, names=("model",), rows: int = 10) -> Gate:
    models = {name: OutputModel(name, blob) for name, blob in rig.schemas.items()}
    return Gate(parties, models, names, who, rows)


def judge(value: object, who: dict, lineage: Lineage | None = None, names=("model",), **rules):
    rig, parties = rig_parties(**rules)
    raw = value if isinstance(value, bytes) else framed(value)
    found = gate(rig, parties, who, names)
    stopped = found.judge_people(Lineage() if lineage is None else lineage)
    return stopped or found.judge(raw), found.checks


MODEL = {"model": {"n": 9, "mean": 1.23456}}


def model(text: bytes, form: str = "json") -> bytes:
    return frames([("model", form, text)])


def test_what_passes_is_rounded_and_canonical():
    verdict, checks = judge(MODEL, people(1, 2, 3))
    assert isinstance(verdict, Passed)
    assert verdict.whole == {"model": b'{"mean":1.235,"n":9}'}
    assert [check.rule for check in checks] == [
        "min_contributors", "min_change", "output_model", "small_cells", "output_bytes",
    ]  # fmt: skip
    assert all(check.passed for check in checks)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "gate.schema"),
        (model(b"{"), "gate.schema"),
        (model(b"[]"), "gate.schema"),
        (model(b'{"n": 9, "mean": NaN}'), "gate.schema"),
        (model(b'{"n": 9, "mean": 1e400}'), "gate.schema"),
        (model(b'{"n": 9, "n": 9, "mean": 1}'), "gate.schema"),
        (model(b"[" * 5000 + b"]" * 5000), "gate.schema"),
        (model(b'{"n": 9, "mean": 1}', "state"), "gate.schema"),
        (model(b'{"n": 9, "mean": 1}', "arrow"), "gate.schema"),
        (framed({"model": {"n": 9, "mean": 1, "rows": [1]}}), "gate.schema"),
        (framed({"model": {"n": "9", "mean": 1}}), "gate.schema"),
        (framed({**MODEL, "extra": 1}), "gate.recipient"),
        (framed({}), "gate.recipient"),
    ],
)
def test_anything_beyond_the_output_model_is_refused(raw, code):
    verdict, checks = judge(raw, people(1, 2, 3))
    assert isinstance(verdict, Stopped)
    assert (verdict.outcome, verdict.code) == ("refused", code)
    assert [check.passed for check in checks] == [True, True, False]


def test_how_many_outputs_came_is_not_told():
    """The record is open to all: a number that the algorithm chooses would be a way out."""
    told = [
        judge({f"{n}": 1 for n in range(many)}, people(1, 2, 3))[1][-1] for many in (0, 7, 4711)
    ]
    assert {(check.rule, check.limit, check.measured) for check in told} == {("output_model", 1, 0)}


def test_people_that_a_recipient_supplied_do_not_count_for_it():
    rig, parties = rig_parties()
    own = people(1, 2, 3, organizations=frozenset({rig.b.did}))
    verdict = gate(rig, parties, own | people(4, 5)).judge_people(Lineage())
    assert verdict is not None
    assert verdict.code == "gate.min-contributors"
    assert gate(rig, parties, own | people(4, 5, 6)).judge_people(Lineage()) is None


def test_people_that_a_recipient_vouched_for_do_not_count_for_it():
    rig, _ = rig_parties()
    vouched = people(1, 2, 3, own=True, vouched=frozenset({rig.sponsor.did}))
    assert contributors.count_for(vouched, rig.sponsor.did) == 0
    assert contributors.count_for(vouched, rig.b.did) == 3


def test_a_person_at_two_hospitals_counts_once():
    both = [
        (b"one", Contributor(organizations=frozenset({b"a"})), b"row"),
        (b"one", Contributor(organizations=frozenset({b"b"})), b"row"),
    ]
    (found,) = contributors.gather(both).values()
    assert found.organizations == {b"a", b"b"}
    assert contributors.gather(both) == contributors.gather(reversed(both))


def test_a_corrected_row_is_a_change_of_one_person():
    before, now = people(1, 2, 3), people(1, 2) | people(3, content=b"corrected" + bytes(7))
    assert smallest_change(before, now) == 1
    verdict, _ = judge(MODEL, now, lineage(before), min_change=2)
    assert isinstance(verdict, Stopped)


def test_the_lineage_keeps_what_the_comparison_needs():
    rows = people(1, own=True) | people(2, organizations=frozenset({b"a" * 32}), content=b"x" * 16)
    kept = result(1, "fit", "{}", rows)
    assert Lineage(results=(kept,)).people([1]) == rows


def table(*counts: int) -> dict:
    return {"table": {"cells": [{"site": n, "n": count} for n, count in enumerate(counts)]}}


def test_small_cells_refuse_the_table():
    verdict, checks = judge(table(5, 2, 1), people(1, 2, 3), names=("table",))
    assert isinstance(verdict, Stopped)
    assert (verdict.code, verdict.detail) == (
        "gate.small-cells",
        "2 of 3 cells count fewer than 3; a coarser table would release it",
    )
    assert checks[-1].measured == 2


def test_small_cells_go_as_a_whole_where_the_agreement_says_suppress():
    verdict, _ = judge(table(5, 2, 1, 9), people(1, 2, 3), names=("table",), small_cells="suppress")
    assert isinstance(verdict, Passed)
    assert json.loads(verdict.whole["table"]) == {
        "cells": [{"n": 5, "site": 0}, {"n": 9, "site": 3}]
    }


def test_one_suppressed_cell_takes_another_with_it_or_the_total_gives_it_back():
    verdict, _ = judge(table(5, 2, 9), people(1, 2, 3), names=("table",), small_cells="suppress")
    assert isinstance(verdict, Passed)
    assert json.loads(verdict.whole["table"]) == {"cells": [{"n": 9, "site": 2}]}


def test_if_no_cell_is_left_the_table_is_refused():
    verdict, _ = judge(table(2, 2), people(1, 2, 3), names=("table",), small_cells="suppress")
    assert isinstance(verdict, Stopped)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 12))
def test_what_suppression_leaves_is_never_small_and_what_goes_is_never_few(counts, bound):
    value = table(*counts)["table"]
    before = sum(counts)
    done = cells.suppress(cells.find(value, [("cells", "*", "n")]), bound)
    left = [cell["n"] for cell in value["cells"]]
    if done:
        assert all(count >= bound for count in left)
        gone = before - sum(left)
        assert len(left) == len(counts) or gone >= bound


def test_the_quota_counts_bytes_of_the_canonical_output():
    size = len(b'{"mean":1.235,"n":9}')
    assert isinstance(judge(MODEL, people(1, 2, 3), output_bytes=size)[0], Passed)
    verdict, _ = judge(MODEL, people(1, 2, 3), output_bytes=size - 1)
    assert isinstance(verdict, Stopped)
    assert verdict.code == "gate.quota"


def lineage(*sets: dict) -> Lineage:
    return Lineage(results=tuple(result(n, "fit", "{}", who) for n, who in enumerate(sets, 1)))


def test_a_result_that_differs_by_too_few_people_is_held():
    before = people(*range(10))
    for missing, held in (((), False), ((1,), True), ((1, 2), False)):
        now = people(*(n for n in range(10) if n not in missing))
        verdict, _ = judge(MODEL, now, lineage(before), min_change=2)
        assert isinstance(verdict, Stopped) == held
    assert isinstance(verdict, Passed)


def test_a_held_result_names_the_run_and_is_compared_with_every_release():
    first, second = people(*range(10)), people(*range(20))
    verdict, checks = judge(MODEL, people(*range(1, 10)), lineage(first, second), min_change=5)
    assert isinstance(verdict, Stopped)
    assert (verdict.outcome, verdict.code) == ("held", "gate.min-change")
    assert verdict.detail == "differs from run 1 by 1 person; 4 more people would release it"
    assert checks[-1].measured == 1


def test_whoever_controls_part_of_the_difference_can_take_it_out():
    hospital = frozenset({b"a" * 32})
    base = people(*range(10))
    joined = base | people(20, 21, 22, 23, organizations=hospital) | people(30)
    # Five people differ; hospital a knows four of them and would learn about the fifth.
    assert smallest_change(base, joined) == 1
    assert smallest_change(base, base | people(20, 21, organizations=hospital)) == 2
    vaults = people(*range(40, 46), own=True)
    # Six people, each in control of the own row: whoever is one of them is left with five.
    assert smallest_change(base, base | vaults) == 5
    assert smallest_change(base, base | people(40, own=True)) == 1
    assert smallest_change(base, base) == 0


@given(st.sets(st.integers(0, 12)), st.sets(st.integers(0, 12)), st.booleans())
def test_the_smallest_change_is_symmetric_and_zero_only_for_the_same_people(one, other, own):
    before, now = people(*one, own=own), people(*other, own=own)
    assert smallest_change(before, now) == smallest_change(now, before)
    assert (smallest_change(before, now) == 0) == (one == other)


def test_a_persons_own_part_goes_without_its_row_number():
    value = {**MODEL, "own-risk": [{"row": 2, "relative_risk": 1.23456}]}
    verdict, _ = judge(value, people(1, 2, 3, 4), names=("model", "own-risk"))
    assert isinstance(verdict, Passed)
    assert verdict.parts == {"own-risk": {2: b'{"relative_risk":1.235}'}}
    assert "own-risk" not in verdict.whole


@pytest.mark.parametrize("rows", [[10], [2, 2]])
def test_a_part_for_no_row_or_twice_for_one_is_refused(rows):
    parts = [{"row": row, "relative_risk": 1.0} for row in rows]
    verdict, _ = judge(
        {**MODEL, "own-risk": parts}, people(1, 2, 3, 4), names=("model", "own-risk")
    )
    assert isinstance(verdict, Stopped)
    assert verdict.code == "gate.schema"


def test_an_own_part_needs_enough_other_people():
    value = {**MODEL, "own-risk": []}
    verdict, _ = judge(value, people(1, 2, 3), names=("model", "own-risk"))
    assert isinstance(verdict, Stopped)
    assert verdict.code == "gate.min-contributors"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": {}},
        {"type": "array", "items": {"type": "boolean"}},
        {"type": "string"},
        {"type": "string", "pattern": "[a-z]"},
        {"type": "object", "additionalProperties": False, "properties": {"": {"const": 1}}},
        {"type": "object", "additionalProperties": False, "properties": {"*": {"const": 1}}},
        {"type": "integer", "minimum": 0},
        {"anyOf": [{"type": "boolean"}]},
        {"type": ["integer", "null"]},
        {"$ref": "https://example.org/schema"},
        {"$ref": "#/$defs/loop", "$defs": {"loop": {"$ref": "#/$defs/loop"}}},
        {"type": "number", "minimum": 0, "maximum": 1, "x-village-cell-count": True},
        True,
    ],
)
def test_an_open_output_model_is_refused(schema):
    with pytest.raises(Refused) as refused:
        OutputModel("model", json.dumps(schema).encode())
    assert refused.value.code == "gate.schema"


def test_cell_counts_are_found_behind_references():
    count = {"type": "integer", "minimum": 0, "maximum": 9, "x-village-cell-count": True}
    item = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"n": {"$ref": "#/$defs/n"}},
    }
    schema = {"type": "array", "maxItems": 9, "items": item, "$defs": {"n": count}}
    model = OutputModel("table", json.dumps(schema).encode())
    assert model.cells == {("*", "n")}


def test_the_schemas_of_the_demo_are_closed():
    assert OutputModel("table", json.dumps(SCHEMAS["table"]).encode()).cells == {
        ("cells", "*", "n")
    }


def test_a_number_has_one_form():
    """A choice between 7 and 7.0 would be a bit for each number."""
    value = {"a": [-0.0001, 0.0, 7, 7.0, 6.999, 1e22, 0.125, True]}
    assert outputs.canonical(outputs.rounded(value, 2)) == (
        b'{"a":[0,0,7,7,7,10000000000000000000000,0.12,true]}'
    )


def test_a_number_too_large_is_no_json():
    with pytest.raises(Refused, match=r"gate\.schema"):
        outputs.read_json(b'{"n": 1e400}')
