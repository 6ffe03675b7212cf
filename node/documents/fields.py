"""Reading a file key by key: every problem at once, and no key that nobody asked for.

A `Table` answers a missing or wrong value with an empty one and notes the problem, so that reading
goes on; `Problems.check` raises them all, and those keys that were never read.
"""

import base64
import binascii
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from node.config import ConfigError, Invalid, Problem, parse_duration, parse_size
from protocol import limits

SHA256: Final = "sha256:"
"""How a file writes a digest: this, then 64 hexadecimal digits."""

_BIGGEST: Final = 2**53
_MISSING: Final = object()


class Problems:
    """All that is wrong in one file. `lines` maps the path of a key to its line, where known."""

    def __init__(self, file: str, lines: Mapping[str, int]) -> None:
        self.file = file
        self._lines = lines
        self._found: list[Problem] = []
        self._tables: list[Table] = []

    def add(self, path: str, detail: str, fix: str = "") -> None:
        """Note a problem at `path`."""
        self._found.append(Problem(self._line(path), path, detail, fix))

    def take(self, problem: Problem) -> None:
        """Note a problem that was found elsewhere."""
        self._found.append(problem)

    def noted(self, path: str) -> bool:
        """Whether something is wrong at `path`, or in what it stands in."""
        keys = [problem.key for problem in self._found if problem.key]
        return any(path == key or path.startswith((f"{key}.", f"{key}[")) for key in keys)

    def table(self, value: object, path: str = "") -> "Table":
        """A table to read; what nobody reads in it will be refused."""
        if not isinstance(value, dict):
            self.add(path, "This is not a table of keys and values.")
            value = {}
        table = Table(value, path, self)
        self._tables.append(table)
        return table

    def _line(self, path: str) -> int:
        """Where `path` stands, or if it is missing, what it is missing in."""
        while path and path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines.get(path, 0)

    def check(self) -> None:
        """Raise ConfigError if anything is wrong."""
        for table in self._tables:
            for path, fix in table.unread():
                self.add(path, "This key is unknown.", fix)
        if self._found:
            raise ConfigError(self.file, self._found)


class Table:
    """Keys and values of one level of a file. Made by `Problems.table`."""

    def __init__(self, value: dict[str, Any], path: str, problems: Problems) -> None:
        self.path = path
        self._value = value
        self._problems = problems
        self._read: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order of the file."""
        return iter(self._value)

    def has(self, key: str) -> bool:
        """Whether `key` stands here."""
        return key in self._value

    def problem(self, key: str, detail: str, fix: str = "") -> None:
        """Note a problem of `key`."""
        self._problems.add(self._at(key), detail, fix)

    def text(self, key: str, default: str | None = None, *, size: int = limits.NAME) -> str:
        """A text of at most `size` bytes; without default it must be there, and not empty."""
        value = self._get(key, default)
        if isinstance(value, str) and (value or default is not None):
            if len(value.encode()) <= size:
                return value
            self.problem(key, f"The text is longer than {size} bytes.")
        elif value is not _MISSING:
            self.problem(key, "This is not a text.", "Put it in quotes.")
        return ""

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """One of `allowed`."""
        text = self.text(key, default)
        if text in allowed or text == default:
            return text
        if text:
            self.problem(key, "The value is not allowed.", f"One of: {', '.join(allowed)}.")
        return allowed[0]

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number within these bounds."""
        value = self._get(key, default)
        if type(value) is int and low <= value <= high:
            return value
        if value is not _MISSING:
            self.problem(key, "This is not a number in range.", f"From {low} to {high}.")
        return low

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.problem(key, "This is neither true nor false.")
        return value is True

    def duration(self, key: str) -> int:
        """Seconds of an ISO 8601 duration."""
        return self._parsed(key, parse_duration)

    def size(self, key: str) -> int:
        """Bytes of a size as in "2 GiB"."""
        return self._parsed(key, parse_size)

    def digest(self, key: str, names: Mapping[str, bytes]) -> bytes:
        """A digest: "sha256:..." or one of `names`."""
        text = self.text(key)
        if text in names:
            return names[text]
        found = read_digest(text)
        if found is None and text:
            known = ", ".join(sorted(names)) or "no name is known"
            self.problem(key, "This is no digest.", f"sha256: and 64 digits, or: {known}.")
        return found or bytes(32)

    def plain(self, key: str, default: object) -> Any:  # noqa: ANN401 (any value of a file)
        """Any value, as it stands in the file."""
        return self._get(key, default)

    def bounds(self, key: str) -> tuple[int, int]:
        """A list of two whole numbers, the lower one first."""
        match self._get(key, None):
            case [int(low), int(high)] if -_BIGGEST <= low <= high <= _BIGGEST:
                return low, high
            case found:
                if found is not _MISSING:
                    self.problem(key, "These are no bounds.", "As in [1, 9].")
                return 0, 0

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts, each once; a single text is a list of one."""
        value = self._get(key, default)
        items = [value] if isinstance(value, str) else value
        if items is _MISSING:
            return ()
        if isinstance(items, list | tuple) and all(isinstance(item, str) for item in items):
            if len(set(items)) == len(items) <= limits.ITEMS:
                return tuple(items)
            self.problem(key, "The list is too long, or has something twice.")
        else:
            self.problem(key, "This is not a list of texts.", "Use [ and ].")
        return ()

    def table(self, key: str, *, optional: bool = False) -> "Table":
        """The table under `key`; an empty one if it is optional and missing."""
        value = self._get(key, {} if optional else None)
        return self._problems.table({} if value is _MISSING else value, self._at(key))

    def tables(self, key: str, *, optional: bool = False) -> dict[str, "Table"]:
        """The tables under the keys of the table under `key`."""
        outer = self.table(key, optional=optional)
        return {name: outer.table(name) for name in outer}

    def rows(self, key: str, *, optional: bool = False) -> list["Table"]:
        """The list of tables under `key`."""
        value = self._get(key, [] if optional else None)
        if isinstance(value, list) and len(value) <= limits.ITEMS:
            at = self._at(key)
            return [self._problems.table(row, f"{at}[{n}]") for n, row in enumerate(value)]
        if value is not _MISSING:
            self.problem(key, "This is not a list of tables.")
        return []

    def unread(self) -> Iterator[tuple[str, str]]:
        """Path and advice for each key that nobody asked for."""
        for key in self._value.keys() - self._read:
            near = difflib.get_close_matches(key, self._read, 1)
            yield self._at(key), f"Did you mean {near[0]}?" if near else "Leave it out."

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _get(self, key: str, default: object) -> Any:  # noqa: ANN401 (any value of a file)
        self._read.add(key)
        if key in self._value:
            return self._value[key]
        if default is None:
            self.problem(key, "This is missing.")
            return _MISSING
        return default

    def _parsed(self, key: str, parse: Any) -> int:  # noqa: ANN401 (one of two parsers)
        text = self.text(key)
        try:
            return int(parse(text)) if text else 0
        except Invalid as error:
            self.problem(key, error.detail, error.fix)
            return 0


def read_digest(text: str) -> bytes | None:
    """The 32 bytes in "sha256:HEX", or None."""
    try:
        found = base64.b16decode(text.removeprefix(SHA256), casefold=True)
    except (binascii.Error, ValueError):
        return None
    return found if text.startswith(SHA256) and len(found) == 32 else None
