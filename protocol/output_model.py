"""Output models: closed JSON Schemas (draft 2020-12) that say all that may leave.

What a schema leaves open is a channel out of the datacage. So each object names its properties,
each list, text and number is bounded; a model that is open is refused before anything starts. The
enclave compares values with it by a validator; everybody reads its marks here.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from protocol.errors import Refused
from protocol.strict_json import no_repeats

CELL: Final = "x-village-cell-count"
"""Marks an integer property that counts people: the object around it is one cell of a table."""

NOISE: Final = "x-village-noise"
"""Marks a number with the sensitivity of all values at its path together for one person, as in
{"l1": 1} (for laplace) or {"l2": 1} (for gaussian); or, false, what is public below it.
"""

PERSON: Final = "_person"
"""The column of tags that stand for people inside a run; no output may have it."""

Path = tuple[str, ...]
"""Where a value stands: property names, "*" for any item of a list."""

_NO_NAMES: Final = ("", "*")
"""They mean something else in a Path."""

_DEPTH: Final = 16
_STEPS: Final = 10_000
"""Places of one model, references followed: some hundred bytes can unfold to more than can be read.
"""
_UNDERSTOOD: Final = {
    "$schema", "$id", "$defs", "$ref", "$comment", "title", "description", "type",
    "properties", "required", "additionalProperties", "minProperties", "maxProperties",
    "items", "minItems", "maxItems", "uniqueItems", "enum", "const", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    CELL, NOISE,
}  # fmt: skip
"""Keywords whose meaning for openness is known. Others (anyOf, patternProperties) are refused."""

_EXACT: Final = {"multipleOf", "exclusiveMinimum", "exclusiveMaximum"}
"""Noise would break them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a NOISE mark says of one path: sensitivity in this norm; None: the model says public."""

    norm: str | None
    sensitivity: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a model, references followed: its path, its schema, and the mark in force."""

    path: Path
    schema: dict[str, Any]
    mark: Mark | None

    @property
    def name(self) -> str:
        """The path for people."""
        return "/".join(self.path) or "the whole"


@dataclass(frozen=True, slots=True)
class Model:
    """One output's model: its schema as JSON, and every place of it."""

    name: str
    schema: Any
    places: tuple[Place, ...]

    @property
    def cells(self) -> frozenset[Path]:
        """The paths of the counts of people."""
        return frozenset(one.path for one in self.places if CELL in one.schema)

    @property
    def sets(self) -> tuple[Path, ...]:
        """The paths of lists of unique items: sets, which leave in one order; inner ones first."""
        found = (one.path for one in self.places if one.schema.get("uniqueItems") is True)
        return tuple(sorted(found, key=len, reverse=True))

    @property
    def noised(self) -> tuple[Place, ...]:
        """The places that get noise, where an agreement has noise."""
        marked = (one for one in self.places if one.mark is not None and one.mark.norm is not None)
        return tuple(sorted(marked, key=lambda one: one.path))


def read(name: str, blob: bytes) -> Model:
    """The model in `blob`. Raises Refused (gate.schema) unless it is closed."""
    try:
        schema = json.loads(blob, object_pairs_hook=no_repeats)
    except (ValueError, RecursionError) as error:
        raise Refused("gate.schema", f"the output model of {name} is no JSON") from error
    return Model(name, schema, tuple(_Walk(name, schema).walk(schema, (), None, 0)))


