"""Cox proportional hazards on pooled rows: which characteristics go with a longer or shorter life.

Method: Cox, J. R. Stat. Soc. B 34 (1972), tied deaths after Efron, J. Am. Stat. Assoc. 72 (1977);
the estimates agree with `coxph` of R's package survival. Columns used: `time` (days, 0 or more),
`status` (1 died, 0 still alive), `inst`, and the covariates. There is no person column here: the
runtime keeps it to itself, and knows people again by the row number.
"""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.int64]

COVARIATES = ("age", "sex", "ph_ecog")
STEPS = 30  # Newton-Raphson needs 4 to 7; separated data would go on for ever
HALVINGS = 20
LOGLIK_TOLERANCE = 1e-10  # relative change of the log-likelihood
STEP_TOLERANCE = 1e-8  # largest step, in standard deviations of a covariate
SINGULAR = 1e-10  # smallest eigenvalue of the information per death, covariates standardised
LARGEST = math.log(1e9)  # of a logarithm of a hazard ratio, and of its confidence limits
NORMAL_975 = 1.959963984540054  # quantile behind a 95 % confidence interval


class CannotFit(ValueError):
    """The data or the parameters allow no fit; the text says why and what would help."""


class Sample(NamedTuple):
    """Complete rows, ordered by time."""

    rows: Counts  # row numbers in the input table
    time: Floats  # days
    died: NDArray[np.bool_]
    x: Floats  # a row for each row, a column for each covariate
    left_out: int  # rows with an empty value in a column that is used


class Deaths(NamedTuple):
    """For each death, in order of time, what Efron's denominator needs."""

    x: Floats  # standardised covariates of all rows, ordered by time
    row: Counts  # row of the death in x
    at_risk: Counts  # first row still at risk at that time
    ties: Counts  # number of the distinct time of death
    first: Counts  # for each distinct time, its first death
    share: Floats  # part of the tied deaths taken out of the risk set: 0, 1/d, 2/d, ...


class Fit(NamedTuple):
    """A maximum of the partial likelihood, in units of standardised covariates."""

    beta: Floats
    covariance: Floats
    loglik: float
    iterations: int


