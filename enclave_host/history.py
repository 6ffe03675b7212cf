"""What was decided before: the certified run records of all numbers so far."""

from collections.abc import Sequence

from enclave_host.parties import Parties
from protocol import decision, kinds, limits, record, shape
from protocol.errors import Refused
from protocol.kinds.run import Run, RunCertificate
from protocol.record import Record


def read_certificate(parties: Parties, raw: bytes) -> tuple[Record, Run]:
    """A run record that a quorum voted for. Raises Refused (run.votes, record.*)."""
    certificate = shape.decode(RunCertificate, raw, limits.FRAME)
    found = record.parse(certificate.run)
    if found.topic != parties.id or found.kind != "run":
        raise Refused("run.votes", "no run record of this agreement")
    run = kinds.read(Run, found)
    slot = f"run/{run.number}/{run.term}"
    try:
        decision.verify(
            certificate.votes,
            topic=parties.id,
            subject=found.id,
            slot=slot,
            rule=parties.rule,
            histories=parties.histories,
        )
    except Refused as error:
        raise Refused("run.votes", str(error)) from error
    return found, run


def read_history(parties: Parties, raws: Sequence[bytes], number: int) -> tuple[Run, ...]:
    """The records of all numbers below `number`, in order: none may be missing.

    Raises Refused (run.slot, run.votes).
    """
    runs = tuple(read_certificate(parties, raw)[1] for raw in raws)
    if [run.number for run in runs] != list(range(1, number)):
        detail = f"run {number} needs the certificates of all {number - 1} runs before"
        raise Refused("run.slot", detail)
    return runs


def newest_pinned(runs: Sequence[Run]) -> Run | None:
    """The newest run from which something left: a result, or a log."""
    return next((run for run in reversed(runs) if run.lineage is not None), None)
