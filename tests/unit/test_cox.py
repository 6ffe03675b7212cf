"""The demo's algorithm: against R, against the definitions, and on data that allow no fit."""

import importlib.util
import json
import math
import random
import sys
from pathlib import Path
from types import ModuleType

import jsonschema_rs
import pyarrow as pa
import pytest

from node.demo import cast, local_fit

LUNG = Path(".cache/demo-data/lifelines/datasets/lung.csv")
ENVIRONMENT = Path(".cache/environments/scientific")
BUNDLE = Path("configs/demo/algorithms/cox-ph")
ALL = {"covariates": ["age", "sex", "ph_ecog"]}


@pytest.fixture(scope="module")
def cox():
    """The module of the bundle, loaded with the environment that the agreement names."""
    if not (ENVIRONMENT / "numpy").is_dir():
        pytest.fail(f"{ENVIRONMENT} is missing: run make setup")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(ENVIRONMENT.resolve())])
        patch.setattr(sys, "dont_write_bytecode", True)  # nothing may appear in the bundle
        spec = importlib.util.spec_from_file_location("cox", BUNDLE / "cox.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def lung() -> cast.Cast:
    if not LUNG.is_file():
        pytest.fail(f"{LUNG} is missing: run make setup")
    return cast.split(LUNG.read_text(encoding="utf-8"))


def columns(rows) -> dict[str, pa.Table]:
    names = ("inst", "time", "status", "age", "sex", "ph_ecog")
    return {"lung-v1": pa.table({name: [getattr(row, name) for row in rows] for name in names})}


def table(**values) -> dict[str, pa.Table]:
    return {"lung-v1": pa.table(values)}


def random_table(seed: int, rows: int = 40, days: int = 12) -> dict[str, list[int]]:
    """Few days and few values, so that times, deaths and risks are tied in every way."""
    chance = random.Random(seed)  # noqa: S311 - test data that can be repeated
    return {
        "time": [chance.randint(1, days) for _ in range(rows)],
        "status": [int(chance.random() < 0.7) for _ in range(rows)],
        "sex": [chance.randint(1, 2) for _ in range(rows)],
        "ph_ecog": [chance.randint(0, 3) for _ in range(rows)],
    }


def check(model: dict, expected: dict[str, dict[str, float]], places: float) -> None:
    for what, values in expected.items():
        assert model[what] == pytest.approx(values, abs=places), what


# --- against R -------------------------------------------------------------------------------


def test_run_2_is_the_published_fit(cox: ModuleType, lung: cast.Cast) -> None:
    model = cox.fit(columns(lung.rows()), ALL)["model"]
    assert (model["n"], model["events"], model["rows_left_out"]) == (227, 164, 1)
    assert model["coefficients"] == pytest.approx(dict(cast.PUBLISHED), abs=1e-6)
    check(
        model,
        {
            "standard_errors": {"age": 0.009267, "sex": 0.167739, "ph_ecog": 0.113577},
            "hazard_ratio": {"age": 1.011128, "sex": 0.575445, "ph_ecog": 1.589991},
            "p": {"age": 0.232416, "sex": 0.000986, "ph_ecog": 0.0000445},
        },
        1e-6,
    )
    published = {"age": (0.9929, 1.0297), "sex": (0.4142, 0.7994), "ph_ecog": (1.2727, 1.9864)}
    for name, limits in published.items():
        found = (model["ci95"][name]["low"], model["ci95"][name]["high"])
        assert found == pytest.approx(limits, abs=6e-5)
    assert model["loglik"] == pytest.approx(-729.2301, abs=6e-5)
    assert round(model["concordance"], 3) == 0.637


def test_run_1_without_six_patients(cox: ModuleType, lung: cast.Cast) -> None:
    rows = lung.rows({cast.WITHDREW, *cast.LATECOMERS})
    model = cox.fit(columns(rows), ALL)["model"]
    assert (len(rows), model["n"], model["events"]) == (222, 221, 164)
    expected = {"age": 0.009754, "sex": -0.531204, "ph_ecog": 0.449860}
    assert model["coefficients"] == pytest.approx(expected, abs=1e-6)
    assert round(model["concordance"], 3) == 0.630


def test_sex_alone_as_in_r(cox: ModuleType, lung: cast.Cast) -> None:
    model = cox.fit(columns(lung.rows()), {"covariates": ["sex"]})["model"]
    assert (model["n"], model["events"], model["rows_left_out"]) == (228, 165, 0)
    check(
        model,
        {"coefficients": {"sex": -0.5310}, "standard_errors": {"sex": 0.1672}},
        6e-5,
    )
    assert model["p"]["sex"] == pytest.approx(0.00149, abs=6e-6)
    assert round(model["concordance"], 3) == 0.579


@pytest.mark.parametrize(
    ("hospital", "expected"),
    [
        ("A", (0.54, 0.26, 1.10, 0.09)),
        ("B", (0.64, 0.32, 1.26, 0.20)),
        ("C", (0.60, 0.27, 1.37, 0.23)),
        ("D", (0.57, 0.31, 1.04, 0.07)),
    ],
)
def test_no_hospital_can_tell_alone(
    lung: cast.Cast, tmp_path: Path, hospital: str, expected: tuple[float, ...]
) -> None:
    data = tmp_path / "own.csv"
    data.write_text(cast.to_csv(lung.hospitals[hospital]), encoding="utf-8")
    found = local_fit.fit(data, BUNDLE, ENVIRONMENT)
    shown = tuple(round(x, 2) for x in (found.hazard_ratio, found.low, found.high, found.p))
    assert shown == expected
    assert not found.can_tell


def test_a_hospital_hears_why_its_rows_cannot_be_fitted(lung: cast.Cast, tmp_path: Path) -> None:
    data = tmp_path / "own.csv"
    data.write_text(cast.to_csv(lung.patients.values()), encoding="utf-8")
    with pytest.raises(local_fit.LocalFitFailed, match="cannot fit: nobody died"):
        local_fit.fit(data, BUNDLE, ENVIRONMENT)


# --- against the definitions -----------------------------------------------------------------


def efron(rows: dict[str, list[int]], names: list[str], beta: list[float]) -> float:
    """Efron's partial log-likelihood, written as in the books."""
    risk = [
        sum(b * rows[name][i] for name, b in zip(names, beta, strict=True))
        for i in range(len(rows["time"]))
    ]
    total = 0.0
    for day in sorted(set(rows["time"])):
        at_risk = [i for i, time in enumerate(rows["time"]) if time >= day]
        dead = [i for i in at_risk if rows["time"][i] == day and rows["status"][i]]
        everybody = sum(math.exp(risk[i]) for i in at_risk)
        tied = sum(math.exp(risk[i]) for i in dead)
        for place, i in enumerate(dead):
            total += risk[i] - math.log(everybody - place / len(dead) * tied)
    return total


def concordance(rows: dict[str, list[int]], risk: list[float]) -> float:
    """Harrell's C, pair by pair."""
    agreeing = compared = 0.0
    people = list(zip(rows["time"], rows["status"], risk, strict=True))
    for time, died, mine in people:
        for other, other_died, theirs in people:
            if died and (other > time or (other == time and not other_died)):
                compared += 1
                agreeing += 1 if mine > theirs else 0.5 if mine == theirs else 0
    return agreeing / compared


@pytest.mark.parametrize("seed", range(8))
def test_ties_follow_the_definition(cox: ModuleType, seed: int) -> None:
    rows, names = random_table(seed), ["sex", "ph_ecog"]
    model = cox.fit(table(**rows), {"covariates": names})["model"]
    beta = [model["coefficients"][name] for name in names]
    top = efron(rows, names, beta)
    assert model["loglik"] == pytest.approx(top, abs=1e-9)
    for place in range(len(names)):
        for change in (-1e-3, 1e-3):
            nearby = [b + change * (i == place) for i, b in enumerate(beta)]
            assert efron(rows, names, nearby) < top
    risk = [
        round(beta[0] * sex + beta[1] * ecog, 9)
        for sex, ecog in zip(rows["sex"], rows["ph_ecog"], strict=True)
    ]
    assert model["concordance"] == pytest.approx(concordance(rows, risk), abs=1e-12)


def test_equal_people_have_equal_risks_in_spite_of_rounding(cox: ModuleType) -> None:
    numpy = sys.modules["numpy"]
    time, died = numpy.array([1.0, 2.0, 3.0]), numpy.array([True, False, False])
    sample = cox.Sample(numpy.arange(3), time, died, numpy.zeros((3, 1)), 0)
    assert cox._concordance(sample, numpy.array([0.3, 0.3 + 1e-15, 0.1])) == 0.75


@pytest.mark.parametrize("seed", range(3))
def test_standard_errors_are_the_curvature(cox: ModuleType, seed: int) -> None:
    rows = random_table(seed)
    model = cox.fit(table(**rows), {"covariates": ["ph_ecog"]})["model"]
    beta, step = model["coefficients"]["ph_ecog"], 1e-4
    below, top, above = (efron(rows, ["ph_ecog"], [beta + d]) for d in (-step, 0, step))
    curvature = (2 * top - below - above) / step**2
    assert model["standard_errors"]["ph_ecog"] == pytest.approx(curvature**-0.5, rel=1e-4)


def test_order_of_rows_changes_nothing(cox: ModuleType, lung: cast.Cast) -> None:
    rows = lung.rows()
    first = cox.fit(columns(rows), ALL)["model"]
    random.Random(1).shuffle(rows)  # noqa: S311 - an order that can be repeated
    second = cox.fit(columns(rows), ALL)["model"]
    assert second["coefficients"] == pytest.approx(first["coefficients"], abs=1e-9)
    assert second["concordance"] == first["concordance"]


def test_own_risk_names_the_row_and_compares_with_the_average(
    cox: ModuleType, lung: cast.Cast
) -> None:
    rows = lung.rows()
    outputs = cox.fit(columns(rows), ALL)
    items = outputs["own-risk"]
    assert [item["row"] for item in items] == [row for row in range(228) if row != 13]
    beta = outputs["model"]["coefficients"]
    used = [row for row in rows if row.ph_ecog is not None]
    mean = {name: sum(getattr(row, name) for row in used) / len(used) for name in beta}
    for item in items:
        row = rows[item["row"]]
        risk = sum(b * (getattr(row, name) - mean[name]) for name, b in beta.items())
        assert item["relative_risk"] == pytest.approx(math.exp(risk), abs=1e-9)


# --- outputs keep their model ----------------------------------------------------------------


def schema(name: str) -> dict:
    return json.loads((BUNDLE / name).read_text(encoding="utf-8"))


def test_outputs_match_their_schemas(cox: ModuleType, lung: cast.Cast) -> None:
    outputs = cox.fit(columns(lung.rows()), ALL) | cox.by_site(columns(lung.rows()), {})
    sent = json.loads(json.dumps(outputs, allow_nan=False))
    for output, name in (
        ("model", "cox-result.schema.json"),
        ("own-risk", "own-risk.schema.json"),
        ("table", "by-site.schema.json"),
    ):
        jsonschema_rs.validate(schema(name), sent[output])


def test_every_part_of_the_model_has_its_meaning(cox: ModuleType, lung: cast.Cast) -> None:
    meaning = schema("cox-result.jsonld")["@context"]
    model = cox.fit(columns(lung.rows()), ALL)["model"]
    named = {*model, *model["coefficients"], *model["ci95"]["sex"]}
    assert named <= set(meaning)


@pytest.mark.parametrize("name", sorted(path.name for path in BUNDLE.glob("*.schema.json")))
def test_schemas_are_closed_and_bounded(name: str) -> None:
    def walk(part) -> None:
        if isinstance(part, list):
            for item in part:
                walk(item)
        if not isinstance(part, dict):
            return
        kind = part.get("type")
        if kind == "object":
            assert part["additionalProperties"] is False
        if kind in ("number", "integer"):
            assert {"minimum", "maximum"} <= set(part)
        assert kind != "array" or "maxItems" in part
        assert kind != "string"
        for item in part.values():
            walk(item)

    walk(schema(name))


def test_by_site_counts_everybody_and_marks_the_count(cox: ModuleType, lung: cast.Cast) -> None:
    rows = lung.rows()
    cells = cox.by_site(columns(rows), {})["table"]["cells"]
    assert sum(cell["n"] for cell in cells) == 228
    assert sum(cell["events"] for cell in cells) == 165
    assert {"site": 0, "n": 1, "events": 1} in cells
    assert {"site": 1, "n": 36, "events": 27} in cells
    assert (len(cells), sum(cell["n"] < 10 for cell in cells)) == (19, 10)
    cell = schema("by-site.schema.json")["properties"]["cells"]["items"]["properties"]
    assert [name for name in cell if cell[name].get("x-village-cell-count")] == ["n"]


# --- what allows no fit ----------------------------------------------------------------------

SOME = {"time": [1, 2, 3, 4, 5, 6], "status": [1, 1, 0, 1, 1, 0], "sex": [1, 2, 1, 1, 2, 2]}


@pytest.mark.parametrize(
    ("change", "names", "why"),
    [
        ({"status": [0] * 6}, ["sex"], "nobody died"),
        ({"sex": [1] * 6}, ["sex"], "sex has one value"),
        ({"sex": [None] * 6}, ["sex"], "not numbers"),
        ({"sex": pa.array([None] * 6, pa.int64())}, ["sex"], "no row has a value"),
        ({"sex": ["1", "2", "1", "1", "2", "2"]}, ["sex"], "not numbers"),
        ({"sex": [1.0, math.inf, 1.0, 1.0, 2.0, 2.0]}, ["sex"], "infinite"),
        ({"time": [-1, 2, 3, 4, 5, 6]}, ["sex"], "time must be"),
        ({"status": [1, 2, 1, 2, 2, 1]}, ["sex"], "status 0"),
        ({"sex": [2, 2, 1, 2, 2, 1]}, ["sex"], "separates"),
        ({"status": [1] * 6, "age": [70, 60, 50, 40, 30, 20]}, ["age"], "separates"),
        ({"age": [2, 4, 2, 2, 4, 4]}, ["sex", "age"], "two say the same"),
        ({"status": [1, 0, 0, 0, 0, 0]}, ["sex"], "separates"),
        ({"time": [5] * 6, "status": [1] * 6}, ["sex"], "nobody outlived"),
        ({"age": [1.0, 1.001, 1.0, 1.0, 1.001, 1.001]}, ["age"], "beyond 1e9"),
        ({}, ["age"], "no column age"),
    ],
)
def test_no_number_where_there_is_no_answer(cox: ModuleType, change, names, why: str) -> None:
    with pytest.raises(cox.CannotFit, match=why):
        cox.fit(table(**(SOME | change)), {"covariates": names})


def test_an_empty_table_gives_no_fit_and_an_empty_count(cox: ModuleType) -> None:
    nothing = pa.array([], pa.int64())
    with pytest.raises(cox.CannotFit, match="no row"):
        cox.fit(table(time=nothing, status=nothing, sex=nothing), {"covariates": ["sex"]})
    assert cox.by_site(table(inst=nothing, status=nothing), {}) == {"table": {"cells": []}}


def test_rows_with_empty_values_are_left_out_and_counted(cox: ModuleType) -> None:
    rows = random_table(3)
    expected = cox.fit(table(**rows), {"covariates": ["sex"]})["model"]
    longer = {name: [*values, 2, None] for name, values in rows.items()}
    longer["sex"][-2:] = [None, 1]
    found = cox.fit(table(**longer), {"covariates": ["sex"]})
    assert found["model"] == expected | {"rows_left_out": 2}
    assert [item["row"] for item in found["own-risk"]] == list(range(40))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"covariates": []},
        {"covariates": "sex"},
        {"covariates": ["person"]},
        {"covariates": ["sex", "sex"]},
        {"covariates": [["sex"]]},
        {"covariates": ["sex"], "ties": "breslow"},
    ],
)
def test_other_parameters_are_refused(cox: ModuleType, parameters) -> None:
    with pytest.raises(cox.CannotFit, match="covariates"):
        cox.fit(table(**SOME), parameters)


def test_one_table_and_no_other(cox: ModuleType) -> None:
    two = table(**SOME) | {"more": pa.table(SOME)}
    with pytest.raises(cox.CannotFit, match="one table"):
        cox.fit(two, {"covariates": ["sex"]})
    with pytest.raises(cox.CannotFit, match="takes no parameters"):
        cox.by_site(table(inst=[1], status=[1]), {"site": 1})
