"""Values as JSON and as words: ids in hex, participants by name, times in unix seconds."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from node.node import Node
from protocol import ceilings
from protocol.attestation.policy import exposed, merge, named
from protocol.keys import did_text
from protocol.kinds.agreement import Agreement, Runs, Trigger
from protocol.kinds.attestation import Attestation
from protocol.limits import WITHIN
from protocol.machines.advisories import Given
from protocol.machines.space import Space
from protocol.terms import DIRECTIONS, decider

OVERLAPS: Final = {
    "vault": "of a person who gives own rows, those alone count",
    "refuse": "one person in two shares holds the run",
}
"""What an agreement says about one person in two shares, where not both are kept."""


def plain(value: object) -> Any:  # noqa: ANN401 (any JSON)
    """A document as JSON: byte strings of 32 bytes in hex, longer ones as their size."""
    match value:
        case bytes():
            return value.hex() if len(value) <= 32 else f"{len(value)} bytes"
        case tuple() | list():
            return [plain(item) for item in value]
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        case _:
            return value


def called(node: Node, did: bytes, document: Agreement | None = None) -> str:
    """What to call a participant: its name in the agreement, else here, else its did."""
    if document is not None:
        named = {host.did: host.name for host in document.hosts.candidates}
        named.update({party.did: party.name for party in document.parties})
        if did in named:
            return named[did]
    known = node.world.participants().get(did)
    return known.name if known is not None else did_text(did)


def days(seconds: int) -> str:
    """A duration in words."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def in_words(node: Node, document: Agreement) -> list[dict[str, str]]:
    """The agreement, line by line, as a reader should see it before signing."""
    lines = [
        ("purpose", f"{document.purpose.text} ({document.purpose.term})"),
        ("processing", ", ".join(document.purpose.processing)),
        ("approvals", ", ".join(document.purpose.approvals) or "none"),
        ("runs for", f"{days(document.purpose.duration)}, in {document.purpose.jurisdiction}"),
    ]
    lines += [("party", f"{p.name}: {', '.join(p.roles)} ({p.gdpr})") for p in document.parties]
    lines += _people(node, document) + _data(node, document)
    lines += _algorithm(node, document) + _outputs(node, document)
    lines += _logs(node, document) + _limits(document) + _rules(node, document)
    lines += _runs(node, document)
    return [{"about": about, "says": says} for about, says in lines]


def _people(node: Node, document: Agreement) -> list[tuple[str, str]]:
    people = document.people
    if people is None:
        return []
    registrar = called(node, people.registrar, document)
    says = f"{people.category}s by consent, admitted by {registrar}; a consent covers at most "
    return [("people", f"{says}{people.window} runs; notice {people.notice.hex()[:8]}")]


def _data(node: Node, document: Agreement) -> list[tuple[str, str]]:
    found = []
    for dataset in document.datasets:
        for source in dataset.sources:
            by = "people" if source.did is None else called(node, source.did, document)
            waits = ", no run without it" if source.waits else ""
            found.append(("data", f"{dataset.id} from {by} ({source.legal_basis}){waits}"))
        if dataset.overlap != "keep":
            found.append(("data", f"{dataset.id}: {OVERLAPS[dataset.overlap]}"))
    return found


def _algorithm(node: Node, document: Agreement) -> list[tuple[str, str]]:
    algorithm = document.algorithm
    reviewers = ", ".join(called(node, did, document) for did in algorithm.reviewers)
    entries = ", ".join(entry.name for entry in algorithm.entries)
    provider = called(node, algorithm.provider, document)
    read_by = "" if algorithm.sealed is None else "; confidential: only reviewers read it"
    return [
        ("algorithm", f"{algorithm.bundle.hex()[:8]} by {provider}: {entries}{read_by}"),
        ("environment", algorithm.environment.hex()[:8]),
        ("reviews", f"{algorithm.reviews_needed} of {reviewers or 'nobody'}"),
    ]


