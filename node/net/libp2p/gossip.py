"""Gossip: libp2p's gossipsub, fenced.

py-libp2p 0.8.1 dies of one malformed message, starts a task for each of the 100,000 messages that
fit into one RPC, forgets what it sent before a restart, and keeps message times for ever. Here
every RPC is read by one task per peer, checked, bounded and rated before libp2p sees it.
"""

import logging
import time
from collections.abc import Callable

import trio

from node.net.libp2p.gossip_host import GossipHost
from node.net.libp2p.guards import Bucket, fenced
from node.net.libp2p.limits import Limits
from node.net.libp2p.stock import (
    ID,
    RPC,
    ControlMessage,
    GossipSub,
    Message,
    Pubsub,
    RpcQueue,
    background_trio_service,
)
from node.net.libp2p.wire import WireClosed
from node.net.libp2p.yamux_stream import MuxedStream
from node.net.transport import GOSSIP_LIMIT, Hears, Receive

_LOG = logging.getLogger(__name__)

PROTOCOLS = ("/meshsub/1.1.0", "/meshsub/1.0.0")
_RPC_LIMIT = 1024 * 1024
_CONTROL_LIMIT = 64
_IDS_LIMIT = 512
_IWANT_LIMIT = 32
_ID_LIMIT = 128
_TOPIC_LIMIT = 128
_BURST = 5.0
_HEARTBEAT = 1
_REMEMBER = 120
"""Seconds for which a repeated message is recognised."""

Admits = Callable[[str], bool]


class BadGossip(Exception):
    """A peer broke the bounds of gossip; its stream is reset."""


class _Router(GossipSub):
    """The mesh: degree 6 (4 to 12), a heartbeat each second; libp2p's own filters are off.

    Those drop more than ten messages a second of an honest forwarder, and punish it.
    """

    def __init__(self) -> None:
        super().__init__(
            protocols=list(PROTOCOLS),
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=_HEARTBEAT,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
            do_px=False,
            max_pending_messages_per_peer=8,
        )

    async def heartbeat(self) -> None:
        while True:
            await fenced("gossip heartbeat", super().heartbeat)
            await trio.sleep(_HEARTBEAT)

    async def publish(self, msg_forwarder: ID, pubsub_msg: Message) -> None:
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()  # libp2p never empties it with adaption off

    async def flush_pending_messages(self, peer_id: ID) -> None:
        await fenced("gossip flush", super().flush_pending_messages, peer_id)

    def _check_equivocation(self, msg: Message) -> bool:
        return True  # libp2p would keep every message; the records inside are judged by topic


