"""Readers: one TOML value -> one typed value, or Invalid with what would do."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from node.config.problems import Invalid, shown
from node.net.proxy import Proxy
from node.store import StoreError
from node.store.keystore import Unlock, parse_unlock

QUERY: Final = 16 * 1024
"""Characters of the SQL of one source."""

_TEXT: Final = 1024
_SIZES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

Read = Callable[[object, Path], object]
"""Turns a value into what the field holds; the path is the folder of the configuration."""


def read_text(value: object, _: Path) -> str:
    """A short printable text."""
    if not isinstance(value, str):
        raise Invalid("This is not a text.", "Put it in double quotes.")
    if not 0 < len(value) <= _TEXT or not value.isprintable():
        raise Invalid("The text is empty, too long or not printable.", f"1 to {_TEXT} characters.")
    return value


def read_query(value: object, _: Path) -> str:
    """One SELECT; it may have several lines."""
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= QUERY:
        raise Invalid("This is no query.", f"One SELECT of at most {QUERY} characters.")
    return value


def read_path(value: object, base: Path) -> Path:
    """A path, relative to the folder of the configuration."""
    return base / read_text(value, base)


def read_socket(value: object, base: Path) -> Path:
    """A path that is short enough for a unix socket."""
    path = read_path(value, base)
    if len(str(path).encode()) > 107:
        raise Invalid("The path of a socket has at most 107 bytes.", "Choose a shorter path.")
    return path


def matching(pattern: str, detail: str, fix: str) -> Read:
    """A reader of texts that match a pattern."""

    def read(value: object, base: Path) -> str:
        text = read_text(value, base)
        if not re.fullmatch(pattern, text):
            raise Invalid(detail, fix)
        return text

    return read


def choice(*allowed: str) -> Read:
    """A reader of one of these words."""
    fix = f"One of: {', '.join(allowed)}."
    return matching("|".join(allowed), "The value is not one of those allowed.", fix)


def whole_number(low: int, high: int) -> Read:
    """A reader of whole numbers in a range."""

    def read(value: object, _: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Invalid("This is not a number in range.", f"A whole number from {low} to {high}.")
        return value

    return read


def yes_or_no(value: object, _: Path) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Invalid("This is neither true nor false.", "Write true or false, without quotes.")
    return value


def read_size(value: object, base: Path) -> int:
    """A size in bytes, as `parse_size` reads it."""
    return parse_size(read_text(value, base))


def read_unlock(value: object, base: Path) -> Unlock:
    """Where the passphrase of the keystore comes from."""
    try:
        return parse_unlock(read_text(value, base), base)
    except StoreError as error:
        raise Invalid(error.detail, error.fix) from error


def _address(value: object, base: Path, fix: str) -> "Address":
    host, _, port = read_text(value, base).rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise Invalid("This is not an address and port.", fix) from error
    if not _is_port(port, 0):
        raise Invalid("This is not an address and port.", fix)
    return Address(str(address), int(port))


def loopback(value: object, base: Path) -> "Address":
    """An address and port that only this machine reaches."""
    fix = 'As in "127.0.0.1:8080" or "[::1]:8080"; reach it from elsewhere through ssh.'
    found = _address(value, base, fix)
    if not ipaddress.ip_address(found.host).is_loopback:
        raise Invalid("The console listens on loopback only.", fix)
    return found


def multiaddrs(lowest_port: int, peer: bool) -> Read:
    """A reader of lists of multiaddrs, with or without PeerId."""

    def read(value: object, base: Path) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > 64:
            raise Invalid("This is not a list of at most 64 addresses.", "Use [ and ].")
        return tuple(_multiaddr(read_text(item, base), lowest_port, peer) for item in value)

    return read


_MULTIADDR: Final = re.compile(
    r"/(ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/([0-9]+)(/ws|/wss|/tls/ws)?(/p2p/[1-9A-HJ-NP-Za-z]+)?"
)


def _multiaddr(text: str, lowest_port: int, peer: bool) -> str:
    """Check a multiaddr over TCP or WebSocket; with `peer` it must name its PeerId, else not."""
    match = _MULTIADDR.fullmatch(text)
    example = "/ip4/192.0.2.7/tcp/4150" + ("/p2p/12D3Koo…" if peer else "")
    if not match or bool(match[5]) != peer or not _is_host(match[1], match[2]):
        raise Invalid(f"{shown(text)} is no address of the kind needed here.", f"As in {example}.")
    if not _is_port(match[3], lowest_port):
        raise Invalid(f"{shown(text)} has no valid port.", f"A port from {lowest_port} to 65535.")
    return text


def _is_host(kind: str, host: str) -> bool:
    if kind.startswith("dns"):
        return len(host) <= 253 and bool(
            re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host)
        )
    try:
        return ipaddress.ip_address(host).version == int(kind[-1])
    except ValueError:
        return False


def _is_port(text: str, lowest: int) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and lowest <= int(text) <= 65535


def not_yet(instead: str) -> Read:
    """For keys of the design that the product does not support yet: any value is refused."""

    def read(_: object, __: Path) -> object:
        raise Invalid("This is not supported yet.", instead)

    return read


def bulk(value: object, base: Path) -> "Bulk":
    """Which bulk lanes this node takes."""
    if (text := read_text(value, base)) in ("stream", "dial"):
        return Bulk(dials=text == "dial")
    fix = '"stream", "dial", or an address as in "0.0.0.0:7702"; port 0 lets the system choose.'
    return Bulk(dials=True, listen=_address(value, base, fix))


def read_proxy(value: object, base: Path) -> Proxy:
    """An HTTP proxy as a URL; user and password stand in it, percent-encoded."""
    fix = 'As in "http://proxy.example:3128", or "http://USER:PASSWORD@proxy.example:3128".'
    text = read_text(value, base)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise Invalid("This is no address of a proxy.", fix) from error
    rest = (parts.path in ("", "/"), not parts.query, not parts.fragment)
    if parts.scheme != "http" or not parts.hostname or not port or not all(rest):
        raise Invalid("This is no address of a proxy.", fix)
    if (parts.username is None) != (parts.password is None):
        raise Invalid("A proxy asks for user and password, or for neither.", fix)
    login = None
    if parts.username is not None and parts.password is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password)}"
    return Proxy(parts.hostname, port, login)


def parse_size(text: str) -> int:
    """Bytes of a size as in "50 GiB". Raises Invalid."""
    match = re.fullmatch(r"([0-9]{1,6}) ?(B|KiB|MiB|GiB|TiB)", text)
    if not match:
        raise Invalid("This is not a size.", 'As in "50 GiB": B, KiB, MiB, GiB or TiB.')
    return int(match[1]) * _SIZES[match[2]]


def parse_duration(text: str) -> int:
    """Seconds of an ISO 8601 duration as in "P30D" or "PT10S"; a year is 365 days.

    Months are refused: their length is unknown. Raises Invalid.
    """
    match = re.fullmatch(
        r"P(?=.)(?:(\d{1,4})Y)?(?:(\d{1,5})W)?(?:(\d{1,6})D)?"
        r"(?:T(?=.)(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?",
        text,
        re.ASCII,
    )
    if not match:
        raise Invalid("This is not a duration.", 'As in "P30D", "P1Y", "PT24H" or "PT10S".')
    seconds = (365 * 86_400, 7 * 86_400, 86_400, 3_600, 60, 1)
    return sum(int(part or 0) * unit for part, unit in zip(match.groups(), seconds, strict=True))


@dataclass(frozen=True, slots=True)
class Address:
    """An address of this machine; port 0 lets the system choose."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Bulk:
    """Which bulk lanes a node takes: whether it dials those of others, and where it listens."""

    dials: bool
    listen: Address | None = None
