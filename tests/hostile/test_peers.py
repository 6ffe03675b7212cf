"""What a hostile member can send, and what it must not achieve: each test is one attack."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from node import frontier, refusing, spread, wire
from node import pipeline as pipeline_module
from node.door import Door
from node.effects import Effects
from node.enclave_link import EnclaveUnreachable
from node.host import shown_records
from node.inbox import Inbox
from node.net.memory import MemoryNetwork, memory_network
from node.net.peer_id import peer_id_of
from node.session import BOUNDS, Session
from node.talk import Conversation, serve
from node.world import World
from protocol import keys, limits, record, shape, token
from protocol.dialogue import Done
from protocol.effects import Execute, Release
from protocol.errors import Refused
from protocol.events import Received
from protocol.identity import History
from protocol.kinds.agreement import NegotiationOpening
from protocol.kinds.host import Heartbeat, Lapse
from protocol.kinds.space import Commitment, Invite
from protocol.machines.agreement import Collaboration
from protocol.machines.membership import CHARTER_SLOT
from protocol.topic import read_opening
from tests.agreements import CAST, HOST_1, HOST_2
from tests.in_force import OPENING, QUORUM, Enclave, Telling
from tests.sim.nodes import Peer, charter, eventually, make_keyring, peer, yes

NOW = int(time.time())


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[MemoryNetwork, Peer, Peer]]:
    """Two founders of a space, connected."""
    async with memory_network() as network, AsyncExitStack() as stack:
        rings = [make_keyring(name) for name in "ab"]
        raw = charter(rings, rings[0])
        peers = []
        for number, ring in enumerate(rings):
            port = 2 - number
            other = peer_id_of(keys.public(rings[1 - number].node))
            known = (f"/ip4/127.0.0.1/tcp/{port}/p2p/{other}",)
            one = await stack.enter_async_context(peer(network, folder / ring.me.name, ring, known))
            room = await one.pipeline.open(raw)
            peers.append(one)
        for one in peers:
            await one.pipeline.publish(room.topic, "vote", yes(one, CHARTER_SLOT, room.topic))
        await eventually(lambda: all(next(p.world.spaces()).founded for p in peers))
        yield network, peers[0], peers[1]


def name(one: Peer) -> str:
    return peer_id_of(keys.public(one.keyring.node))


def topic(one: Peer) -> bytes:
    return next(one.world.spaces()).id


def forged(one: Peer, kind: str, body: object, place: record.Place | None = None) -> record.Record:
    """A record in a peer's name that its own gate never saw."""
    due = one.world.room(topic(one)).feeds.place(one.keyring.me.vote_key)
    return record.sign(
        one.keyring.record,
        topic=topic(one),
        author=one.keyring.did,
        kind=kind,
        body=body,
        place=place or due,
        at=NOW,
        salt=bytes(16),
    )


# --- records that would break a node for good -----------------------------------------------------


async def test_no_record_breaks_a_node_or_its_next_start(tmp_path: Path) -> None:
    async with pair(tmp_path) as (_, a, b):
        bad = Invite(identity=b"no identity", roles=(), until=NOW + 9)
        made = forged(b, "invite", bad)
        good = forged(b, "invite", replace(bad, identity=make_keyring("g").me.raw))
        for raw in (made.raw, record.redact(good.raw)):
            assert (await a.pipeline.take([raw])).refused
        assert (await a.pipeline.take([good.raw])).new == 1, "the whole record is still welcome"
        world = World(a.keyring.me)
        again = pipeline_module.Pipeline(a.journal, a.keyring, world, a.pipeline.happenings)
        again.restore()
        assert good.id in next(world.spaces()).invites


async def test_refusals_that_a_peer_causes_are_bounded(tmp_path: Path) -> None:
    async with pair(tmp_path) as (_, a, b):
        bad = Invite(identity=b"x", roles=(), until=NOW)
        raws = [forged(b, "invite", replace(bad, until=number)).raw for number in range(200)]
        assert len((await a.pipeline.take(raws)).refused) == 200
        assert len(a.journal.refusals(1000)) == refusing.EXPLAINED


async def test_what_waits_is_tried_again_once_per_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (_, a, b):
        room = a.world.room(topic(a))
        early = [
            forged(
                b,
                "invite",
                Invite(identity=make_keyring("early").me.raw, roles=(), until=number),
                record.Place(seq=number + 50, prev=bytes(32)),
            )
            for number in range(40)
        ]
        await a.pipeline.take([made.raw for made in early])
        assert len(a.pipeline.quarantine) == 40
        chain, place = [], room.feeds.place(b.keyring.me.vote_key)
        guest = make_keyring("guest").me.raw
        for number in range(10):
            body = Invite(identity=guest, roles=(), until=number)
            made = forged(b, "invite", body, place)
            place = record.Place(seq=made.seq + 1, prev=made.id)
            chain.append(made.raw)
        calls = []
        admit = a.pipeline._admit

        def counted(*given: object) -> bool:
            calls.append(given)
            return admit(*given)

        monkeypatch.setattr(a.pipeline, "_admit", counted)
        assert (await a.pipeline.take(chain)).new == 10
        assert len(calls) <= 10 + 2 * 40


