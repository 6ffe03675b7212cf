"""The network through an HTTP proxy: nothing is dialled around it, and its lies end as refusals."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from node.bulk_lane import Lanes
from node.net.libp2p.host import libp2p_transport
from node.net.proxy import ANSWER, Proxy, ProxyRefused, connect_by, through
from node.net.transport import Unreachable
from node.vault.serve import connect as light_peer

pytestmark = pytest.mark.e2e

HERE = "127.0.0.1"
OPEN = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n"


class Fake:
    """A proxy on loopback that keeps what it was asked and says what the test wants."""

    def __init__(self, answer: bytes = OPEN, *, carries: bool = True) -> None:
        self.answer = answer
        self.carries = carries
        self.asked: list[bytes] = []

    async def serve(self, client: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await client.receive_some(1)
        self.asked.append(head)
        if not self.carries:
            await client.send_all(self.answer)
            await client.aclose()
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        server = await trio.open_tcp_stream(host.strip("[]"), int(port))
        await client.send_all(self.answer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry, client, server)
            nursery.start_soon(carry, server, client)


async def carry(source, sink):
    try:
        while data := await source.receive_some(65536):
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        await trio.aclose_forcefully(sink)


@asynccontextmanager
async def serving(fake):
    async def serve(client):
        await fake.serve(client)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host=HERE))
        yield Proxy(HERE, listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def echo(stream):
    while True:
        await stream.send(await stream.receive())


async def test_a_light_peer_talks_through_a_proxy():
    fake = Fake()
    async with (
        serving(fake) as proxy,
        libp2p_transport(bytes([1]) * 32, ["/ip4/127.0.0.1/tcp/0"], lambda _: True) as gateway,
        light_peer(bytes([2]) * 32, proxy) as vault,
    ):
        hosts = []

        async def serve(stream):
            hosts.append(stream.host)
            await echo(stream)

        gateway.serve("/echo", serve)
        with trio.fail_after(20):
            stream = await vault.open(await vault.dial(gateway.addresses()[0]), "/echo")
            await stream.send(b"word")
            assert await stream.receive() == b"word"
        assert [stream.host, *hosts] == [HERE, HERE]
    assert [head.split()[0] for head in fake.asked] == [b"CONNECT"]


async def test_a_lane_is_dialled_through_the_proxy_or_not_at_all():
    fake = Fake()
    async with serving(fake) as proxy, trio.open_nursery() as nursery:
        lanes, away = Lanes(HERE), Lanes(connect=connect_by(Proxy(HERE, 1)))
        nursery.start_soon(lanes.run)
        await trio.testing.wait_all_tasks_blocked()
        async with lanes.expect(bytes(32), 0, "peer") as expected:
            port, terms = expected.offer.port, expected.terms
            assert await away.dial([HERE], port, terms) is None
            lane = await Lanes(connect=connect_by(proxy)).dial([HERE], port, terms)
            await lane.send_all(b"frame")
            assert await (await expected.wait()).receive_some(100) == b"frame"
            await lane.aclose()
        nursery.cancel_scope.cancel()
    assert fake.asked[0].startswith(b"CONNECT 127.0.0.1:%d " % port)


@pytest.mark.parametrize("kind", ["", "/ws"])
async def test_two_nodes_talk_through_a_proxy(kind):
    fake = Fake()
    async with (
        serving(fake) as proxy,
        libp2p_transport(bytes([1]) * 32, [f"/ip4/127.0.0.1/tcp/0{kind}"], lambda _: True) as alice,
        libp2p_transport(bytes([2]) * 32, (), lambda _: True, connect=connect_by(proxy)) as bob,
    ):
        alice.serve("/echo", echo)
        with trio.fail_after(20):
            stream = await bob.open(await bob.dial(alice.addresses()[0]), "/echo")
            await stream.send(b"word")
            assert await stream.receive() == b"word"
    assert len(fake.asked) == 1
    assert fake.asked[0].startswith(b"CONNECT 127.0.0.1:")


async def test_a_login_goes_to_the_proxy_and_into_no_text():
    fake = Fake(carries=False)
    async with serving(fake) as found:
        proxy = Proxy(found.host, found.port, "user:pass")
        assert "pass" not in repr(proxy)
        await trio.aclose_forcefully(await through(proxy, "peer.example", 443))
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in fake.asked[0]


async def test_nothing_is_dialled_around_a_proxy_that_is_away():
    async with libp2p_transport(bytes([1]) * 32, ["/ip4/127.0.0.1/tcp/0"], lambda _: True) as alice:
        away = connect_by(Proxy(HERE, 1))
        async with libp2p_transport(bytes([2]) * 32, (), lambda _: True, connect=away) as bob:
            with pytest.raises(Unreachable), trio.fail_after(20):
                await bob.dial(alice.addresses()[0])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 " + b"a" * 2 * ANSWER,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
        b"",
    ],
)
async def test_a_proxy_that_does_not_open_is_named(answer):
    async with serving(Fake(answer, carries=False)) as proxy:
        with pytest.raises(ProxyRefused, match=f"{HERE}:{proxy.port}"), trio.fail_after(20):
            await through(proxy, "peer.example", 443)


async def test_what_follows_the_answer_belongs_to_the_other_end():
    fake = Fake(OPEN + b"first words", carries=False)
    async with serving(fake) as proxy:
        stream = await through(proxy, "::1", 443)
        assert await stream.receive_some(100) == b"first words"
        await trio.aclose_forcefully(stream)
    assert fake.asked[0].startswith(b"CONNECT [::1]:443 ")