class _Pubsub(Pubsub):
    """Reads each peer's RPCs in one task: what is not taken presses back on its sender."""

    def __init__(
        self,
        host: GossipHost,
        router: _Router,
        limits: Limits,
        admits: Admits,
        deliver: Callable[[str, str, bytes], None],
        hears: Callable[[str, str], bool],
    ) -> None:
        super().__init__(
            host,
            router,
            seen_ttl=_REMEMBER,
            strict_signing=True,
            max_subscriptions_per_rpc=limits.topics,
            max_subscriptions_per_peer=limits.topics,
        )
        self.counter = time.time_ns()  # stock counts from int(time()): lost after a restart
        self._limits = limits
        self._admits = admits
        self._deliver = deliver
        self._hears = hears

    async def stream_handler(self, stream: MuxedStream) -> None:
        """Serve a peer's gossip stream until it ends or breaks the bounds."""
        peer = stream.muxed_conn.peer_id
        try:
            await self._read_all(stream, peer)
        except WireClosed as error:
            _LOG.debug("gossip of %s ended: %s", peer, error)
        except Exception as error:  # bad protobuf, bad keys, bad ids: each has its own exception
            _LOG.warning("gossip of %s: %s: %.200s: closed", peer, type(error).__name__, error)
            stream.muxed_conn.abort()
        finally:
            stream.drop()
        self._handle_dead_peer(peer)

    async def _read_all(self, stream: MuxedStream, peer: ID) -> None:
        limits = self._limits
        messages = Bucket(limits.gossip_messages, limits.gossip_messages * _BURST)
        octets = Bucket(limits.gossip_bytes, limits.gossip_bytes * _BURST)
        while self.manager.is_running:
            raw = await _read_rpc(stream)
            await octets.take(len(raw))
            rpc = RPC()
            rpc.ParseFromString(raw)
            rpc.ClearField("senderRecord")  # addresses come in signed records of ours only
            await messages.take(max(1, len(rpc.publish) + len(rpc.subscriptions)))
            await self._take(rpc, peer)

    async def _take(self, rpc: RPC, peer: ID) -> None:
        for subscription in rpc.subscriptions:
            if len(subscription.topicid) > _TOPIC_LIMIT:
                raise BadGossip("a topic name is too long")
            self.handle_subscription(peer, subscription)
        for message in rpc.publish:
            if self._is_welcome(message):
                await self.push_msg(peer, message)
                await trio.lowlevel.checkpoint()
        if rpc.HasField("control"):
            await self.router.handle_rpc(self._only_known(rpc.control), peer)

    def _is_welcome(self, message: Message) -> bool:
        if len(message.topicIDs) != 1 or message.topicIDs[0] not in self.topic_ids:
            return False
        if len(message.data) > GOSSIP_LIMIT or len(message.seqno) != 8:
            raise BadGossip("a message is too large or has no sequence number")
        return self._admits(str(ID(message.from_id)))

    def _only_known(self, control: ControlMessage) -> RPC:
        """Return an RPC with those parts of a control message that concern our topics."""
        entries = [*control.ihave, *control.graft, *control.prune]
        ids = [each for entry in control.ihave for each in entry.messageIDs]
        wanted = [each for entry in control.iwant for each in entry.messageIDs][:_IWANT_LIMIT]
        if len(entries) + len(control.iwant) > _CONTROL_LIMIT or len(ids) > _IDS_LIMIT:
            raise BadGossip("too much control in one RPC")
        if any(len(each) > _ID_LIMIT for each in (*ids, *wanted)):
            raise BadGossip("a message id is too long")
        known = RPC()
        known.control.ihave.extend(each for each in control.ihave if each.topicID in self.topic_ids)
        known.control.graft.extend(each for each in control.graft if each.topicID in self.topic_ids)
        for prune in control.prune:
            if prune.topicID in self.topic_ids:
                known.control.prune.add(topicID=prune.topicID, backoff=min(prune.backoff, 60))
        if wanted:
            known.control.iwant.add(messageIDs=wanted)
        return known

    async def write_msg(self, stream: MuxedStream, rpc_msg: RPC) -> bool:
        """Send an RPC without what its peer may not hear: the one way on which all of them leave,
        so that a message that waited for a member does not reach somebody removed meanwhile.
        """
        peer = str(stream.muxed_conn.peer_id)
        hidden = {topic for topic in _topics_of(rpc_msg) if not self._hears(topic, peer)}
        return bool(await super().write_msg(stream, _without(rpc_msg, hidden)))

    async def validate_msg(self, msg_forwarder: ID, msg: Message) -> None:
        """Accept: the signature is checked before, the record inside by the node's gate."""

    def notify_subscriptions(self, publish_message: Message) -> None:
        """Hand a new message of another peer to its subscriber."""
        origin = ID(publish_message.from_id)
        if origin != self.my_id:
            self._deliver(publish_message.topicIDs[0], str(origin), publish_message.data)

    # Tasks that libp2p starts on its own; one that raises would end the whole service.

    async def handle_sending_messages(
        self, peer_id: ID, stream: MuxedStream, queue: RpcQueue
    ) -> None:
        await fenced("gossip send", super().handle_sending_messages, peer_id, stream, queue)

    async def _handle_new_peer_with_retry(
        self,
        peer_id: ID,
        timeout: float | None = None,  # noqa: ASYNC109 - libp2p's signature
    ) -> None:
        await fenced("gossip join", super()._handle_new_peer_with_retry, peer_id, timeout)

    async def _replay_recent_messages(self, peer_id: ID, topic: str) -> None:
        await fenced("gossip replay", super()._replay_recent_messages, peer_id, topic)

    async def _run_announce_retry(self, peer_id: ID, topic_id: str, subscribe: bool) -> None:
        await fenced("gossip announce", super()._run_announce_retry, peer_id, topic_id, subscribe)


