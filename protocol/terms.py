"""Output rules: which way each one is stricter, and their merge, strictest wins.

A rule without a direction here is refused, never ignored: a party that asks for a rule which the
others do not know must not believe that it holds.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from protocol import shape
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement, Rules, RuleSource

Value = int | str
"""The value of one rule, as in `Rules`."""

SMALL_CELLS: Final = ("suppress", "refuse")
"""What happens to a small cell, the milder answer first."""


@dataclass(frozen=True, slots=True)
class Direction:
    """How a rule reads in words (`before` VALUE `after`), and `rank`: the higher, the stricter."""

    before: str
    after: str
    rank: Callable[[Any], object]

    def words(self, value: Value) -> str:
        """The rule with this value, for people."""
        return " ".join(part for part in (self.before, str(value), self.after) if part)


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
}
"""Every rule of `Rules` and its direction."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The strictest rules, and for each rule the party that decided its value."""

    rules: Rules
    sources: tuple[RuleSource, ...]


def merge(wishes: Mapping[bytes, Mapping[str, Value]]) -> Merged:
    """The strictest value of each rule over all parties (did -> rule -> value).

    A party may leave rules open; somebody must name each. Between equals the lowest did counts as
    the one who decided, so that everyone computes the same. Raises Refused (rules.unknown,
    rules.incomplete, shape.mismatch).
    """
    decided: dict[str, tuple[Value, bytes]] = {}
    for party in sorted(wishes):
        for rule, value in wishes[party].items():
            known = decided.get(rule)
            if stricter(rule, value, None if known is None else known[0]):
                decided[rule] = (value, party)
    missing = [rule for rule in DIRECTIONS if rule not in decided]
    if missing:
        raise Refused("rules.incomplete", ", ".join(missing))
    rules = shape.read(Rules, {rule: value for rule, (value, _) in decided.items()})
    sources = (RuleSource(rule=rule, party=decided[rule][1]) for rule in DIRECTIONS)
    return Merged(rules, tuple(sources))


def tighten(base: Merged, party: bytes, wishes: Mapping[str, Value]) -> Merged:
    """`base` with what `party` wants stricter; what is strict enough keeps its value and source.

    Raises Refused (rules.unknown, shape.mismatch).
    """
    values = shape.write(base.rules)
    sources = {source.rule: source.party for source in base.sources}
    for rule, value in wishes.items():
        if stricter(rule, value, values[rule] if rule in DIRECTIONS else None):
            values[rule] = value
            sources[rule] = party
    merged = tuple(RuleSource(rule=rule, party=sources[rule]) for rule in sorted(sources))
    return Merged(shape.read(Rules, values), merged)


def stricter(rule: str, value: Value, than: Value | None) -> bool:
    """Whether `value` is stricter than `than`; anything is stricter than no rule (None).

    Raises Refused (rules.unknown, shape.mismatch).
    """
    return _rank(rule, value) > (float("-inf") if than is None else _rank(rule, than))


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


def _rank(rule: str, value: Value) -> int:
    direction = DIRECTIONS.get(rule)
    if direction is None:
        raise Refused("rules.unknown", rule)
    try:
        rank = direction.rank(value)
    except (ValueError, TypeError):
        rank = None
    if type(rank) is not int:
        raise Refused("shape.mismatch", f"{rule}: {value!r} is no value of this rule")
    return rank


def _pairs(before: Rules, after: Rules) -> Iterator[tuple[str, Value, Value]]:
    for field in fields(Rules):
        yield field.name, getattr(before, field.name), getattr(after, field.name)
