"""The root key of a participant: where it lies, how it leaves a node, what it signs next.

It signs identities and nothing else. A file that holds it has the format of a keystore, with a
passphrase of its own; the machine that reads it needs no network.
"""

import os
import time
from pathlib import Path
from typing import Final

from node import config, identities, record_keys, state_folder
from node.store import StoreError, StoreMissing, disk_faults, keystore, write_durably
from protocol import keys
from protocol.errors import Refused
from protocol.identity import Participant, open_identity
from protocol.kinds.identity import KeyRequest

NAME: Final = "root"

CARD: Final = ".card"
"""Ending of the file beside the root key: the newest identity that it signed."""


def read(root: Path | None, unlock: str, settings_file: Path) -> bytes:
    """The root seed: of a file that `export` wrote, else of the node's own keystore.

    Raises ConfigError, StoreError (keystore.*).
    """
    if root is None:
        settings = config.load(settings_file)
        path, how = settings.node.state / state_folder.KEYSTORE, settings.keys.unlock
    else:
        path, how = root, keystore.parse_unlock(unlock, Path())
    seeds = keystore.open(path, keystore.read_passphrase(how, os.environ))
    if NAME not in seeds:
        raise StoreMissing(
            "keystore.root",
            f"There is no root key in {path.name}.",
            "Say where it is: --root FILE.",
        )
    return seeds[NAME]


def export(target: Path, unlock: str, settings_file: Path) -> str:
    """Move the root key out of a node's keystore, into a file with another passphrase; its did.

    The file is written and read again before the keystore forgets the key. Raises ConfigError,
    StoreError.
    """
    settings = config.load(settings_file)
    path = settings.node.state / state_folder.KEYSTORE
    passphrase = keystore.read_passphrase(settings.keys.unlock, os.environ)
    seeds = keystore.open(path, passphrase)
    if NAME not in seeds:
        raise StoreMissing("keystore.root", "The root key left this node already.", "See --root.")
    sealed = keystore.read_passphrase(keystore.parse_unlock(unlock, Path()), os.environ)
    keystore.create(target, sealed, {NAME: seeds[NAME]})
    if keystore.open(target, sealed) != {NAME: seeds[NAME]}:
        raise StoreError("keystore.damaged", "What was written cannot be read.", "Try again.")
    keystore.replace(path, passphrase, {k: v for k, v in seeds.items() if k != NAME})
    return keys.did_text(keys.public(seeds[NAME]))


def newest(root: Path | None, last: Participant | None) -> Participant | None:
    """The newest card that the root of this file is known to have signed, or `last`.

    A root that signed two identities for one revision is barred: so its file has the last one
    beside it. Raises Refused (record.*, identity.*).
    """
    beside = None if root is None else root.with_name(root.name + CARD)
    if beside is None or not beside.exists():
        return last
    known = open_identity(beside.read_bytes())
    return known if last is None or known.revision > last.revision else last


def remember(root: Path | None, raw: bytes) -> None:
    """Keep a card beside the file of the root that signed it. Raises StoreError."""
    if root is not None:
        with disk_faults("Cannot keep the card beside the root key"):
            write_durably(root.with_name(root.name + CARD), raw)


def sign(root: Path | None, seed: bytes, last: Participant, plan: identities.Plan) -> bytes:
    """The next identity. Raises Refused (identity.chain) if the root signed a newer one already."""
    known = newest(root, last)
    if known is not None and known.id != last.id:
        raise Refused(
            "identity.chain",
            f"the root signed revision {known.revision} already; it lies beside it: {CARD}",
        )
    made = identities.sign_next(seed, last, plan, int(time.time()))
    remember(root, made)
    return made


def plan_for(last: Participant, asked: KeyRequest) -> identities.Plan:
    """What a request asks: the next key of a node, or one more node that does not vote."""
    if asked.old in last.record_keys:
        return identities.replaced(last, asked, "rotated", pinned=False)
    return identities.added(last, asked)


def ask_offline(settings_file: Path) -> bytes:
    """The request of a node that is not running: its first keys. Raises ConfigError, StoreError."""
    settings = config.load(settings_file)
    state = settings.node.state
    passphrase = keystore.read_passphrase(settings.keys.unlock, os.environ)
    seeds = keystore.open(state / state_folder.KEYSTORE, passphrase)
    seeds |= record_keys.read(state, seeds["store"])
    seed = next(seeds[name] for name in record_keys.ORDER if name in seeds)
    body = KeyRequest(
        identity=state_folder.identity(state),
        node=keys.public(seeds["node"]),
        record=keys.public(seed),
    )
    return identities.request(seed, body)


def install_offline(settings_file: Path, card: bytes) -> Participant:
    """Make a node that is not running one of the participant of the card.

    Raises ConfigError, StoreError, Refused (identity.*).
    """
    settings = config.load(settings_file)
    state = settings.node.state
    me = open_identity(card)
    passphrase = keystore.read_passphrase(settings.keys.unlock, os.environ)
    seeds = keystore.open(state / state_folder.KEYSTORE, passphrase)
    seeds |= record_keys.read(state, seeds["store"])
    held = {keys.public(seeds[name]) for name in record_keys.ORDER if name in seeds}
    if held.isdisjoint(me.record_keys) or keys.public(seeds["node"]) not in me.nodes:
        raise Refused("identity.keys", "the card does not delegate the keys of this node")
    state_folder.write_card(state, me.raw)
    return me
