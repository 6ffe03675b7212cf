"""The sessions' door: any request of any peer gets an answer or a refusal, and nothing else.

Nothing a peer sends may end the daemon, and what it may not see it never gets.
"""

import tempfile
import time
import typing
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node import wire
from node.happenings import Happenings
from node.inbox import Inbox
from node.keyring import Keyring, new_seeds, open_keyring, sign_identity
from node.net.memory import MemoryNetwork, MemoryTransport, Weather
from node.net.peer_id import peer_id_of
from node.pipeline import Pipeline
from node.session import Session
from node.spread import Spread
from node.store.blobs import Blobs
from node.store.journal import Journal
from node.talk import _answer_one
from node.world import World
from protocol import codec, keys, record, token
from protocol.errors import Refused
from protocol.kinds.common import Vote
from protocol.kinds.consent import Stop
from protocol.kinds.host import Heartbeat
from protocol.kinds.space import Invite
from tests.agreements import A
from tests.documents import documents
from tests.sim.nodes import charter

NOW = int(time.time())
REQUESTS = [wire.Push, wire.Poke, wire.Pull, wire.GetHeader, wire.GetFeed, wire.GetOpening,
            wire.GetBlob, wire.GetPeers, wire.Keep, wire.Beat, wire.TellStop, wire.GetStops,
            wire.AskRewrap, wire.Deliver]  # fmt: skip


def ring(name: str) -> Keyring:
    seeds = new_seeds()
    return open_keyring(seeds, sign_identity(seeds, name, NOW))


class Stage:
    """A node with a space of two founders, a secret blob, and peers that knock."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.me, self.friend, self.stranger = ring("me"), ring("friend"), ring("stranger")
        self.journal = Journal.open(folder / "journal.db")
        world = World(self.me.me)
        self.pipeline = Pipeline(self.journal, self.me, world, Happenings())
        blobs = Blobs(folder / "blobs", self.me.store)
        network = MemoryNetwork(typing.cast("typing.Any", None), Weather())
        transport = MemoryTransport(network, "own", 1, lambda _peer: True)
        spread = Spread(self.pipeline, blobs, transport, ())
        self.session = Session(self.pipeline, spread, blobs, transport, Inbox(self.pipeline))
        self.secret = blobs.put(b"nobody's business")
        self.opening = charter([self.me, self.friend], self.me)
        self.topic = b""

    async def open(self) -> None:
        if not self.topic:
            room = await self.pipeline.open(self.opening)
            self.topic = room.topic
            signed = Vote(slot="charter", subject=room.topic, choice="yes", identity=bytes(32))
            await self.pipeline.publish(room.topic, "vote", signed)
            await self.pipeline.take([self.write("vote", signed)])
            assert self.pipeline.world.space(room.topic).founded

    @property
    def peers(self) -> list[str]:
        rings = (self.friend, self.stranger)
        return [peer_id_of(keys.public(one.node)) for one in rings]

    def known(self) -> list[bytes]:
        beat = Heartbeat(agreement=self.topic, term=1, beat=1)
        stop = Stop(agreement=self.topic, what="withdrawal", consent=bytes(32), right=b"")
        bare = record.redact(self.invite(self.stranger.me.raw))
        return [
            self.topic,
            self.secret,
            self.opening,
            self.invite(b"no identity"),
            bare,
            token.sign(A.signing, "heartbeat", beat),
            token.sign(A.signing, "stop", stop),
        ]

    def invite(self, identity: bytes) -> bytes:
        return self.write("invite", Invite(identity=identity, roles=(), until=NOW))

    def write(self, kind: str, body: object) -> bytes:
        """The friend's next record in the space."""
        room = self.pipeline.world.rooms[self.topic]
        return record.sign(
            self.friend.record,
            topic=self.topic,
            author=self.friend.did,
            kind=kind,
            body=body,
            place=room.feeds.place(self.friend.me.vote_key),
            at=NOW,
            salt=bytes(16),
        ).raw


@cache
def stage() -> Stage:
    return Stage()


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_every_request_is_answered_or_refused(data: st.DataObject) -> None:
    here = stage()
    await here.open()
    kind = data.draw(st.sampled_from(REQUESTS))
    request = data.draw(documents(kind, here.known()))
    peer = data.draw(st.sampled_from([*here.peers, "nobody"]))
    try:
        answer = await here.session.answer(request, peer)
    except Refused:
        return
    shown = here.session._may_see(here.pipeline.world.rooms[here.topic], peer)
    assert shown == (peer == here.peers[0])
    match answer:
        case wire.OpeningAnswer() | wire.BlobPiece() | wire.HeaderAnswer() | wire.FeedAnswer():
            assert shown
        case wire.Batch(records=records, others=others):
            assert shown or not (records or others)
        case _:
            pass


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_every_frame_gets_a_frame(data: st.DataObject) -> None:
    here = stage()
    await here.open()
    kind = data.draw(st.sampled_from(REQUESTS))
    whole = wire.SESSION_WIRE.pack_request(data.draw(documents(kind, here.known())))
    at = data.draw(st.integers(0, len(whole) - 1))
    frame = data.draw(
        st.just(whole) | st.binary(max_size=60) | st.just(whole[:at] + b"\x00" + whole[at + 1 :])
    )
    reply = await _answer_one(wire.SESSION_WIRE, here.session.answer, frame, here.peers[0])
    assert codec.decode(reply, 2**24)["op"] in ("answer", "refused")


async def test_a_blob_that_no_topic_names_is_nobodys() -> None:
    here = stage()
    await here.open()
    for peer in here.peers:
        with pytest.raises(Refused, match=r"session\.audience"):
            await here.session.answer(wire.GetBlob(digest=here.secret, offset=0), peer)


async def test_what_was_pushed_survives_a_restart() -> None:
    """Whatever the fuzz pushed: the journal restores."""
    here = stage()
    await here.open()
    for raw in here.known()[3:5]:
        taken = await here.pipeline.take([raw])
        assert taken.new == 0
        assert taken.refused
    again = Pipeline(here.journal, here.me, World(here.me.me), Happenings())
    again.restore()
    assert again.world.rooms.keys() == here.pipeline.world.rooms.keys()
