"""Which blobs a topic shows to its audience: those that its records name, and no others.

A digest alone gives no right to a blob: contracts and schemas can be guessed, and whoever guessed
one would learn that an agreement about it exists.
"""

from typing import assert_never

from node.world import Room
from protocol import kinds, record
from protocol.kinds.agreement import Agreement, models_of
from protocol.kinds.space import Artifact
from protocol.machines.agreement import Collaboration
from protocol.machines.negotiation import Negotiation
from protocol.machines.space import Space


def names(room: Room, blob: bytes) -> bool:
    """Whether a record of the room names this blob: its digest, or the Merkle root of leaves."""
    match room.machine:
        case Space() as space:
            return any(_shown(one.artifact) == blob for one in space.publications.values())
        case Negotiation() as negotiation:
            return any(blob in _agreed(one.document) for one in negotiation.proposals.values())
        case Collaboration() as found:
            return blob in _agreed(found.document) or _is_evidence(found, blob)
        case _:
            assert_never(room.machine)


def for_guest(raw: bytes, guests: frozenset[bytes]) -> bytes:
    """A record of a space as a guest gets it: what is for members has no body there, but for a
    guest's own credential.
    """
    found = record.parse(raw)
    body = found.body or {}
    own = found.kind == "credential" and body.get("subject") in guests
    return record.redact(raw) if found.kind in kinds.MEMBERS_ONLY and not own else raw


def both_hosts(room: Room, one: bytes, others: frozenset[bytes]) -> bool:
    """Whether `one` and one of `others` are candidates: a host's standby keeps what a fail-over
    needs before the run record that names it is spread.
    """
    machine = room.machine
    if not isinstance(machine, Collaboration):
        return False
    return one in machine.candidates and not others.isdisjoint(machine.candidates)


def _shown(artifact: Artifact) -> bytes:
    return artifact.blob if artifact.sealed is None else artifact.sealed


def _agreed(document: Agreement) -> set[bytes]:
    notice = {document.people.notice} if document.people is not None else set()
    contracts = {dataset.contract for dataset in document.datasets}
    return notice | contracts | {*models_of(document), document.algorithm.shown}


def _is_evidence(found: Collaboration, blob: bytes) -> bool:
    verdicts = found.election.verdicts.values()
    if any(one.evidence == blob for each in verdicts for one in each.values()):
        return True
    proposals = found.runs.proposals.values()
    return any(blob in (run.leaves, run.lineage, run.evidence) for _, run in proposals)