class _Walk:
    """One pass over a schema; refuses what is open."""

    def __init__(self, name: str, schema: Any) -> None:  # noqa: ANN401 (parsed JSON)
        self._name = name
        self._schema = schema
        self._left = _STEPS

    def walk(self, schema: Any, path: Path, mark: Mark | None, depth: int) -> Iterator[Place]:  # noqa: ANN401
        """Every place at and below `schema`, with the mark that it has from above."""
        self._understand(schema, path, depth)
        mark = self._mark(schema, path, mark)
        if "$ref" in schema:
            inner = self._resolve(schema["$ref"], path)
            yield from self.walk(inner, path, mark, depth + 1)
            return
        yield Place(path, schema, mark)
        if "enum" in schema or "const" in schema:
            self._check_marked(schema, path, mark)
            return
        kind = schema.get("type")
        if kind in ("object", "array"):
            self._check_marked(schema, path, mark)
        if kind == "object":
            yield from self._walk_object(schema, path, mark, depth)
        elif kind == "array":
            self._require(schema, path, "items", "maxItems")
            yield from self.walk(schema["items"], (*path, "*"), mark, depth + 1)
        else:
            self._check_scalar(schema, path, mark)

    def _walk_object(
        self, schema: dict[str, Any], path: Path, mark: Mark | None, depth: int
    ) -> Iterator[Place]:
        if schema.get("additionalProperties") is not False:
            raise self._open(path, "an object needs additionalProperties: false")
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise self._open(path, "properties is no object")
        for name, inner in properties.items():
            if name in _NO_NAMES:
                raise self._open(path, f"a property {name!r}, which hides cells below it")
            if name == PERSON:
                raise self._open(path, f"a property {name}, which stands for a person")
            yield from self.walk(inner, (*path, name), mark, depth + 1)

    def _check_scalar(self, schema: dict[str, Any], path: Path, mark: Mark | None) -> None:
        match schema.get("type"):
            case "integer" | "number":
                self._require(schema, path, "minimum", "maximum")
                if mark is not None and mark.norm is not None and _EXACT & schema.keys():
                    raise self._open(path, "what gets noise keeps minimum and maximum only")
            case "string":
                if "maxLength" not in schema:  # a pattern is looked for anywhere in the text
                    raise self._open(path, "a text needs enum or maxLength")
                self._check_marked(schema, path, mark)
            case "boolean" | "null":
                self._check_marked(schema, path, mark)
            case _:
                raise self._open(path, "needs one type")

    def _check_marked(self, schema: dict[str, Any], path: Path, mark: Mark | None) -> None:
        if mark is not None and mark.norm is not None:
            raise self._open(path, f"{NOISE} stands on a number, not on {schema.get('type')}")

    def _mark(self, schema: dict[str, Any], path: Path, above: Mark | None) -> Mark | None:
        """The mark in force at a schema; what is public above is public below."""
        if NOISE not in schema:
            return above
        match schema[NOISE]:
            case False:
                return Mark(None)
            case {"l1": int() | float() as value} | {"l2": int() | float() as value} as said:
                (norm,) = said if len(said) == 1 else ("",)
                # As written: 0.1 is a tenth, not the binary number next to it.
                sensitivity = Fraction(str(value)) if type(value) in (int, float) else Fraction(0)
                if norm and 0 < sensitivity <= 10**12 and above is None:
                    return Mark(norm, sensitivity)
            case _:
                pass
        raise self._open(path, f'{NOISE} is false, or like {{"l1": 1}}, and stands there once')

    def _require(self, schema: dict[str, Any], path: Path, *keywords: str) -> None:
        if not schema.keys() >= set(keywords):
            raise self._open(path, f"{schema['type']} needs {' and '.join(keywords)}")

    def _understand(self, schema: Any, path: Path, depth: int) -> None:  # noqa: ANN401
        """Refuse a schema that says something whose meaning for openness is not known."""
        self._left -= 1
        if depth > _DEPTH or self._left < 0 or not isinstance(schema, dict):
            raise self._open(path, "nested too deep, recursive, too large, or true")
        strange = schema.keys() - _UNDERSTOOD
        if strange:
            raise self._open(path, f"keyword {min(strange)}")
        if CELL in schema and (schema.get("type") != "integer" or schema[CELL] is not True):
            raise self._open(path, f"{CELL} stands on an integer, and is true")

    def _resolve(self, reference: Any, path: Path) -> Any:  # noqa: ANN401
        name = str(reference).removeprefix("#/$defs/")
        if name == reference or name not in self._schema.get("$defs", {}):
            raise self._open(path, "a $ref must be to #/$defs")
        return self._schema["$defs"][name]

    def _open(self, path: Path, why: str) -> Refused:
        place = "/".join(path) or "the whole"
        return Refused("gate.schema", f"the output model of {self._name} is open at {place}: {why}")
