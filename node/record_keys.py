"""Record keys that a running node makes: they wait here until its root delegates them.

The keystore opens with a passphrase that the daemon does not keep. So new record keys lie in a file
of the same format beside it, under a passphrase that follows from the store key.
"""

import secrets
from pathlib import Path
from typing import Final

from node.keyring import RECORD_SEEDS
from node.store import StoreMissing, keystore
from protocol import keys
from protocol.identity import Participant
from protocol.sealing import wrap

FILE: Final = "record-keys"

ORDER: Final = RECORD_SEEDS
"""Names of record keys, the newest first."""


def read(state: Path, store: bytes) -> dict[str, bytes]:
    """The seeds in the file, by name; none if there is no file. Raises StoreError."""
    try:
        return keystore.open(state / FILE, _passphrase(store))
    except StoreMissing:
        return {}


def pending(state: Path, store: bytes, current: bytes) -> bytes:
    """The seed that waits to be delegated: made once, the same until it is in use.

    `current` is the record key in use. Raises StoreError.
    """
    known = read(state, store)
    waiting = known.get("record/next")
    if waiting is not None and waiting != current:
        return waiting
    made = secrets.token_bytes(32)
    _write(state, store, {"record/next": made, "record/now": current})
    return made


def of_card(state: Path, store: bytes, current: bytes, card: Participant) -> bytes | None:
    """The seed of this node that a card delegates, if any. Raises StoreError."""
    known = [*read(state, store).values(), current]
    return next((seed for seed in known if keys.public(seed) in card.record_keys), None)


def without_retired(seeds: dict[str, bytes], me: Participant) -> dict[str, bytes]:
    """The seeds but for record keys that the identity does not delegate any more: whoever takes
    the disk later must not find them. One that still waits stays.
    """
    return {
        name: seed
        for name, seed in seeds.items()
        if name not in RECORD_SEEDS or name == "record/next" or keys.public(seed) in me.record_keys
    }


def keep(state: Path, store: bytes, seeds: dict[str, bytes]) -> None:
    """Replace the seeds in the file. Raises StoreError."""
    if read(state, store) != seeds:
        _write(state, store, seeds)


def _write(state: Path, store: bytes, seeds: dict[str, bytes]) -> None:
    path, passphrase = state / FILE, _passphrase(store)
    if path.exists():
        keystore.replace(path, passphrase, seeds)
    else:
        keystore.create(path, passphrase, seeds)


def _passphrase(store: bytes) -> bytes:
    return wrap.derive(store, b"village/record-keys/1").hex().encode()
