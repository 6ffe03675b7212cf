"""village explain: what stands behind any id."""

from typing import Annotated

import typer

from node.cli.talk import call


def explain(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Short id of anything.")],
) -> None:
    """Explain any refusal, run, election, agreement or record.

    Example: village explain 9c1e
    """
    from node.cli.show import tell

    tell(call("explain.show", id=id_))
