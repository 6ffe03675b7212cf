"""YAML without surprises: maps, lists, text, whole numbers, true and false, and nothing else.

Anchors and aliases (bombs), tags, merge keys, repeated keys, deep nesting, and the plain words that
YAML 1.1 turns into something else (yes, NO, 12:30, dates, floats) are refused, with their line.
"""

import re
from typing import Any, Final

import yaml

from node.config import FILE, ConfigError, Problem

DEPTH: Final = 12
"""Nesting deeper than any of our files has."""

_TAG: Final = "tag:yaml.org,2002:"
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")


class _Faulty(yaml.MarkedYAMLError):
    """A construct that is YAML, but not ours."""


class _Loader(yaml.SafeLoader):
    """Composes nodes only, within bounds."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 (as in yaml)
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Faulty(problem="Anchors and aliases are refused", problem_mark=event.start_mark)
        if self.depth >= DEPTH:
            raise _Faulty(problem="Nested too deep", problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def load(data: bytes, name: str) -> tuple[Any, dict[str, int]]:
    """The value in `data`, and the line of each dotted key. Raises ConfigError."""
    if len(data) > FILE:
        raise _refused(name, 0, f"The file is larger than {FILE} bytes.")
    lines: dict[str, int] = {}
    try:
        loader = _Loader(data.decode())
        node = loader.get_single_node()
        value = {} if node is None else _plain(node, "", lines)
    except UnicodeDecodeError as error:
        raise _refused(name, 0, "This is not UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = 0 if mark is None else mark.line + 1
        raise _refused(name, line, f"This is not the YAML used here: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise _refused(name, 0, "This is not YAML.") from error
    return value, lines


def _refused(name: str, line: int, detail: str) -> ConfigError:
    return ConfigError(name, [Problem(line, "", detail, "Correct the line.")])


def _plain(node: yaml.Node, path: str, lines: dict[str, int]) -> Any:  # noqa: ANN401 (any value)
    lines.setdefault(path, node.start_mark.line + 1)
    match node:
        case yaml.MappingNode(tag=tag) if tag == _TAG + "map":
            return _map(node, path, lines)
        case yaml.SequenceNode(tag=tag) if tag == _TAG + "seq":
            return [
                _plain(item, f"{path}[{number}]", lines) for number, item in enumerate(node.value)
            ]
        case yaml.ScalarNode():
            return _scalar(node)
        case _:
            raise _fault(node, "a tag")


def _map(node: yaml.MappingNode, path: str, lines: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _TAG + "merge":
            raise _fault(key_node, "a key that is no text")
        key = str(key_node.value)
        if key in result:
            raise _fault(key_node, f"key {key[:40]!r} stands here twice")
        at = f"{path}.{key}" if path else key
        lines[at] = key_node.start_mark.line + 1
        result[key] = _plain(value_node, at, lines)
    return result


def _scalar(node: yaml.ScalarNode) -> str | int | bool:
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "str":
            return text
        case "int" if _WHOLE.fullmatch(text):
            return int(text)
        case "bool" if text in ("true", "false"):
            return text == "true"
        case _:
            raise _fault(node, f"{text[:40]!r} means something else in YAML: put it in quotes")


def _fault(node: yaml.Node, problem: str) -> _Faulty:
    return _Faulty(problem=problem, problem_mark=node.start_mark)
