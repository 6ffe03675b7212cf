"""Scenes 7 and 8: the host dies in the middle of run 2, and the standby finishes it."""

import functools
import math
import time
from typing import Any, Final

from node.demo.actor import expect
from node.demo.cast import LATECOMERS, PUBLISHED, WITHDREW
from node.demo.scenes import runs, vaults
from node.demo.stage import HOSPITALS, PARTIES
from node.demo.story import Story, together

NUMBER: Final = 2
SAME: Final = 5e-7
"""Two numbers of six decimals that differ by less are the same number."""


async def dies(story: Story) -> None:
    """Six people more say yes; run 2 starts; kill -9 at `algorithm started`; host-2 takes over."""
    story.progress("patient 07 consents again, 12 to 16 say yes")
    newcomers = (WITHDREW, *LATECOMERS)
    await together(
        (functools.partial(vaults.consent, story, number) for number in newcomers), at_once=3
    )
    story.known["newcomers"] = len(newcomers)
    before = await story.node("sponsor").ask("share.list")
    story.progress("run 2 starts; host-1 and its enclave are killed while it computes")
    order = await runs.order(story)
    await story.watch.first("host-1", "algorithm started", _is_run_2, runs.PATIENCE)
    died = time.monotonic()
    story.troupe.kill("host-1", "enclave-1")
    del story.nodes["host-1"]
    run = await runs.ended(story, order)
    model = await runs.opened(story, NUMBER)
    story.tale.timings["fail-over"] = round(time.monotonic() - died, 3)
    story.known["run-2"], story.known["model-2"] = run, model
    await _check_nothing_again(story, before)
    shown = await story.node("sponsor").ask("host.show")
    expect("host and term after the fall", ("host-2", 2), (shown["host"], shown["term"]))
    explained = await story.node("sponsor").ask("host.explain", term=1)
    organizations = len(HOSPITALS)
    people = run["people"]
    story.line(
        f" 7 HOST DIES    kill -9 host-1 and its enclave in run {NUMBER}"
        f" · {len(explained['lapsed'])} parties saw the lease lapse · elected {shown['host']},"
        f" term {shown['term']}",
        shown["certificate"],
    )
    story.line(
        f"                the standby wraps of {organizations} hospitals and {people} people, made"
        " at sealing, opened · no owner was asked, no share travelled again",
        run["run"],
    )


async def finished(story: Story) -> None:
    """Run 2 beside the published fit."""
    run, model = story.known["run-2"], story.known["model-2"]
    runs.check("run 2", run, model, runs.RUN_2)
    expect("term of run 2", 2, run["term"])
    more = run["contributors"] - story.known["run-1"]["contributors"]
    expect("people more than in run 1", story.known["newcomers"], more)
    rows = await story.node("sponsor").ask("result.list")
    releases = sum((one["number"], one["name"]) == (NUMBER, "model") for one in rows)
    expect("releases of run 2", 1, releases)
    expect("the same model at Hospital B", model, await runs.opened(story, 2, who="hospital-b"))
    story.tale.keep("result.json", runs.as_published(model))
    _keep_run(story, run)
    story.line(
        f" 8 RUN 2        07 consented again, 12-16 said yes: {more} people more than run 1"
        f" · {run['rows']} rows, n {model['n']}, events {model['events']} · released once\n",
        run["run"],
    )
    _compare(story, model, run["run"])
    await vaults.own_results(story)


def _compare(story: Story, model: dict[str, Any], record: str) -> None:
    story.line(
        f"   {'':<12}{'Village, run 2':>20}{'published (R survival, Efron)':>34}{'difference':>14}"
    )
    for name, published in PUBLISHED.items():
        ours = model["coefficients"][name]
        far = abs(ours - published)
        said = "< 1e-6" if far < SAME else f"{far:.1e}"
        label = "ECOG" if name == "ph_ecog" else name
        story.line(f"   {label:<12}{ours:>20.6f}{published:>34.6f}{said:>14}", record)
    interval = model["ci95"]["sex"]
    expect("women live longer", ("0.58", "0.41-0.80", "0.0010"), _question(model))
    story.line(
        f"   Women: hazard ratio {math.exp(model['coefficients']['sex']):.2f}"
        f" ({interval['low']:.2f}-{interval['high']:.2f}), p {model['p']['sex']:.4f}."
        " No hospital could tell alone. Nobody showed a row.\n",
        record,
    )


def _question(model: dict[str, Any]) -> tuple[str, str, str]:
    interval = model["ci95"]["sex"]
    ratio = math.exp(model["coefficients"]["sex"])
    between = f"{interval['low']:.2f}-{interval['high']:.2f}"
    return f"{ratio:.2f}", between, f"{model['p']['sex']:.4f}"


def _keep_run(story: Story, run: dict[str, Any]) -> None:
    story.tale.keep(
        "run.json",
        {
            "runs": [story.known["run-1"], run],
            "absence of patient 07 in run 1": story.known["absence"],
        },
    )


async def _check_nothing_again(story: Story, before: list[dict[str, Any]]) -> None:
    """The hospitals' shares are the very records of before, and the agreement has no new vote."""
    after = await story.node("sponsor").ask("share.list")
    expect("owners asked to wrap again", 0, story.watch.count("rewrap"))
    ids = [{one["share"] for one in shares} for shares in (before, after)]
    expect("shares after the fall", ids[0], ids[1])
    found = await story.node("sponsor").ask("agreement.show")
    expect("signatures on the agreement", sorted(PARTIES), sorted(found["signed"]))


def _is_run_2(event: dict[str, Any]) -> bool:
    return bool(event["details"].get("number") == NUMBER)
