"""The offline verifier of an audit file: what it proves, what is wrong, what it cannot prove.

Nothing is asked of anybody: all follows from the bytes of the file. Each check looks at everything,
so that one fault does not hide another.
"""

import hashlib
from typing import Final

from protocol.audit import bundle, feeds, gate, hosts, replay, runs, stops
from protocol.audit.bundle import Bundle, Manifest
from protocol.audit.feeds import Topic
from protocol.audit.findings import Check, Ledger, Report
from protocol.audit.runs import History
from protocol.errors import ProtocolError
from protocol.kinds.agreement import NegotiationOpening
from protocol.machines.agreement import Collaboration
from protocol.machines.negotiation import Negotiation
from protocol.machines.space import Space

LIMITS: Final = (
    "What is inside shares, consents and outputs: the file has their digests only.",
    "That the enclave counted and computed right: that rests on its evidence and the agreed code.",
    "A host that attacks its own hardware physically can forge clean evidence.",
    "That approved code is wise: it does what it was approved to do.",
    "If all parties ignore a withdrawal together, only the window of the consent protects.",
)
"""What no audit file can prove, whatever is in it."""


def verify(data: bytes, now: int) -> Report:
    """Check an audit file at unix time `now`. Never raises on hostile bytes: a file that cannot be
    read is a report with that one finding.
    """
    ledger = Ledger()
    try:
        material = bundle.read(data)
    except ProtocolError as error:
        ledger.find(Check.FILE, error.code, f"the file is refused: {error}")
        return ledger.report("the file cannot be read")
    topics = feeds.open_topics(material, ledger)
    feeds.check_feeds(topics, ledger)
    manifest = feeds.check_manifest(material, topics, now, ledger)
    _note_redactions(topics, ledger)
    spaces = _spaces(topics, now, ledger)
    negotiations = _negotiations(topics, spaces, ledger)
    complete = _agreements(topics, material, spaces, negotiations, ledger)
    for sentence in LIMITS:
        ledger.limit(sentence)
    return ledger.report(_headline(complete, manifest, ledger))


def _note_redactions(topics: list[Topic], ledger: Ledger) -> None:
    for found in topics:
        for entry in found.entries:
            if entry.record.body is None and entry.record.kind not in bundle.SEALED_KINDS:
                what = f"a {entry.record.kind} by {ledger.name(entry.record.author)}"
                ledger.limit(f"Record {entry.number}, {what}, is redacted: it proves no more.")


def _spaces(topics: list[Topic], now: int, ledger: Ledger) -> dict[bytes, Space]:
    found = (replay.replay_space(one, now, ledger) for one in topics if one.opening.type == "space")
    return {space.id: space for space in found if space is not None}


def _negotiations(
    topics: list[Topic], spaces: dict[bytes, Space], ledger: Ledger
) -> dict[bytes, Negotiation]:
    found = {}
    for one in topics:
        if not isinstance(one.opening.document, NegotiationOpening):
            continue
        space = spaces.get(one.opening.document.space)
        if space is None:
            ledger.limit("The space is not in the file: who negotiated is not proven.")
        else:
            found[one.opening.topic] = replay.replay_negotiation(one, space, ledger)
    return found


def _agreements(
    topics: list[Topic],
    material: Bundle,
    spaces: dict[bytes, Space],
    negotiations: dict[bytes, Negotiation],
    ledger: Ledger,
) -> list[tuple[str, int]]:
    """Check each agreement; its name, and the run number up to which it is complete."""
    complete, histories = [], []
    for one in topics:
        machine = replay.replay_agreement(one, ledger) if one.opening.type == "agreement" else None
        if machine is None:
            continue
        document = machine.document
        replay.check_signatures(
            machine, spaces.get(document.space), negotiations.get(document.negotiation), ledger
        )
        _check_reviews(machine, spaces.get(document.space), ledger)
        for topic in (each for each in topics if each.opening.topic == document.space):
            replay.check_commitments(machine, topic, ledger)
        history = History(one, machine)
        histories.append(history)
        hosts.check_verdicts(one, machine, spaces.get(document.space), material.evidence, ledger)
        hosts.check_elections(one, machine, ledger)
        hosts.check_terms(one, ledger)
        complete.append((document.name, runs.check_runs(history, ledger)))
        stops.check_stops(history, ledger)
        gate.check_gate(history, ledger)
    gate.check_leaves(histories, material.leaves, ledger)
    _check_evidence_named(histories, material, ledger)
    if not complete:
        ledger.find(Check.AGREEMENT, "audit.incomplete", "no agreement can be read in the file")
    return complete


def _check_reviews(machine: Collaboration, space: Space | None, ledger: Ledger) -> None:
    """The agreed number of named reviewers approved the bundle."""
    algorithm = machine.document.algorithm
    if space is None or not algorithm.reviews_needed:
        return
    given = set(space.approvals(algorithm.bundle)) & set(algorithm.reviewers)
    if len(given) < algorithm.reviews_needed:
        sentence = (
            f"{len(given)} reviewers approved the algorithm, the agreement asks for "
            f"{algorithm.reviews_needed}"
        )
        ledger.find(Check.AGREEMENT, "algorithm.review", sentence)


def _check_evidence_named(histories: list[History], material: Bundle, ledger: Ledger) -> None:
    named = {
        verdict.evidence for history in histories for _, verdict in hosts.verdicts(history.found)
    }
    for raw in material.evidence:
        ledger.look(Check.VERDICTS)
        if hashlib.sha256(raw).digest() not in named:
            sentence = "there is evidence that no verdict names"
            ledger.find(Check.VERDICTS, "audit.altered", sentence)


def _headline(complete: list[tuple[str, int]], manifest: Manifest | None, ledger: Ledger) -> str:
    if not complete:
        return "no agreement in the file"
    reached = "; ".join(f"{name}: complete up to run {number}" for name, number in complete)
    if manifest is None:
        return f"{reached}; nobody answers for the tail"
    who = ledger.name(manifest.exporter)
    ledger.limit(f"That nothing follows the last records of the file: that is {who}'s word.")
    return f"{reached}; the tail rests on {who}'s word"
