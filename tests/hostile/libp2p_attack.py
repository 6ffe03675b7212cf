"""A node under attack, and its attacker: an authenticated peer that writes frames by hand."""

import os
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing

from node.net.address import parse
from node.net.libp2p import secure, sockets
from node.net.libp2p.host import libp2p_transport
from node.net.libp2p.limits import Limits
from node.net.libp2p.yamux_stream import DATA, HEADER, SYN, WINDOW_UPDATE
from node.net.proxy import direct

ROOT = Path(__file__).parents[2]
TCP, WS = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"
MIB = 1024 * 1024
ROOMY = Limits(per_address=2000)
HELLO = b"\x13/multistream/1.0.0\n"
NOISE = b"\x07/noise\n"


async def echo(stream):
    while True:
        await stream.send(await stream.receive())


def nobody(_peer):
    return False


async def never_read(_stream):
    await trio.sleep_forever()


def transport(number, listen=(TCP,), admits=lambda _peer: True, **options):
    return libp2p_transport(bytes([number]) * 32, listen, admits, **options)


@asynccontextmanager
async def victim(listen=(TCP,), **options):
    """A node under attack; at the end it must still serve an honest peer."""
    async with transport(1, listen, **options) as node:
        node.serve("/echo", echo, admit_all=True)
        node.serve("/never", never_read, admit_all=True)
        node.subscribe("t", lambda _peer, _data: None)
        await trio.testing.wait_all_tasks_blocked()
        yield node
        await still_serves(node)


async def still_serves(node):
    async with transport(99, ()) as honest:
        with trio.fail_after(30):
            await honest.dial(node.addresses()[0])
            stream = await honest.open(node.peer_id, "/echo")
            await stream.send(b"alive?")
            assert await stream.receive() == b"alive?"


class Attacker:
    """An authenticated peer that writes yamux frames by hand."""

    def __init__(self, wire):
        self.wire = wire
        self.peer = str(wire.peer_id)

    async def frame(self, kind, flags, number, value, data=b""):
        await self.wire.send(HEADER.pack(0, kind, flags, number, value) + data)

    async def data(self, number, data):
        await self.frame(DATA, 0, number, len(data), data)

    async def open(self, number, protocol):
        await self.frame(WINDOW_UPDATE, SYN, number, 0)
        lines = b"".join(
            bytes([len(line) + 1]) + line + b"\n"
            for line in (b"/multistream/1.0.0", protocol.encode())
        )
        await self.data(number, lines)

    async def is_cut_off(self, seconds=20.0):
        with trio.move_on_after(seconds):
            try:
                while True:
                    await self.wire.exactly(1)
            except Exception:
                return True
        return False


@asynccontextmanager
async def attacker(node, number=66):
    async with trio.open_nursery() as tasks:
        address = parse(node.addresses()[0])
        pipe = await sockets.dial(address, tasks, direct)
        identity = secure.Identity.from_seed(bytes([number]) * 32)
        try:
            yield Attacker(await secure.outbound(pipe, identity, node.peer_id))
        finally:
            await pipe.close()
            tasks.cancel_scope.cancel()


def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def connections(node):
    return node._links._doors.all()


async def until(condition, seconds=30.0):
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is watched has no event
            await trio.sleep(0.02)


def port_of(node, index=0):
    return parse(node.addresses()[index]).port


async def throw(node, *pieces, index=0):
    """Send raw bytes and leave."""
    stream = await trio.open_tcp_stream("127.0.0.1", port_of(node, index))
    async with stream:
        try:
            for piece in pieces:
                await stream.send_all(piece)
                await trio.sleep(0.005)
        except trio.BrokenResourceError:
            return
