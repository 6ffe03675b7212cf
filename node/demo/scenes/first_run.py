"""Scene 6: the sponsor orders, the enclave checks, computes and releases; two parties open it."""

import json
import time
from collections.abc import Callable
from typing import Any

from node.demo.actor import expect
from node.demo.scenes import runs, vaults
from node.demo.stage import PARTIES
from node.demo.story import Story


async def play(story: Story) -> None:
    """Run 1, without the patient who withdrew and the five who have not decided."""
    story.progress("run 1: statements, checks, sandbox, gate, votes")
    ordered_at = story.tale.seconds
    before = time.monotonic()
    order = await runs.order(story)
    story.command("sponsor", f"run start fit -p 'covariates={json.dumps(runs.COVARIATES)}' --wait")
    run = await runs.ended(story, order)
    model = await runs.opened(story, run["number"])
    seconds = round(time.monotonic() - before, 3)
    story.tale.timings["run order to opened result"] = seconds
    opened_at = story.tale.seconds
    runs.check("run 1", run, model, runs.RUN_1)
    expect("the same model at Hospital B", model, await runs.opened(story, 1, who="hospital-b"))
    started = await started_of(story, run)
    expect("signatures checked", len(PARTIES), started["signatures"])
    story.tale.keep("result-run1.json", runs.as_published(model))
    story.known["run-1"] = run
    story.line(
        f" 6 RUN 1        ordered {ordered_at:.1f} s · enclave checked {started['signatures']}"
        f" signatures, {started['consents']} consents, {started['digests']} digests,"
        f" budget {run['number']} of 12 · opened {opened_at:.1f} s",
        run["run"],
    )
    absent = await vaults.proof(story, "07", run)
    expect("patient 07 in run 1", "absent", absent["verdict"])
    left_out = run["rows"] - model["n"]
    story.line(
        f"                n {model['n']} ({left_out} row without ECOG left out) · patient 07 not"
        " in: proof of absence in run.json\n",
        run["run"],
    )
    story.known["absence"] = absent


async def started_of(story: Story, run: dict[str, Any]) -> dict[str, Any]:
    """What the enclave said when all its checks were done: its signed record."""
    heard = await story.watch.first(run["host"], "algorithm started", _about(run), 10)
    found = await story.node("sponsor").ask("record.show", id=heard["id"])
    body: dict[str, Any] = found["body"]
    return body


def _about(run: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    return lambda event: bool(event["details"].get("number") == run["number"])
