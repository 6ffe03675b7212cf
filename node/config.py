"""A node's configuration: TOML -> frozen Config, all errors at once, each with key, line and fix.

The dataclasses are the table: each field names its reader and has the sentence that
docs/configuration.md prints. What the product does not support yet is refused, never ignored.
"""

# ruff: noqa: RUF009 (_key makes a dataclasses.field)
import dataclasses
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from node.store import StoreError
from node.store.keystore import UNLOCK, Unlock, parse_unlock
from protocol.errors import ProtocolError

FILE: Final = 256 * 1024
"""Bytes of a configuration file; a larger one is no configuration."""

LINE: Final = 2048
"""Characters of one line: keeps the parser's cost per line small."""

PROBLEMS: Final = 100
"""Problems reported at once; a person cannot read more."""

_TEXT: Final = 1024
_SIZES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error of a configuration: where, what, and what would fix it. Line 0: no line."""

    line: int
    key: str
    detail: str
    fix: str


class ConfigError(ProtocolError):
    """A configuration is refused; `problems` has every reason, by line."""

    code = "config.refused"

    def __init__(self, file: str, problems: list[Problem]) -> None:
        """`file` is the name that people know the configuration by."""
        self.file = file
        self.problems = tuple(sorted(problems[:PROBLEMS], key=lambda problem: problem.line))
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        for problem in self.problems:
            key = f" {problem.key}:" if problem.key else ""
            yield f"{self.file}:{problem.line}:{key} {problem.detail} {problem.fix}"


class Invalid(ProtocolError):
    """A value is not what its key needs: `detail` says why, `fix` what would do."""

    code = "config.value"

    def __init__(self, detail: str, fix: str) -> None:
        """Refuse a value."""
        self.detail = detail
        self.fix = fix
        super().__init__(f"{detail} {fix}")


# --- readers: one TOML value -> one typed value, or Invalid --------------------------------------

Read = Callable[[object, Path], object]
"""Turns a value into what the field holds; the path is the folder of the configuration."""


def _text(value: object, _: Path) -> str:
    if not isinstance(value, str):
        raise Invalid("This is not a text.", "Put it in double quotes.")
    if not 0 < len(value) <= _TEXT or not value.isprintable():
        raise Invalid("The text is empty, too long or not printable.", f"1 to {_TEXT} characters.")
    return value


def _path(value: object, base: Path) -> Path:
    return base / _text(value, base)


def _socket(value: object, base: Path) -> Path:
    path = _path(value, base)
    if len(str(path).encode()) > 107:
        raise Invalid("The path of a socket has at most 107 bytes.", "Choose a shorter path.")
    return path


def _matching(pattern: str, detail: str, fix: str) -> Read:
    def read(value: object, base: Path) -> str:
        text = _text(value, base)
        if not re.fullmatch(pattern, text):
            raise Invalid(detail, fix)
        return text

    return read


def _choice(*allowed: str) -> Read:
    fix = f"One of: {', '.join(allowed)}."
    return _matching("|".join(allowed), "The value is not one of those allowed.", fix)


def _whole_number(low: int, high: int) -> Read:
    def read(value: object, _: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Invalid("This is not a number in range.", f"A whole number from {low} to {high}.")
        return value

    return read


def _yes_or_no(value: object, _: Path) -> bool:
    if not isinstance(value, bool):
        raise Invalid("This is neither true nor false.", "Write true or false, without quotes.")
    return value


def _size(value: object, base: Path) -> int:
    return parse_size(_text(value, base))


def _unlock(value: object, base: Path) -> Unlock:
    try:
        return parse_unlock(_text(value, base), base)
    except StoreError as error:
        raise Invalid(error.detail, error.fix) from error


def _loopback(value: object, base: Path) -> "Address":
    text = _text(value, base)
    host, _, port = text.rpartition(":")
    fix = 'As in "127.0.0.1:8080" or "[::1]:8080"; reach it from elsewhere through ssh.'
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise Invalid("This is not an address and port.", fix) from error
    if not address.is_loopback or not _is_port(port, 0):
        raise Invalid("The console listens on loopback only.", fix)
    return Address(str(address), int(port))


def _multiaddrs(lowest_port: int, peer: bool) -> Read:
    def read(value: object, base: Path) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > 64:
            raise Invalid("This is not a list of at most 64 addresses.", "Use [ and ].")
        return tuple(_multiaddr(_text(item, base), lowest_port, peer) for item in value)

    return read


_MULTIADDR: Final = re.compile(
    r"/(ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/([0-9]+)(/ws|/wss|/tls/ws)?(/p2p/[1-9A-HJ-NP-Za-z]+)?"
)


def _multiaddr(text: str, lowest_port: int, peer: bool) -> str:
    """Check a multiaddr over TCP or WebSocket; with `peer` it must name its PeerId, else not."""
    match = _MULTIADDR.fullmatch(text)
    example = "/ip4/192.0.2.7/tcp/4150" + ("/p2p/12D3Koo…" if peer else "")
    if not match or bool(match[5]) != peer or not _is_host(match[1], match[2]):
        raise Invalid(f"{_shown(text)} is no address of the kind needed here.", f"As in {example}.")
    if not _is_port(match[3], lowest_port):
        raise Invalid(f"{_shown(text)} has no valid port.", f"A port from {lowest_port} to 65535.")
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


def _not_yet(instead: str) -> Read:
    """For keys of the design that the product does not support yet: any value is refused."""

    def read(_: object, __: Path) -> object:
        raise Invalid("This is not supported yet.", instead)

    return read


def _bulk(value: object, base: Path) -> str:
    if _text(value, base) == "auto":
        raise Invalid("The bulk lane is not supported yet.", 'Leave it out, or write "stream".')
    return str(_choice("stream")(value, base))


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


# --- the table -----------------------------------------------------------------------------------

_REQUIRED: Final = object()


def _key(read: Read, doc: str, default: object = _REQUIRED) -> Any:  # noqa: ANN401 (a field)
    """One key: its reader, its sentence, its default as TOML has it; None: may be absent."""
    return field(metadata={"read": read, "doc": doc, "default": default})


_NAME: Final = _matching(
    r"[a-z0-9][a-z0-9-]{0,62}",
    "The name has other characters than allowed.",
    "Small letters, digits and hyphens, at most 63.",
)
_GROUP: Final = _matching(
    r"[a-z_][a-z0-9_-]{0,31}",
    "This is not the name of a group.",
    "A unix group, as in village-ops.",
)
_ONE_PERSON: Final = "Leave it out: one person is enough for each act."
_LOG: Final = _choice("debug", "info", "warning", "error")
_ROOT: Final = _choice("keystore", "offline")
_DIAL: Final = _choice("outbound", "both")
_LISTEN: Final = _multiaddrs(0, peer=False)
_BOOTSTRAP: Final = _multiaddrs(1, peer=True)
_ADMIN: Final = "/run/village/admin.sock"
_TECHNOLOGY: Final = _choice("simulated", "sev-snp", "tdx", "sgx", "nitro", "tpm")


@dataclass(frozen=True, slots=True)
class Address:
    """A loopback address; port 0 lets the system choose."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """[node]: who this node is for people, and where it keeps its state."""

    name: str = _key(_NAME, "Petname shown to people; the identity is the did:key.")
    state: Path = _key(_path, "Folder of journal, blobs and keystore (0700).")
    log: str = _key(_LOG, "Least severity that is logged.", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """[keys]: how the keystore opens, and where the root key is."""

    unlock: Unlock = _key(_unlock, f"Source of the passphrase: {UNLOCK}.", "prompt")
    root: str = _key(_ROOT, "Whether the root key is in the keystore, or offline.", "keystore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """[network]: everything is off unless it stands here."""

    dial: str = _key(_DIAL, "Who opens connections: only this node, or both sides.", "outbound")
    listen: tuple[str, ...] = _key(_LISTEN, "Multiaddrs; port 0 lets the system choose.", [])
    bulk: str = _key(_bulk, "How shares travel: as a stream inside the connection.", "stream")
    proxy: None = _key(_not_yet("Let the node dial directly."), "HTTP proxy to dial through.", None)
    bootstrap: tuple[str, ...] = _key(_BOOTSTRAP, "First peers, as multiaddrs with PeerId.", [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """[admin]: the local socket of CLI and console, and who may use it."""

    socket: Path = _key(_socket, "Admin socket, 0600, or 0660 where groups are named.", _ADMIN)
    read: str | None = _key(_GROUP, "Unix group that may look.", None)
    operate: str | None = _key(_GROUP, "Unix group that may also push, run and export.", None)
    govern: str | None = _key(_GROUP, "Unix group that may also sign and vote.", None)
    four_eyes: None = _key(_not_yet(_ONE_PERSON), "Acts that need two different people.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """[console]: the web console."""

    listen: Address | None = _key(_loopback, "Loopback address; absent: no console.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """[policy]: what this node says yes to by itself."""

    file: Path | None = _key(_path, "Acceptance policy; absent: no rule, no yes.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """[sources.NAME]: what `village share push NAME` reads."""

    contract: Path = _key(_path, "Data contract (ODCS) that the rows keep.")
    file: Path = _key(_path, "File with the rows.")
    query: None = _key(_not_yet("Export the rows to a file."), "SQL over native columns.", None)
    exclude: Path | None = _key(_path, "CSV of people who objected; their rows stay out.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """[limits]: what this node may use."""

    disk: int = _key(_size, 'Disk for blobs and sealed shares, as in "50 GiB".', "50 GiB")
    peers: int = _key(_whole_number(1, 10_000), "Peers connected at once.", 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclave:
    """[enclave]: only on an enclave host."""

    socket: Path = _key(_socket, "Socket of the enclave runtime.")
    technology: str = _key(_TECHNOLOGY, "What attests; simulated is NOT CONFIDENTIAL.")
    operator: str | None = _key(_text, "Legal entity that runs the machine.", None)
    region: str | None = _key(_text, "Jurisdiction where the machine stands, as in NL.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """[registrar]: only on the node of an identity authority."""

    enabled: bool = _key(_yes_or_no, "Issue and revoke credentials.", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration of one node."""

    node: Node
    keys: Keys
    network: Network
    admin: Admin
    console: Console
    policy: Policy
    sources: Mapping[str, Source]
    limits: Limits
    enclave: Enclave | None
    registrar: Registrar


