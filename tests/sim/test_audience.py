"""Who sees what, by all bytes that a node ever held: journal, blobs, and every frame it received.

Salts keep digests from telling anything; so whoever holds neither text nor body knows neither.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from node.net.memory import MemoryStream, MemoryTransport, memory_network
from node.net.peer_id import peer_id_of
from node.spread import Spread
from protocol import keys, shape
from protocol.kinds.agreement import NegotiationOpening
from protocol.kinds.common import Refusal
from protocol.kinds.space import Artifact, Join, Review
from protocol.machines.chain import admission_slot
from tests.sim.nodes import Peer, eventually, make_keyring, peer, yes
from tests.sim.test_session import address, found, invite_of, space

HIDDEN = "what only members may read"
PRIVATE = "what only the two may read"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.spread.PULL_EVERY", 0.2)
    monkeypatch.setattr("node.spread.LOOK_EVERY", 0.2)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[bytes]]]:
    """PeerId -> every frame and gossip message that this peer received."""
    frames: dict[str, list[bytes]] = defaultdict(list)
    receive, gossip = MemoryStream.receive, Spread._on_gossip

    async def kept(self: MemoryStream, *limit: int) -> bytes:
        frame = await receive(self, *limit)
        frames[self._own].append(frame)
        return frame

    def kept_gossip(self: Spread, peer_: str, data: bytes) -> None:
        frames[self.transport.peer_id].append(data)
        gossip(self, peer_, data)

    monkeypatch.setattr(MemoryStream, "receive", kept)
    monkeypatch.setattr(Spread, "_on_gossip", kept_gossip)
    yield frames
    assert MemoryTransport


def name(one: Peer) -> str:
    return peer_id_of(keys.public(one.keyring.node))


def ever_held(folder: Path, frames: list[bytes]) -> bytes:
    """All bytes that a node got, and all that it keeps."""
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return b"\n".join([*files, *frames])


async def test_a_guest_sees_no_publication_before_it_is_admitted(
    tmp_path: Path, heard: dict[str, list[bytes]]
) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = await found(stack, network, tmp_path, "abc")
        topic = space(peers[0]).id
        bundle = await trio.to_thread.run_sync(peers[0].spread.blobs.put, HIDDEN.encode())
        early = Artifact(name="cox", version="1", blob=bundle, size=26, note=HIDDEN)
        await peers[0].pipeline.publish(topic, "algorithm", early)
        ring = make_keyring("guest")
        invite = await peers[0].pipeline.publish(topic, "invite", invite_of(ring))
        known = (address(peers[0].keyring, 1), address(peers[1].keyring, 2))
        guest = await stack.enter_async_context(peer(network, tmp_path / "guest", ring, known))
        await guest.pipeline.open(space(peers[0]).opening.raw, invited=True)
        await eventually(lambda: ring.did in space(guest).participants())
        late = Review(bundle=bundle, verdict="approved", text=HIDDEN)
        made = await peers[1].pipeline.publish(topic, "review", late)
        await eventually(lambda: guest.world.room(topic).feeds.id_at(made.key, made.seq) == made.id)
        with pytest.raises(Exception, match=r"topic\.unknown"):
            await guest.spread.fetch_blob(bundle, [name(peers[0])])
        held = ever_held(tmp_path / "guest", heard[name(guest)])
        assert HIDDEN.encode() not in held
        assert space(guest).publications == {}

        join = await guest.pipeline.publish(topic, "join", Join(invite=invite.id))
        await eventually(lambda: all(space(p).waiting_joins(p.keyring.did) for p in peers))
        for one in peers:
            await one.pipeline.publish(
                topic, "vote", yes(one, admission_slot(topic, join.id), join.id)
            )
        await eventually(lambda: len(space(guest).publications) == 1)
        await eventually(lambda: space(guest).approvals(bundle) == [peers[1].keyring.did])
        assert guest.world.room(topic).bare == set()
        assert await guest.spread.fetch_blob(bundle, [name(peers[0])]) == HIDDEN.encode()
    async with memory_network() as network, peer(network, tmp_path / "guest", ring) as again:
        assert len(space(again).publications) == 1, "what was filled in is kept"
        assert again.world.room(topic).bare == set()


async def test_a_bystander_never_holds_a_byte_of_others_negotiations(
    tmp_path: Path, heard: dict[str, list[bytes]]
) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = await found(stack, network, tmp_path, "abc")
        one, other, bystander = peers
        opening = NegotiationOpening(
            space=space(one).id,
            name=PRIVATE,
            members=tuple(sorted((one.keyring.did, other.keyring.did))),
            salt=bytes(32),
        )
        room = await one.pipeline.open(shape.encode(opening))
        said = Refusal(
            code="policy.refused", about="v1", set_by="us", detail=PRIVATE, fix="none", at=1
        )
        made = await one.pipeline.publish(room.topic, "refusal", said)
        one.spread.announce(name(other), room)
        await eventually(lambda: room.topic in other.world.rooms)
        there = other.world.room(room.topic)
        await eventually(lambda: there.feeds.id_at(made.key, 0) == made.id)
        await one.spread.pull(name(bystander))
        await bystander.spread.pull(name(one))
        await bystander.spread.pull(name(other))
        held = ever_held(tmp_path / "c", heard[name(bystander)])
        assert held, "the test looks at something"
        for secret in (PRIVATE.encode(), made.id, room.topic):
            assert secret not in held
        assert PRIVATE.encode() in ever_held(tmp_path / "b", heard[name(other)])