# --- topics ---------------------------------------------------------------------------------------


async def test_openings_are_asked_of_one_peer_a_few_at_once(tmp_path: Path) -> None:
    async with pair(tmp_path) as (_, a, b):
        for number in range(100):
            a.spread.discover(name(b), bytes([number]) * 32)
        assert len(a.spread._discovering) == spread.DISCOVERIES
        await eventually(lambda: not a.spread._discovering)


async def test_a_peer_opens_no_negotiation_of_others_and_no_endless_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NEGOTIATIONS", 2)
    async with pair(tmp_path) as (_, a, b):
        stranger = CAST["sponsor"].did
        for salt, members, welcome in (
            (1, (a.keyring.did, stranger), False),
            (2, (a.keyring.did, b.keyring.did), True),
            (3, (a.keyring.did, b.keyring.did), True),
            (4, (a.keyring.did, b.keyring.did), False),
        ):
            raw = shape.encode(
                NegotiationOpening(
                    space=topic(a), name="x", members=members, salt=bytes([salt]) * 32
                )
            )
            found = read_opening(raw)
            if welcome:
                a.spread._check_opening(name(b), found.topic, raw)
                await a.pipeline.open(raw)
            else:
                with pytest.raises(Refused, match=r"session\.audience"):
                    a.spread._check_opening(name(b), found.topic, raw)
        with pytest.raises(Refused, match=r"topic\.opening"):
            a.spread._check_opening(name(b), bytes(32), OPENING)


def test_an_agreement_of_strangers_that_names_us_as_host_is_not_opened() -> None:
    world = World(HOST_1.participant)
    with pytest.raises(Refused, match=r"session\.audience"):
        world.add(read_opening(OPENING))
    assert world.participants().keys() == {HOST_1.did}
    party = World(CAST["sponsor"].participant)
    assert isinstance(party.add(read_opening(OPENING)).machine, Collaboration), "it signed"


def test_nobody_takes_a_node_from_another() -> None:
    """An identity names nodes without proof: to name another's must take nothing away."""
    world = World(CAST["sponsor"].participant)
    world.add(read_opening(OPENING))
    victim = peer_id_of(HOST_2.participant.nodes[0])
    assert world.owners_of(victim) == {HOST_2.did}
    thief = replace(HOST_1.participant, nodes=HOST_2.participant.nodes)
    room = next(iter(world.rooms.values()))
    room.machine.histories[HOST_1.did] = History.of(thief)
    world.refresh()
    assert world.owners_of(victim) == {HOST_1.did, HOST_2.did}


def test_an_old_identity_does_not_replace_a_newer_one() -> None:
    newer = replace(CAST["hospital-a"].participant, revision=7, name="renewed")
    world = World(newer)
    world.add(read_opening(OPENING))
    assert world.participants()[newer.did].name == "renewed"


# --- sync -----------------------------------------------------------------------------------------


async def test_more_small_records_than_one_answer_holds_come_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (_, a, b):
        room, sizes = b.world.room(topic(b)), []
        for number in range(limits.PUSH + 40):
            b.pipeline._publish(room, "commitment", Commitment(digest=number.to_bytes(32, "big")))
        async with b.pipeline._writing():
            pass
        ask = Conversation.ask

        async def watched(
            self: Conversation, request: object, answer: type, **rest: float
        ) -> object:
            found = await ask(self, request, answer, **rest)
            if isinstance(found, wire.Batch):
                sizes.append(len(found.records))
            return found

        monkeypatch.setattr(Conversation, "ask", watched)
        assert await a.spread.pull(name(b))
        assert a.world.room(room.topic).feeds.heads == room.feeds.heads
        assert max(sizes, default=0) <= limits.PUSH


async def test_a_barred_key_is_not_asked_for_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as (_, a, b):
        body = Invite(identity=make_keyring("g").me.raw, roles=(), until=NOW)
        one, other = forged(b, "invite", body), forged(b, "invite", replace(body, until=1))
        await a.pipeline.take([one.raw, other.raw])
        (proof,) = a.journal.equivocations(topic(a))
        assert {proof.first, proof.second} == {record.redact(one.raw), record.redact(other.raw)}
        asked, following = frontier.page(a.world.rooms, frontier.LOWEST, {})
        assert following is None
        (mine,) = [f for f in asked.topics if f.topic == topic(a)]
        wanted = {head.key: head for head in mine.heads}
        liar = wanted[b.keyring.me.vote_key]
        assert liar.next == liar.end == liar.fork == one.seq
        assert wanted[a.keyring.me.vote_key].end is None


