"""Noise: known answers, a second reading of the stream, the distributions, and the budget."""

import hmac
import json
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host.noising import Noising, sensitivity
from protocol import budget, codec, limits, noise, output_model
from protocol.errors import Refused
from protocol.kinds.run import Charge
from protocol.output_model import Mark
from tests.agreements import DOCUMENT, LAB, SPONSOR, A, B, with_rules
from tests.vectors import noises
from tests.vectors.noises import rules

dp.enable_features("contrib")


def stream(*place: str) -> noise.Stream:
    return noise.Stream(noises.KEY, *place)


def test_the_vectors_are_what_the_code_draws():
    assert json.loads(noises.FILE.read_text()) == noises.make()


def test_the_stream_is_hkdf_as_rfc_5869_says():
    """A second reading, by HMAC alone."""
    secret = hmac.digest(bytes(32), noises.KEY, "sha256")
    found = b""
    for block in range(3):
        info, piece, whole = codec.encode(["village/noise/v1", "model", "n", block]), b"", b""
        for count in range(1, 33):
            piece = hmac.digest(secret, piece + info + bytes([count]), "sha256")
            whole += piece
        found += whole
    ours = stream("model", "n")
    assert ours.take(1) + ours.take(1500) + ours.take(1571) == found


def test_places_have_different_noise():
    drawn = {stream(*place).take(32) for place in ((), ("a",), ("a", "b"), ("ab",), ("b", "a"))}
    assert len(drawn) == 5


@given(st.integers(1, 2**70), st.binary(min_size=32, max_size=32))
def test_draws_stay_below_their_bound(bound, key):
    drawn = noise.Stream(key)
    assert all(0 <= drawn.below(bound) < bound for _ in range(3))


def laplace_chance(n: int, scale: float) -> float:
    ratio = math.exp(-1 / scale)
    return (1 - ratio) / (1 + ratio) * ratio ** abs(n)


def gaussian_chance(n: int, variance: float) -> float:
    total = sum(math.exp(-(k * k) / (2 * variance)) for k in range(-200, 201))
    return math.exp(-(n * n) / (2 * variance)) / total


def distance(drawn: Counter[int], expected: dict[int, float], count: int) -> tuple[float, int]:
    """Chi-square over the values that are expected at least 20 times, the rest together."""
    wide = {n: chance * count for n, chance in expected.items() if chance * count >= 20}
    rest = count - sum(wide.values())
    found = sum((drawn[n] - mean) ** 2 / mean for n, mean in wide.items())
    others = count - sum(drawn[n] for n in wide)
    return found + (others - rest) ** 2 / max(rest, 20), len(wide)


@pytest.mark.parametrize(
    ("draw", "parameter", "chance"),
    [
        (noise.laplace, "1/3", laplace_chance),
        (noise.laplace, "5/2", laplace_chance),
        (noise.gaussian, "1/4", gaussian_chance),
        (noise.gaussian, "6", gaussian_chance),
    ],
)
def test_what_is_drawn_has_its_distribution(draw, parameter, chance):
    """The stream is fixed, so this is an exact test: about one key in 10^5 would fail it."""
    count, exact = 20_000, Fraction(parameter)
    drawn = stream("statistics", parameter)
    seen = Counter(draw(drawn, exact) for _ in range(count))
    expected = {n: chance(n, float(exact)) for n in range(-100, 101)}
    found, values = distance(seen, expected, count)
    assert found < values + 5 * math.sqrt(2 * values) + 10


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_it_is_the_noise_that_opendp_makes(mechanism):
    """Two samples of one distribution. opendp has no seed: once in 10^9 this fails by chance."""
    count, scale = 3000, 2
    make = dp.m.make_laplace if mechanism == "laplace" else dp.m.make_gaussian
    theirs = make(dp.atom_domain(T=int), dp.absolute_distance(T=int), scale=float(scale))
    other = Counter(theirs(0) for _ in range(count))
    drawn = stream("opendp", mechanism)
    ours = Counter(
        noise.laplace(drawn, Fraction(scale))
        if mechanism == "laplace"
        else noise.gaussian(drawn, Fraction(scale**2))
        for _ in range(count)
    )
    common = [n for n in range(-20, 21) if ours[n] + other[n] >= 20]
    found = sum((ours[n] - other[n]) ** 2 / (ours[n] + other[n]) for n in common)
    assert found < len(common) + 6 * math.sqrt(2 * len(common)) + 25
    privacy = 1 / scale if mechanism == "laplace" else 1 / (2 * scale**2)
    assert theirs.map(1) == pytest.approx(privacy)


