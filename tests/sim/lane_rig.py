"""A stage with real lanes: sockets between sender, host, its enclave behind a socket, standby."""

import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from enclave_host.server import Server
from node import wire
from node.bulk_lane import Lanes, Terms
from node.enclave_link import EnclaveLink
from node.net.proxy import direct
from node.share_lane import ShareLane
from node.store.blobs import SealedShares
from protocol import record
from protocol.errors import Refused
from tests.enclave_rig import Sealed, rows_of
from tests.sim.share_rig import Sender, Stage, staged, until

NUMBERS = range(150)
HERE = "127.0.0.1"
DIALS = Lanes(connect=direct)
LANES: list[trio.SocketStream] = []
"""What the senders of one test opened."""

SENDERS: list[Sender] = []
"""Whose streams one test opened."""


@asynccontextmanager
async def lane_stage(folder: Path, monkeypatch: Any, **changed: Lanes) -> AsyncIterator[Stage]:
    """A host that listens and dials, an owner and a standby that do what `changed` says: lanes by
    the site's name, host_2=Lanes(…); by default the owner dials and the standby takes none.
    """
    lanes = {"hospital-a": Lanes(connect=direct), "host-1": Lanes(HERE, connect=direct)}
    lanes |= {name.replace("_", "-"): one for name, one in changed.items()}
    async with staged(folder, monkeypatch, lanes=lanes) as found:
        site = found.sites["host-1"]
        short = tempfile.mkdtemp(prefix="village-")  # a socket's path must be short
        path = Path(short, "enclave.sock")
        server = Server(path, found.hosts["host-1"].door.enclave.answer)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        link = EnclaveLink(path)
        files = SealedShares(site.folder / "bulk", 1 << 30)
        site.lane = ShareLane(site.pipeline, site.transport, link, files, lanes["host-1"])
        async with trio.open_nursery() as running:
            running.start_soon(site.lane.run)
            await trio.testing.wait_all_tasks_blocked()
            yield found
            running.cancel_scope.cancel()
        while LANES:
            await trio.aclose_forcefully(LANES.pop())
        while SENDERS:
            await SENDERS.pop().stream.reset()
        await until(lambda: not site.lane._streams)
        await link.close()
        server.stop()
        shutil.rmtree(short)


async def share_of_a(stage: Stage, *numbers: int) -> Sealed:
    """A share of hospital A, sealed to both enclaves; its record is known to everybody."""
    enclaves = [one.keys for one in stage.hosts.values()]
    share = stage.rig.share(stage.rig.a, rows_of(*(numbers or NUMBERS)), *enclaves)
    await stage.tell(*set(share.opener.values()))
    return share


def pack(*frames: bytes) -> bytes:
    """Frames as a lane carries them."""
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


def flipped(frame: bytes, at: int = -1) -> bytes:
    """One bit of it is another."""
    changed = bytearray(frame)
    changed[at] ^= 1
    return bytes(changed)


class LaneSender(Sender):
    """Somebody who takes the lane, and can lie there: an owner, or a host with a copy."""

    async def open(self, *arguments: str) -> "LaneSender":
        await super().open(*arguments)
        SENDERS.append(self)
        return self

    async def offer(self, share: Sealed) -> wire.Resume:
        """Offer a share, or a copy of it to a standby."""
        if self.wire is wire.SHARE_WIRE:
            self.resume = await super().offer(share)
            return self.resume
        (raw,) = set(share.opener.values())
        await self.say(wire.Replicate(agreement=self.stage.rig.id, share=share.id, record=raw))
        self.resume = await self.hear(wire.Resume)
        return self.resume

    async def dial(self, share: Sealed, /, **lies: object) -> trio.SocketStream | None:
        """Come to the lane that was offered; `lies` change what is proven."""
        offer = self.resume.lane
        assert offer is not None
        honest = {
            "ticket": offer.ticket,
            "key": offer.key,
            "share": share.id,
            "chunks": self.resume.chunks,
        }
        lane = await DIALS.dial([HERE], offer.port, Terms(**{**honest, **lies}))
        if lane is not None:
            LANES.append(lane)
        return lane

    async def take(self, share: Sealed, /, **lies: object) -> trio.SocketStream | None:
        """Offer the share, come to the lane and say so."""
        await self.offer(share)
        lane = await self.dial(share, **lies)
        await self.say(wire.ChooseWay(lane=True))
        return lane

    async def inside(self, share: Sealed) -> int:
        """Offer the share and leave the lane; the chunk where it goes on."""
        resume = await self.offer(share)
        if resume.lane is not None or resume.dials:
            await self.say(wire.ChooseWay(lane=False))
        return resume.chunks


async def taken(stage: Stage, share: Sealed) -> None:
    """An honest push gets through, by the lane."""
    sender = await LaneSender(stage, "hospital-a").open()
    lane = await sender.take(share)
    assert lane is not None
    chunks = sender.resume.chunks
    await lane.send_all(pack(share.frames[0], *share.frames[1 + chunks :]))
    answer = await sender.hear(wire.ShareTaken)
    assert record.parse(answer.receipt).kind == "receipt"
    frames = [frame for frame in stage.lane.frames(share.id) if frame[:1] != b"\x01"]
    assert frames == list(share.frames[1:])


async def refusal(sender: Sender) -> str:
    """The code with which the other side ends it."""
    with pytest.raises(Refused) as caught:
        await sender.hear(wire.ShareTaken)
    return caught.value.code


def descriptors() -> int:
    """Open files and sockets of this process."""
    return len(os.listdir("/proc/self/fd"))