_SECTIONS: Final[dict[str, Any]] = {
    "node": Node,
    "keys": Keys,
    "network": Network,
    "admin": Admin,
    "console": Console,
    "policy": Policy,
    "limits": Limits,
    "enclave": Enclave,
    "registrar": Registrar,
}
_SOURCES: Final = "sources"
_ENCLAVE: Final = "enclave"


@dataclass(frozen=True, slots=True)
class Described:
    """One key for the documentation; `default` as TOML has it, None: may be absent."""

    section: str
    key: str
    read: Read
    doc: str
    default: object

    @property
    def required(self) -> bool:
        """Whether the key must stand."""
        return self.default is _REQUIRED


def describe() -> list[Described]:
    """Return every key of the configuration, in the order of the sections."""
    kinds = {**_SECTIONS, f"{_SOURCES}.NAME": Source}
    return [
        Described(section, key.name, **key.metadata)
        for section, kind in kinds.items()
        for key in dataclasses.fields(kind)
    ]


# --- loading -------------------------------------------------------------------------------------


def load(path: Path) -> Config:
    """Read a configuration file. Raises ConfigError with every problem."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE + 1)
    except OSError as error:
        raise _refusal(
            path.name, 0, f"Cannot read: {error.strerror}.", "Check the path."
        ) from error
    return parse(data, path.absolute().parent, path.name)


def parse(data: bytes, base: Path, name: str = "node.toml") -> Config:
    """Parse a configuration; relative paths are relative to `base`. Raises ConfigError."""
    text = _decoded(data, name)
    reading = _Reading(_key_lines(text), base)
    config = reading.config(_tables(text, name))
    if config is None:
        raise ConfigError(name, reading.problems)
    return config


def _refusal(name: str, line: int, detail: str, fix: str) -> ConfigError:
    return ConfigError(name, [Problem(line, "", detail, fix)])


def _decoded(data: bytes, name: str) -> str:
    if len(data) > FILE:
        raise _refusal(name, 0, "The file is too large.", f"At most {FILE} bytes.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(name, line, "This is not UTF-8.", "Save it as UTF-8.") from error
    for number, line_text in enumerate(text.split("\n"), 1):
        if len(line_text) > LINE:
            raise _refusal(name, number, "The line is too long.", f"At most {LINE} characters.")
    return text


def _tables(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _refusal(name, 0, "Nested too deep.", "No value here is nested.") from error
    except ValueError as error:  # TOMLDecodeError, and numbers that Python refuses
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else 0
        detail = f"This is not TOML: {_shown(str(error))}."
        raise _refusal(name, line, detail, "Correct the line; see toml.io.") from error


_HEAD: Final = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?")
_ASSIGNMENT: Final = re.compile(r"""\s*([A-Za-z0-9_."'-]+)\s*=""")


def _key_lines(text: str) -> dict[str, int]:
    """Dotted key -> line where it first stands. A small scan: tomllib tells no lines."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if head := _HEAD.fullmatch(line):
            section = _bare(head[1])
            lines.setdefault(section, number)
        elif assignment := _ASSIGNMENT.match(line):
            key = _bare(assignment[1])
            lines.setdefault(f"{section}.{key}" if section else key, number)
    return lines


def _bare(key: str) -> str:
    return re.sub(r"""[\s"']""", "", key)


def _shown(text: str) -> str:
    """A foreign text, made short and harmless for a terminal."""
    return ascii(text[:80])[1:-1]


class _Reading:
    """One pass over the tables of a file, which notes every problem and goes on."""

    def __init__(self, lines: Mapping[str, int], base: Path) -> None:
        self._lines = lines
        self._base = base
        self.problems: list[Problem] = []

    def config(self, tables: dict[str, Any]) -> Config | None:
        self._refuse_unknown("", tables, [*_SECTIONS, _SOURCES])
        sections = {
            name: self._section(name, kind, tables.get(name, {}))
            for name, kind in _SECTIONS.items()
            if name != _ENCLAVE or name in tables
        }
        sources = self._sources(tables.get(_SOURCES, {}))
        self._refuse_contradictions(sections["network"])
        if self.problems:
            return None  # some sections are None
        return Config(**{_ENCLAVE: None, **sections}, sources=MappingProxyType(sources))

    def _sources(self, table: object) -> dict[str, Any]:
        if not isinstance(table, dict):
            self._note(_SOURCES, "This is not a table.", "As in [sources.lung].")
            return {}
        for name in table:
            self._read(f"{_SOURCES}.{_shown(name)}", _NAME, name)
        return {name: self._section(f"{_SOURCES}.{name}", Source, table[name]) for name in table}

    def _section(self, path: str, kind: Any, table: object) -> Any:  # noqa: ANN401 (kind's value)
        if not isinstance(table, dict):
            self._note(path, "This is not a table.", f"As in [{_shown(path)}].")
            return None
        keys = dataclasses.fields(kind)
        self._refuse_unknown(path, table, [key.name for key in keys])
        before = len(self.problems)
        values = {key.name: self._value(path, key, table) for key in keys}
        return kind(**values) if len(self.problems) == before else None

    def _value(self, path: str, key: "dataclasses.Field[Any]", table: dict[str, Any]) -> object:
        name = f"{path}.{key.name}"
        value = table.get(key.name, key.metadata["default"])
        if value is _REQUIRED:
            self._note(name, "The key is missing.", key.metadata["doc"])
            return None
        return None if value is None else self._read(name, key.metadata["read"], value)

    def _read(self, name: str, read: Read, value: object) -> object:
        try:
            return read(value, self._base)
        except Invalid as error:
            self._note(name, error.detail, error.fix)
            return None

    def _refuse_unknown(self, path: str, table: dict[str, Any], known: list[str]) -> None:
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key[:64], known, n=1)
                fix = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
                self._note(f"{path}.{key}" if path else key, "The key is unknown.", fix)

    def _refuse_contradictions(self, network: Network | None) -> None:
        if network is None:
            return
        if network.listen and network.dial == "outbound":
            fix = 'Write dial = "both", or leave listen empty.'
            self._note("network.listen", "A node that only dials outbound does not listen.", fix)
        if not network.listen and network.dial == "both":
            fix = "Name an address in listen."
            self._note("network.dial", "Nobody can dial a node that does not listen.", fix)

    def _note(self, key: str, detail: str, fix: str) -> None:
        self.problems.append(Problem(self._line(key), _shown(key), detail, fix))

    def _line(self, key: str) -> int:
        """Line of the key, else of what contains it, else 0."""
        while key not in self._lines and key:
            key = key.rpartition(".")[0]
        return self._lines.get(key, 0)