def fit(tables: dict[str, pa.Table], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs `model` and `own-risk`; raises CannotFit."""
    names = _covariates(parameters)
    sample = _complete_rows(_only_table(tables), names)
    centre = sample.x.mean(axis=0)
    scale = sample.x.std(axis=0)
    for name, spread in zip(names, scale, strict=True):
        if spread == 0:
            raise CannotFit(f"{name} has one value in all rows: leave it out of the covariates")
    standardised = (sample.x - centre) / scale
    found = _maximise(_deaths(sample, standardised))
    risk = standardised @ found.beta  # the logarithm of a person's risk, 0 at the means
    return {"model": _model(names, sample, found, scale, risk), "own-risk": _own_risk(sample, risk)}


def by_site(tables: dict[str, pa.Table], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the output `table`: rows and deaths per institution, 0 where none is known."""
    if parameters:
        raise CannotFit("the entry point by-site takes no parameters")
    data = _only_table(tables)
    sites = [0 if site is None else site for site in data.column("inst").to_pylist()]
    died = [status == 1 for status in data.column("status").to_pylist()]
    cells = {site: {"site": site, "n": 0, "events": 0} for site in sorted(set(sites))}
    for site, event in zip(sites, died, strict=True):
        cells[site]["n"] += 1
        cells[site]["events"] += event
    return {"table": {"cells": list(cells.values())}}


def _only_table(tables: Mapping[str, pa.Table]) -> pa.Table:
    if len(tables) != 1:
        raise CannotFit(f"one table is needed, {len(tables)} were given")
    return next(iter(tables.values()))


def _covariates(parameters: Mapping[str, Any]) -> list[str]:
    names = parameters.get("covariates")
    if set(parameters) != {"covariates"} or not isinstance(names, list) or not names:
        raise CannotFit("the one parameter is covariates: a list of one or more names")
    if any(name not in COVARIATES for name in names) or len(set(names)) < len(names):
        raise CannotFit(f"covariates are any of {', '.join(COVARIATES)}, each at most once")
    return names


def _complete_rows(data: pa.Table, names: list[str]) -> Sample:
    columns = np.column_stack([_numbers(data, name) for name in ("time", "status", *names)])
    complete = ~np.isnan(columns).any(axis=1)
    rows = np.flatnonzero(complete)
    if not rows.size:
        raise CannotFit("no row has a value in every column that is used")
    rows = rows[np.argsort(columns[rows, 0], kind="stable")]
    time, status = columns[rows, 0], columns[rows, 1]
    if (time < 0).any() or not np.isin(status, (0, 1)).all():
        raise CannotFit("time must be 0 days or more, and status 0 (alive) or 1 (died)")
    if not status.any():
        raise CannotFit("nobody died in these rows: there is nothing to learn about survival")
    return Sample(rows, time, status == 1, columns[rows, 2:], int((~complete).sum()))


def _numbers(data: pa.Table, name: str) -> Floats:
    """Return a column as floats, nan where it is empty; raises CannotFit."""
    if name not in data.column_names:
        raise CannotFit(f"the table has no column {name}")
    column = data.column(name)
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        raise CannotFit(f"column {name} holds {column.type}, not numbers")
    numbers = np.array(column.to_pylist(), dtype=np.float64)
    if np.isinf(numbers).any():
        raise CannotFit(f"column {name} holds an infinite number")
    return numbers


def _deaths(sample: Sample, x: Floats) -> Deaths:
    row = np.flatnonzero(sample.died)
    when = sample.time[row]
    _, first, ties, tied = np.unique(
        when, return_index=True, return_inverse=True, return_counts=True
    )
    share = (np.arange(len(row)) - first[ties]) / tied[ties]
    return Deaths(x, row, np.searchsorted(sample.time, when), ties, first, share)


def _maximise(deaths: Deaths) -> Fit:
    """Climb by Newton-Raphson from 0, halving a step that leads down; raises CannotFit."""
    beta: Floats = np.zeros(deaths.x.shape[1])
    loglik, score, information = _likelihood(deaths, beta)
    for iteration in range(1, STEPS + 1):
        step = np.linalg.solve(_regular(information, len(deaths.row)), score)
        beta, climbed, score, information = _climb(deaths, beta, step, loglik)
        gain, loglik = climbed - loglik, climbed
        if gain <= LOGLIK_TOLERANCE * abs(loglik) and np.abs(step).max() <= STEP_TOLERANCE:
            covariance = np.linalg.inv(_regular(information, len(deaths.row)))
            return Fit(beta, covariance, loglik, iteration)
    raise CannotFit(f"no maximum in {STEPS} steps: a covariate separates who died from who lived")


def _climb(
    deaths: Deaths, beta: Floats, step: Floats, loglik: float
) -> tuple[Floats, float, Floats, Floats]:
    slack = LOGLIK_TOLERANCE * (1 + abs(loglik))  # rounding at the top is no way down
    for halving in range(HALVINGS):
        there = beta + step * 0.5**halving
        climbed, score, information = _likelihood(deaths, there)
        if climbed >= loglik - slack:
            return there, climbed, score, information
    raise CannotFit("the likelihood cannot be climbed from here: the covariates are unsuitable")


def _regular(information: Floats, deaths: int) -> Floats:
    """Return the matrix if it can be inverted; raises CannotFit."""
    if np.linalg.eigvalsh(information)[0] < SINGULAR * deaths:
        raise CannotFit(
            "the covariates do not determine one model: two say the same, "
            "or one separates who died from who lived"
        )
    return information


def _likelihood(deaths: Deaths, beta: Floats) -> tuple[float, Floats, Floats]:
    """Return Efron's partial log-likelihood at beta, its gradient and its negative Hessian."""
    risk = deaths.x @ beta
    weight = np.exp(risk - risk.max())  # a common factor cancels; nothing overflows
    first = deaths.x * weight[:, None]
    second = first[:, :, None] * deaths.x[:, None, :]
    total = _at_risk(deaths, weight)
    mean = _at_risk(deaths, first) / total[:, None]
    square = _at_risk(deaths, second) / total[:, None, None]
    loglik = float(np.sum(risk[deaths.row] - risk.max() - np.log(total)))
    score = (deaths.x[deaths.row] - mean).sum(axis=0)
    information = (square - mean[:, :, None] * mean[:, None, :]).sum(axis=0)
    return loglik, score, information


def _at_risk(deaths: Deaths, values: Floats) -> Floats:
    """For each death, sum over the risk set less Efron's share of the deaths tied with it."""
    later = np.cumsum(values[::-1], axis=0)[::-1][deaths.at_risk]
    tied = np.add.reduceat(values[deaths.row], deaths.first, axis=0)[deaths.ties]
    share = deaths.share.reshape(-1, *[1] * (values.ndim - 1))
    risk_set: Floats = later - share * tied
    return risk_set


def _concordance(sample: Sample, risk: Floats) -> float:
    """Return the share of comparable pairs in which who died first had the higher risk.

    As in R: a person alive at the time of a death outlived it, two who died on one day are not
    compared, and equal risks count half. Pairs are counted in one pass from the last day to the
    first, in a Fenwick tree over the ranks of the risks.
    """
    # Equal rows must get equal risks: without rounding the last bits depend on the row's place.
    _, ranks = np.unique(np.round(risk, 9), return_inverse=True)
    tree = [0] * (len(ranks) + 2)
    agreeing, compared, outlived = 0.0, 0, 0
    days = np.unique(sample.time, return_index=True)[1]
    for start, end in zip(days[::-1], [len(ranks), *days[:0:-1]], strict=True):
        died = sample.died[start:end]
        alive, dead = ranks[start:end][~died].tolist(), ranks[start:end][died].tolist()
        _insert(tree, alive)
        outlived += len(alive)
        for rank in dead:
            agreeing += (_ranked_below(tree, rank) + _ranked_below(tree, rank + 1)) / 2
        compared += len(dead) * outlived
        _insert(tree, dead)
        outlived += len(dead)
    if not compared:
        raise CannotFit("no two people can be compared: nobody outlived a death")
    return agreeing / compared


def _insert(tree: list[int], ranks: list[int]) -> None:
    for rank in ranks:
        place = rank + 1
        while place < len(tree):
            tree[place] += 1
            place += place & -place


def _ranked_below(tree: list[int], rank: int) -> int:
    count = 0
    while rank:
        count += tree[rank]
        rank -= rank & -rank
    return count


def _model(
    names: list[str], sample: Sample, found: Fit, scale: Floats, risk: Floats
) -> dict[str, Any]:
    beta = found.beta / scale
    error = np.sqrt(np.diag(found.covariance)) / scale
    half = NORMAL_975 * error
    return {
        "n": len(sample.rows),
        "events": int(sample.died.sum()),
        "rows_left_out": sample.left_out,
        "coefficients": _named(names, beta),
        "standard_errors": _named(names, error),
        "p": {
            name: math.erfc(abs(b / e) / math.sqrt(2))
            for name, b, e in zip(names, beta, error, strict=True)
        },
        "hazard_ratio": _named(names, _exp(beta)),
        "ci95": {
            name: {"low": float(low), "high": float(high)}
            for name, low, high in zip(names, _exp(beta - half), _exp(beta + half), strict=True)
        },
        "concordance": _concordance(sample, risk),
        "loglik": found.loglik,
        "iterations": found.iterations,
    }


def _own_risk(sample: Sample, risk: Floats) -> list[dict[str, Any]]:
    """Return for each complete row its risk relative to a person with average characteristics."""
    in_order = np.argsort(sample.rows)
    relative = _exp(risk)[in_order]
    return [
        {"row": int(row), "relative_risk": float(value)}
        for row, value in zip(sample.rows[in_order], relative, strict=True)
    ]


def _exp(exponent: Floats) -> Floats:
    if np.abs(exponent).max() > LARGEST:
        raise CannotFit("a hazard ratio beyond 1e9 is no finding: too few deaths for this model")
    ratio: Floats = np.exp(exponent)
    return ratio


def _named(names: list[str], values: Floats) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _alone() -> None:
    """Fit one CSV file on its owner's own machine: python -m cox FILE COVARIATE..."""
    from pyarrow import csv  # not needed, and not loaded, inside the datacage

    try:
        outputs = fit({"own": csv.read_csv(sys.argv[1])}, {"covariates": sys.argv[2:]})
    except CannotFit as error:
        sys.exit(f"cannot fit: {error}")
    print(json.dumps(outputs["model"]))


if __name__ == "__main__":
    _alone()
