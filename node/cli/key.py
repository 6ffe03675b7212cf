"""village key: the keys of this participant.

What needs the root key happens in this process, on the machine that holds it; the daemon never
sees it. Where there is no daemon, --card and --config do.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from node.cli.node import DEFAULT, leaving
from node.cli.talk import call, card, write

if TYPE_CHECKING:
    from node.identities import Plan
    from protocol.identity import Participant

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys and identity card.")

RootFile = Annotated[
    Path | None,
    typer.Option("--root", metavar="FILE", help="File of export-root; default: the keystore."),
]
RootUnlock = Annotated[
    str,
    typer.Option("--unlock", help="Its passphrase: prompt, file:PATH or systemd-creds:NAME."),
]
Settings = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="The node's configuration.")
]
Out = Annotated[Path, typer.Option(help="File to write; - prints it.")]


@app.command("list", epilog="Example: village key list")
def list_() -> None:
    """The keys that the root key delegates."""
    from node.cli.show import tell

    tell(call("key.list"))


@app.command(epilog="Example: village key show")
def show() -> None:
    """The identity: revision, ends, keys taken back, guardians, and the keys of this node."""
    from node.cli.show import tell

    tell(call("key.show"))


@app.command(epilog="Example: village key export --out hospital-b.card")
def export(
    out: Annotated[Path | None, typer.Option(help="Default: NAME.card; - prints it.")] = None,
) -> None:
    """Write the identity card, which others need to invite this participant."""
    from node.cli.show import tell

    found = call("key.export")
    target = out or Path(f"{found['name']}.card")
    write(target, found["card"].encode() + b"\n")
    if str(target) != "-":
        tell({**found, "out": str(target)}, _exported)


def _exported(found: dict[str, str]) -> Iterator[str]:
    yield f"{found['out']}: {found['name']} {found['did']}"


@app.command(
    "export-root",
    epilog="Example: village key export-root /media/usb/root.key --unlock file:root.pass",
)
def export_root(
    file: Annotated[Path, typer.Argument(help="Where the root key goes.")],
    unlock: RootUnlock = "prompt",
    config: Settings = DEFAULT,
) -> None:
    """Move the root key out of the node's keystore, into a file with its own passphrase."""
    from node import root_key
    from node.cli.show import tell

    with leaving():
        did = root_key.export(file, unlock, config)
    tell(
        {"did": did, "out": str(file)}, lambda one: [f"{one['out']}: the root key of {one['did']}"]
    )


@app.command(epilog="Example: village key request --out node-2.request")
def request(
    out: Out = Path("key.request"),
    config: Annotated[
        Path | None, typer.Option("--config", help="Of a node that is not running.")
    ] = None,
) -> None:
    """Ask the root for a new record key of this node; village key delegate answers."""
    from node import root_key
    from node.cli.show import tell

    with leaving():
        raw = root_key.ask_offline(config) if config else None
    text = call("key.request")["request"] if raw is None else base64.b64encode(raw).decode()
    write(out, text.encode() + b"\n")
    if str(out) != "-":
        tell({"out": str(out)}, lambda one: [f"{one['out']}: take it to the root key"])


@app.command(
    epilog="Example: village key delegate node-2.request --root root.key --out node-2.card"
)
def delegate(
    file: Annotated[Path, typer.Argument(help="What village key request wrote.")],
    root: RootFile = None,
    unlock: RootUnlock = "prompt",
    config: Settings = DEFAULT,
    newest: Annotated[
        Path | None, typer.Option("--card", help="Newest card; default: ask the daemon.")
    ] = None,
    out: Out = Path("new.card"),
) -> None:
    """Sign the card that a request asks for: the next key of a node, or one more node.

    Another node may share and order; it never votes.
    """
    from node import identities, root_key
    from node.cli.show import tell

    with leaving():
        last, asked = _newest(newest), identities.open_request(card(file))
        seed = root_key.read(root, unlock, config)
        made = root_key.sign(root, seed, last, root_key.plan_for(last, asked))
    write(out, base64.b64encode(made) + b"\n")
    if str(out) != "-":
        tell({"out": str(out)}, lambda one: [f"{one['out']}: village key install takes it"])


@app.command(epilog="Example: village key install node-2.card")
def install(
    file: Annotated[Path, typer.Argument(help="The card that the root signed.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Of a node that is not running.")
    ] = None,
) -> None:
    """Go on as a new card says."""
    from node import root_key
    from node.cli.show import tell

    if config is None:
        tell(_install(card(file)))
        return
    with leaving():
        me = root_key.install_offline(config, card(file))
    tell({"name": me.name, "revision": me.revision})


