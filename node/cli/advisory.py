"""village advisory: withdraw a measurement, a machine or a firmware from all agreements."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from node.cli.space import Space
from node.cli.talk import call

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What nobody should compute on any more."
)

Reason = Annotated[str, typer.Option(help="Why, in words for everybody.")]


@app.command(
    epilog="Example: village advisory publish sev-snp --tcb-below microcode=72 --family genoa "
    "--reason 'CVE-2026-1'"
)
def publish(
    technology: Annotated[str, typer.Argument(help="nitro, sev-snp, tdx, sgx or tpm.")],
    reason: Reason,
    register: Annotated[
        list[str] | None, typer.Option(metavar="NAME=HEX", help="All given must be equal.")
    ] = None,
    platform: Annotated[str | None, typer.Option(help="The one machine.")] = None,
    tcb_below: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Any that is lower is hit.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Only these processors: milan, genoa, turin, or an FMSPC.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Where more stands.")] = None,
    space: Space = None,
) -> None:
    """Withdraw a measurement, a machine or a firmware; only advisors of the space may."""
    from node.cli.show import tell

    found = call(
        "advisory.publish",
        technology=technology,
        reason=reason,
        register=register,
        platform=platform,
        tcb_below=tcb_below,
        family=family,
        reference=reference,
        space=space,
    )
    tell(found, lambda one: lines([one]))


@app.command("list", epilog="Example: village advisory list")
def list_(space: Space = None) -> None:
    """Every advisory of the space, and whether it is in force."""
    from node.cli.show import tell

    tell(call("advisory.list", space=space), lines)


@app.command(epilog="Example: village advisory withdraw 3fa2b1 --reason 'a false alarm'")
def withdraw(
    advisory: Annotated[str, typer.Argument(help="Short id of the advisory.")],
    reason: Reason,
    space: Space = None,
) -> None:
    """Take back an own advisory."""
    from node.cli.show import tell

    found = call("advisory.withdraw", id=advisory, reason=reason, space=space)
    tell(found, lambda one: lines([one]))


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """Advisories in words."""
    for one in found:
        state = "in force" if one["in_force"] else "not in force"
        yield f"{one['advisory'][:12]}  {one['technology']}  by {one['by']}, {state}"
        yield f"  withdraws  {_subject(one)}"
        reference = f" ({one['reference']})" if one["reference"] else ""
        yield f"  because    {one['reason']}{reference}"
    if not found:
        yield "no advisory"


def _subject(one: dict[str, Any]) -> str:
    if one["platform"]:
        return f"the machine {one['platform']}"
    if one["registers"]:
        return ", ".join(f"{name} {value}" for name, value in one["registers"].items())
    lower = ", ".join(f"{name} below {value}" for name, value in one["tcb_below"].items())
    return f"{lower} on {one['family']}" if one["family"] else lower
