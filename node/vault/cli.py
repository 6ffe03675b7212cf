"""village vault, village consent: for a person. They need no daemon; the light peer serves them.

The vault is a folder: --vault, VILLAGE_VAULT, or the user's own. With --socket a process that
serves many vaults is asked instead, and --vault is the name of one. VILLAGE_PROXY is an HTTP proxy
(CONNECT) that all connections go through, as in http://proxy.example:3128.
"""

import base64
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from node.cli.talk import CHOICES, WAITS, call, fail, usage, write

if TYPE_CHECKING:
    from node.net.proxy import Proxy

vault_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="A person's own vault.")
consent_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Yes, no, and no more.")

VaultOption = Annotated[
    str | None,
    typer.Option("--vault", metavar="DIR", help="Folder of the vault; with --socket its name."),
]
UnlockOption = Annotated[
    str | None,
    typer.Option(help="Where the passphrase is: prompt, file:PATH. Default: VILLAGE_UNLOCK."),
]
GatewayOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Multiaddr of a gateway. Default: the one used last."),
]
Which = Annotated[str | None, typer.Argument(metavar="[AGREEMENT]", help="Name or short id.")]


# --- vault ----------------------------------------------------------------------------------------


@vault_app.command(epilog="Example: village vault new me --vault ~/vault")
def new(
    name: Annotated[str, typer.Argument(help="What you call it.")],
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Make a vault: a folder that opens with one passphrase."""
    from node.cli.show import tell

    if CHOICES.socket is not None:
        tell(call("vault.new", vault=name, unlock=unlock))
        return
    from node.vault import views
    from node.vault.vault import Vault

    try:
        with Vault.create(_folder(vault), name, _passphrase(unlock)) as made:
            tell(views.contents(made.contents))
    except Exception as error:
        _leave(error)


@vault_app.command(epilog="Example: village vault add lung.csv --dataset lung-v1")
def add(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet, Arrow or JSON Lines.")],
    dataset: Annotated[str, typer.Option(help="Id of the data contract.")],
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Keep the rows of a file as your own data; they rest encrypted."""
    _tell("vault.add", vault, unlock, path=str(file.absolute()), dataset=dataset)


@vault_app.command(epilog="Example: village vault enrol 'village:enrol?code=…&registrar=…'")
def enrol(
    code: Annotated[
        str, typer.Argument(help="The code of your letter, or the link in its QR code.")
    ],
    registrar: Annotated[str | None, typer.Option(help="Address in the letter.")] = None,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Become known to the registrar."""
    _tell("vault.enrol", vault, unlock, code=code, registrar=registrar)


@vault_app.command("list", epilog="Example: village vault list")
def list_(vault: VaultOption = None, unlock: UnlockOption = None) -> None:
    """What the vault holds, in short."""
    _tell("vault.list", vault, unlock)


@vault_app.command(epilog="Example: village vault uses")
def uses(
    agreement: Which = None,
    gateway: GatewayOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not fetch.")] = False,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Which runs used your data, each proven; fetches what is new first."""
    if offline:
        _tell("vault.uses", vault, unlock, agreement=agreement)
    else:
        found = _do("vault.fetch", vault, unlock, agreement=agreement, gateway=gateway)
        _show(found["uses"])


@vault_app.command(epilog="Example: village vault results")
def results(
    agreement: Which = None,
    gateway: GatewayOption = None,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Your own results; fetches what is new first."""
    found = _do("vault.fetch", vault, unlock, agreement=agreement, gateway=gateway)
    _show(found["results"])


@vault_app.command(epilog="Example: village vault diary")
def diary(vault: VaultOption = None, unlock: UnlockOption = None) -> None:
    """Everything that the vault did and learned."""
    _tell("vault.diary", vault, unlock)


@vault_app.command(epilog="Example: village vault export --out vault.json")
def export(
    out: Annotated[Path, typer.Option(help="File, or - for the standard output.")] = Path("-"),
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Write all that the vault knows about you, readable; keys stay inside."""
    from node.cli.show import as_json

    write(out, (as_json(_do("vault.export", vault, unlock)) + "\n").encode())


@vault_app.command(epilog="Example: village vault run --config vaults.toml")
def run(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="Its configuration.")],
) -> None:
    """Serve many vaults on one socket, until SIGTERM."""
    from node.vault import serve

    try:
        raise typer.Exit(serve.run(config))
    except typer.Exit:
        raise
    except Exception as error:
        _leave(error)


# --- consent --------------------------------------------------------------------------------------


@consent_app.command(epilog="Example: village consent offers --gateway ADDRESS")
def offers(
    gateway: GatewayOption = None, vault: VaultOption = None, unlock: UnlockOption = None
) -> None:
    """What a gateway offers; nothing of it is verified yet."""
    _tell("consent.offers", vault, unlock, gateway=gateway)


@consent_app.command("list", epilog="Example: village consent list")
def consents(vault: VaultOption = None, unlock: UnlockOption = None) -> None:
    """Every agreement that you were asked about, and your answer."""
    _tell("consent.list", vault, unlock)


@consent_app.command(epilog="Example: village consent show lung-survival-2026")
def show(
    agreement: Which = None,
    gateway: GatewayOption = None,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Verify an agreement and its host, and read what a yes would mean."""
    from node.cli.show import tell

    tell(_do("consent.show", vault, unlock, agreement=agreement, gateway=gateway), _words)


def _read_and_confirm(
    question: str,
    agreement: str | None,
    gateway: str | None,
    vault: str | None,
    unlock: str | None,
) -> str:
    """Show what is asked and put the question; which agreement it was. Ends at a no."""
    from node.cli.show import tell
    from node.cli.talk import confirm

    read = _do("consent.show", vault, unlock, agreement=agreement, gateway=gateway)
    tell(read, _words)
    confirm(question, False)
    return str(read["agreement"])


@consent_app.command(epilog="Example: village consent give lung-survival-2026 --told --yes")
def give(
    agreement: Which = None,
    told: Annotated[bool, typer.Option("--told", help="Also ask for your own result.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="You have read it: do not ask.")] = False,
    gateway: GatewayOption = None,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Say yes to this purpose alone, and send your sealed share."""
    if not yes:
        agreement = _read_and_confirm("Do you consent?", agreement, gateway, vault, unlock)
    _tell("consent.give", vault, unlock, agreement=agreement, gateway=gateway, told=told)


@consent_app.command(epilog="Example: village consent renew lung-survival-2026 --yes")
def renew(
    agreement: Which = None,
    yes: Annotated[bool, typer.Option("--yes", help="You have read it: do not ask.")] = False,
    gateway: GatewayOption = None,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Say yes again for the runs that come, before your consent ends."""
    if not yes:
        agreement = _read_and_confirm("Do you consent again?", agreement, gateway, vault, unlock)
    _tell("consent.renew", vault, unlock, agreement=agreement, gateway=gateway)


@consent_app.command(epilog="Example: village consent refuse lung-survival-2026")
def refuse(
    agreement: Which = None,
    gateway: GatewayOption = None,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Say no; nobody is told."""
    _tell("consent.refuse", vault, unlock, agreement=agreement, gateway=gateway)


@consent_app.command(epilog="Example: village consent withdraw lung-survival-2026")
def withdraw(
    agreement: Which = None,
    gateway: GatewayOption = None,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """End your consent for ever. Exit code 6 while too few parties confirmed: say it again."""
    found = _do("consent.withdraw", vault, unlock, agreement=agreement, gateway=gateway)
    _show(found)
    if found["consents"][-1]["state"] != "withdrawn":
        raise typer.Exit(WAITS)


@consent_app.command(epilog="Example: village consent receipt --out receipt.village")
def receipt(
    agreement: Which = None,
    out: Annotated[Path | None, typer.Option(help="Default: receipt-VAULT.village")] = None,
    run: Annotated[list[int] | None, typer.Option(help="Only this run. Default: all.")] = None,
    vault: VaultOption = None,
    unlock: UnlockOption = None,
) -> None:
    """Write the proof of what each run did with your share; anyone can verify it offline."""
    found = _do("consent.receipt", vault, unlock, agreement=agreement, runs=run)
    target = out or Path(Path(str(found["name"])).name)
    write(target, base64.b64decode(found.pop("file")))
    if str(target) != "-":
        _show({**found, "out": str(target)})


# --- how ------------------------------------------------------------------------------------------


def _tell(act: str, vault: str | None, unlock: str | None, **given: object) -> None:
    _show(_do(act, vault, unlock, **given))


def _show(found: Any) -> None:  # noqa: ANN401 (any JSON)
    from node.cli.show import tell

    tell(found)


def _do(act: str, vault: str | None, unlock: str | None, **given: object) -> Any:  # noqa: ANN401
    """Do an act in the vault, here or in the process behind --socket; a no ends the command."""
    chosen = {name: value for name, value in given.items() if value is not None}
    if CHOICES.socket is not None:
        named = {} if vault is None or act == "vault.list" else {"vault": vault}
        return call(act, **named, **chosen)
    import trio

    try:
        return trio.run(_here, act, _folder(vault), _passphrase(unlock), chosen)
    except Exception as error:
        _leave(error)


async def _here(act: str, folder: Path, passphrase: bytes, given: dict[str, Any]) -> Any:  # noqa: ANN401
    from node.vault import acts
    from node.vault.keeper import Keeper
    from node.vault.serve import connect
    from node.vault.vault import Vault

    keeper = Keeper(partial(connect, proxy=_proxy()))
    keeper.hold(Vault.open(folder, passphrase))
    try:
        return await acts.call(keeper, act, given)
    finally:
        keeper.close()


def _folder(vault: str | None) -> Path:
    chosen = vault or os.environ.get("VILLAGE_VAULT")
    return Path(chosen) if chosen else Path.home() / ".local" / "share" / "village" / "vault"


def _proxy() -> "Proxy | None":
    from node.config.readers import read_proxy

    text = os.environ.get("VILLAGE_PROXY")
    return read_proxy(text, Path.cwd()) if text else None


def _passphrase(unlock: str | None) -> bytes:
    from node.store import keystore

    text = unlock or os.environ.get("VILLAGE_UNLOCK") or "prompt"
    return keystore.read_passphrase(keystore.parse_unlock(text, Path.cwd()), os.environ)


def _leave(error: Exception) -> NoReturn:
    """End with the words and the exit code of an error, as if a daemon had said it."""
    import trio

    from node.admin.client import AdminError
    from node.admin.failure import describe, status
    from node.config import ConfigError
    from protocol.errors import ProtocolError

    if isinstance(error, ConfigError):
        usage(str(error))
    if isinstance(error, ProtocolError):
        fail(AdminError(describe(error), status(error)))
    if isinstance(error, trio.TooSlowError):
        fail(AdminError({"code": "net.stalled", "message": "Nobody answered in time."}, 504))
    raise error


def _words(found: dict[str, Any]) -> Iterator[str]:
    """An agreement as a person reads it: first what is asked, then what was verified."""
    yield from str(found["notice"]).splitlines()
    yield ""
    yield f"{found['name']}  {found['agreement'][:12]}"
    yield f"  purpose     {found['purpose']} ({found['term_of_purpose']})"
    yield f"  your data   {found['dataset']}: {', '.join(found['categories'])}"
    code = found["code"]
    who = ", ".join(code["approved_by"]) or "nobody"
    yield f"  code        {code['name']} {code['version']} {code['bundle'][:12]}, approved by {who}"
    for one in found["recipients"]:
        yield f"  recipients  {one['output']}: {', '.join(one['to'])}"
    yield f"  runs        {found['first']} to {found['last']}"
    for one in found["rules"]:
        by = f", set by {one['set_by']}" if one["set_by"] else ""
        yield f"  rule        {one['words']}{by}"
    yield ""
    yield "What your vault verified itself:"
    for one in found["checks"]:
        yield f"  {one['name']:<10}  {one['words']}"
    if found["term"] is None:
        yield "  host        none elected yet: you can say yes later"
    if found["suspended"]:
        yield "  The agreement is suspended by a party."
    if found["standing"]:
        yield f"  your consent: {found['standing']['words']}"