@app.command(epilog="Example: village key rotate --root root.key")
def rotate(
    root: RootFile = None, unlock: RootUnlock = "prompt", config: Settings = DEFAULT
) -> None:
    """Sign with a fresh record key from now on. All that the old one signed stands."""
    _replace("rotated", None, root, unlock, config)


@app.command(epilog="Example: village key revoke --reason stolen --before 1790000000")
def revoke(
    reason: Annotated[
        Literal["stolen", "lost"], typer.Option(help="What happened to the key.")
    ] = "stolen",
    before: Annotated[
        int | None,
        typer.Option(help="Unix time: own records from then on are void. Default: now."),
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out",
            help="Also if topics find no pin: what a stolen key signed there is void.",
        ),
    ] = False,
    root: RootFile = None,
    unlock: RootUnlock = "prompt",
    config: Settings = DEFAULT,
) -> None:
    """Take the record key back. Of a stolen one nothing counts but what this node vouches for."""
    _replace(reason, before, root, unlock, config, leave_out=leave_out)


@app.command(epilog="Example: village key renew --guardian did:key:z6Mk... --needed 1")
def renew(
    guardian: Annotated[
        list[str] | None, typer.Option(help="did:key of who may recover this identity.")
    ] = None,
    needed: Annotated[int, typer.Option(help="How many guardians it takes.")] = 1,
    root: RootFile = None,
    unlock: RootUnlock = "prompt",
    config: Settings = DEFAULT,
) -> None:
    """Delegate the same keys for another year; name guardians, for when the root is lost."""
    from dataclasses import replace

    from node import identities
    from node.cli.show import tell
    from protocol.keys import did_parse
    from protocol.kinds.identity import Guardians

    with leaving():
        last = _newest(None)
        plan = identities.plan_of(last)
        if guardian:
            dids = tuple(sorted(did_parse(text) for text in guardian))
            plan = replace(plan, guardians=Guardians(dids=dids, needed=needed))
    tell(_install(_sign(last, plan, root, unlock, config)))


SpaceOption = Annotated[str | None, typer.Option("--space", help="Name or short id of the space.")]


@app.command(
    epilog="Example: village key recover @hospital-b --card new.card --reason 'safe burned'"
)
def recover(
    lost: Annotated[str, typer.Argument(help="@name or did:key of the member.")],
    file: Annotated[Path, typer.Option("--card", help="First card of its new root.")],
    reason: Annotated[str, typer.Option(help="What happened, in words.")],
    space: SpaceOption = None,
) -> None:
    """Vote, as a guardian, that the seat of a member whose root is lost passes to a new root."""
    from node.cli.show import tell

    raw = base64.b64encode(card(file)).decode()
    tell(call("key.recover", lost=lost, card=raw, reason=reason, space=space))


@app.command(epilog="Example: village key veto 3f9a12cd --reason 'our root is in the safe'")
def veto(
    recovery: Annotated[str, typer.Argument(help="Short id, as village key recoveries lists it.")],
    reason: Annotated[str, typer.Option(help="Why the keys are not lost.")],
    space: SpaceOption = None,
) -> None:
    """Stop a recovery of this participant."""
    from node.cli.show import tell

    tell(call("key.veto", recovery=recovery, reason=reason, space=space))


@app.command(epilog="Example: village key recoveries")
def recoveries(space: SpaceOption = None) -> None:
    """Every recovery in a space: whose, and how far it is."""
    from node.cli.show import tell

    tell(call("key.recoveries", space=space))


def _replace(
    reason: Literal["rotated", "lost", "stolen"], before: int | None, root: Path | None,
    unlock: str, config: Path, *, leave_out: bool = False,
) -> None:  # fmt: skip
    from node import identities
    from node.cli.show import tell

    parameters = {} if before is None else {"before": before}
    found = call("key.request", **parameters)
    with leaving():
        last = _newest(None)
        if reason == "stolen" and not leave_out:
            identities.check_left(found["pinned"], found["left"])
        asked = identities.open_request(base64.b64decode(found["request"]))
        plan = identities.replaced(last, asked, reason, pinned=reason == "stolen")
    tell(_install(_sign(last, plan, root, unlock, config)))


def _sign(last: "Participant", plan: "Plan", root: Path | None, unlock: str, config: Path) -> bytes:
    from node import root_key

    with leaving():
        return root_key.sign(root, root_key.read(root, unlock, config), last, plan)


def _newest(file: Path | None) -> "Participant":
    from protocol.identity import open_identity

    raw = card(file) if file else base64.b64decode(call("key.export")["card"])
    return open_identity(raw)


def _install(raw: bytes) -> Any:  # noqa: ANN401 (any JSON)
    return call("key.install", card=base64.b64encode(raw).decode())
