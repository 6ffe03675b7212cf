"""Verdicts, elections and terms of one agreement (checks 9 to 11)."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from protocol import kinds
from protocol.attestation import policy as policies
from protocol.attestation.appraise import EXAMINERS, Appraisal, appraise
from protocol.attestation.evidence import Binding, enclave_id
from protocol.audit.feeds import Topic
from protocol.audit.findings import Check, Entry, Ledger
from protocol.decision import Ballot
from protocol.kinds.advisory import Advisory
from protocol.kinds.attestation import Attestation
from protocol.kinds.host import Candidacy, Verdict
from protocol.machines.agreement import Collaboration
from protocol.machines.election import Elected
from protocol.machines.space import Space
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Yardstick:
    """By what verdicts were given: each policy that held once, by digest, and all advisories."""

    policies: Mapping[bytes, Attestation]
    advisories: tuple[Advisory, ...]


def yardstick(machine: Collaboration, space: Space | None) -> Yardstick:
    """The agreement's own policy, as strict as the floors of each epoch of the space.

    Without the space in the file nobody can say which floors held.
    """
    own = machine.document.attestation
    floors = [None] if space is None else [one.terms.attestation for one in space.chain.epochs]
    merged = [policies.merge(own, one) for one in floors]
    given = () if space is None else tuple(space.advisories.given.values())
    return Yardstick(
        {policies.digest(one): one for one in merged}, tuple(one.advisory for one in given)
    )


def check_verdicts(
    found: Topic,
    machine: Collaboration,
    space: Space | None,
    evidence: Iterable[bytes],
    ledger: Ledger,
) -> None:
    """Appraise again, from its evidence, what each verdict judged."""
    by = yardstick(machine, space)
    blobs = {hashlib.sha256(raw).digest(): raw for raw in evidence}
    nonces: dict[tuple[bytes, bytes], Entry] = {}
    shown = 0
    for entry, verdict in verdicts(found):
        ledger.look(Check.VERDICTS)
        candidate = machine.election.candidacies.get(verdict.candidacy)
        first = nonces.setdefault((entry.record.author, verdict.nonce), entry)
        if first is not entry:
            sentence = f"record {entry.number}: the nonce of record {first.number} is used again"
            ledger.find(Check.VERDICTS, "evidence.stale", sentence, entry)
        if candidate is None:
            sentence = f"record {entry.number} judges a candidacy that is not in the file"
            ledger.find(Check.VERDICTS, "audit.incomplete", sentence, entry)
            continue
        _check_policy(entry, verdict, by, space, ledger)
        raw = blobs.get(verdict.evidence) if verdict.evidence else None
        if raw is not None and verdict.policy in by.policies:
            shown += 1
            _appraise_again(raw, entry, verdict, candidate, machine, by, ledger)
        elif verdict.eligible:
            ledger.limit(
                "Of some verdicts the evidence is not in the file: they are a voter's word."
            )
    if shown:
        ledger.prove(f"{shown} verdicts say what their evidence says, appraised again here.")


def verdicts(found: Topic) -> Iterator[tuple[Entry, Verdict]]:
    """Every verdict of the topic."""
    for entry in found.entries:
        if entry.record.kind == "verdict" and entry.record.body is not None:
            yield entry, kinds.read(Verdict, entry.record)


def check_elections(found: Topic, machine: Collaboration, ledger: Ledger) -> None:
    """Each decided term: a quorum of votes for a candidate that a quorum found eligible."""
    election, entries = machine.election, found.numbered()
    for term, ballot in sorted(election.ballots.items()):
        ledger.look(Check.ELECTIONS)
        report_conflicts(ballot, entries, Check.ELECTIONS, ledger)
        elected = election.elected(term)
        if elected is not None:
            _check_elected(elected, machine, ledger)
        elif ballot.decided() is not None:
            sentence = f"term {term} elected a candidacy that is not in the file"
            ledger.find(Check.ELECTIONS, "audit.incomplete", sentence)
        else:
            ledger.limit(f"Term {term} elected nobody: no quorum of votes is in the file.")
    label = policies.exposed(policies.named(machine.document.attestation))
    if label:
        ledger.limit(f"{label}: the evidence shows the protocol, and protects no data.")


def check_terms(found: Topic, ledger: Ledger) -> None:
    """Count what enclaves said; the replay refused what was said outside the speaker's term."""
    spoken = [e for e in found.entries if e.record.kind in ("summons", "started", "run")]
    ledger.look(Check.TERMS, len(spoken))


def report_conflicts(
    ballot: Ballot, entries: Mapping[bytes, Entry], check: Check, ledger: Ledger
) -> None:
    """Voters who said yes to two subjects in the exclusive slot of `ballot`."""
    for voter, (first, second) in sorted(ballot.conflicts.items()):
        numbers = " and ".join(str(entries[vote.id].number) for vote in (first, second))
        sentence = (
            f"records {numbers}: {ledger.name(voter)} said yes to two subjects in {ballot.slot}"
        )
        ledger.find(check, "decision.exclusive", sentence, entries[second.id])


