"""The multiaddrs that we dial and listen at: TCP and WebSocket, nothing else.

Source: multiformats multiaddr, the part /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/ws][/p2p/ID].
"""

import ipaddress
import re
from dataclasses import dataclass

from node.net.peer_id import public_key_of
from node.net.transport import Unreachable

_LIMIT = 400
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class Address:
    """One parsed multiaddr; peer is "" if it names none."""

    kind: str
    host: str
    port: int
    websocket: bool = False
    peer: str = ""

    def __str__(self) -> str:
        text = f"/{self.kind}/{self.host}/tcp/{self.port}"
        text += "/ws" if self.websocket else ""
        return text + (f"/p2p/{self.peer}" if self.peer else "")


def parse(text: str) -> Address:
    """Return the parsed multiaddr; raises Unreachable, saying what is wrong."""
    if len(text) > _LIMIT:
        raise Unreachable(f"an address of {len(text)} characters; at most {_LIMIT}")
    match text.split("/"):
        case ["", kind, host, "tcp", port, *rest] if _is_host(kind, host) and _is_port(port):
            return _with_rest(text, Address(kind, host, int(port)), rest)
        case _:
            raise Unreachable(f"{text!r} is no address; want /ip4/HOST/tcp/PORT[/ws]/p2p/ID")


def _with_rest(text: str, address: Address, rest: list[str]) -> Address:
    match rest:
        case [] | ["ws"]:
            return Address(address.kind, address.host, address.port, bool(rest))
        case ["p2p", peer] | ["ws", "p2p", peer]:
            public_key_of(peer)
            return Address(address.kind, address.host, address.port, rest[0] == "ws", peer)
        case _:
            raise Unreachable(f"{text!r}: after the port only /ws and /p2p/ID are known")


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) <= 65535


def _is_host(kind: str, host: str) -> bool:
    match kind:
        case "ip4" | "ip6":
            try:
                return ipaddress.ip_address(host).version == int(kind[-1])
            except ValueError:
                return False
        case "dns" | "dns4" | "dns6":
            return _NAME.fullmatch(host) is not None
        case _:
            return False
