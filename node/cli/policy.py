"""village policy: what this node says yes to by itself."""

from collections.abc import Iterator
from typing import Any

import typer

from node.cli.agreement import Which
from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The acceptance policy.")


@app.command(epilog="Example: village policy check lung-survival-2026")
def check(agreement: Which = None) -> None:
    """What the policy says to the newest version of a proposal."""
    from node.cli.show import tell

    tell(call("policy.check", id=agreement), _verdict)


def _verdict(found: dict[str, Any]) -> Iterator[str]:
    by = f"  by the rule {found['rule']!r}" if found["rule"] else ""
    yield f"{found['verdict']}  {found['digest'][:12]}{by}"
    yield from (f"  {reason}" for reason in found["why"])


@app.command(epilog="Example: village policy show")
def show() -> None:
    """The rules of the policy file."""
    from node.cli.show import tell

    tell(call("policy.show"), _rules)


def _rules(found: dict[str, Any]) -> Iterator[str]:
    yield f"file  {found['file'] or 'none: no rule, no yes'}"
    for one in found["allow"]:
        yield f"  allow {one['name']}: then {one['then']}"
    for when in found["ask"]:
        yield f"  ask a person when: {when}"
    yield "  refuse everything else"
