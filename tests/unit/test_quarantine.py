"""What came too early waits, bounded for each sender and overall, and the oldest goes."""

from types import SimpleNamespace
from typing import Any

import pytest

from node import quarantine
from node.quarantine import Quarantine
from protocol.errors import Refused

GAP = Refused("record.gap")


def found(number: int, topic: bytes = b"t") -> Any:
    return SimpleNamespace(id=number, topic=topic)


def ids(room: Quarantine, topic: bytes = b"t") -> list[int]:
    return [late.record.id for late in room.of(topic)]


def test_a_flood_pushes_out_its_own_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "PER_SENDER", 3)
    room = Quarantine()
    room.add(found(1), b"modest", GAP, 0.0)
    for number in range(10, 20):
        room.add(found(number), b"flood", GAP, 0.0)
    assert ids(room) == [1, 17, 18, 19]
    assert room.dropped == 7


def test_many_senders_share_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "OVERALL", 4)
    room = Quarantine()
    for number in range(3):
        room.add(found(number), b"greedy", GAP, 0.0)
    room.add(found(3), b"modest", GAP, 0.0)
    room.add(found(4), b"third", GAP, 0.0)
    assert ids(room) == [1, 2, 3, 4]
    assert len(room) == 4


def test_who_waits_too_long_is_given_up() -> None:
    room = Quarantine()
    room.add(found(1), b"a", GAP, 0.0)
    room.add(found(2), b"a", GAP, 5.0)
    room.add(found(1), b"b", GAP, 9.0)
    late = room.expired(quarantine.WAIT + 1)
    assert [one.record.id for one in late] == [1]
    assert ids(room) == [2]
    room.remove(2)
    room.remove(2)
    assert len(room) == 0
    assert ids(room, b"other") == []