@given(st.integers(1, 20_000_000), st.integers(1, 10**9))
def test_rho_keeps_the_epsilon_that_it_is_made_from(epsilon, delta):
    rho = budget.rho(epsilon, delta) / 10**12
    spent = rho + 2 * math.sqrt(rho * math.log(10**12 / delta))
    assert spent <= epsilon / 10**6 * (1 + 1e-12)
    more = rho + 2e-12
    assert more + 2 * math.sqrt(more * math.log(10**12 / delta)) > epsilon / 10**6 * (1 - 1e-9)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-6), (1.0, 1e-6), (5.0, 1e-9)])
def test_opendp_counts_no_more_epsilon_for_our_rho(epsilon, delta):
    rho = budget.rho(round(epsilon * 10**6), round(delta * 10**12)) / 10**12
    scale = math.sqrt(1 / (2 * rho))
    gauss = dp.m.make_gaussian(dp.atom_domain(T=int), dp.absolute_distance(T=int), scale=scale)
    curve = dp.c.make_zCDP_to_approxDP(gauss).map(1)
    assert curve.epsilon(delta) <= epsilon * 1.0001


# --- noise on outputs -----------------------------------------------------------------------------


def number(kind: str, **more: object) -> dict[str, object]:
    return {"type": kind, "minimum": 0, "maximum": 100, **more}


def model(**properties: object) -> output_model.Model:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }
    return output_model.read("model", json.dumps(schema).encode())


CELLS = {
    "type": "array",
    "minItems": 3,
    "maxItems": 3,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["n", "site"],
        "properties": {
            "n": number("integer", **{"x-village-noise": {"l1": 1, }}),
            "site": number("integer", **{"x-village-noise": False}),
        },
    },
}  # fmt: skip
MODEL = model(cells=CELLS, mean=number("number", **{"x-village-noise": {"l1": 0.5}}))


def value() -> dict[str, object]:
    return {"cells": [{"n": 10 * n, "site": n} for n in range(3)], "mean": 50.123456}


def noised(key: bytes = noises.KEY, **changes: object) -> dict[str, object]:
    return Noising(key, rules(**changes), 2).add(MODEL, value())


def test_the_same_run_has_the_same_noise_and_another_run_has_another():
    assert noised() == noised()
    assert noised() != noised(bytes(32))
    assert noised() != value()
    assert [cell["site"] for cell in noised()["cells"]] == [0, 1, 2]


def test_noised_numbers_keep_their_kind_bounds_and_decimals():
    for n in range(50):
        found = noised(n.to_bytes(32, "big"), epsilon=20_000)
        assert all(type(cell["n"]) is int and 0 <= cell["n"] <= 100 for cell in found["cells"])
        assert 0 <= found["mean"] <= 100
        assert found["mean"] == round(found["mean"], 2)


def test_noise_is_as_large_as_sensitivity_over_its_part_of_epsilon():
    """1 over 0.25 epsilon is a scale of 4: the mean of |noise| is near it."""
    wide = model(n=number("integer", **{"x-village-noise": {"l1": 1}}))
    drawn = [
        abs(Noising(n.to_bytes(32, "big"), rules(), 2).add(wide, {"n": 50})["n"] - 50)
        for n in range(2000)
    ]
    assert sum(drawn) / len(drawn) == pytest.approx(4, rel=0.15)


