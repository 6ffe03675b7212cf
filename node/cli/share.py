"""village share: bring own data into an agreement."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from node.cli.talk import CHOICES, call, socket_path

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sealed shares.")

MIB: Final = 2**20

STATES: Final = {
    "sending": "on its way",
    "checking": "sent; the enclave checks it, and standbys get their copies",
    "waits": "waits, and goes on by itself",
    "stopped": "stopped: push it again, or cancel it",
}
"""What `village share status` says of a push (node/share_pushes.py:State)."""

_CLEAR: Final = "\r\x1b[K"
_GOES_ON: Final = "It goes on in the background: see village share status, or village share cancel."

For = Annotated[str | None, typer.Option("--agreement", help="Name or short id.")]


@app.command(epilog="Example: village share push lung")
def push(
    source: Annotated[str | None, typer.Argument(help="Name under [sources].")] = None,
    agreement: For = None,
    anew: Annotated[bool, typer.Option("--anew", help="Give up an unfinished push.")] = False,
) -> None:
    """Seal a source to the elected enclave, and send it."""
    from node.cli.show import tell

    shown = sys.stderr.isatty() and not CHOICES.json
    if shown:
        threading.Thread(target=_follow, args=(time.time(),), daemon=True).start()
    try:
        answer = call("share.push", source=source, id=agreement, anew=anew)
    except KeyboardInterrupt:
        sys.stderr.write(f"{_CLEAR if shown else ''}{_GOES_ON}\n")
        raise
    finally:
        if shown:
            sys.stderr.write(_CLEAR)
    tell(answer)


def _follow(since: float) -> None:
    """Show the progress of pushes on the terminal, for as long as the command waits."""
    from node.admin.client import AdminClient, AdminError
    from node.cli.show import plain

    with suppress(AdminError, OSError):
        for one in AdminClient(socket_path()).events():
            if one["event"] in ("share progress", "share waits") and one["at"] >= since:
                line = plain(progress_line(one["details"]))
                room = shutil.get_terminal_size().columns - 1
                sys.stderr.write(f"\r{line[:room]}\x1b[K")
                sys.stderr.flush()


def progress_line(details: Mapping[str, Any]) -> str:
    """How far a push is, or what it waits for, in one line."""
    dataset = details["dataset"]
    if details.get("sent") is None:
        return f"  {dataset}: waits: {details['why']}"
    known = details["total"] is not None
    total = f" of about {_size(details['total'])}" if known else ""
    left = "" if details["left"] is None else f", {_duration(details['left'])} left"
    way = f" · {details['way']}" if details["why"] is None else f" · inside: {details['why']}"
    return f"  {dataset}: {_size(details['sent'])}{total}, {_size(details['rate'])}/s{left}{way}"


def _size(count: int) -> str:
    return f"{count / MIB:.1f} MiB" if count < 10 * MIB else f"{count / MIB:,.0f} MiB"


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@app.command(epilog="Example: village share status")
def status() -> None:
    """The own pushes that are not finished: how far, how fast, what they wait for."""
    from node.cli.show import tell

    tell(call("share.status"), _under_way)


def _under_way(pushes: list[dict[str, Any]]) -> Iterator[str]:
    if not pushes:
        yield "No push is under way."
    for one in pushes:
        yield f"{one['dataset']} for {one['agreement']}: {STATES[one['state']]}"
        if one["way"] is not None:
            yield progress_line(one)
        if one["waits"] is not None:
            yield f"  {one['waits']}"


@app.command(epilog="Example: village share cancel lung-v1")
def cancel(
    dataset: Annotated[str | None, typer.Argument(help="Default: the only one.")] = None,
    agreement: For = None,
) -> None:
    """Give up a push that is not finished; what a host has of it is erased."""
    from node.cli.show import tell

    tell(call("share.cancel", dataset=dataset, id=agreement))


@app.command("list", epilog="Example: village share list")
def list_(agreement: For = None) -> None:
    """The organizations' shares, with what the enclave counted."""
    from node.cli.show import tell

    tell(call("share.list", id=agreement))


@app.command("pull-back", epilog="Example: village share pull-back")
def pull_back(
    share: Annotated[str | None, typer.Argument(help="Short id; default: the own one.")] = None,
    agreement: For = None,
) -> None:
    """Take an own share back: its key is destroyed, every host erases what it holds."""
    from node.cli.show import tell

    tell(call("share.pull-back", share=share, id=agreement))


@app.command(epilog="Example: village share erasures")
def erasures(agreement: For = None) -> None:
    """What was erased, by whom and why, and which enclaves had a key."""
    from node.cli.show import tell

    tell(call("share.erasures", id=agreement))


@app.command(epilog="Example: village share show")
def show(
    share: Annotated[str | None, typer.Argument(help="Short id; default: the own one.")] = None,
    agreement: For = None,
) -> None:
    """One share: header, enclaves that can open it, receipt."""
    from node.cli.show import tell

    tell(call("share.show", share=share, id=agreement))
