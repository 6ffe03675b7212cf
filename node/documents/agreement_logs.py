"""The table `logs` of an agreement file: who gets the algorithm's log."""

from collections.abc import Callable
from typing import Final, Literal, cast

from node.documents.fields import Table
from protocol import limits
from protocol.kinds.agreement import Logs

_WHAT: Final = ("errors", "all")


def read_logs(top: Table, dids: Callable[[Table, str], tuple[bytes, ...]]) -> Logs | None:
    """As in `{ to: ["@lab"], what: errors, bytes: 4096 }`; nobody gets any where nothing is said.

    `dids` reads a list of participants.
    """
    if not top.has("logs"):
        return None
    table = top.table("logs")
    what = table.choice("what", _WHAT, "errors")
    return Logs(
        to=dids(table, "to"),
        what=cast("Literal['errors', 'all']", what),
        bytes=table.number("bytes", 1, limits.LOG, limits.LOG),
    )
