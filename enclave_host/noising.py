"""Noise on the numbers that an output model marks, repeatable by whoever has the run's share keys.

Each marked path has its own stream and its part of the run's budget; its sensitivity is that of all
its values together. Values are whole steps of a grid: 1 for integers, else the agreed decimals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isqrt
from typing import Any

from protocol import budget, limits, noise
from protocol.errors import Refused
from protocol.kinds.agreement import Rules
from protocol.output_model import Mark, Model, Path, Place

Slot = tuple[Any, Any]
"""A list or object, and the index or name in it where a number stands."""


@dataclass(frozen=True, slots=True)
class Noising:
    """The noise of one run: its key, the rules, and how many paths share its budget."""

    key: bytes
    rules: Rules
    places: int

    def add(self, model: Model, value: Any) -> Any:  # noqa: ANN401 (JSON)
        """The value with noise; it is changed in place. Raises Refused (gate.quota)."""
        whole = {"": value}
        for place in model.noised:
            slots = list(_slots(whole, ("", *place.path)))
            if len(slots) > limits.NOISED:
                raise Refused("gate.quota", f"more than {limits.NOISED} numbers need noise")
            self._add(model.name, place, slots)
        return whole[""]

    def _add(self, output: str, place: Place, slots: list[Slot]) -> None:
        stream = noise.Stream(self.key, output, *place.path)
        integer = place.schema["type"] == "integer"
        step = Fraction(1) if integer else Fraction(1, 10**self.rules.precision)
        low = ceil(Fraction(str(place.schema["minimum"])) / step)
        high = floor(Fraction(str(place.schema["maximum"])) / step)
        steps = sensitivity(place.mark, step, 0 if integer else len(slots))
        for container, key in slots:
            exact = round(Fraction(container[key]) / step)
            noised = min(max(exact + self._draw(stream, steps), low), high)
            container[key] = noised if integer else float(noised * step)

    def _draw(self, stream: noise.Stream, steps: Fraction) -> int:
        part = budget.share(self.rules, self.places)
        if self.rules.noise == "laplace":
            return noise.laplace(stream, steps / part)
        return noise.gaussian(stream, steps**2 / (2 * part))


def sensitivity(mark: Mark | None, step: Fraction, rounded: int) -> Fraction:
    """The sensitivity in steps; each of `rounded` values can move by one more for its rounding."""
    said = (mark.sensitivity if mark is not None else Fraction(0)) / step
    if mark is not None and mark.norm == "l2":
        root = isqrt(rounded)
        return said + root + (root * root < rounded)
    return said + rounded


def _slots(value: Any, path: Path) -> Iterator[Slot]:  # noqa: ANN401 (JSON)
    for key in range(len(value)) if path[0] == "*" else {path[0]} & value.keys():
        if len(path) == 1:
            yield value, key
        else:
            yield from _slots(value[key], path[1:])
