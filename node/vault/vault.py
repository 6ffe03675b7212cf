"""The vault on disk: a folder with a keystore, one sealed file of contents, and sealed blobs.

Each write of the contents is whole or not at all, under a fresh key derived from a random salt, so
no key and nonce ever seal twice. One process has a vault open at a time.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from node.store import StoreError, StoreMissing, disk_faults, keystore, write_durably
from node.store.blobs import Blobs
from node.vault import endings
from node.vault.contents import Contents, Enrolment, Keys, Line, Participation, Row
from protocol import limits, shape
from protocol.errors import ProtocolError
from protocol.sealing import wrap

SIZE: Final = 16 * 1024 * 1024
"""Bytes of the contents; a vault of a person stays far below."""

DISK: Final = 1024 * 1024 * 1024
"""Bytes of all blobs of one vault."""

DIARY: Final = 1000
"""Lines of the diary; older ones go."""

SEEDS: Final = ("base", "node", "store")
"""Seeds in the keystore: the enrolled key, the PeerId towards the registrar, the key at rest."""

_MAGIC: Final = b"village-vault/1\n"
_SALT: Final = 32
_NONCE: Final = bytes(12)


class Vault:
    """An open vault. Made by `create` and `open`; `close` it in the end."""

    def __init__(
        self, folder: Path, seeds: dict[str, bytes], contents: Contents, lock: int
    ) -> None:
        self.folder = folder
        self.base = seeds["base"]
        self.node = seeds["node"]
        self.contents = contents
        self._store = seeds["store"]
        self._lock = lock
        self.blobs = Blobs(folder / "blobs", self._store, DISK)

    @classmethod
    def create(cls, folder: Path, name: str, passphrase: bytes) -> Self:
        """Make a new vault. Raises StoreError (keystore.exists, keystore.weak, vault.in-use)."""
        seeds = {seed: secrets.token_bytes(32) for seed in SEEDS}
        keystore.create(folder / "keys", passphrase, seeds)
        vault = cls(folder, seeds, Contents(name=name), _locked(folder))
        vault.note("vault made", None, "")
        return vault

    @classmethod
    def open(cls, folder: Path, passphrase: bytes) -> Self:
        """Open a vault. Raises StoreError (keystore.*, vault.in-use, vault.damaged)."""
        seeds = keystore.open(folder / "keys", passphrase)
        lock = _locked(folder)
        try:
            with disk_faults("Cannot read the vault"):
                sealed = (folder / "contents").read_bytes()
            return cls(folder, seeds, _unseal(sealed, seeds["store"]), lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Let others open it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What its person calls it."""
        return self.contents.name

    # --- changes --------------------------------------------------------------------------------

    def save(self, contents: Contents) -> None:
        """Replace the contents, durably. Raises StoreFault."""
        sealed = _seal(shape.encode(contents), self._store)
        with disk_faults("Cannot write the vault"):
            write_durably(self.folder / "contents", sealed)
        self.contents = contents

    def note(self, event: str, agreement: bytes | None, detail: str) -> None:
        """Add a line to the diary."""
        self.save(self._with_line(self.contents, event, agreement, detail))

    def announce(self, now: int) -> None:
        """Write what ends soon into the diary, each step once."""
        changed, new = endings.announced(self.contents, now)
        for one in new:
            changed = self._with_line(changed, "ends", one.agreement, f"{one.words}; {one.command}")
        if new:
            self.save(changed)

    def add_row(self, dataset: str, file: str, data: bytes) -> Row:
        """Keep the person's own data for a dataset, in place of earlier ones."""
        row = Row(dataset=dataset, file=file, blob=self.blobs.put(data), at=int(time.time()))
        others = tuple(one for one in self.contents.rows if one.dataset != dataset)
        changed = replace(self.contents, rows=(*others, row))
        self.save(self._with_line(changed, "data added", None, f"{file} for {dataset}"))
        return row

    def row(self, dataset: str) -> Row:
        """The person's own data for a dataset. Raises StoreMissing (vault.data)."""
        for one in self.contents.rows:
            if one.dataset == dataset:
                return one
        detail = f"The vault has no data for {dataset}."
        raise StoreMissing("vault.data", detail, "village vault add FILE --dataset NAME")

    def enrol(self, enrolment: Enrolment) -> None:
        """Keep the registrar's word."""
        changed = replace(self.contents, enrolment=enrolment)
        self.save(self._with_line(changed, "enrolled", None, ""))

    @property
    def enrolment(self) -> Enrolment:
        """The registrar's word. Raises StoreMissing (vault.enrolment)."""
        if self.contents.enrolment is None:
            detail = "No registrar knows this vault."
            raise StoreMissing("vault.enrolment", detail, "village vault enrol CODE")
        return self.contents.enrolment

    def participation(self, agreement: bytes) -> Participation:
        """What is kept of an agreement. Raises StoreMissing (vault.agreement)."""
        for one in self.contents.participations:
            if one.agreement == agreement:
                return one
        detail = f"The vault knows nothing of agreement {agreement.hex()[:8]}."
        raise StoreMissing("vault.agreement", detail, "village consent list shows what it knows.")

    def begin(self, asked: Participation) -> Participation:
        """Take up an agreement, or find it again; until a consent names a gateway, with the newest
        way to reach it.
        """
        try:
            known = self.participation(asked.agreement)
        except StoreMissing:
            return self.put(asked, "asked", asked.name)
        if known.given or (known.gateway, known.address) == (asked.gateway, asked.address):
            return known
        moved = replace(known, gateway=asked.gateway, address=asked.address)
        return self.put(moved, "gateway", asked.address)

    def knows(self, agreement: bytes) -> bool:
        """Whether the person was asked about an agreement before."""
        return any(one.agreement == agreement for one in self.contents.participations)

    def keys(self, agreement: bytes) -> Keys:
        """The secrets for an agreement: those it has, or fresh ones."""
        try:
            return self.participation(agreement).keys
        except StoreMissing:
            return Keys(**{part: secrets.token_bytes(32) for part in _PARTS})

    def put(self, changed: Participation, event: str, detail: str) -> Participation:
        """Keep a changed participation, and say why in the diary."""
        others = [one for one in self.contents.participations if one.agreement != changed.agreement]
        contents = replace(self.contents, participations=(*others, changed))
        self.save(self._with_line(contents, event, changed.agreement, detail))
        return changed

    def change(
        self, agreement: bytes, how: Callable[[Participation], Participation], event: str, why: str
    ) -> Participation:
        """Apply a change to the newest state of a participation."""
        return self.put(how(self.participation(agreement)), event, why)

    def _with_line(
        self, contents: Contents, event: str, agreement: bytes | None, detail: str
    ) -> Contents:
        line = Line(at=int(time.time()), event=event, agreement=agreement, detail=detail)
        return replace(contents, diary=(*contents.diary, line)[-DIARY:])


_PARTS: Final = ("signing", "sealing", "node", "secret")


def _seal(plain: bytes, key: bytes) -> bytes:
    salt = secrets.token_bytes(_SALT)
    head = _MAGIC + salt
    return head + AESGCM(wrap.derive(key, head)).encrypt(_NONCE, plain, head)


def _unseal(sealed: bytes, key: bytes) -> Contents:
    head = sealed[: len(_MAGIC) + _SALT]
    try:
        if not head.startswith(_MAGIC) or len(sealed) > SIZE + limits.RECORD:
            raise InvalidTag
        plain = AESGCM(wrap.derive(key, head)).decrypt(_NONCE, sealed[len(head) :], head)
        return shape.decode(Contents, plain, SIZE)
    except (InvalidTag, ProtocolError) as error:
        raise StoreError(
            "vault.damaged",
            "The contents of the vault are damaged, or of another vault.",
            "Restore the folder from a backup.",
        ) from error


def _locked(folder: Path) -> int:
    """A descriptor that holds the vault's lock while it is open."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with disk_faults("Cannot open the vault"):
        descriptor = os.open(folder / "lock", flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        detail = "Another process has this vault open."
        raise StoreError("vault.in-use", detail, "Close it there first.") from error
    return descriptor
