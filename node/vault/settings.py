"""The configuration of a process that serves vaults: one TOML file, every problem at once.

[vaults]
folder    = "/home/me/vaults"      # each vault is a folder in it
gateways  = ["/dns4/a.example/tcp/4150/p2p/12D3Koo…"]   # tried in this order
registrar = "/dns4/r.example/tcp/4150/p2p/12D3Koo…"
socket    = "/run/user/1000/village/vaults.sock"
unlock    = "file:passphrase"      # where vaults have one in common
proxy     = "http://proxy.example:3128"   # CONNECT; nothing is dialled around it
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.config import FILE, ConfigError, Problem
from node.config.problems import Invalid
from node.config.readers import read_proxy
from node.net.address import parse
from node.net.proxy import Proxy
from node.net.transport import Unreachable
from node.store import StoreError
from node.store.keystore import Unlock, parse_unlock

KEYS: Final = ("folder", "gateways", "registrar", "socket", "unlock", "log", "proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `village vault run` needs."""

    folder: Path
    socket: Path
    gateways: tuple[str, ...]
    registrar: str | None
    unlock: Unlock | None
    log: str
    proxy: Proxy | None


def load(path: Path) -> Settings:
    """Read a configuration. Raises ConfigError with every problem."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE + 1)
        table = tomllib.loads(data[:FILE].decode())
    except OSError as error:
        raise _refused(path, [("", f"Cannot read: {error.strerror}.")]) from error
    except (ValueError, RecursionError) as error:
        raise _refused(path, [("", "This is not TOML.")]) from error
    return _Reading(path, table).settings()


class _Reading:
    """Reads keys and notes what is wrong with each."""

    def __init__(self, path: Path, table: dict[str, Any]) -> None:
        self._path = path
        self._base = path.absolute().parent
        section = table.get("vaults")
        self._table = section if isinstance(section, dict) else {}
        self._problems = [(key, "The key is unknown.") for key in table.keys() - {"vaults"}] + [
            (f"vaults.{key}", "The key is unknown.") for key in self._table.keys() - set(KEYS)
        ]

    def settings(self) -> Settings:
        folder, socket = self._text("folder"), self._text("socket")
        gateways = self._table.get("gateways", [])
        if not isinstance(gateways, list):
            self._note("gateways", "This is not a list of addresses.")
            gateways = []
        registrar = self._address("registrar", self._table.get("registrar"))
        ways = tuple(filter(None, (self._address("gateways", one) for one in gateways)))
        unlock, proxy = self._unlock(), self._proxy()
        log = self._table.get("log", "info")
        if log not in ("debug", "info", "warning", "error"):
            self._note("log", "One of debug, info, warning, error.")
        if self._problems or folder is None or socket is None:
            raise _refused(self._path, self._problems)
        return Settings(
            folder=self._base / folder,
            socket=self._base / socket,
            gateways=ways,
            registrar=registrar,
            unlock=unlock,
            log=log,
            proxy=proxy,
        )

    def _text(self, key: str) -> str | None:
        value = self._table.get(key)
        if isinstance(value, str) and value:
            return value
        self._note(key, "The key is missing, or no text.")
        return None

    def _address(self, key: str, value: object) -> str | None:
        if value is None:
            return None
        try:
            if not isinstance(value, str) or not parse(value).peer:
                self._note(key, "An address ends in /p2p/ID.")
                return None
        except Unreachable as error:
            self._note(key, str(error))
            return None
        return value

    def _unlock(self) -> Unlock | None:
        value = self._table.get("unlock")
        if value is None:
            return None
        try:
            return parse_unlock(str(value), self._base)
        except StoreError as error:
            self._note("unlock", error.detail)
            return None

    def _proxy(self) -> Proxy | None:
        value = self._table.get("proxy")
        if value is None:
            return None
        try:
            return read_proxy(value, self._base)
        except Invalid as error:
            self._note("proxy", f"{error.detail} {error.fix}")
            return None

    def _note(self, key: str, detail: str) -> None:
        self._problems.append((f"vaults.{key}", detail))


def _refused(path: Path, problems: list[tuple[str, str]]) -> ConfigError:
    fix = f"[vaults] knows {', '.join(KEYS)}."
    return ConfigError(path.name, [Problem(0, key, detail, fix) for key, detail in problems])