def test_rounding_to_the_grid_is_counted():
    assert sensitivity(Mark("l1", Fraction(1, 2)), Fraction(1, 100), 3) == 53
    assert sensitivity(Mark("l2", Fraction(1, 2)), Fraction(1, 100), 3) == 52
    assert sensitivity(Mark("l2", Fraction(1)), Fraction(1), 0) == 1


def test_a_sensitivity_is_what_the_text_says_and_not_the_double_next_to_it():
    found = model(n=number("number", **{"x-village-noise": {"l1": 0.1}})).noised[0]
    assert found.mark == Mark("l1", Fraction(1, 10))


def test_more_numbers_than_can_be_drawn_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "NOISED", 2)
    with pytest.raises(Refused) as refused:
        noised()
    assert refused.value.code == "gate.quota"


# --- the budget -----------------------------------------------------------------------------------


class Ran:
    """What the budget reads of a run record."""

    def __init__(self, *charges: Charge) -> None:
        self.charges = charges


def document(**changes: object):
    said = {"noise": "laplace", "epsilon": 500_000, "epsilon_total": 2_000_000, **changes}
    return with_rules(DOCUMENT, B, **said)


def test_a_run_is_charged_for_each_dataset_and_recipient():
    found = budget.charges(document(), ["b", "a", "a"], [SPONSOR.did, LAB.did])
    assert [(one.dataset, one.amount) for one in found] == [
        ("a", 500_000), ("a", 500_000), ("b", 500_000), ("b", 500_000),
    ]  # fmt: skip
    assert budget.charges(DOCUMENT, ["a"], [SPONSOR.did]) == ()


def test_the_budget_ends_and_says_whose_rule_it_is_and_what_is_left():
    agreed = document(epsilon=800_000)
    due = budget.charges(agreed, ["lung-v1"], [SPONSOR.did])
    budget.check(agreed, due, [Ran(*due)])
    with pytest.raises(Refused) as refused:
        budget.check(agreed, due, [Ran(*due), Ran(*due)])
    assert refused.value.code == "gate.budget"
    assert refused.value.set_by == "hospital-b"
    assert refused.value.detail == (
        "sponsor has 0.4 epsilon of 2 epsilon left on lung-v1, and a run takes 0.8 epsilon; "
        "a run may use 0.4 epsilon"
    )


def test_budgets_of_others_are_others():
    agreed = document()
    due = budget.charges(agreed, ["lung-v1"], [SPONSOR.did])
    elsewhere = budget.charges(agreed, ["other"], [SPONSOR.did])
    somebody = budget.charges(agreed, ["lung-v1"], [A.did])
    budget.check(agreed, due, [Ran(*elsewhere), Ran(*somebody)] * 9)
    with pytest.raises(Refused, match="no run of this agreement may use more"):
        budget.check(agreed, due, [Ran(*due)] * 4)


@given(st.integers(1, 3_000_000), st.integers(1, 10), st.sampled_from(["laplace", "gaussian"]))
def test_no_history_of_allowed_runs_spends_more_than_agreed(epsilon, times, mechanism):
    agreed = document(noise=mechanism, epsilon=epsilon, epsilon_total=epsilon * times, delta=10**6)
    due = budget.charges(agreed, ["lung-v1"], [SPONSOR.did])
    runs: list[Ran] = []
    for _ in range(200):
        try:
            budget.check(agreed, due, runs)
        except Refused:
            break
        runs.append(Ran(*due))
    spent = budget.spent(runs).get(("lung-v1", SPONSOR.did), 0)
    assert spent <= budget.allowance(agreed.rules)
    if mechanism == "laplace":
        assert len(runs) == times
    else:
        assert len(runs) >= min(times, 200)  # rhos add up to less than epsilons do


def test_parts_of_the_budget_add_up():
    for mechanism in ("laplace", "gaussian"):
        said = replace(rules(noise=mechanism), delta=10**6)
        parts = budget.share(said, 3) * 3
        assert parts == Fraction(budget.cost(said), 10**6 if mechanism == "laplace" else 10**12)
