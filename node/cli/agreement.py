"""village agreement: propose, read, compare, sign, stop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.space import Space
from node.cli.talk import call, confirm, usage

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What the parties sign.")

Which = Annotated[str | None, typer.Argument(metavar="[AGREEMENT]", help="Name or short id.")]
File = Annotated[Path, typer.Argument(help="Agreement file.")]
Digest = Annotated[str | None, typer.Option(help="Digest that was read; scripts must give it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Reason = Annotated[str, typer.Option(help="Why, in words for all parties.")]


@app.command(epilog="Example: village agreement check agreement.yaml")
def check(file: File, space: Space = None) -> None:
    """Say what is wrong with an agreement file; publish nothing."""
    from node.cli.show import tell

    tell(call("agreement.check", path=file.absolute(), space=space))


@app.command(epilog="Example: village agreement propose agreement.yaml")
def propose(
    file: File,
    no_sign: Annotated[bool, typer.Option("--no-sign", help="Propose without signing.")] = False,
    space: Space = None,
) -> None:
    """Propose an agreement to all its parties, and sign it."""
    from node.cli.show import tell

    tell(call("agreement.propose", path=file.absolute(), sign=not no_sign, space=space))


@app.command("list", epilog="Example: village agreement list")
def list_() -> None:
    """Every agreement, and where it stands."""
    from node.cli.show import tell

    tell([_brief(one) for one in call("agreement.list")])


def _brief(one: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "state", "digest", "signed", "unsigned", "waits_for_me")
    return {name: one[name] for name in names}


@app.command(epilog="Example: village agreement show lung-survival-2026")
def show(agreement: Which = None) -> None:
    """An agreement in words."""
    from node.cli.show import tell

    tell(call("agreement.show", id=agreement), words)


def words(found: dict[str, Any]) -> Iterator[str]:
    """An agreement in words."""
    yield f"{found['name']}  {found['state']}  {found['digest']}"
    yield f"signed by {', '.join(found['signed']) or 'nobody'}"
    if found["unsigned"]:
        yield f"waits for {', '.join(found['unsigned'])}"
    for name, reasons in found["rejected"].items():
        yield f"rejected by {name}: {'; '.join(reasons)}"
    yield ""
    for line in found["words"]:
        yield f"  {line['about']:<12} {line['says']}"
    yield ""
    for note in found["notes"]:
        yield f"note: {note}"


@app.command(epilog="Example: village agreement diff")
def diff(agreement: Which = None) -> None:
    """What the newest version changes against what I signed."""
    from node.cli.show import tell

    tell(call("agreement.diff", id=agreement), _diff)


def _diff(found: dict[str, Any]) -> Iterator[str]:
    if found["against"] is None:
        yield f"{found['newest'][:12]} is the first version"
    else:
        yield f"{found['newest'][:12]} against {found['against'][:12]}"
    for one in found["changes"]:
        yield f"  {one['field']}: {one['before']} -> {one['after']}"
        yield f"      concerns {', '.join(one['concerns'])}"


@app.command(epilog="Example: village agreement accept 7f3a --yes --digest 7f3a")
def accept(agreement: Which = None, digest: Digest = None, yes: Yes = False) -> None:
    """Sign the newest version. Shows it and asks; in scripts --yes --digest must stand."""
    from node.cli.show import tell

    chosen = _chosen(agreement, digest, yes, "Sign this version?")
    tell(call("agreement.accept", id=agreement, digest=chosen))


@app.command(
    epilog="Example: village agreement reject 7f3a --reason 'too long' --yes --digest 7f3a"
)
def reject(
    reason: Reason, agreement: Which = None, digest: Digest = None, yes: Yes = False
) -> None:
    """Reject the newest version, with a reason."""
    from node.cli.show import tell

    chosen = _chosen(agreement, digest, yes, "Reject this version?")
    tell(call("agreement.reject", id=agreement, digest=chosen, reason=reason))


def _chosen(agreement: str | None, digest: str | None, yes: bool, question: str) -> str:
    """The digest to act on: given by a script, or seen and confirmed by a person."""
    if yes and digest is None:
        usage("--yes needs --digest: the digest that was read.")
    if digest is not None and yes:
        return digest
    from node.cli.show import tell

    found = call("agreement.diff", id=agreement)
    if found["against"] is None:
        tell(call("agreement.show", id=agreement), words)
    else:
        tell(found, _diff)
    confirm(question, yes)
    return str(found["newest"])


@app.command(epilog="Example: village agreement counter")
def counter(agreement: Which = None) -> None:
    """Make the smallest counter-offer that the own policy asks for."""
    from node.cli.show import tell

    tell(call("agreement.counter", id=agreement))


@app.command(epilog="Example: village agreement suspend --reason 'incident 12'")
def suspend(reason: Reason, agreement: Which = None) -> None:
    """Stop all runs at once."""
    from node.cli.show import tell

    tell(call("agreement.suspend", id=agreement, reason=reason))


@app.command(epilog="Example: village agreement resume --reason 'incident closed'")
def resume(reason: Reason, agreement: Which = None) -> None:
    """Take the own suspension back."""
    from node.cli.show import tell

    tell(call("agreement.resume", id=agreement, reason=reason))


def use(agreement: Annotated[str, typer.Argument(help="Name or short id.")]) -> None:
    """Choose the agreement that commands mean by default.

    Example: village use lung-survival-2026
    """
    from node.cli.show import tell

    tell(_brief(call("agreement.use", id=agreement)))
