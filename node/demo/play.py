"""Playing the demo: scenes in order, the exit code, and that nothing of ours outlives it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from node.admin.client import AdminError
from node.demo import live
from node.demo.actor import SceneFailed
from node.demo.cast import NotTheStudy
from node.demo.local_fit import LocalFitFailed
from node.demo.processes import ProcessFailed, Troupe
from node.demo.record import Chronicle
from node.demo.scenes import (
    agreement,
    cheat,
    consent,
    failover,
    first_run,
    founding,
    host,
    proof,
    question,
    shares,
)
from node.demo.screen import Screen
from node.demo.stage import HOSTS, NODES, NotHere, Stage, build
from node.demo.story import ProgramFailed, Scene, Story, environment
from node.demo.watch import Watch

DONE, FAILED, USAGE, WAITS, INTERRUPTED = 0, 1, 2, 6, 130

SCENES: Final[Mapping[str, Scene]] = {
    "question": question.play,
    "founding": founding.play,
    "agreement": agreement.play,
    "host": host.play,
    "consent": consent.play,
    "shares": shares.play,
    "run-1": first_run.play,
    "host-dies": failover.dies,
    "run-2": failover.finished,
    "cheat": cheat.play,
    "proof": proof.play,
}
"""Name -> scene, in their order; `founding` is number 1, as on the screen."""

FAULTS: Final = (
    AdminError,
    LocalFitFailed,
    ProcessFailed,
    ProgramFailed,
    SceneFailed,
)
"""Everything by which a scene can fail."""

SIMULATED: Final = (
    "!! SIMULATED ENCLAVE, NOT CONFIDENTIAL: this machine has no TEE. All else is the product."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says. `last` is the scene after which to stop, None: play all;
    `stay` keeps everything running until interrupted.
    """

    out: Path
    last: str | None = None
    commands: bool = False
    stay: bool = False


def scene_named(text: str) -> str | None:
    """The scene with this name, or number as on the screen."""
    names = list(SCENES)
    if text.isdecimal():
        return names[int(text)] if int(text) < len(names) else None
    return text if text in SCENES else None


def play(options: Options, screen: Screen) -> int:
    """Play the demo and return its exit code."""
    try:
        stage = build(options.out)
    except (NotHere, NotTheStudy) as error:
        sys.stderr.write(f"village demo: {error}\n")
        return USAGE
    tale = Chronicle(stage.folder, screen.show)
    try:
        return trio.run(_play, options, stage, tale, screen)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        tale.close()
        stage.strike()


async def _play(options: Options, stage: Stage, tale: Chronicle, screen: Screen) -> int:
    """Everything that was started ends before this returns, whatever happens."""
    code = DONE
    with Troupe(stage.logs, environment()) as troupe:
        async with trio.open_nursery() as nursery:
            story = Story(
                stage=stage,
                troupe=troupe,
                tale=tale,
                screen=screen,
                nursery=nursery,
                watch=Watch(nursery),
                commands=options.commands,
            )
            code = await _scenes(story, options)
            if options.stay and code == DONE:
                tale.say("Everything still runs; Ctrl-C ends it.", kind="note")
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    return code


async def _scenes(story: Story, options: Options) -> int:
    vaults = len(story.stage.cast.patients)
    story.tale.say(
        "Village demo: the NCCTG lung cancer study (1994), 228 real patients."
        f" {len(NODES)} nodes, {vaults} vaults, {len(HOSTS)} enclaves, all on this machine.",
        kind="title",
    )
    story.tale.say(f"{SIMULATED}   live: {await live.start(story)}", kind="warning")
    for name, scene in SCENES.items():
        story.tale.scene = name
        try:
            with story.tale.timed(f"scene {name}"):
                await _one(story, scene)
        except FAULTS as error:
            return _failed(story, name, error)
        if name == options.last:
            story.tale.say(f"As far as scene {name!r}, as asked; the story goes on.", kind="note")
            return WAITS
    _end(story)
    return DONE


async def _one(story: Story, scene: Scene) -> None:
    """One scene. Of several faults at once the first is told: the others follow from it."""
    try:
        await scene(story)
    except BaseExceptionGroup as group:
        found: BaseException = group
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        raise found from group


def _failed(story: Story, name: str, error: BaseException) -> int:
    """Say which scene, which check, which log; a method that is not there yet ends the story."""
    logs = story.stage.logs
    if isinstance(error, AdminError) and error.code == "admin.method":
        story.tale.say(f"As far as it has got: scene {name!r} needs {error.message}", kind="note")
        return WAITS
    story.tale.say(f"FAILED in scene {name!r}: {error}", kind="warning")
    for process in story.troupe.running.values():
        if not process.alive:
            story.tale.say(f"  {process.name} ended before its time", kind="warning")
    concerned = [one for one in sorted(logs.glob("*.log")) if one.stem in str(error)]
    named = ", ".join(str(one) for one in concerned) or f"{logs}{os.sep}NAME.log"
    story.tale.say(f"  log: {named}   lines: {logs.parent}{os.sep}events.jsonl", kind="note")
    return FAILED


def _end(story: Story) -> None:
    folder = os.path.relpath(story.stage.folder)
    story.tale.say("")
    story.tale.say(
        f" All files: {folder} · Again from outside: python -m protocol.audit verify"
        f" {folder}/audit.village      {story.tale.seconds:.0f} s, exit 0"
    )
