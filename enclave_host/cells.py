"""Small cells: objects of an output that count fewer people than may be told apart.

Suppression takes out the whole cell, not only its count: what else it says is about the same
people. If what is gone would count fewer than the bound together, the next smallest cell goes too,
or a known total would give it back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from protocol.output_model import Path


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its count and the list it is an item of (None: it is no item of a list)."""

    count: int
    item: Any
    siblings: list[Any] | None


def find(value: Any, paths: Iterable[Path]) -> list[Cell]:  # noqa: ANN401 (parsed JSON)
    """Every cell of an output; `paths` are those of its model's counts."""
    return [cell for path in sorted(paths) for cell in _at(value, path, None, None)]


def suppress(cells: list[Cell], bound: int) -> bool:
    """Take small cells out of their lists; False if one cannot be taken out, or all would go.

    Changes the lists in place.
    """
    tables = {id(cell.siblings): cell.siblings for cell in cells}
    if any(cell.siblings is None and cell.count < bound for cell in cells):
        return False
    for table in tables.values():
        mine = sorted((one for one in cells if one.siblings is table), key=lambda one: one.count)
        gone = [cell for cell in mine if cell.count < bound]
        rest = mine[len(gone) :]
        while gone and rest and sum(cell.count for cell in gone) < bound:
            gone.append(rest.pop(0))
        if gone and not rest:
            return False
        if table is not None:
            dropped = {id(cell.item) for cell in gone}
            table[:] = [item for item in table if id(item) not in dropped]
    return True


def _at(value: Any, path: Path, item: Any, siblings: list[Any] | None) -> Iterator[Cell]:  # noqa: ANN401
    """`item` is the innermost list item around `value`, and `siblings` its list."""
    if not path:
        yield Cell(value, item, siblings)
    elif path[0] == "*":
        for one in value:
            yield from _at(one, path[1:], one, value)
    elif path[0] in value:
        yield from _at(value[path[0]], path[1:], item, siblings)
