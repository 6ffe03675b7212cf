"""What the first sandbox run of a share or a run finds: verdict, counts, and the combined table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enclave_host.cage import Cage, Job, Limits, Outcome
from enclave_host.contract import Contract
from enclave_host.private import Room, Spool
from protocol.errors import Refused

KEPT: Final = "kept"


@dataclass(frozen=True, slots=True)
class Datacage:
    """Where code runs: the sandbox, the memory for its inputs, the environment, its limits."""

    cage: Cage
    room: Room
    environment: Path
    limits: Limits


@dataclass(frozen=True, slots=True)
class Piece:
    """One share's plain bytes; `person` is the only person whom its rows may be about, if any."""

    spool: Spool
    person: str | None


@dataclass(frozen=True, slots=True)
class Checked:
    """A share against its contract: `verdict` is "kept", or code and rule that broke it."""

    verdict: str
    rows: int
    people: int


@dataclass(frozen=True, slots=True)
class Combined:
    """All rows of one dataset: `table` as an Arrow stream without the person column, `persons` the
    person of each row, `contents` a digest of what each says, `rows` the rows of each piece.
    """

    table: bytes
    persons: tuple[str, ...]
    contents: tuple[bytes, ...]
    rows: tuple[int, ...]


def check(
    datacage: Datacage, contract: Contract, person_column: str, person: str | None, feed: int
) -> Checked:
    """Check one share that comes through the pipe `feed`; returns when all of it came.

    One sandbox for one share: what a hostile file does to the parser, it does to itself. Raises
    Refused (run.failed) if the sandbox ended otherwise than well.
    """
    plan = _plan(contract, person_column, "check", [{"person": person}])
    with datacage.room.stage() as stage:
        head, _ = _run(datacage, stage, plan, feed)
    return Checked(_verdict(contract, head), sum(head["rows"]), head["people"])


def combine(
    datacage: Datacage, contract: Contract, person_column: str, pieces: Sequence[Piece]
) -> Combined:
    """Check again and put together the shares of one dataset, in this order.

    Raises Refused (share.contract, run.failed).
    """
    shares = [{"file": f"{n}.arrow", "person": one.person} for n, one in enumerate(pieces)]
    plan = _plan(contract, person_column, "combine", shares)
    with datacage.room.stage() as stage:
        (stage / "inputs").mkdir()
        for share, piece in zip(shares, pieces, strict=True):
            piece.spool.show(stage / "inputs" / str(share["file"]))
        head, table = _run(datacage, stage, plan)
    if head["fault"] is not None:
        raise Refused("share.contract", _verdict(contract, head))
    persons, rows = tuple(head["persons"]), tuple(head["rows"])
    contents = tuple(bytes.fromhex(text) for text in head["contents"])
    if len(rows) != len(pieces) or not sum(rows) == len(persons) == len(contents):
        raise Refused("run.failed", "the rows do not add up")
    return Combined(table, persons, contents, rows)


def _plan(
    contract: Contract, person_column: str, task: str, shares: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "task": task,
        "contract": contract.plain(),
        "person": person_column,
        "shares": list(shares),
    }


def _run(
    datacage: Datacage, stage: Path, plan: Mapping[str, Any], feed: int | None = None
) -> tuple[dict[str, Any], bytes]:
    inputs, code = stage / "inputs", stage / "code"
    for folder in (inputs, code):
        folder.mkdir(exist_ok=True)
    (inputs / "plan.json").write_text(json.dumps(plan), "utf-8")
    job = Job(
        environment=datacage.environment,
        code=code,
        inputs=inputs,
        entry="prepare:answer",
        limits=datacage.limits,
        kind="prepare",
        feed=feed,
    )
    return _read(datacage.cage.run(job))


def _read(outcome: Outcome) -> tuple[dict[str, Any], bytes]:
    if outcome.status != "ok":
        raise Refused("run.failed", f"the check of the shares ended as {outcome.status}")
    size = int.from_bytes(outcome.output[:8], "big")
    head = json.loads(outcome.output[8 : 8 + size])
    return head, outcome.output[8 + size :]


def _verdict(contract: Contract, head: dict[str, Any]) -> str:
    """The verdict, from a closed list: text from the sandbox never leaves as it is."""
    fault = head["fault"]
    if fault is None:
        return KEPT
    rules = ("type", "required", "unique", "minimum", "maximum", "min_length", "max_length")
    more = ("pattern", "values", "other")
    known = {f"{column.name}.{rule}" for column in contract.columns for rule in (*rules, *more)}
    known |= {"table.format", "table.rowCount", "table.columns"}
    return f"share.contract {fault}"[:128] if fault in known else "share.contract"
