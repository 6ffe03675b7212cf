"""Connectors: a provider's file becomes one Arrow stream that keeps the data contract.

Files are hostile and their parsers are large, so they are read in a process of their own:
`process.py` starts it, `__main__.py` is it; what imports pyarrow and duckdb runs only there.
"""

from dataclasses import dataclass
from typing import Final

from protocol.errors import ProtocolError

CONTRACT_BYTES: Final = 1024 * 1024
"""Bytes of a data contract; a larger one is no contract."""


class SourceError(ProtocolError):
    """The source cannot be read as its contract says. For its owner only: it may name a row.

    `code` is "source.*" and stable, `detail` says row and column but never a value, `fix` what
    would help.
    """

    def __init__(self, code: str, detail: str, fix: str) -> None:
        """Refuse a source by `code`."""
        self.code = code
        self.detail = detail
        self.fix = fix
        super().__init__(f"{code}: {detail} {fix}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a connector wrote: rows that left, and people who objected and whose rows did not."""

    rows: int
    excluded: int
