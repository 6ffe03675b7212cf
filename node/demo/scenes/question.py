"""The question, and what each hospital can say to it alone: its own fit, on its own machine."""

import functools
from typing import Final

import trio

from node.demo import local_fit
from node.demo.actor import expect
from node.demo.local_fit import LocalFit
from node.demo.scenes import founding
from node.demo.stage import DEMO, ENVIRONMENTS, HOSPITALS
from node.demo.story import Story, results

ALONE: Final = {
    "A": (53, "0.54 (0.26-1.10)  p 0.09"),
    "B": (50, "0.64 (0.32-1.26)  p 0.20"),
    "C": (48, "0.60 (0.27-1.37)  p 0.23"),
    "D": (61, "0.57 (0.31-1.04)  p 0.07"),
}
"""Rows of each hospital, and what they give alone; known from the published data."""


async def play(story: Story) -> None:
    """Fit each hospital's own rows, and say that none can tell; meanwhile all daemons start."""
    story.line(
        " THE QUESTION   Do women with advanced lung cancer live longer?"
        " No hospital may show its patients to another."
    )
    story.progress("each hospital fits its own rows; keys are made, daemons start")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(founding.start, story)
        nursery.start_soon(_alone, story)


async def _alone(story: Story) -> None:
    fits = await results({name: functools.partial(_fit, story, name) for name in HOSPITALS})
    for name, letter in HOSPITALS.items():
        rows, fit = len(story.stage.cast.hospitals[letter]), fits[name]
        expect(f"hospital {letter} alone", ALONE[letter], (rows, _words(fit)))
        verdict = "it can tell" if fit.can_tell else "cannot tell"
        story.line(
            f"   Hospital {letter}   {rows} patients   hazard ratio {_words(fit)}   {verdict}"
        )
    people = len(story.stage.cast.patients)
    story.line(f"   {people} patients  keep their row in their own vault; no hospital has it\n")


async def _fit(story: Story, name: str) -> LocalFit:
    data = story.stage.home(name) / "lung.csv"
    bundle, environment = DEMO / "algorithms" / "cox-ph", ENVIRONMENTS / "scientific"
    return await trio.to_thread.run_sync(local_fit.fit, data, bundle, environment)


def _words(fit: LocalFit) -> str:
    return f"{fit.hazard_ratio:.2f} ({fit.low:.2f}-{fit.high:.2f})  p {fit.p:.2f}"