def _check_policy(
    entry: Entry, verdict: Verdict, by: Yardstick, space: Space | None, ledger: Ledger
) -> None:
    if verdict.policy not in by.policies and space is None:
        ledger.limit(
            "The space is not in the file: which floors verdicts had to keep is not shown."
        )
    elif verdict.policy not in by.policies:
        sentence = f"record {entry.number} applies another policy than agreement and space"
        ledger.find(Check.VERDICTS, "evidence.policy", sentence, entry)
    if verdict.eligible and verdict.reasons:
        sentence = f"record {entry.number} says eligible, and gives reasons why not"
        ledger.find(Check.VERDICTS, "audit.verdict", sentence, entry)


def _appraise_again(
    raw: bytes,
    entry: Entry,
    verdict: Verdict,
    candidate: tuple[Record, Candidacy],
    machine: Collaboration,
    by: Yardstick,
    ledger: Ledger,
) -> None:
    offered, candidacy = candidate
    if candidacy.technology not in EXAMINERS:
        ledger.limit(f"This version cannot appraise evidence of {candidacy.technology!r} again.")
        return
    expected = Binding(
        technology=candidacy.technology,
        keys=candidacy.enclave,
        host=offered.author,
        requester=entry.record.author,
        agreement=machine.id,
        term=verdict.term,
        nonce=verdict.nonce,
        software=candidacy.software,
    )
    # An advisory may have come after an honest yes, never before it is named as a reason.
    named = "evidence.withdrawn" in verdict.reasons
    again = appraise(
        raw,
        by.policies[verdict.policy],
        expected,
        verdict.at,
        advisories=by.advisories if named else (),
        activated=verdict.activated is True,  # a voter's word: it cannot be shown again
    )
    if _disagrees(verdict, again):
        said = "eligible" if verdict.eligible else ", ".join(verdict.reasons)
        found = ", ".join(again.reasons) or "no fault"
        sentence = f"record {entry.number} says {said}; its evidence shows {found}"
        ledger.find(Check.VERDICTS, "audit.verdict", sentence, entry)


def _disagrees(verdict: Verdict, again: Appraisal) -> bool:
    """Eligible needs sound evidence; a no may rest on a voter's own rules, but not on a false
    claim about the evidence alone.
    """
    if verdict.eligible:
        same = (verdict.measured, again.accepted) == (again.measured, True)
        return not same or verdict.until > again.valid_until
    about_evidence = [code for code in verdict.reasons if code.startswith("evidence.")]
    return bool(about_evidence) and not set(about_evidence) & set(again.reasons)


def _check_elected(elected: Elected, machine: Collaboration, ledger: Ledger) -> None:
    term, appointment = elected.term, elected.appointment
    offered, candidacy = machine.election.candidacies[appointment.candidacy]
    host = ledger.name(appointment.host)
    if (offered.author, enclave_id(candidacy.enclave)) != (appointment.host, appointment.enclave):
        sentence = f"term {term}: the appointment and the candidacy name different hosts or keys"
        ledger.find(Check.ELECTIONS, "election.certificate", sentence)
    if appointment.host not in machine.candidates:
        ledger.find(Check.ELECTIONS, "host.candidate", f"term {term}: {host} is no candidate")
    _check_eligible(elected, machine, ledger)
    _check_opened(term, machine, ledger)
    count = len(machine.election.ballots[term].yes(elected.subject))
    ledger.prove(
        f"Term {term}: {host} was elected by {count} of {len(machine.parties)} parties, "
        f"with an enclave of technology {candidacy.technology!r}."
    )


def _check_eligible(elected: Elected, machine: Collaboration, ledger: Ledger) -> None:
    """A quorum of verdicts; verdicts that are not here may be the missing ones, others not."""
    appointment, rule = elected.appointment, machine.election.rule
    eligible = machine.election.eligible(elected.term, appointment.candidacy)
    if eligible >= rule.needed:
        return
    given = len(machine.election.verdicts.get((elected.term, appointment.candidacy), {}))
    possible = eligible + len(rule.voters) - given
    code = "audit.incomplete" if possible >= rule.needed else "election.certificate"
    sentence = (
        f"term {elected.term}: {ledger.name(appointment.host)} was elected on {eligible} verdicts "
        f"of the {rule.needed} needed"
    )
    ledger.find(Check.ELECTIONS, code, sentence)


def _check_opened(term: int, machine: Collaboration, ledger: Ledger) -> None:
    """A later term needs the word of n-q+1 voters that the one before lapsed."""
    rule = machine.election.rule
    needed = len(rule.voters) - rule.needed + 1
    lapsed = len(machine.election.lapses.get(term - 1, ()))
    if term > 1 and lapsed < needed:
        sentence = f"term {term} was opened on {lapsed} lapse records of the {needed} needed"
        ledger.find(Check.ELECTIONS, "audit.incomplete", sentence)
