"""What the first sandbox run of a share or a run finds: verdict, counts, and the combined table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final

from enclave_host.cage import Cage, Job, Limits, Outcome, memory
from enclave_host.contract import Contract
from enclave_host.private import PACK, Room, Spool, shown
from protocol.errors import Refused
from protocol.kinds.agreement import Dataset

KEPT: Final = "kept"
OVERLAP: Final = "table.overlap"
TAG: Final = 16
"""Bytes of what stands for a person, or for what a row says."""

EMPTY: Final[Mapping[str, int]] = {}


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
class Small:
    """A small share of a person, as it came; `id` is the share's."""

    id: bytes
    content: bytes
    person: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A share against its contract: `verdict` is "kept", or code and rule that broke it."""

    verdict: str
    rows: int
    people: int


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys from which the sandbox makes what stands for a person: `tag` for this enclave, the same
    in all runs of an agreement; `row` for the algorithm, another one in each run. 32 bytes each.
    """

    tag: bytes
    row: bytes


@dataclass(frozen=True, slots=True)
class Combined:
    """All rows of one dataset. Nothing here says who a person is.

    `table` is an Arrow stream with the column _person instead of the contract's. For each row, 16
    bytes in `tags` say who it is about, and 16 in `contents` are a digest of what it says. `rows`
    are those of each piece in the table, `left_out` the people whose rows of a piece are not in it.
    """

    table: Spool
    tags: tuple[bytes, ...]
    contents: tuple[bytes, ...]
    rows: tuple[int, ...]
    left_out: tuple[tuple[bytes, ...], ...]


def check(
    datacage: Datacage, contract: Contract, person_column: str, person: str | None, feed: int
) -> Checked:
    """Check one share that comes through the pipe `feed`; returns when all of it came.

    One sandbox for one share: what a hostile file does to the parser, it does to itself. Raises
    Refused (run.failed) if the sandbox ended otherwise than well.
    """
    plan = _plan(contract, person_column, "check", [{"person": person}])
    head, _ = _run(datacage, {}, plan, feed)
    return _checked(contract, head)


def check_together(
    datacage: Datacage, contract: Contract, person_column: str, shares: Sequence[Small]
) -> list[Checked]:
    """Check small shares in one sandbox. Raises Refused (run.failed, enclave.full)."""
    size = sum(len(one.content) for one in shares)
    ends = accumulate(len(one.content) for one in shares)
    asked = [
        {"extent": (PACK, end - len(one.content), len(one.content)), "person": one.person}
        for one, end in zip(shares, ends, strict=True)
    ]
    plan = _plan(contract, person_column, "check-all", asked)
    datacage.room.take(size)
    try:
        with memory.files({PACK: b"".join(one.content for one in shares)}) as inputs:
            head, _ = _run(datacage, inputs, plan)
    finally:
        datacage.room.give(size)
    heads = head["shares"]
    if len(heads) != len(shares):
        raise Refused("run.failed", "the check says another number of verdicts")
    return [_checked(contract, one) for one in heads]


def _checked(contract: Contract, head: dict[str, Any]) -> Checked:
    return Checked(_verdict(contract, head), _whole(head["rows"]), _whole(head["people"]))


def combine(
    datacage: Datacage, contract: Contract, dataset: Dataset, pieces: Sequence[Piece], keys: Keys
) -> Combined:
    """Check again and put together the shares of one dataset, in this order; their spools are
    empty then.

    Raises Refused (share.contract, run.overlap, run.failed, enclave.full).
    """
    table = datacage.room.spool()
    try:
        with shown([one.spool for one in pieces]) as (inputs, extents):
            shares = [
                {"extent": extent, "person": piece.person}
                for extent, piece in zip(extents, pieces, strict=True)
            ]
            plan = _plan(contract, dataset.person, "combine", shares) | {
                "overlap": dataset.overlap,
                "tag_key": keys.tag.hex(),
                "person_key": keys.row.hex(),
            }
            made = {"table": table.lend(datacage.room.capacity)}
            head, rest = _run(datacage, inputs, plan, made=made)
        found = _combined(contract, dataset, len(pieces), head, rest, table)
        for piece in pieces:
            piece.spool.wipe()
        table.kept(head["size"])
        return found
    except BaseException:
        table.wipe()
        raise


def _combined(
    contract: Contract,
    dataset: Dataset,
    shares: int,
    head: dict[str, Any],
    rest: bytes,
    table: Spool,
) -> Combined:
    """What the sandbox said, as far as it can be true."""
    if head["fault"] == OVERLAP:
        raise Refused("run.overlap", f"in dataset {dataset.id}")
    if head["fault"] is not None:
        raise Refused("share.contract", _verdict(contract, head))
    rows, left = (tuple(map(_whole, head[name])) for name in ("rows", "left_out"))
    parts = [rest[at : at + TAG] for at in range(0, len(rest), TAG)]
    total = sum(rows)
    _whole(head["size"])
    if len(rest) != TAG * (2 * total + sum(left)) or not len(rows) == len(left) == shares:
        raise Refused("run.failed", "the rows do not add up")
    out = iter(parts[2 * total :])
    return Combined(
        table=table,
        tags=tuple(parts[:total]),
        contents=tuple(parts[total : 2 * total]),
        rows=rows,
        left_out=tuple(tuple(islice(out, count)) for count in left),
    )


def _whole(count: object) -> int:
    """A count of rows or bytes that the sandbox gave. Raises Refused (run.failed)."""
    if type(count) is not int or not 0 <= count < 2**53:
        raise Refused("run.failed", "the rows do not add up")
    return count


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
    datacage: Datacage,
    inputs: Mapping[str, int],
    plan: Mapping[str, Any],
    feed: int | None = None,
    made: Mapping[str, int] = EMPTY,
) -> tuple[dict[str, Any], bytes]:
    with memory.files({"plan": json.dumps(plan).encode()}) as more:
        job = Job(
            environment=datacage.environment,
            inputs={**inputs, **more},
            made=made,
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
    more = ("above", "below", "pattern", "values", "missing", "other")
    known = {f"{column.name}.{rule}" for column in contract.columns for rule in (*rules, *more)}
    known |= {"table.format", "table.rowCount", "table.columns"}
    return f"share.contract {fault}"[:128] if fault in known else "share.contract"
