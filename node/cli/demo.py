"""village demo: the whole of Village on this machine, each participant a process of its own."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from node.cli.talk import CHOICES, USAGE


def demo(
    out: Annotated[Path, typer.Option(help="Folder for results, logs and states.")] = Path(
        "demo-out"
    ),
    scenes: Annotated[
        str | None, typer.Option(help="Stop after this scene: its name or number; exit code 6.")
    ] = None,
    commands: Annotated[
        bool, typer.Option("--commands", help="Show the command behind each step.")
    ] = False,
    stay: Annotated[
        bool, typer.Option("--stay", help="At the end keep everything running until Ctrl-C.")
    ] = False,
) -> None:
    """Nine nodes, sixteen vaults and two enclaves find an answer that none of them could alone.

    Exit code 0 only if every line held. Example: village demo --out demo-out
    """
    from node.demo import play, screen

    last = play.scene_named(scenes) if scenes is not None else None
    if scenes is not None and last is None:
        sys.stderr.write(f"There is no scene {scenes!r}; there are {', '.join(play.SCENES)}.\n")
        raise typer.Exit(USAGE)
    options = play.Options(out=out, last=last, commands=commands, stay=stay)
    raise typer.Exit(play.play(options, screen.choose(as_json=CHOICES.json)))
