"""Output rules: which way each one is stricter, and their merge, strictest wins.

A rule without a direction here is refused, never ignored: a party that asks for a rule which the
others do not know must not believe that it holds.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from protocol import shape
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement, Rules, RuleSource, Runs

Value = int | str
"""The value of one rule, as in `Rules`."""

SMALL_CELLS: Final = ("suppress", "refuse")
"""What happens to a small cell, the milder answer first."""

NOISE: Final = ("gaussian", "laplace")
"""Mechanisms of noise, the weaker promise first."""


@dataclass(frozen=True, slots=True)
class Direction:
    """How a rule reads in words (`before` VALUE `after`), and `rank`: the higher, the stricter.

    A rule with `without` may have no value, and then reads so; nothing is milder. `unit`: how many
    of the value are 1 for people.
    """

    before: str
    after: str
    rank: Callable[[Any], object]
    without: str | None = None
    unit: int = 1

    def words(self, value: Value | None) -> str:
        """The rule with this value, for people."""
        if value is None:
            return self.without or "nothing"
        shown = value if isinstance(value, str) or self.unit == 1 else decimal(value, self.unit)
        return " ".join(part for part in (self.before, str(shown), self.after) if part)


def decimal(value: int, unit: int) -> str:
    """A count of parts of `unit` (a power of ten) as people write it: 1500000, 10**6 -> 1.5."""
    whole, rest = divmod(value, unit)
    digits = str(unit + rest)[1:].rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _more(value: object) -> object:
    return value


def _less(value: int) -> int:
    return -value


DIRECTIONS: Final[Mapping[str, Direction]] = {
    "min_contributors": Direction("at least", "people per result", _more),
    "min_change": Direction("two results differ by at least", "people or by none", _more),
    "small_cells": Direction("small cells:", "", SMALL_CELLS.index),
    "precision": Direction("at most", "decimals leave", _less),
    "output_bytes": Direction("at most", "bytes per output", _less),
    "output_rows": Direction("at most", "rows per output", _less, "any number of rows"),
    "noise": Direction("noise:", "", NOISE.index, "no noise"),
    "epsilon": Direction("at most", "epsilon per run", _less, "no epsilon per run", 10**6),
    "epsilon_total": Direction("at most", "epsilon in all", _less, "no epsilon in all", 10**6),
    "delta": Direction("delta at most", "", _less, "no delta", 10**12),
}
"""Every rule of `Rules` and its direction."""


RUN_BOUNDS: Final[Mapping[str, Direction]] = {
    "at_most": Direction("at most", "", _less),
    "attempts": Direction("at most", "attempts at one number", _less),
    "deadline": Direction("an order starts within", "s or expires", _less),
    "within": Direction("a run takes at most", "s", _less),
}
"""The bounds of `Runs`; the strictest of all parties holds, and none is the mildest."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The strictest rules, and for each rule the party that decided its value."""

    rules: Rules
    sources: tuple[RuleSource, ...]


def merge(wishes: Mapping[bytes, Mapping[str, Value | None]]) -> Merged:
    """The strictest value of each rule over all parties (did -> rule -> value).

    A party may leave rules open; somebody must name each that cannot be without value. Between
    equals the lowest did counts as the one who decided, so that everyone computes the same. Raises
    Refused (rules.unknown, rules.incomplete, shape.mismatch).
    """
    decided: dict[str, tuple[Value | None, bytes]] = {
        rule: (None, min(wishes))
        for rule, direction in DIRECTIONS.items()
        if direction.without is not None and wishes
    }
    for party in sorted(wishes):
        for rule, value in wishes[party].items():
            if value is None:
                continue
            known = decided.get(rule)
            if stricter(rule, value, None if known is None else known[0]):
                decided[rule] = (value, party)
    missing = [rule for rule in DIRECTIONS if rule not in decided]
    if missing:
        raise Refused("rules.incomplete", ", ".join(missing))
    rules = _rules({rule: value for rule, (value, _) in decided.items()})
    sources = (RuleSource(rule=rule, party=decided[rule][1]) for rule in DIRECTIONS)
    return Merged(rules, tuple(sources))


def tighten(base: Merged, party: bytes, wishes: Mapping[str, Value]) -> Merged:
    """`base` with what `party` wants stricter; what is strict enough keeps its value and source.

    Raises Refused (rules.unknown, shape.mismatch).
    """
    values = shape.write(base.rules)
    sources = {source.rule: source.party for source in base.sources}
    for rule, value in wishes.items():
        if stricter(rule, value, values.get(rule)):
            values[rule] = value
            sources[rule] = party
    merged = tuple(RuleSource(rule=rule, party=sources[rule]) for rule in sorted(sources))
    return Merged(_rules(values), merged)


def tighten_runs(runs: Runs, wishes: Mapping[str, int | None]) -> Runs:
    """`runs` with each bound of `RUN_BOUNDS` that a party wants stricter."""
    values: dict[str, Any] = {name: getattr(runs, name) for name in RUN_BOUNDS}
    for name, value in wishes.items():
        if value is not None and (values[name] is None or value < values[name]):
            values[name] = value
    return replace(runs, **values)


def stricter(rule: str, value: Value | None, than: Value | None) -> bool:
    """Whether `value` is stricter than `than`; anything is stricter than no rule (None).

    Raises Refused (rules.unknown, shape.mismatch).
    """
    return _rank(rule, value) > _rank(rule, than)


def loosened(before: Rules, after: Rules) -> tuple[str, ...]:
    """The names of the rules that `after` relaxes."""
    return tuple(rule for rule, old, new in _pairs(before, after) if stricter(rule, old, new))


def misattributed(author: bytes, document: Agreement, parent: Agreement | None) -> tuple[str, ...]:
    """The rules whose source is wrong in a version by `author`, compared with its parent version.

    Who changes a value decided it, and nobody can put a value into another's mouth: a value that
    stays keeps its source, and in a first version all sources are the author.
    """

    def owner(rule: str) -> bytes | None:
        if parent is None or getattr(parent.rules, rule) != getattr(document.rules, rule):
            return author
        return decider(parent, rule)

    return tuple(rule for rule in DIRECTIONS if decider(document, rule) != owner(rule))


def decider(document: Agreement, rule: str) -> bytes | None:
    """The did of the party that decided `rule`: what refusals name as `set_by`."""
    parties = (source.party for source in document.rule_sources if source.rule == rule)
    return next(parties, None)


def _rules(values: Mapping[str, Value | None]) -> Rules:
    return shape.read(Rules, {rule: value for rule, value in values.items() if value is not None})


def _rank(rule: str, value: Value | None) -> float:
    direction = DIRECTIONS.get(rule)
    if direction is None:
        raise Refused("rules.unknown", rule)
    if value is None:
        return float("-inf")
    try:
        rank = direction.rank(value)
    except (ValueError, TypeError):
        rank = None
    if type(rank) is not int:
        raise Refused("shape.mismatch", f"{rule}: {value!r} is no value of this rule")
    return rank


def _pairs(before: Rules, after: Rules) -> Iterator[tuple[str, Value | None, Value | None]]:
    for field in fields(Rules):
        yield field.name, getattr(before, field.name), getattr(after, field.name)
