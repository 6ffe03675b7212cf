"""village status, inbox, doctor, events, version."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from node.cli.talk import CHOICES, FAILED, call, client


def status() -> None:
    """What this node is, what waits on me, and where it is stuck.

    Example: village status
    """
    from node.cli.show import tell

    tell(call("node.status"), _status)


def _status(found: dict[str, Any]) -> Iterator[str]:
    roles = [role for role, has in found["roles"].items() if has]
    yield f"{found['name']}  {found['did']}"
    yield f"version {found['version']}, {found['memory'] // 2**20} MiB" + (
        f", {' and '.join(roles)}" if roles else ""
    )
    yield f"reaches {', '.join(found['peers']) or 'nobody'}"
    yield f"spaces {', '.join(found['spaces']) or 'none'}"
    yield f"agreements in force {', '.join(found['agreements']) or 'none'}"
    if found["negotiations"]:
        yield f"under negotiation {', '.join(found['negotiations'])}"
    yield from found["advisories"]
    yield ""
    yield from _inbox(found["inbox"])
    for one in found["stuck"]:
        yield f"stuck: {one['about']} {one['why']}"


def _inbox(found: list[dict[str, str]]) -> Iterator[str]:
    if not found:
        yield "nothing waits on you"
    for item in found:
        yield f"waits on you: {item['words']}"
        yield f"    {item['command']}"


def inbox() -> None:
    """What waits on me: charters, admissions, proposals, shares, ending keys.

    Example: village inbox
    """
    from node.cli.show import tell

    tell(call("inbox.list"), _inbox)


def doctor() -> None:
    """Check this node; exit code 1 if something is not well.

    Example: village doctor
    """
    from node.cli.show import tell

    found = call("node.doctor")
    tell(found, _doctor)
    if not all(one["well"] for one in found):
        raise typer.Exit(FAILED)


def _doctor(found: list[dict[str, Any]]) -> Iterator[str]:
    for one in found:
        mark = "ok " if one["well"] else "!! "
        yield f"{mark} {one['check']:<8} {one['says']}"
        if one["fix"]:
            yield f"             {one['fix']}"


def events(after: Annotated[int, typer.Option(help="Begin after this number.")] = 0) -> None:
    """Follow what happens in the node, one line each, until interrupted.

    Example: village events --after 120
    """
    from node.cli.show import date, plain

    with client() as found:
        for one in found.events(after):
            if CHOICES.json:
                import json

                line = json.dumps(one)
            else:
                details = ", ".join(f"{k} {v}" for k, v in one["details"].items())
                line = plain(f"{date(int(one['at']))}  {one['event']}  {one['id'][:12]}  {details}")
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def version() -> None:
    """The version, and the measurement of the enclave software that belongs to it.

    Example: village version
    """
    from node.cli.show import tell
    from node.release import software
    from node.release import version as installed

    tell({"version": installed(), "software": software().hex()}, _version)


def _version(found: dict[str, str]) -> Iterator[str]:
    yield f"village {found['version']}"
    yield f"enclave software sha256:{found['software']}"
