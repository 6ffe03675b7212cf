"""Keeps vaults open, one act at a time in each, and knows the ways out: gateways and registrar."""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import trio

from node.admin.failure import Failure
from node.net.transport import NotAdmitted, Unreachable
from node.store import keystore
from node.store.keystore import Unlock
from node.vault.callers import Connect
from node.vault.light import LightPeer
from node.vault.vault import Vault

T = TypeVar("T")

SHORTEST = 4
"""Digits of a short id, at least."""


@dataclass(slots=True)
class Keeper:
    """Open vaults by name. `gateways` and `registrar` are addresses to use where none is named."""

    connect: Connect
    gateways: Sequence[str] = ()
    registrar: str | None = None
    folder: Path | None = None
    unlock: Unlock | None = None
    lights: dict[str, LightPeer] = field(default_factory=dict)
    _locks: dict[str, trio.Lock] = field(default_factory=dict)

    def hold(self, vault: Vault) -> LightPeer:
        """Keep an open vault under its name."""
        self.lights[vault.name] = LightPeer(vault, self.connect)
        self._locks[vault.name] = trio.Lock()
        return self.lights[vault.name]

    async def make(self, name: str, unlock: Unlock | None) -> LightPeer:
        """A new vault in the folder. Raises StoreError (keystore.*), Failure."""
        passphrase, folder = await self._passphrase(unlock), self._place(name)
        return self.hold(await trio.to_thread.run_sync(Vault.create, folder, name, passphrase))

    async def open(self, name: str, unlock: Unlock | None) -> LightPeer:
        """Open a vault of the folder; one that is open stays so. Raises StoreError, Failure."""
        if name in self.lights:
            return self.lights[name]
        passphrase, folder = await self._passphrase(unlock), self._place(name)
        return self.hold(await trio.to_thread.run_sync(Vault.open, folder, passphrase))

    @asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[LightPeer]:
        """The open vault of this name, or the only one; nobody else acts in it meanwhile."""
        wanted = next(iter(self.lights), "") if name is None and len(self.lights) == 1 else name
        if wanted not in self.lights or wanted is None:
            fix = f"Open are: {', '.join(sorted(self.lights)) or 'none'}."
            raise Failure("id.unknown", f"There is no open vault {wanted or ''}.", fix)
        async with self._locks[wanted]:
            self.lights[wanted].vault.announce(int(time.time()))
            yield self.lights[wanted]

    async def somewhere(
        self, known: str | None, named: str | None, act: Callable[[str], Awaitable[T]]
    ) -> T:
        """Act through the gateway named, else the known one, else the first that answers.

        Raises Failure (admin.parameters) if there is none, Unreachable if none answers.
        """
        ways = [named] if named else [one for one in (known, *self.gateways) if one is not None]
        if not ways:
            raise Failure("admin.parameters", "No gateway is known.", "Name one: --gateway ADDRESS")
        fault: Exception | None = None
        for address in dict.fromkeys(ways):
            try:
                return await act(address)
            except (Unreachable, NotAdmitted) as error:
                fault = error
        raise fault or Unreachable("no gateway answers")

    def close(self) -> None:
        """Close every vault."""
        for light in self.lights.values():
            light.vault.close()
        self.lights.clear()

    def _place(self, name: str) -> Path:
        if self.folder is None:
            raise Failure("admin.parameters", "No folder of vaults is configured.", "See [vaults].")
        if not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
            fix = "Letters, digits, - and _."
            raise Failure("admin.parameters", "This is no name for a vault.", fix)
        return self.folder / name

    async def _passphrase(self, unlock: Unlock | None) -> bytes:
        chosen = unlock or self.unlock
        if chosen is None:
            fix = "As in unlock=file:/path/to/passphrase."
            raise Failure("admin.parameters", "How is the vault unlocked?", fix)
        return await trio.to_thread.run_sync(keystore.read_passphrase, chosen, os.environ)


def find(light: LightPeer, text: str) -> bytes | None:
    """The agreement that a name, an id or a short id means in this vault, or None.

    Raises Failure (id.ambiguous).
    """
    parts = light.vault.contents.participations
    return choose(text, [(one.agreement, one.name) for one in parts])


def choose(text: str, known: Sequence[tuple[bytes, str]]) -> bytes | None:
    """The one agreement of `known` (id, name) that `text` means; a whole id means itself.

    Raises Failure (id.ambiguous).
    """
    wanted = text.lower()
    if len(wanted) == 64 and all(c in "0123456789abcdef" for c in wanted):
        return bytes.fromhex(wanted)
    long_enough = len(wanted) >= SHORTEST
    found = {
        id_ for id_, name in known if name == text or (long_enough and id_.hex().startswith(wanted))
    }
    if len(found) > 1:
        raise Failure(
            "id.ambiguous", f"{text[:64]!r} means several agreements.", "Give more of it."
        )
    return next(iter(found), None)
