"""Faults found while something is appraised: all are reported, not only the first."""

from dataclasses import dataclass, field
from typing import Final

SENTENCE: Final = 500
"""Characters of one detail: hostile evidence may put anything into an error's text."""


@dataclass(slots=True)
class Findings:
    """Faults in the order found; a code counts once, every detail stays, cut to SENTENCE."""

    codes: dict[str, None] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)

    def add(self, code: str, detail: str) -> None:
        """Note a fault."""
        self.codes[code] = None
        self.details.append(detail[:SENTENCE])

    def check(self, good: bool, code: str, detail: str) -> bool:
        """Note a fault if not `good`; returns `good`."""
        if not good:
            self.add(code, detail)
        return good
