"""The quality rules of a data contract (ODCS 3, library metrics) that the datacage checks.

A metric is one of ODCS 3.1 (`metric`), or what 3.0 called it (`rule`). Every other rule is refused
in words: a provider must not believe in a check that nobody makes. A rule of severity info or
warning only advises, and is left alone.
"""

from dataclasses import dataclass
from typing import Any, Final

MANY: Final = 2**53
"""The bound on rows where a contract names none."""

BOUNDS: Final = frozenset(
    {"mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan", "mustBeLessOrEqualTo"}
)
OPERATORS: Final = BOUNDS | {"mustBe", "mustNotBe", "mustBeBetween", "mustNotBeBetween"}
OF_COLUMNS: Final = {
    "nullValues": "nullValues",
    "nullCheck": "nullValues",
    "missingValues": "missingValues",
    "invalidValues": "invalidValues",
    "validValues": "invalidValues",
    "duplicateValues": "duplicateValues",
    "duplicateCount": "duplicateValues",
}
"""Name of a rule -> the metric that it is."""


@dataclass(slots=True)
class Quality:
    """What the rules of one column come to; None and () where there is no rule."""

    required: bool = False
    unique: bool = False
    pattern: str | None = None
    values: tuple[Any, ...] = ()
    missing: tuple[Any, ...] = ()


def rows_of(table: Any) -> tuple[int, int]:  # noqa: ANN401 (parsed YAML)
    """The fewest and most rows of a table. Raises ValueError."""
    low, high = 0, MANY
    for rule in _enforced(table):
        if _name(rule) != "rowCount":
            raise ValueError(f"a table has the rule {_name(rule)}: only rowCount is checked")
        least, most = _range(rule)
        low, high = max(low, least), min(high, most)
    if low > high:
        raise ValueError("no number of rows keeps both rules rowCount")
    return low, high


def quality_of(column: Any) -> Quality:  # noqa: ANN401 (parsed YAML)
    """What the rules of a column come to. Raises ValueError."""
    found, where = Quality(), f"column {column['name']}"
    for rule in _enforced(column):
        name = _name(rule)
        metric = OF_COLUMNS.get(name)
        if metric is None:
            known = ", ".join(sorted(set(OF_COLUMNS.values())))
            raise ValueError(f"{where} has the rule {name}: checked are {known}")
        operators = {key: rule[key] for key in rule.keys() & OPERATORS}
        # Before 3.1 a list of valid values needed no operator.
        if operators not in ({"mustBe": 0}, {} if name in ("validValues", "nullCheck") else None):
            raise ValueError(f"{where}: {name} is checked as mustBe: 0 only")
        _add(found, metric, {**rule, **rule.get("arguments", {})}, where)
    return found


def _add(found: Quality, metric: str, rule: dict[str, Any], where: str) -> None:
    match metric:
        case "nullValues":
            found.required = True
        case "duplicateValues":
            found.unique = True
        case "missingValues":
            values = _list(rule.get("missingValues", [None]), where)
            found.required = found.required or None in values
            found.missing = (*found.missing, *(one for one in values if one is not None))
        case _:
            _add_valid(found, rule, where)


def _add_valid(found: Quality, rule: dict[str, Any], where: str) -> None:
    """The values, or the form, that alone are valid."""
    if "validValues" in rule:
        values = _list(rule["validValues"], where)
        # Of two lists only what stands in both is valid; an empty list would say: all.
        found.values = tuple(one for one in found.values if one in values) or values
    if "pattern" in rule:
        if found.pattern is not None:
            raise ValueError(f"{where} has two patterns")
        found.pattern = str(rule["pattern"])
    if not {"validValues", "pattern"} & rule.keys():
        raise ValueError(f"{where}: invalidValues needs validValues or a pattern")


def _list(values: Any, where: str) -> tuple[Any, ...]:  # noqa: ANN401 (parsed YAML)
    if not isinstance(values, list) or not values:
        raise ValueError(f"{where}: a rule needs a list of values")
    return tuple(values)


def _enforced(one: Any) -> list[Any]:  # noqa: ANN401 (parsed YAML)
    """The rules that refuse; one of severity info or warning only advises."""
    return [rule for rule in one.get("quality", ()) if rule.get("severity", "error") == "error"]


def _name(rule: Any) -> str:  # noqa: ANN401 (parsed YAML)
    """What a rule is called. Raises ValueError for one that no library knows."""
    kind = rule.get("type", "library")
    if kind != "library":
        raise ValueError(f"a rule of type {kind} is not checked: give it severity: info")
    if "unit" in rule and rule["unit"] != "rows":
        raise ValueError(f"a rule counts in {rule['unit']}: only rows are counted")
    return str(rule.get("metric", rule.get("rule")))


def _range(rule: Any) -> tuple[int, int]:  # noqa: ANN401 (parsed YAML)
    match {key: rule[key] for key in rule.keys() & OPERATORS}:
        case {"mustBeBetween": [int(low), int(high)], **rest} if not rest:
            return low, high
        case {"mustBe": int(exact), **rest} if not rest:
            return exact, exact
        case {**bounds} if bounds and bounds.keys() <= BOUNDS:
            found = [_step(name, int(value)) for name, value in bounds.items()]
            return max(low for low, _ in found), min(high for _, high in found)
        case _:
            raise ValueError("a rowCount needs mustBe, mustBeBetween or a bound")


def _step(name: str, value: int) -> tuple[int, int]:
    """The numbers on one side of a bound."""
    low = value + (name == "mustBeGreaterThan")
    high = value - (name == "mustBeLessThan")
    return (low, MANY) if name.startswith("mustBeGreater") else (0, high)
