"""What was released reaches every recipient: in batches, again where it was not taken, and once."""

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from node import talk, wire
from node.carrying import Carrying
from node.net.transport import TransportError
from protocol import enclave_wire as enclave
from protocol.dialogue import Done
from protocol.kinds.run import Delivery
from tests.agreements import seed

AGREEMENT, RUN = seed("agreement"), seed("run")


def delivery(number: int, gateway: str) -> Delivery:
    return Delivery(
        run=RUN,
        number=1,
        name="own",
        to=seed(f"person {number}"),
        person=True,
        gateway=seed(gateway),
        sealed=bytes(100),
    )


@dataclass
class Stage:
    """An enclave that hands out pages of two, and nodes that take what they are brought.

    `away`: how often a node is not there; `full`: people whose mailbox is full once.
    """

    released: list[Delivery]
    away: Counter[str] = field(default_factory=Counter)
    full: set[bytes] = field(default_factory=set)
    state: dict[str, bytes] = field(default_factory=dict)
    asked: list[object] = field(default_factory=list)
    kept: list[Delivery] = field(default_factory=list)
    empty: bool = False

    one_kernel = False

    async def ask(self, request: object, answer: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        match request:
            case enclave.Release(after=after):
                page = () if self.empty else tuple(self.released[after : after + 2])
                more = self.empty or after + 2 < len(self.released)
                return enclave.Released(deliveries=page, more=more)
            case enclave.Carried():
                return Done()
        raise AssertionError(request)

    async def bring(self, _: Any, peer: str, *more: Any, **__: Any) -> wire.Delivered:
        question = more[2]
        await trio.lowlevel.checkpoint()
        if self.away[peer] > 0:
            self.away[peer] -= 1
            raise TransportError(f"{peer} is away")
        lacking = []
        for place, one in enumerate(question.deliveries):
            assert seed(peer) == one.gateway
            if one.to in self.full:
                self.full.discard(one.to)
                lacking.append(place)
            else:
                self.kept.append(one)
        return wire.Delivered(lacking=tuple(lacking))

    def carrying(self) -> Carrying:
        names = {
            one.gateway: name
            for name in "abc"
            for one in self.released
            if one.gateway == seed(name)
        }
        journal = SimpleNamespace(state=self.state.get, put_state=self.state.__setitem__)
        world = SimpleNamespace(peers_of=lambda did: [names[did]] if did in names else [])
        pipeline: Any = SimpleNamespace(journal=journal, world=world)
        transport: Any = None
        return Carrying(pipeline, transport, self)


@pytest.fixture
def stage(monkeypatch):
    made = Stage([delivery(n, "abc"[n % 3]) for n in range(9)])
    monkeypatch.setattr(talk, "ask", made.bring)
    return made


async def test_all_is_brought_once_and_never_asked_for_again(stage, autojump_clock):
    await stage.carrying().run(AGREEMENT, RUN, b"certificate")
    assert sorted(one.to for one in stage.kept) == sorted(one.to for one in stage.released)
    assert stage.asked[-1] == enclave.Carried(agreement=AGREEMENT, run=RUN)
    before = len(stage.asked)
    await stage.carrying().run(AGREEMENT, RUN, b"certificate")
    assert len(stage.asked) == before


async def test_who_is_away_holds_up_nobody_and_gets_its_own_later(stage, autojump_clock):
    stage.away["a"] = 8
    stage.full.add(stage.released[1].to)
    order = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.carrying().run, AGREEMENT, RUN, b"certificate")
        await trio.sleep(1.5)
        order = [one.gateway for one in stage.kept]
    assert set(order) == {seed("b"), seed("c")}
    assert len(order) == 6
    assert len(stage.kept) == 9
    assert stage.kept[-1].gateway == seed("a")


async def test_a_person_whose_gateway_nobody_knows_is_left_to_the_next_start(stage, autojump_clock):
    stage.released.append(delivery(99, "nobody"))
    with trio.move_on_after(600):
        await stage.carrying().run(AGREEMENT, RUN, b"certificate")
    assert len(stage.kept) == 9
    assert stage.state == {}
    assert not any(isinstance(one, enclave.Carried) for one in stage.asked)


async def test_an_enclave_that_promises_more_and_gives_nothing_is_asked_once(stage, autojump_clock):
    stage.empty = True
    await stage.carrying().run(AGREEMENT, RUN, b"certificate")
    assert len([one for one in stage.asked if isinstance(one, enclave.Release)]) == 1
