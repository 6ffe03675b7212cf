"""What is wrong with a configuration: every reason at once, each with key, line and fix."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from protocol.errors import ProtocolError

PROBLEMS: Final = 100
"""Problems reported at once; a person cannot read more."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error of a configuration: where, what, and what would fix it. Line 0: no line.

    `file` is set where several files are read together.
    """

    line: int
    key: str
    detail: str
    fix: str
    file: str = ""


class ConfigError(ProtocolError):
    """A configuration is refused; `problems` has every reason, by line."""

    code = "config.refused"

    def __init__(self, file: str, problems: list[Problem]) -> None:
        """`file` is the name that people know the configuration by."""
        self.file = file
        self.problems = tuple(sorted(problems[:PROBLEMS], key=lambda problem: problem.line))
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        for problem in self.problems:
            key = f" {problem.key}:" if problem.key else ""
            yield f"{problem.file or self.file}:{problem.line}:{key} {problem.detail} {problem.fix}"


class Invalid(ProtocolError):
    """A value is not what its key needs: `detail` says why, `fix` what would do."""

    code = "config.value"

    def __init__(self, detail: str, fix: str) -> None:
        """Refuse a value."""
        self.detail = detail
        self.fix = fix
        super().__init__(f"{detail} {fix}")


def shown(text: str) -> str:
    """A foreign text, made short and harmless for a terminal."""
    return ascii(text[:80])[1:-1]
