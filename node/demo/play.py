"""Playing the demo: scenes in order, the exit code, and that nothing of ours outlives it."""

import os
import signal
import sys
import traceback
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
from node.demo.stage import HOSTS, NODES, VAULTS, NotHere, Stage, build
from node.demo.story import BIN, ProgramFailed, Scene, Story, environment
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
    except BaseExceptionGroup as group:
        return _broken(stage, tale.scene, group)
    finally:
        tale.close()
        stage.strike()


def _broken(stage: Stage, scene: str, group: BaseExceptionGroup[BaseException]) -> int:
    """The demo itself broke: that is a fault of ours, and its log says where."""
    log = stage.logs / "demo.log"
    log.write_text("".join(traceback.format_exception(group)), "utf-8")
    sys.stderr.write(f"village demo: a fault of the demo itself in scene {scene!r}: {log}\n")
    return FAILED


async def _play(options: Options, stage: Stage, tale: Chronicle, screen: Screen) -> int:
    """Everything that was started ends before this returns, whatever happens."""
    code = INTERRUPTED
    with Troupe(stage.logs, environment()) as troupe:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_when_asked, nursery.cancel_scope)
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
                _say_where(story)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    return code


async def _stop_when_asked(scope: trio.CancelScope) -> None:
    """End the story at Ctrl-C, `kill`, or when the terminal goes: as tidily as at its end."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            scope.cancel()


def _say_where(story: Story) -> None:
    """How to look at what keeps running."""
    sockets, village = story.stage.run, _near(BIN / "village")
    story.tale.say(" Everything still runs; Ctrl-C ends it. In another terminal:", kind="note")
    for told in (
        f"{village} status --socket {sockets}/hospital-b.sock",
        f"{village} result show --socket {sockets}/sponsor.sock",
        f"{village} vault uses --vault patient-07 --socket {sockets}/{VAULTS}.sock",
    ):
        story.tale.say(f"   {told}", kind="command")


async def _scenes(story: Story, options: Options) -> int:
    vaults = len(story.stage.cast.patients)
    story.tale.say(
        "Village demo: NCCTG lung cancer study (1994), 228 real patients."
        f" {len(NODES)} nodes, {vaults} vaults, {len(HOSTS)} enclaves on this machine.",
        kind="title",
    )
    story.tale.say(SIMULATED, kind="warning")
    story.tale.say(f"   live page, for one browser: {await live.start(story)}\n", kind="note")
    for name, scene in SCENES.items():
        story.tale.scene = name
        try:
            with story.tale.timed(f"scene {name}"):
                await _one(story, scene)
        except FAULTS as error:
            await _say_stuck(story)
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


async def _say_stuck(story: Story) -> None:
    """Where the nodes themselves say that something is stuck."""
    said: set[str] = set()
    for name in [name for name in NODES if name in story.nodes]:
        with trio.move_on_after(2):
            try:
                status = await story.nodes[name].ask("node.status")
            except AdminError:
                continue
            said.update(f"{one['about']} {one['why']}" for one in status["stuck"])
    for one in sorted(said):
        story.tale.say(f"  stuck: {one}", kind="note")


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


def _near(path: Path) -> str:
    """A path as people here write it: relative where that is shorter."""
    return min(os.path.relpath(path), str(path), key=len)


def _end(story: Story) -> None:
    folder, python = _near(story.stage.folder), _near(Path(sys.executable))
    story.tale.say("")
    story.tale.say(
        f" All files: {folder} · verify them without a node:"
        f" {python} -m protocol.audit verify {folder}/audit.village"
    )
    story.tale.say(
        f" Done in {story.tale.seconds:.0f} s, exit 0."
        " Next: village demo --stay, then the live page and village status · docs/two-machines.md"
    )
