"""What differs between two versions of an agreement, in plain words, and whom it affects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

from protocol import ceilings, terms
from protocol.kinds.agreement import Agreement

NONE: Final = "nothing"
EVERYONE: Final = "everyone"
PEOPLE: Final = "people"

_UNSAID: Final = frozenset({"type", "salt", "rule_sources"})
"""Fields that mean nothing to a reader, or (sources) are told with the rule itself."""

_LISTS_BY: Final = ("name", "id", "did", "generation")
"""What an element of a list is called, the first field that it has."""

_SECONDS: Final = frozenset(
    {"purpose.duration", "retention", "attestation.max_age", "runs.deadline", "runs.within"}
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs: its path, the value before and after, and who is affected."""

    field: str
    before: str
    after: str
    affects: tuple[str, ...]

    @property
    def words(self) -> str:
        """One sentence: field, before, after, and whom it concerns."""
        return f"{self.field}: {self.before} -> {self.after} (concerns {', '.join(self.affects)})"


def diff(before: Agreement, after: Agreement) -> tuple[Difference, ...]:
    """Every difference that a reader could care about, in the order of the document."""
    names = _names(before) | _names(after)
    old, new = dict(_facts(before, names)), dict(_facts(after, names))
    paths = [*old, *(path for path in new if path not in old)]
    return tuple(
        Difference(path, was, now, _affected(path, was, now))
        for path in paths
        if (was := old.get(path, NONE)) != (now := new.get(path, NONE))
    )


def words(before: Agreement, after: Agreement) -> tuple[str, ...]:
    """The differences as sentences, for `Proposal.changes`."""
    return tuple(difference.words for difference in diff(before, after))


def _names(document: Agreement) -> dict[bytes, str]:
    hosts = {host.did: host.name for host in document.hosts.candidates}
    return hosts | {party.did: party.name for party in document.parties}


def _facts(document: Agreement, names: Mapping[bytes, str]) -> Iterator[tuple[str, str]]:
    """Path -> value in words, for every leaf of the document."""
    for path, value in _leaves("", document, names):
        rule, limit = path.removeprefix("rules."), path.removeprefix("limits.")
        if rule != path and rule in terms.DIRECTIONS:
            yield path, _rule(document, rule, names)
        elif limit != path:
            yield path, ceilings.words(limit, int(value))
        else:
            yield path, f"{value} s" if path in _SECONDS else value


def _rule(document: Agreement, rule: str, names: Mapping[bytes, str]) -> str:
    party = terms.decider(document, rule)
    by = "nobody" if party is None else names.get(party, _short(party))
    return f"{terms.DIRECTIONS[rule].words(getattr(document.rules, rule))}, set by {by}"


def _leaves(
    path: str,
    value: Any,  # noqa: ANN401 (any part of a document)
    names: Mapping[bytes, str],
) -> Iterator[tuple[str, str]]:
    if is_dataclass(value):
        for field in fields(value):
            inner = getattr(value, field.name)
            if inner is not None and not (path == "" and field.name in _UNSAID):
                yield from _leaves(f"{path}.{field.name}".strip("."), inner, names)
    elif isinstance(value, dict):
        for name, item in sorted(value.items()):
            # Whole: a prefix of a measurement is cheap to forge.
            yield f"{path}.{name}", item.hex()
    elif isinstance(value, tuple) and value:
        yield from _leaves_of_list(path, value, names)
    else:
        yield path, NONE if value == () else _text(path, value, names)


def _leaves_of_list(
    path: str, items: tuple[Any, ...], names: Mapping[bytes, str]
) -> Iterator[tuple[str, str]]:
    if isinstance(items[0], dict | tuple):
        for number, item in enumerate(items, 1):
            yield from _leaves(f"{path}.{number}", item, names)
    elif is_dataclass(items[0]):
        called = _called(items, names)
        for name, item in zip(called, items, strict=True):
            yield from _leaves(f"{path}.{name}", item, names)
        yield path, ", ".join(called)
    else:
        yield path, ", ".join(_text(path, item, names) for item in items)


def _called(items: tuple[object, ...], names: Mapping[bytes, str]) -> list[str]:
    """What the elements of a list are called; a name that comes again gets its number."""
    called: list[str] = []
    for item in items:
        field = next(field for field in _LISTS_BY if hasattr(item, field))
        name = _text(field, getattr(item, field), names)
        called.append(name if name not in called else f"{name} ({len(called) + 1})")
    return called


def _text(path: str, value: object, names: Mapping[bytes, str]) -> str:
    match value:
        case None:
            return PEOPLE
        case bool():
            return "yes" if value else "no"
        case bytes():
            return names.get(value, _short(value))
        case _:
            # Names and texts are the proposer's: none may write on the reader's terminal.
            return "".join(c if c.isprintable() else " " for c in str(value))


def _short(id_: bytes) -> str:
    return id_.hex()[:8]


def _affected(path: str, was: str, now: str) -> tuple[str, ...]:
    match path.split("."):
        case ["parties"] | ["hosts", "candidates"] | ["runs", "by"]:
            return _moved(was, now)
        case ["outputs", _, "to"] | ["datasets", _, "sources"]:
            return _moved(was, now)
        case ["outputs", _, "subject"] | ["people", *_]:
            return (PEOPLE,)
        case ["parties", name, *_] | ["hosts", "candidates", name, *_]:
            return (name,)
        case ["datasets", _, "sources", name, *_]:
            return (name,)
        case _:
            return (EVERYONE,)


def _moved(was: str, now: str) -> tuple[str, ...]:
    """Who stands in one of two lists only; everyone if just their order differs."""
    before, after = ({*text.split(", ")} - {NONE} for text in (was, now))
    return tuple(sorted(before ^ after)) or (EVERYONE,)
