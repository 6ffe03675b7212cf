"""village explain: what stands behind any id."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from node.cli.talk import call


def explain(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Short id of anything.")],
) -> None:
    """Explain any refusal, run, election, agreement or record.

    Example: village explain 9c1e
    """
    from node.cli import agreement, host, run
    from node.cli.show import tell

    found = call("explain.show", id=id_)
    words = {
        "refusal": refusal,
        "run": run.words,
        "election": host.words,
        "agreement": agreement.words,
    }
    tell(found, words.get(found["is"]))


def refusal(found: dict[str, Any]) -> Iterator[str]:
    """A refusal in words: what, whose, which rule, who set it, what would fix it."""
    from node.cli.show import date

    yield f"refusal {found['refusal'][:12]}  {found['code']}  {date(found['at'])}"
    yield f"  what    {found['detail'] or found['rule']}"
    if found["party"]:
        yield f"  from    {found['party']}"
    if found["subject"]:
        yield f"  about   {found['subject'][:12]}"
    yield f"  rule    {found['rule']}"
    yield f"  set by  {_author(found['set_by'])}"
    yield f"  fix     {found['fix']}"


def _author(name: str | None) -> str:
    return "the protocol" if name in (None, "", "protocol") else str(name)
