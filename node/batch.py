"""A batch on the road: what was taken and made, and is not saved yet."""

from dataclasses import dataclass, field

from node.store import Entry
from node.world import Room
from protocol.effects import Effect
from protocol.record import Record


@dataclass(slots=True)
class Taken:
    """What became of a batch: new records, topics with a gap or not known, refusals by code."""

    new: int = 0
    gaps: set[bytes] = field(default_factory=set)
    unknown: set[bytes] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """What was taken and made, and is not saved yet; what is to follow once it is."""

    entries: list[tuple[Room, Record]] = field(default_factory=list)
    own: list[tuple[Room, Record]] = field(default_factory=list)
    due: list[tuple[Room, Effect]] = field(default_factory=list)
    touched: dict[bytes, Room] = field(default_factory=dict)
    fallen: dict[bytes, Room] = field(default_factory=dict)


def bare_mark(found: Record) -> str:
    """State of the journal: a record that came without its body."""
    return f"bare/{found.topic.hex()}/{found.key.hex()}/{found.seq}"


def entry_of(found: Record) -> Entry:
    """A record as the journal keeps it."""
    return Entry(
        id=found.id,
        topic=found.topic,
        key=found.key,
        seq=found.seq,
        prev=found.prev,
        author=found.author,
        kind=found.kind,
        at=found.at,
        raw=found.raw,
    )
