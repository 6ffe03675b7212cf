"""TOML -> frozen Config, all errors at once, each with key, line and fix."""

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from node.config.problems import ConfigError, Invalid, Problem, shown
from node.config.readers import Read
from node.config.sections import (
    ENCLAVE,
    NAME,
    REQUIRED,
    SECTIONS,
    SOURCES,
    Config,
    Network,
    Source,
)

FILE: Final = 256 * 1024
"""Bytes of a configuration file; a larger one is no configuration."""

LINE: Final = 2048
"""Characters of one line: keeps the parser's cost per line small."""


def load(path: Path) -> Config:
    """Read a configuration file. Raises ConfigError with every problem."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE + 1)
    except OSError as error:
        raise _refusal(
            path.name, 0, f"Cannot read: {error.strerror}.", "Check the path."
        ) from error
    return parse(data, path.absolute().parent, path.name)


def parse(data: bytes, base: Path, name: str = "node.toml") -> Config:
    """Parse a configuration; relative paths are relative to `base`. Raises ConfigError."""
    text = _decoded(data, name)
    reading = _Reading(_key_lines(text), base)
    config = reading.config(_tables(text, name))
    if config is None:
        raise ConfigError(name, reading.problems)
    return config


def _refusal(name: str, line: int, detail: str, fix: str) -> ConfigError:
    return ConfigError(name, [Problem(line, "", detail, fix)])


def _decoded(data: bytes, name: str) -> str:
    if len(data) > FILE:
        raise _refusal(name, 0, "The file is too large.", f"At most {FILE} bytes.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(name, line, "This is not UTF-8.", "Save it as UTF-8.") from error
    for number, line_text in enumerate(text.split("\n"), 1):
        if len(line_text) > LINE:
            raise _refusal(name, number, "The line is too long.", f"At most {LINE} characters.")
    return text


def _tables(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _refusal(name, 0, "Nested too deep.", "No value here is nested.") from error
    except ValueError as error:  # TOMLDecodeError, and numbers that Python refuses
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else 0
        detail = f"This is not TOML: {shown(str(error))}."
        raise _refusal(name, line, detail, "Correct the line; see toml.io.") from error


_HEAD: Final = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?")
_ASSIGNMENT: Final = re.compile(r"""\s*([A-Za-z0-9_."'-]+)\s*=""")


def _key_lines(text: str) -> dict[str, int]:
    """Dotted key -> line where it first stands. A small scan: tomllib tells no lines."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if head := _HEAD.fullmatch(line):
            section = _bare(head[1])
            lines.setdefault(section, number)
        elif assignment := _ASSIGNMENT.match(line):
            key = _bare(assignment[1])
            lines.setdefault(f"{section}.{key}" if section else key, number)
    return lines


def _bare(key: str) -> str:
    return re.sub(r"""[\s"']""", "", key)


class _Reading:
    """One pass over the tables of a file, which notes every problem and goes on."""

    def __init__(self, lines: Mapping[str, int], base: Path) -> None:
        self._lines = lines
        self._base = base
        self.problems: list[Problem] = []

    def config(self, tables: dict[str, Any]) -> Config | None:
        self._refuse_unknown("", tables, [*SECTIONS, SOURCES])
        sections = {
            name: self._section(name, kind, tables.get(name, {}))
            for name, kind in SECTIONS.items()
            if name != ENCLAVE or name in tables
        }
        sources = self._sources(tables.get(SOURCES, {}))
        self._refuse_contradictions(sections["network"])
        if self.problems:
            return None  # some sections are None
        return Config(**{ENCLAVE: None, **sections}, sources=MappingProxyType(sources))

    def _sources(self, table: object) -> dict[str, Any]:
        if not isinstance(table, dict):
            self._note(SOURCES, "This is not a table.", "As in [sources.lung].")
            return {}
        for name in table:
            self._read(f"{SOURCES}.{shown(name)}", NAME, name)
        return {name: self._section(f"{SOURCES}.{name}", Source, table[name]) for name in table}

    def _section(self, path: str, kind: Any, table: object) -> Any:  # noqa: ANN401 (kind's value)
        if not isinstance(table, dict):
            self._note(path, "This is not a table.", f"As in [{shown(path)}].")
            return None
        keys = dataclasses.fields(kind)
        self._refuse_unknown(path, table, [key.name for key in keys])
        before = len(self.problems)
        values = {key.name: self._value(path, key, table) for key in keys}
        return kind(**values) if len(self.problems) == before else None

    def _value(self, path: str, key: "dataclasses.Field[Any]", table: dict[str, Any]) -> object:
        name = f"{path}.{key.name}"
        value = table.get(key.name, key.metadata["default"])
        if value is REQUIRED:
            self._note(name, "The key is missing.", key.metadata["doc"])
            return None
        return None if value is None else self._read(name, key.metadata["read"], value)

    def _read(self, name: str, read: Read, value: object) -> object:
        try:
            return read(value, self._base)
        except Invalid as error:
            self._note(name, error.detail, error.fix)
            return None

    def _refuse_unknown(self, path: str, table: dict[str, Any], known: list[str]) -> None:
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key[:64], known, n=1)
                fix = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
                self._note(f"{path}.{key}" if path else key, "The key is unknown.", fix)

    def _refuse_contradictions(self, network: Network | None) -> None:
        if network is None:
            return
        if network.listen and network.dial == "outbound":
            fix = 'Write dial = "both", or leave listen empty.'
            self._note("network.listen", "A node that only dials outbound does not listen.", fix)
        if not network.listen and network.dial == "both":
            fix = "Name an address in listen."
            self._note("network.dial", "Nobody can dial a node that does not listen.", fix)

    def _note(self, key: str, detail: str, fix: str) -> None:
        self.problems.append(Problem(self._line(key), shown(key), detail, fix))

    def _line(self, key: str) -> int:
        """Line of the key, else of what contains it, else 0."""
        while key not in self._lines and key:
            key = key.rpartition(".")[0]
        return self._lines.get(key, 0)
