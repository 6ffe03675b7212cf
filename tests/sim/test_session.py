"""Several nodes on an in-memory network found a space, admit a member, heal, and refuse."""

import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio
import trio.lowlevel

from node.keyring import Keyring
from node.net.memory import memory_network
from node.net.peer_id import peer_id_of
from protocol import codec, keys
from protocol.kinds.identity import Claims, Credential
from protocol.kinds.space import Invite, Join
from protocol.machines.chain import admission_slot
from protocol.machines.membership import CHARTER_SLOT
from tests.sim.nodes import Peer, charter, eventually, make_keyring, peer, yes

NOW = int(time.time())


def address(keyring: object, port: int) -> str:
    """Where a node listens: ports are given in the order of joining."""
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id_of(keys.public(keyring.node))}"


async def found(stack: AsyncExitStack, network: object, folder: Path, names: str) -> list[Peer]:
    return await found_by(stack, network, folder, [make_keyring(name) for name in names])


async def found_by(
    stack: AsyncExitStack, network: object, folder: Path, rings: list[Keyring]
) -> list[Peer]:
    """The nodes of these keyrings, in a space that all of them founded."""
    opening = charter(rings, rings[0])
    known = tuple(address(ring, port) for port, ring in enumerate(rings, 1))
    peers = []
    for ring in rings:
        one = await stack.enter_async_context(peer(network, folder / ring.me.name, ring, known))
        await one.pipeline.open(opening)
        peers.append(one)
    topic = next(iter(peers[0].world.rooms))
    for one in peers:
        await one.pipeline.publish(topic, "vote", yes(one, CHARTER_SLOT, topic))
    await eventually(lambda: all(space(p).founded for p in peers))
    return peers


def invite_of(ring: object) -> Invite:
    return Invite(identity=ring.me.raw, roles=(), until=NOW + 9999)


def space(one: Peer) -> object:
    return next(one.world.spaces())


async def test_founders_sign_and_an_invitee_is_admitted_by_vote(tmp_path: Path) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = await found(stack, network, tmp_path, "abcd")
        guest = make_keyring("guest")
        topic = space(peers[0]).id
        claims = Claims(legal_name="Guest BV", country="NL")
        await peers[0].pipeline.publish(
            topic, "credential", Credential(subject=guest.did, claims=claims, until=NOW + 9999)
        )
        invite = await peers[1].pipeline.publish(
            topic,
            "invite",
            Invite(identity=guest.me.raw, roles=("data-consumer",), until=NOW + 9999),
        )
        await eventually(lambda: all(guest.did in space(p).participants() for p in peers))
        late = await stack.enter_async_context(
            peer(network, tmp_path / "guest", guest, (address(peers[0].keyring, 1),))
        )
        await late.pipeline.open(space(peers[0]).opening.raw, invited=True)
        await eventually(lambda: guest.did in space(late).participants())
        join = await late.pipeline.publish(topic, "join", Join(invite=invite.id))
        await eventually(lambda: all(space(p).waiting_joins(p.keyring.did) for p in peers))
        for one in peers[:3]:
            await one.pipeline.publish(
                topic, "vote", yes(one, admission_slot(topic, join.id), join.id)
            )
        assert guest.did in space(peers[0]).members() or len(peers) > 3
        await eventually(lambda: all(guest.did in space(p).members() for p in [*peers, late]))
        assert space(late).credential(guest.did, NOW).claims == claims


async def test_a_node_that_was_off_restores_its_journal_and_catches_up(tmp_path: Path) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = await found(stack, network, tmp_path, "abc")
        topic = space(peers[0]).id
        ring = make_keyring("late")
        await peers[0].pipeline.publish(topic, "invite", invite_of(ring))
        known = (address(peers[0].keyring, 1),)
        async with peer(network, tmp_path / "late", ring, known) as first:
            await first.pipeline.open(space(peers[0]).opening.raw, invited=True)
            await eventually(lambda: space(first).founded)
        missed = await peers[1].pipeline.publish(topic, "invite", invite_of(make_keyring("other")))
        async with peer(network, tmp_path / "late", ring, known) as second:
            assert space(second).founded, "restored without a network"
            await eventually(lambda: missed.id in space(second).invites)


async def test_forged_altered_and_stray_records_are_refused_and_explained(tmp_path: Path) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        a, b, _ = await found(stack, network, tmp_path, "abc")
        topic = space(a).id
        vote = yes(a, CHARTER_SLOT, topic)
        made = await a.pipeline.publish(topic, "vote", vote)
        envelope, body = codec.decode(made.raw)
        envelope[3] = bytes(64)
        taken = await b.pipeline.take([codec.encode([envelope, body])], a.keyring.did)
        assert taken.refused == ["record.signature"]
        assert (await b.pipeline.take([b"\xff" * 40], None)).refused == ["codec.malformed"]
        assert [r.code for r in b.journal.refusals()].count("record.signature") == 1
        assert b.journal.refusals()[0].fix
        await trio.lowlevel.checkpoint()