async def test_hearsay_adds_addresses_and_takes_none_away(tmp_path: Path) -> None:
    async with pair(tmp_path) as (_, a, b):
        victim = name(b)
        a.journal.see_peer(victim, ("/good",), NOW)
        lie = wire.Peers(
            peers=(wire.PeerAddresses(peer=victim, addresses=tuple(map(str, range(99)))),)
        )

        async def liar(peer_: str, request: object, answer: type) -> object:
            del peer_, answer
            return lie if isinstance(request, wire.GetPeers) else wire.Batch(
                records=(), parts=(), proofs=(), forks=(), more=False, others=()
            )  # fmt: skip

        a.spread._ask = liar  # type: ignore[method-assign]
        await a.spread.introduce(victim)
        (row,) = [row for row in a.journal.peers() if row.peer == victim]
        assert row.addresses[0] == "/good"


async def test_a_blob_comes_in_whole_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (_, a, b):

        async def dripping(*_: object) -> wire.BlobPiece:
            return wire.BlobPiece(data=b"x", size=1000)

        monkeypatch.setattr("node.fetching.ask", dripping)
        with pytest.raises(Refused, match=r"topic\.unknown"):
            await a.spread.fetch_blob(bytes(32), [name(b)])


# --- doors ----------------------------------------------------------------------------------------


async def test_a_fault_behind_a_door_is_an_answer_and_the_stream_goes_on(tmp_path: Path) -> None:
    async with pair(tmp_path) as (network, a, b):

        async def broken(_request: object, _peer: str) -> Done:
            raise EnclaveUnreachable("away")

        network._nodes[name(b)].serve(
            "/x", serve(wire.SESSION_WIRE, broken, Door(BOUNDS)), admit_all=True
        )
        stream = await network.open(name(a), name(b), "/x")
        for _ in range(2):
            await stream.send(wire.SESSION_WIRE.pack_request(wire.Poke(topic=bytes(32))))
            with pytest.raises(Refused, match=r"session\.unable"):
                wire.SESSION_WIRE.read_answer(await stream.receive(), Done)


async def test_a_heartbeat_that_is_said_again_keeps_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one party could keep a dead host in office for ever."""
    told = Telling("sponsor")
    told.elect()
    sponsor = CAST["sponsor"]
    ring = replace(make_keyring("x"), record=sponsor.signing, me=sponsor.participant)
    async with memory_network() as network, peer(network, tmp_path, ring) as one:
        room = await one.pipeline.open(OPENING)
        for made in told.told:
            room.machine.handle(Received(made), 0.0)
        door = Session(
            one.pipeline, one.spread, one.spread.blobs, one.spread.transport, Inbox(one.pipeline)
        )
        elected = one.world.collaboration(told.topic).election
        for beat, now in ((5, 10.0), (5, 20.0), (4, 30.0), (6, 40.0)):
            said = Heartbeat(agreement=told.topic, term=1, beat=beat)
            raw = token.sign(Enclave("one").signing, "heartbeat", said)
            monkeypatch.setattr(one.pipeline, "now", lambda now=now: now)
            await door.answer(wire.Beat(token=raw), "anybody")
            assert elected.heard[1] == (40.0 if beat == 6 else 10.0)


# --- effects --------------------------------------------------------------------------------------


async def test_a_run_is_executed_once_at_a_time_and_a_failure_is_not_hurried() -> None:
    calls: list[object] = []
    refusals: list[object] = []

    class Slow:
        async def execute(self, _room: object, effect: Execute) -> None:
            calls.append(effect)
            await trio.sleep(0.05)
            raise Refused("run.statements")

        async def release(self, _room: object, effect: Release) -> None:
            calls.append(effect)

    fake = SimpleNamespace(refuse=lambda *given: refusals.append(given))
    effects = Effects(fake, None, None)  # type: ignore[arg-type]
    effects.host = Slow()  # type: ignore[assignment]
    room = SimpleNamespace(topic=bytes(32))
    async with trio.open_nursery() as nursery:
        effects._nursery = nursery
        for count in range(5):
            effects.perform(room, Execute(1, 1, (b"x",) * count))  # type: ignore[arg-type]
            effects.perform(room, Release(1, b"c"))  # type: ignore[arg-type]
            await trio.sleep(0.03)
        assert Counter(type(one) for one in calls) == {Execute: 1, Release: 1}
        assert len(refusals) == 1
        nursery.cancel_scope.cancel()


def test_a_statement_that_shows_no_run_record_holds_up_no_run() -> None:
    told = Telling()
    lapse = told.pen("sponsor").write("lapse", Lapse(term=1, reason="x"))
    for shown in (b"\xff", lapse.raw, OPENING[:100]):
        said = told.state(QUORUM[0], accepted=shown)
        assert shown_records((said.raw,)) == []