def _outputs(node: Node, document: Agreement) -> list[tuple[str, str]]:
    found = []
    for output in document.outputs:
        to = [called(node, did, document) for did in output.to]
        to += ["each person, the own part"] if output.subject else []
        words = f"{output.name} to {', '.join(to) or 'the next run'}"
        about: list[str] = [output.format] if output.format != "json" else []
        about += [f"means {output.context.hex()[:8]}"] if output.context is not None else []
        found.append(("output", " ".join([words, *(f"({one})" for one in about)])))
    return found


def _logs(node: Node, document: Agreement) -> list[tuple[str, str]]:
    logs = document.logs
    if logs is None:
        return []
    to = ", ".join(called(node, did, document) for did in logs.to)
    what = "where it failed" if logs.what == "errors" else "all that the algorithm prints"
    return [("log", f"{what}, at most {logs.bytes} bytes, to {to}")]


def _limits(document: Agreement) -> list[tuple[str, str]]:
    found = [
        f"{name} {ceilings.words(name, value)}"
        for name, value in ceilings.values(ceilings.agreed(document))
    ]
    return [("a run may use", ", ".join(found))]


def _rules(node: Node, document: Agreement) -> list[tuple[str, str]]:
    found = []
    for rule, direction in DIRECTIONS.items():
        party = decider(document, rule)
        by = "nobody" if party is None else called(node, party, document)
        value = getattr(document.rules, rule)
        if value is None:  # a rule that nobody made
            continue
        found.append(("rule", f"{direction.words(value)} (set by {by})"))
    return found


def _attestation(policy: Attestation) -> Iterator[str]:
    age = days(policy.max_age)
    for technology, terms in named(policy).items():
        label = f" ({words})" if (words := exposed([technology])) else ""
        for registers in terms.accept:
            values = (f"{name} {value.hex()[:16]}" for name, value in sorted(registers.items()))
            yield f"{technology}{label}: {', '.join(values)}; not older than {age}"


def ground_in_words(node: Node, document: Agreement) -> Iterator[str]:
    """What the space adds to an agreement's attestation: stricter floors, and advisories."""
    room = node.world.rooms.get(document.space)
    space = room.machine if room is not None else None
    if not isinstance(space, Space):
        return
    if merge(document.attestation, space.terms.attestation) != document.attestation:
        yield "the floors of the space make the attestation policy stricter than it says here"
    technologies = named(document.attestation)
    for one in space.advisories.in_force(space.terms.advisors):
        if one.advisory.technology in technologies:
            yield advisory_in_words(node, one)


def advisory_in_words(node: Node, given: Given) -> str:
    """An advisory in one line."""
    one = given.advisory
    by = node.world.name(given.record.author)
    return f"advisory {given.record.id.hex()[:8]} by {by} on {one.technology}: {one.reason}"


def _bounds(runs: Runs) -> Iterator[str]:
    yield f"{runs.attempts} attempts at one number, each at most {_span(runs.within or WITHIN)}"
    if runs.deadline is not None:
        yield f"an order that does not start within {_span(runs.deadline)} expires"


def _trigger(node: Node, document: Agreement, one: Trigger) -> str:
    by = ", ".join(called(node, did, document) for did in one.by)
    missed = " (a missed time is skipped)" if one.missed == "skip" else ""
    cause = f"event {one.event}" if one.cron is None else f"at {one.cron} UTC{missed}"
    return f"{one.name}: {cause} runs {one.entry} {one.parameters}, ordered by {by}"


def _span(seconds: int) -> str:
    return days(seconds) if seconds % 86_400 == 0 else f"{seconds} s"


def _runs(node: Node, document: Agreement) -> list[tuple[str, str]]:
    by = ", ".join(called(node, did, document) for did in document.runs.by)
    hosts = ", ".join(f"{host.name} ({host.region})" for host in document.hosts.candidates)
    lease = document.hosts.lease // 1000
    return [
        ("runs", f"at most {document.runs.at_most}, ordered by {by or 'triggers alone'}"),
        *(("runs", says) for says in _bounds(document.runs)),
        *(("trigger", _trigger(node, document, one)) for one in document.runs.triggers),
        *(("attestation", says) for says in _attestation(document.attestation)),
        ("hosts", f"{hosts}; lease {lease} s; {document.hosts.standbys} standby"),
        ("end", f"shares and keys are erased within {days(document.retention)}"),
    ]
