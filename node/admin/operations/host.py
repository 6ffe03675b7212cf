"""host.list, show, explain: who may hold the data open, who was elected, and why."""

import time
from typing import Annotated, Any

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.agreement import Which
from node.node import Node
from protocol.attestation.policy import CONFIDENTIAL
from protocol.errors import RULES
from protocol.kinds.agreement import Candidate
from protocol.kinds.host import Verdict
from protocol.machines.agreement import Collaboration

METHODS = Methods("host")


@METHODS.add("list", "read")
async def list_(node: Node, *, id: Which = None) -> list[dict[str, Any]]:  # noqa: A002
    """The candidates of an agreement in order of preference, and what the voters found."""
    found = lookup.collaboration_of(node, id)
    return [_candidate(found, one) for one in found.document.hosts.candidates]


@METHODS.add("show", "read")
async def show(node: Node, *, id: Which = None) -> dict[str, Any]:  # noqa: A002
    """The host of the current term: enclave, software, standbys, and the votes."""
    found = lookup.collaboration_of(node, id)
    elected = found.election.elected()
    if elected is None:
        term = found.election.term
        return {"term": term, "host": None, "agreement": found.id.hex(), "standbys": []}
    votes = found.election.ballots[elected.term].yes(elected.subject)
    candidacies = found.election.candidacies
    return {
        "agreement": found.id.hex(),
        "term": elected.term,
        "host": node.world.name(elected.appointment.host),
        "technology": elected.candidacy.technology,
        "confidential": elected.candidacy.technology in CONFIDENTIAL,
        "software": elected.candidacy.software.hex(),
        "enclave": elected.appointment.enclave.hex(),
        "region": elected.candidacy.region,
        "operator": elected.candidacy.operator,
        "standbys": [
            node.world.name(candidacies[id_][0].author)
            for id_ in elected.appointment.standbys
            if id_ in candidacies
        ],
        "votes": [node.world.name(vote.author) for vote in votes],
        "needed": found.election.rule.needed,
        "certificate": elected.subject.hex(),
        "verdicts": [
            one
            for one in _verdicts(node, found, elected.term)
            if one["candidacy"] == elected.appointment.candidacy.hex()
        ],
        "doubt": found.election.doubt(
            node.keyring.did, elected.appointment.candidacy, int(time.time())
        ),
    }


@METHODS.add("explain", "read")
async def explain(
    node: Node,
    *,
    id: Which = None,  # noqa: A002
    term: Annotated[int | None, "Default: the current term."] = None,
) -> dict[str, Any]:
    """An election in full: each voter's verdict on each candidate, votes, and lapses."""
    found = lookup.collaboration_of(node, id)
    election = found.election
    wanted = election.term if term is None else term
    elected = election.elected(wanted)
    ballot = election.ballots.get(wanted)
    return {
        "agreement": found.id.hex(),
        "term": wanted,
        "elected": node.world.name(elected.appointment.host) if elected is not None else None,
        "certificate": elected.subject.hex() if elected is not None else None,
        "needed": election.rule.needed,
        "voters": len(election.rule.voters),
        "verdicts": _verdicts(node, found, wanted),
        "votes": sorted(node.world.name(did) for did in (ballot.votes if ballot else ())),
        "lapsed": sorted(node.world.name(did) for did in election.lapses.get(wanted, ())),
        "lapses_needed": len(election.rule.voters) - election.rule.needed + 1,
    }


def _candidate(found: Collaboration, one: Candidate) -> dict[str, Any]:
    election = found.election
    candidacy = election.latest().get(one.did)
    row: dict[str, Any] = {"host": one.name, "region": one.region, "offered": candidacy is not None}
    if candidacy is None:
        return {**row, "eligible": 0, "reasons": []}
    record, offer = election.candidacies[candidacy]
    elected = election.elected()
    return {
        **row,
        "technology": offer.technology,
        "software": offer.software.hex(),
        "memory": offer.memory,
        "candidacy": record.id.hex(),
        "eligible": election.eligible(election.term, candidacy),
        "voters": len(election.rule.voters),
        "reasons": election.reasons().get(one.did, []),
        "elected": elected is not None and elected.appointment.candidacy == candidacy,
    }


def _verdicts(node: Node, found: Collaboration, term: int) -> list[dict[str, Any]]:
    election = found.election
    return [
        {
            "candidacy": candidacy.hex(),
            "candidate": node.world.name(election.candidacies[candidacy][0].author),
            "by": node.world.name(voter),
            **_verdict(verdict),
        }
        for (at, candidacy), verdicts in election.verdicts.items()
        if at == term and candidacy in election.candidacies
        for voter, verdict in verdicts.items()
    ]


def _verdict(verdict: Verdict) -> dict[str, Any]:
    """What a voter found, and what the evidence claims."""
    measured = verdict.measured
    return {
        "eligible": verdict.eligible,
        "reasons": list(verdict.reasons),
        "says": [_sentence(code) for code in verdict.reasons],
        "technology": verdict.technology,
        "evidence": verdict.evidence.hex() if verdict.evidence is not None else None,
        "measured": {name: one.hex() for name, one in measured.registers.items()}
        if measured is not None
        else {},
        "platform": measured.platform if measured is not None else None,
        "family": measured.family if measured is not None else None,
        "tcb": dict(measured.tcb) if measured is not None else {},
        "activated": verdict.activated,
        "at": verdict.at,
        "until": verdict.until,
    }


def _sentence(code: str) -> str:
    return RULES[code].sentence if code in RULES else "A reason that this version does not know."