class Gossip:
    """Topics we take part in; survives its own engine, which is rebuilt if it ever fails."""

    def __init__(self, host: GossipHost, limits: Limits, admits: Admits) -> None:
        self._host = host
        self._limits = limits
        self._admits = admits
        self._topics: dict[str, tuple[Receive, Hears]] = {}
        self._pubsub: _Pubsub | None = None
        self.ready = trio.Event()

    async def run(self) -> None:
        """Gossip until cancelled."""
        while True:
            await fenced("gossip", self._run_once)
            await trio.sleep(_HEARTBEAT)

    async def _run_once(self) -> None:
        router = _Router()
        pubsub = _Pubsub(self._host, router, self._limits, self._admits, self._deliver, self._hears)
        try:
            async with background_trio_service(pubsub), background_trio_service(router):
                await pubsub.wait_until_ready()
                for topic in tuple(self._topics):
                    await pubsub.subscribe(topic)
                self._pubsub = pubsub
                self.ready.set()
                await trio.sleep_forever()
        finally:
            self._pubsub = None
            pubsub.seen_messages.stop()

    async def join(self, topic: str, receive: Receive, hears: Hears) -> None:
        """Take part in a topic, and let only those hear what is said there whom `hears` names."""
        self._topics[topic] = receive, hears
        if self._pubsub is not None:
            await fenced("gossip subscribe", self._pubsub.subscribe, topic)

    async def publish(self, topic: str, data: bytes) -> None:
        """Send a message to a topic; lost if the engine is just being rebuilt."""
        if self._pubsub is not None:
            await fenced("gossip publish", self._pubsub.publish, topic, data)

    async def add_peer(self, peer: ID) -> None:
        """Begin to gossip with a connected, admitted peer; does nothing if we do already."""
        if self._pubsub is not None and peer not in self._pubsub.peers:
            await fenced("gossip peer", self._pubsub.ensure_peer_stream, peer)

    async def remove_peer(self, peer: ID) -> None:
        """Forget a peer whose last connection is gone."""
        if self._pubsub is not None:
            self._pubsub._handle_dead_peer(peer)  # noqa: SLF001 - what libp2p's notifee does

    async def serve(self, stream: MuxedStream) -> None:
        """Serve a gossip stream that an admitted peer opened."""
        if self._pubsub is None:
            stream.drop()
        else:
            await self._pubsub.stream_handler(stream)

    def _hears(self, topic: str, peer: str) -> bool:
        """Of a topic that this node does not follow, nobody hears anything from it."""
        return topic in self._topics and self._topics[topic][1](peer)

    def _deliver(self, topic: str, publisher: str, data: bytes) -> None:
        if topic not in self._topics:
            return
        try:
            self._topics[topic][0](publisher, bytes(data))
        except Exception:  # our own bug must not be blamed on the peer that brought the message
            _LOG.exception("the receiver of topic %s failed", topic)


def _topics_of(rpc: RPC) -> set[str]:
    """The topics of what an RPC says, not of who follows them."""
    said = {topic for message in rpc.publish for topic in message.topicIDs}
    return said | {each.topicID for each in rpc.control.ihave}


def _without(rpc: RPC, topics: set[str]) -> RPC:
    if not topics:
        return rpc
    kept = RPC()
    kept.CopyFrom(rpc)
    kept.ClearField("publish")
    kept.publish.extend(each for each in rpc.publish if topics.isdisjoint(each.topicIDs))
    del kept.control.ihave[:]
    kept.control.ihave.extend(each for each in rpc.control.ihave if each.topicID not in topics)
    return kept


async def _read_rpc(stream: MuxedStream) -> bytes:
    await stream.arrived(1)
    size, shift = 0, 0
    while True:
        byte = (await stream.exactly(1))[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift > 21:
            raise BadGossip("an RPC length of more than three bytes")
    if size > _RPC_LIMIT:
        raise BadGossip(f"an RPC of {size} bytes")
    stream.grow(size)
    return await stream.exactly(size)
