"""The table of a node's configuration: each key with its reader, its sentence and its default.

docs/configuration.md is printed from it. What the product does not support yet is refused, never
ignored.
"""

# ruff: noqa: RUF009 (_key makes a dataclasses.field)
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.config.readers import (
    Address,
    Bulk,
    Read,
    bulk,
    choice,
    loopback,
    matching,
    multiaddrs,
    not_yet,
    read_path,
    read_proxy,
    read_query,
    read_size,
    read_socket,
    read_text,
    read_unlock,
    whole_number,
    yes_or_no,
)
from node.net.proxy import Proxy
from node.store.keystore import UNLOCK, Unlock

REQUIRED: Final = object()


def _key(read: Read, doc: str, default: object = REQUIRED) -> Any:  # noqa: ANN401 (a field)
    """One key: its reader, its sentence, its default as TOML has it; None: may be absent."""
    return field(metadata={"read": read, "doc": doc, "default": default})


NAME: Final = matching(
    r"[a-z0-9][a-z0-9-]{0,62}",
    "The name has other characters than allowed.",
    "Small letters, digits and hyphens, at most 63.",
)
_GROUP: Final = matching(
    r"[a-z_][a-z0-9_-]{0,31}",
    "This is not the name of a group.",
    "A unix group, as in village-ops.",
)
_ONE_PERSON: Final = "Leave it out: one person is enough for each act."
_LOG: Final = choice("debug", "info", "warning", "error")
_ROOT: Final = choice("keystore", "offline")
_DIAL: Final = choice("outbound", "both")
_LISTEN: Final = multiaddrs(0, peer=False)
_BOOTSTRAP: Final = multiaddrs(1, peer=True)
_ADMIN: Final = "/run/village/admin.sock"
_TECHNOLOGY: Final = choice("simulated", "sev-snp", "tdx", "sgx", "nitro", "tpm", "swtpm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """[node]: who this node is for people, and where it keeps its state."""

    name: str = _key(NAME, "Petname shown to people; the identity is the did:key.")
    state: Path = _key(read_path, "Folder of journal, blobs and keystore (0700).")
    log: str = _key(_LOG, "Least severity that is logged.", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """[keys]: how the keystore opens, and where the root key is."""

    unlock: Unlock = _key(read_unlock, f"Source of the passphrase: {UNLOCK}.", "prompt")
    root: str = _key(_ROOT, "Whether the root key is in the keystore, or offline.", "keystore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """[network]: everything is off unless it stands here."""

    dial: str = _key(_DIAL, "Who opens connections: only this node, or both sides.", "outbound")
    listen: tuple[str, ...] = _key(_LISTEN, "Multiaddrs; port 0 lets the system choose.", [])
    bulk: Bulk = _key(
        bulk,
        "Lanes for shares beside the connection: `dial`: those that others offer; an address: this "
        "node offers them too, there; `stream`: none, both ways.",
        "dial",
    )
    proxy: Proxy | None = _key(
        read_proxy, "HTTP proxy (CONNECT) that all connections to others go through.", None
    )
    bootstrap: tuple[str, ...] = _key(_BOOTSTRAP, "First peers, as multiaddrs with PeerId.", [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """[admin]: the local socket of CLI and console, and who may use it."""

    socket: Path = _key(read_socket, "Admin socket, 0600, or 0660 where groups are named.", _ADMIN)
    read: str | None = _key(_GROUP, "Unix group that may look.", None)
    operate: str | None = _key(_GROUP, "Unix group that may also push, run and export.", None)
    govern: str | None = _key(_GROUP, "Unix group that may also sign and vote.", None)
    four_eyes: None = _key(not_yet(_ONE_PERSON), "Acts that need two different people.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """[console]: the web console."""

    listen: Address | None = _key(loopback, "Loopback address; absent: no console.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """[policy]: what this node says yes to by itself."""

    file: Path | None = _key(read_path, "Acceptance policy; absent: no rule, no yes.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """[sources.NAME]: what `village share push NAME` reads."""

    contract: Path = _key(read_path, "Data contract (ODCS) that the rows keep.")
    file: Path = _key(read_path, "File with the rows.")
    query: str | None = _key(read_query, "SQL that selects the rows, over `file` alone.", None)
    exclude: Path | None = _key(read_path, "CSV of people who objected; their rows stay out.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """[limits]: what this node may use."""

    disk: int = _key(read_size, 'Disk for blobs and sealed shares, as in "50 GiB".', "50 GiB")
    peers: int = _key(whole_number(1, 10_000), "Peers connected at once.", 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclave:
    """[enclave]: only on an enclave host."""

    socket: Path = _key(read_socket, "Socket of the enclave runtime.")
    technology: str = _key(_TECHNOLOGY, "What attests; simulated is NOT CONFIDENTIAL.")
    operator: str | None = _key(read_text, "Legal entity that runs the machine.", None)
    region: str | None = _key(read_text, "Jurisdiction where the machine stands, as in NL.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """[registrar]: only on the node of an identity authority."""

    enabled: bool = _key(yes_or_no, "Issue and revoke credentials.", default=False)


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


SECTIONS: Final[dict[str, Any]] = {
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
SOURCES: Final = "sources"
ENCLAVE: Final = "enclave"


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
        return self.default is REQUIRED


def describe() -> list[Described]:
    """Return every key of the configuration, in the order of the sections."""
    kinds = {**SECTIONS, f"{SOURCES}.NAME": Source}
    return [
        Described(section, key.name, **key.metadata)
        for section, kind in kinds.items()
        for key in dataclasses.fields(kind)
    ]
