"""A node's keys and identity in its state folder: made once by `init`, opened at each start.

Apart from the daemon, so that making keys does not load a network.
"""

import os
import time
from pathlib import Path
from typing import Any, Final

from node import config, keyring, record_keys
from node.config import Config
from node.keyring import Keyring
from node.store import StoreError, disk_faults, keystore, write_durably
from protocol.identity import open_identity
from protocol.keys import did_text

IDENTITY: Final = "identity"
KEYSTORE: Final = "keystore"


def init(path: Path) -> dict[str, Any]:
    """Make state folder, keystore and identity of a node; what is there already stays.

    Raises ConfigError, StoreError.
    """
    settings = config.load(path)
    state = settings.node.state
    with disk_faults("Cannot make the state folder"):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
    store, card = state / KEYSTORE, state / IDENTITY
    already = store.exists() and card.exists()
    if not already:
        _make_keys(settings, store, card)
    me = open_identity(identity(state))
    return {"already": already, "name": me.name, "did": did_text(me.did), "state": str(state)}


def _make_keys(settings: Config, store: Path, card: Path) -> None:
    """Keystore first: an identity without its keys would be worth nothing."""
    passphrase = keystore.read_passphrase(settings.keys.unlock, os.environ)
    if not store.exists():
        keystore.create(store, passphrase, keyring.new_seeds())
    seeds = keystore.open(store, passphrase)
    raw = keyring.sign_identity(seeds, settings.node.name, int(time.time()))
    with disk_faults("Cannot write the identity"):
        write_durably(card, raw)


def identity(state: Path) -> bytes:
    """The newest identity record of a node, raw. Raises StoreError (node.uninitialised)."""
    try:
        with disk_faults("Cannot read the identity"):
            return (state / IDENTITY).read_bytes()
    except StoreError as error:
        detail = f"There is no identity in {state.name}."
        raise StoreError("node.uninitialised", detail, "Make it: village node init.") from error


def unlock(settings: Config) -> Keyring:
    """The keyring of an initialised node. Raises StoreError, Refused (identity.keys)."""
    state = settings.node.state
    passphrase = keystore.read_passphrase(settings.keys.unlock, os.environ)
    seeds = keystore.open(state / KEYSTORE, passphrase)
    more, card = record_keys.read(state, seeds["store"]), identity(state)
    found = keyring.open_keyring(seeds | more, card)
    left = record_keys.without_retired(seeds, found.me)
    if left != seeds:
        keystore.replace(state / KEYSTORE, passphrase, left)
    if more:
        record_keys.keep(state, seeds["store"], record_keys.without_retired(more, found.me))
    return found


def write_card(state: Path, raw: bytes) -> None:
    """Keep the newest identity of this node, whole or not at all. Raises StoreError."""
    with disk_faults("Cannot write the identity"):
        write_durably(state / IDENTITY, raw)
