"""What the record benchmarks share: authors that sign fast, a space of them, nodes on libp2p."""

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair
from nacl.signing import SigningKey

from node.happenings import Happenings
from node.inbox import Inbox
from node.keyring import Keyring, new_seeds, open_keyring, sign_identity
from node.net.libp2p.host import libp2p_transport
from node.pipeline import Pipeline
from node.session import Session
from node.spread import Spread
from node.store import Entry
from node.store.blobs import Blobs
from node.store.journal import Journal
from node.world import World
from protocol import codec, keys, record, shape
from protocol.kinds.common import Vote
from protocol.kinds.space import Charter, Commitment, Founder, Terms
from protocol.machines.membership import CHARTER_SLOT
from protocol.record import Place
from protocol.topic import read_opening

BATCH = 2000


def new_author(name: str) -> Keyring:
    """A participant with fresh keys."""
    seeds = new_seeds()
    return open_keyring(seeds, sign_identity(seeds, name, int(time.time())))


def charter_of(authors: list[Keyring]) -> bytes:
    """The opening of a space that all of them found."""
    founders = tuple(Founder(identity=one.me.raw, roles=()) for one in authors)
    terms = Terms(registrars=(), advisors=(), recovery_delay=3600)
    return shape.encode(
        Charter(name="bench", purpose="bench", founders=founders, terms=terms, salt=bytes(32))
    )


def fill(journal: Journal, opening: bytes, authors: list[Keyring], count: int) -> None:
    """Put the founders' votes and `count` commitments of all authors into a journal."""
    topic = read_opening(opening).topic
    journal.add_topic(topic, "space", opening, None)
    each = -(-count // len(authors))
    waiting: list[Entry] = []
    for author in authors:
        for entry in feed(author, topic, each):
            waiting.append(entry)
            if len(waiting) == BATCH:
                journal.commit(waiting)
                waiting.clear()
    journal.commit(waiting)


def feed(author: Keyring, topic: bytes, count: int) -> Iterator[Entry]:
    """The vote for the charter, then commitments: signed as `record.sign` does, but faster."""
    public, secret = crypto_sign_seed_keypair(author.record)
    protected = codec.encode({1: keys.EDDSA, 4: public})
    vote = Vote(slot=CHARTER_SLOT, subject=topic, choice="yes", identity=author.me.id)
    first = record.sign(
        author.record,
        topic=topic,
        author=author.did,
        kind="vote",
        body=vote,
        place=Place(),
        at=int(time.time()),
        salt=secrets.token_bytes(16),
    )
    yield _entry(first.id, topic, public, 0, None, author.did, "vote", first.at, first.raw)
    prev = first.id
    for seq in range(1, count + 1):
        body = secrets.token_bytes(16) + shape.encode(Commitment(digest=secrets.token_bytes(32)))
        header = {
            "v": 1,
            "topic": topic,
            "kind": "commitment",
            "author": author.did,
            "seq": seq,
            "prev": prev,
            "at": first.at,
            "body": hashlib.sha256(body).digest(),
        }
        payload = codec.encode(header)
        message = keys.signed_bytes("record", protected, payload)
        signature = crypto_sign(message, secret)[:64]
        raw = codec.encode([[protected, {}, payload, signature], body])
        id_ = hashlib.sha256(message).digest()
        yield _entry(id_, topic, public, seq, prev, author.did, "commitment", first.at, raw)
        prev = id_


def _entry(
    id_: bytes,
    topic: bytes,
    key: bytes,
    seq: int,
    prev: bytes | None,
    author: bytes,
    kind: str,
    at: int,
    raw: bytes,
) -> Entry:
    return Entry(
        id=id_,
        topic=topic,
        key=key,
        seq=seq,
        prev=prev,
        author=author,
        kind=kind,
        at=at,
        raw=raw,
    )


@dataclass
class BenchNode:
    """A node without daemon, enclave and admin socket."""

    pipeline: Pipeline
    spread: Spread
    address: str


@asynccontextmanager
async def node(
    folder: Path, ring: Keyring, bootstrap: tuple[str, ...] = ()
) -> AsyncIterator[BenchNode]:
    """Run a node on a loopback address until the block is left."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240
    journal = Journal.open(folder / "journal.db")
    world = World(ring.me)
    pipeline = Pipeline(journal, ring, world, Happenings())
    pipeline.restore()
    listen = ("/ip4/127.0.0.1/tcp/0",)
    async with libp2p_transport(
        ring.node, listen, lambda peer: world.owner_of(peer) is not None
    ) as transport:
        blobs = Blobs(folder / "blobs", ring.store)
        spread = Spread(pipeline, blobs, transport, bootstrap)
        Session(pipeline, spread, blobs, transport, Inbox(pipeline))
        pipeline.connect(spread.send, lambda _room, _effect: None, spread.warn)
        for room in world.rooms.values():
            spread.listen(room)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spread.run)
            yield BenchNode(pipeline, spread, transport.addresses()[0])
            nursery.cancel_scope.cancel()
    await pipeline.close()


def verify_rate(count: int = 4000) -> float:
    """Signatures of 300-byte messages that pynacl verifies per second, on this core, now."""
    key = SigningKey.generate()
    signed = [key.sign(secrets.token_bytes(236)) for _ in range(count)]
    verify = key.verify_key.verify
    started = time.perf_counter()
    for one in signed:
        verify(one)
    return count / (time.perf_counter() - started)


def memory(field: str = "VmRSS") -> float:
    """Memory of this process in MiB: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no memory in /proc/self/status")
