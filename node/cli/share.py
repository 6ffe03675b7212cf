"""village share: bring own data into an agreement."""

import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from node.cli.talk import CHOICES, call, socket_path

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sealed shares.")

MIB: Final = 2**20

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
    answer = call("share.push", source=source, id=agreement, anew=anew)
    if shown:
        sys.stderr.write("\r\x1b[K")
    tell(answer)


def _follow(since: float) -> None:
    """Show the progress of pushes on the terminal, for as long as the command waits."""
    from node.admin.client import AdminClient, AdminError

    with suppress(AdminError, OSError):
        for one in AdminClient(socket_path()).events():
            if one["event"] == "share progress" and one["at"] >= since:
                sys.stderr.write(f"\r{progress_line(one['details'])}\x1b[K")
                sys.stderr.flush()


def progress_line(details: Mapping[str, Any]) -> str:
    """How far a push is, in one line."""
    sent, total, rate = (details[name] / MIB for name in ("sent", "total", "rate"))
    left = "" if details["left"] is None else f", {details['left']} s left"
    way = "" if details["lane"] else " · no bulk lane: inside the connection"
    return f"  {details['dataset']}: {sent:.0f} of {total:.0f} MiB, {rate:.0f} MiB/s{left}{way}"


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
