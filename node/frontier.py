"""Frontiers: what this node has, page by page, and what another lacks of it.

A page is a range of places (topic, then key). Both sides hold one page and one batch at a time,
whatever the number of rooms and feeds; where a pull breaks off, the next one goes on.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from node import wire
from node.store.records import Want
from node.world import Room
from protocol import limits

LOWEST: Final = bytes(64)
HIGHEST: Final = b"\xff" * 64

PROOFS: Final = 64
"""Proofs, and feeds that part, in one answer."""

Ahead = Mapping[tuple[bytes, bytes], int]
"""(topic, key) -> the place after records that are on the road already."""


def page(rooms: Mapping[bytes, Room], low: bytes, ahead: Ahead) -> tuple[wire.Pull, bytes | None]:
    """The page of these rooms that begins at `low`, and where the next one begins; None after the
    last. `rooms` are those that the peer may see: to name a topic is to say that it exists.
    """
    topics: list[wire.TopicFrontier] = []
    count, high = 0, HIGHEST
    for topic in sorted(topic for topic in rooms if topic >= low[:32]):
        if count >= limits.PUSH:
            high = _before(topic + bytes(32))
            break
        keys = _keys(rooms[topic], ahead, low[32:] if topic == low[:32] else bytes(32))
        part = keys[: limits.PUSH - count]
        feeds = rooms[topic]
        topics.append(
            wire.TopicFrontier(topic=topic, heads=tuple(_head(feeds, key, ahead) for key in part))
        )
        count += len(part) + 1
        if len(part) < len(keys):
            high = _before(topic + keys[len(part)])
            break
    following = None if high == HIGHEST else _after(high)
    return wire.Pull(low=low, high=high, topics=tuple(topics)), following


def _keys(room: Room, ahead: Ahead, low: bytes) -> list[bytes]:
    """Keys of which this node has or knows something, or soon will, from `low` on, in order."""
    coming = {key for topic, key in ahead if topic == room.topic}
    known = sorted({*room.feeds.heads, *room.feeds.barred, *coming})
    return known[bisect_left(known, low) :]


def _head(room: Room, key: bytes, ahead: Ahead) -> wire.FeedHead:
    head, fork = room.feeds.heads.get(key), room.forks.get(key)
    next_, id_ = (0, None) if head is None else (head.seq + 1, head.id)
    if ahead.get((room.topic, key), next_) != next_:
        next_, id_ = ahead[room.topic, key], None
    end = room.feeds.end(key)
    return wire.FeedHead(
        key=key,
        next=next_,
        head=id_,
        end=end if end < limits.FEED else None,
        fork=fork.seq if fork else None,
    )


def _before(place: bytes) -> bytes:
    return (int.from_bytes(place, "big") - 1).to_bytes(64, "big")


def _after(place: bytes) -> bytes:
    return (int.from_bytes(place, "big") + 1).to_bytes(64, "big")


@dataclass(slots=True)
class Lack:
    """What an asker lacks of one room, as far as its page goes."""

    wants: list[Want] = field(default_factory=list)
    proofs: list[bytes] = field(default_factory=list)
    forks: list[bytes] = field(default_factory=list)


def lacking(room: Room, frontier: wire.TopicFrontier, low: bytes, high: bytes) -> Lack:
    """Compare what an asker has between two keys of a room with what is here."""
    theirs = {head.key: head for head in frontier.heads}
    found = Lack()
    for key in _keys(room, {}, low):
        if key > high:
            break
        _compare(room, key, theirs.get(key, wire.FeedHead(key=key, next=0)), found)
    return found


def _compare(room: Room, key: bytes, their: wire.FeedHead, found: Lack) -> None:
    fork, head = room.forks.get(key), room.feeds.heads.get(key)
    if fork is not None and (their.fork is None or their.fork > fork.seq):
        found.proofs.append(fork.raw)
    if head is None or their.next > head.seq + 1:
        return
    if their.head is not None and their.next > 0:
        own = room.feeds.id_at(key, their.next - 1)
        if own != their.head:
            found.forks.append(room.topic + key)
            return
    end = min(head.seq + 1, head.seq + 1 if their.end is None else their.end)
    if their.next < end:
        found.wants.append((key, their.next, end))


def span(request: wire.Pull, topic: bytes) -> tuple[bytes, bytes]:
    """The lowest and highest key of a page in one topic."""
    low = request.low[32:] if topic == request.low[:32] else bytes(32)
    high = request.high[32:] if topic == request.high[:32] else b"\xff" * 32
    return low, high


def rooms_of(rooms: list[Room], request: wire.Pull) -> Iterator[Room]:
    """The rooms of a page, in order."""
    for room in sorted(rooms, key=lambda one: one.topic):
        if request.low[:32] <= room.topic <= request.high[:32]:
            yield room
