"""Back up a node into one file, and make a node of such a file again, on whatever machine.

Apart from the daemon: what needs keys or the root happens in the operator's own process.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from node import backup, config, identities, restored, root_key, state_folder
from node.daemon import locked_state
from node.store import StoreError, disk_faults, keystore, write_durably
from node.store.journal import Journal
from protocol import keys
from protocol.identity import Participant, open_identity
from protocol.kinds.identity import KeyRequest

JOURNAL: Final = "journal.db"

SNAPSHOT: Final = "snapshot.db"
"""Name of the copy of the journal, in the state folder, while a backup is made."""


def back_up(
    settings_file: Path, target: Path, unlock: str, snapshot: Callable[[Path], None]
) -> dict[str, Any]:
    """Write a backup of a node. `snapshot` makes a consistent copy of its journal at a path.

    Raises ConfigError, StoreError.
    """
    settings = config.load(settings_file)
    state = settings.node.state
    passphrase = keystore.read_passphrase(settings.keys.unlock, os.environ)
    seeds = keystore.open(state / state_folder.KEYSTORE, passphrase)
    sealed = keystore.read_passphrase(keystore.parse_unlock(unlock, Path()), os.environ)
    copy = state / SNAPSHOT
    copy.unlink(missing_ok=True)
    try:
        snapshot(copy)
        parts = {
            "identity": state / state_folder.IDENTITY,
            "config": settings_file,
            "journal": copy,
        }
        size = backup.write(target, sealed, seeds, parts)
    finally:
        copy.unlink(missing_ok=True)
    return {"out": str(target), "bytes": size, "root": root_key.NAME in seeds}


def back_up_anyhow(
    settings_file: Path, target: Path, unlock: str, by_daemon: Callable[[Path], None]
) -> dict[str, Any]:
    """Write a backup, whether the node runs or not: a running one is asked for the copy.

    Raises ConfigError, StoreError.
    """
    try:
        with locked_state(config.load(settings_file).node.state):
            return back_up(settings_file, target, unlock, snapshot_offline(settings_file))
    except StoreError as error:
        if error.code != "admin.taken":
            raise
    return back_up(settings_file, target, unlock, by_daemon)


def snapshot_offline(settings_file: Path) -> Callable[[Path], None]:
    """Copies the journal of a node that is not running."""
    state = config.load(settings_file).node.state

    def copy(target: Path) -> None:
        journal = Journal.open(state / JOURNAL)
        try:
            journal.back_up(target)
        finally:
            journal.close()

    return copy


def restore(
    source: Path, unlock: str, settings_file: Path, root: bytes, newest: Participant | None
) -> dict[str, Any]:
    """Make the state folder of the configuration from a backup, with a fresh record key.

    `newest` is the newest card of the participant, if its keys changed since the backup. Raises
    ConfigError, StoreError (backup.*, keystore.*), Refused (identity.*).
    """
    settings = config.load(settings_file)
    state = settings.node.state
    if (state / state_folder.KEYSTORE).exists():
        detail = f"There is a node in {state.name} already."
        raise StoreError("backup.exists", detail, "Restore into an empty state folder.")
    sealed = keystore.read_passphrase(keystore.parse_unlock(unlock, Path()), os.environ)
    passphrase = keystore.read_passphrase(settings.keys.unlock, os.environ)
    with disk_faults("Cannot make the state folder"):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state, prefix=".restore-") as made:
        folder = Path(made)
        seeds = backup.read(source, sealed, folder)
        last = open_identity((folder / "identity").read_bytes())
        if newest is not None and newest.revision > last.revision:
            last = newest
        seeds["record"] = secrets.token_bytes(32)
        card = _delegated(root, last, seeds)
        _mark(folder / "journal")
        (folder / "journal").replace(state / JOURNAL)
        with disk_faults("Cannot write the identity"):
            write_durably(state / state_folder.IDENTITY, card)
        keystore.create(state / state_folder.KEYSTORE, passphrase, seeds)
        text = (folder / "config").read_text(encoding="utf-8")
    me = open_identity(card)
    return {
        "name": me.name,
        "did": keys.did_text(me.did),
        "revision": me.revision,
        "config": text,
    }


def _delegated(root: bytes, last: Participant, seeds: dict[str, bytes]) -> bytes:
    """The next card: the fresh key in the place of the lost one, all of whose records stand."""
    asked = KeyRequest(
        identity=last.raw,
        node=keys.public(seeds["node"]),
        record=keys.public(seeds["record"]),
        old=last.vote_key,
    )
    plan = identities.replaced(last, asked, "lost", pinned=False)
    return identities.sign_next(root, last, plan, int(time.time()))


def _mark(path: Path) -> None:
    journal = Journal.open(path)
    try:
        restored.mark(journal)
    finally:
        journal.close()
