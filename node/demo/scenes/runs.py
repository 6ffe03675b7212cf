"""Ordering a run and reading what came of it, as scenes 6, 8 and 9 do."""

from collections.abc import Mapping
from typing import Any, Final

from node.demo.actor import expect, expect_close
from node.demo.cast import PUBLISHED
from node.demo.story import Story

COVARIATES: Final = ("age", "sex", "ph_ecog")
PATIENCE: Final = 60

RUN_1: Final = {
    "rows": 222,
    "n": 221,
    "events": 164,
    "concordance": 0.630,
    "coefficients": {"age": 0.009754, "sex": -0.531204, "ph_ecog": 0.449860},
}
RUN_2: Final = {
    "rows": 228,
    "n": 227,
    "events": 164,
    "concordance": 0.637,
    "coefficients": dict(PUBLISHED),
}
"""What is known of the two runs: computed once from the public data, and published."""


async def order(story: Story, entry: str = "fit") -> str:
    """The sponsor orders a run; the id of the order."""
    parameters = {"covariates": list(COVARIATES)} if entry == "fit" else {}
    made = await story.node("sponsor").ask("run.start", entry=entry, parameters=parameters)
    order: str = made["order"]
    return order


async def ended(story: Story, order: str, *, who: str = "sponsor") -> dict[str, Any]:
    """Wait for the run record of an order."""
    found: dict[str, Any] = await story.node(who).ask("run.wait", order=order, seconds=PATIENCE)
    return found


async def opened(story: Story, number: int, *, who: str = "sponsor") -> dict[str, Any]:
    """The model of a run, once it is opened at a recipient."""
    recipient = story.node(who)
    await recipient.until(
        f"the result of run {number}",
        lambda rows: any((one["number"], one["name"]) == (number, "model") for one in rows),
        "result.list",
    )
    shown = await recipient.ask("result.show", run=str(number), name="model")
    model: dict[str, Any] = shown["result"]
    return model


def check(name: str, run: Mapping[str, Any], model: Mapping[str, Any], known: Any) -> None:  # noqa: ANN401
    """Hold a released model against what is known of it, to 1e-5."""
    expect(f"{name}: outcome", "released", run["outcome"])
    expect(f"{name}: rows", known["rows"], run["rows"])
    for field in ("n", "events"):
        expect(f"{name}: {field}", known[field], model[field])
    for covariate in COVARIATES:
        wanted, found = known["coefficients"][covariate], model["coefficients"][covariate]
        expect_close(f"{name}: {covariate}", wanted, found)
    expect_close(f"{name}: concordance", known["concordance"], model["concordance"], 5e-4)


def as_published(model: Mapping[str, Any]) -> dict[str, Any]:
    """The result for result.json: `ph_ecog` stands there as `ph.ecog` too, as in the study."""
    fields = ("coefficients", "standard_errors", "p", "ci95", "hazard_ratio")
    found = {name: model[name] for name in ("n", "events")}
    for name in fields:
        found[name] = {**model[name], "ph.ecog": model[name]["ph_ecog"]}
    return {**found, "concordance": model["concordance"]}
