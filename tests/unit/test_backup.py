"""Backups: whole or not at all, no key that signs in them; the root outside the node."""

import base64
import os
from pathlib import Path

import pytest

from node import backup, record_keys, restored, root_key, state_folder
from node.keyring import SEED_NAMES
from node.restore import JOURNAL, back_up, restore, snapshot_offline
from node.store import StoreError, keystore
from node.store.journal import Journal
from protocol import keys
from protocol.errors import Refused
from protocol.identity import History, open_identity

PASS = b"correct horse battery"


def secret(folder: Path, name: str) -> str:
    path = folder / name
    path.write_bytes(PASS + name.encode())
    path.chmod(0o600)
    return f"file:{path}"


def settings(folder: Path, name: str = "node") -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    unlock = secret(folder, "passphrase")
    path = folder / "node.toml"
    path.write_text(f'[node]\nname = "{name}"\nstate = "state"\n[keys]\nunlock = "{unlock}"\n')
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(keystore, "OPSLIMIT", 1)
    monkeypatch.setattr(keystore, "MEMLIMIT", 8 * 1024)


@pytest.fixture
def node(tmp_path):
    """A node that was initialised, with a journal."""
    path = settings(tmp_path / "a")
    state_folder.init(path)
    Journal.open(tmp_path / "a" / "state" / JOURNAL).close()
    return path


def card_of(path: Path):
    return open_identity(state_folder.identity(path.parent / "state"))


def seeds_of(path: Path):
    return keystore.open(path.parent / "state" / "keystore", PASS + b"passphrase")


def code(act, *arguments) -> str:
    with pytest.raises((StoreError, Refused)) as caught:
        act(*arguments)
    return caught.value.code


def test_the_root_leaves_the_node_once_and_is_read_back(node, tmp_path):
    target, unlock = tmp_path / "root.key", secret(tmp_path, "root")
    root = seeds_of(node)["root"]
    assert root_key.read(None, "prompt", node) == root
    did = root_key.export(target, unlock, node)
    assert did == keys.did_text(card_of(node).did)
    assert root_key.read(target, unlock, node) == root
    assert set(seeds_of(node)) == set(SEED_NAMES) - {"root"}
    assert code(root_key.read, None, "prompt", node) == "keystore.root"
    assert code(root_key.export, tmp_path / "again", unlock, node) == "keystore.root"
    assert state_folder.unlock(_config(node)).did == card_of(node).did


def _config(path: Path):
    from node import config

    return config.load(path)


def test_a_backup_holds_no_key_that_signs_and_restores_under_a_fresh_one(node, tmp_path):
    root, unlock = tmp_path / "root.key", secret(tmp_path, "root")
    root_key.export(root, unlock, node)
    file, sealed = tmp_path / "a.backup", secret(tmp_path, "backup")
    before, old = seeds_of(node), card_of(node)
    made = back_up(node, file, sealed, snapshot_offline(node))
    assert made["bytes"] == file.stat().st_size
    assert not made["root"]
    for name in ("record", "root"):
        assert before.get(name, b"?" * 32) not in file.read_bytes()
    other = settings(tmp_path / "b")
    seed = root_key.read(root, unlock, other)
    found = restore(file, sealed, other, seed, root_key.newest(root, None))
    assert found["revision"] == 1
    after = seeds_of(other)
    assert {name: after[name] for name in backup.SEEDS} == {n: before[n] for n in backup.SEEDS}
    assert after["record"] != before["record"]
    me = card_of(other)
    (lost,) = me.retired
    assert (lost.key, lost.reason, lost.pins) == (old.vote_key, "lost", None)
    assert old.vote_key not in me.record_keys
    assert History.of(old, me).voting_keys == {old.vote_key, me.vote_key}
    journal = Journal.open(tmp_path / "b" / "state" / JOURNAL)
    assert journal.state(restored.MARK)
    journal.close()
    assert code(restore, file, sealed, other, seed, None) == "backup.exists"
    assert code(back_up, node, file, sealed, snapshot_offline(node)) == "backup.exists"


def test_a_damaged_backup_makes_no_node(node, tmp_path):
    file, sealed = tmp_path / "a.backup", secret(tmp_path, "backup")
    seed = seeds_of(node)["root"]
    back_up(node, file, sealed, snapshot_offline(node))
    whole = file.read_bytes()
    other = settings(tmp_path / "b")
    wrong = secret(tmp_path, "other")
    assert code(restore, file, wrong, other, seed, None) == "keystore.passphrase"
    for place in (*range(0, 64, 7), len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert code(restore, file, sealed, other, seed, None) in {
            "backup.damaged", "keystore.damaged", "keystore.passphrase",
        }  # fmt: skip
    for cut in (whole[:10], whole[:-1], whole[:-60], whole + b"x"):
        file.write_bytes(cut)
        assert code(restore, file, sealed, other, seed, None) == "backup.damaged"
    assert not (tmp_path / "b" / "state" / "keystore").exists()
    assert os.listdir(tmp_path / "b" / "state") == []


def test_a_root_never_signs_two_cards_for_one_revision(node, tmp_path):
    root, unlock = tmp_path / "root.key", secret(tmp_path, "root")
    root_key.export(root, unlock, node)
    seed, last = root_key.read(root, unlock, node), card_of(node)
    plan = root_key.identities.plan_of(last)
    made = open_identity(root_key.sign(root, seed, last, plan))
    assert made.prev == last.id
    assert code(root_key.sign, root, seed, last, plan) == "identity.chain"
    assert root_key.newest(root, last) == made
    again = open_identity(root_key.sign(root, seed, made, plan))
    assert History.of(last, made, again).fork is None
    assert code(root_key.sign, None, bytes(32), last, plan) == "identity.root"


def test_a_second_node_is_delegated_by_hand(node, tmp_path):
    other = settings(tmp_path / "b", "twin")
    state_folder.init(other)
    raw = root_key.ask_offline(other)
    asked = root_key.identities.open_request(raw)
    last = card_of(node)
    seed = seeds_of(node)["root"]
    made = root_key.sign(None, seed, last, root_key.plan_for(last, asked))
    assert code(root_key.install_offline, node, seeds_card(other)) == "identity.keys"
    me = root_key.install_offline(other, made)
    assert me.did == last.did
    ring = state_folder.unlock(_config(other))
    assert (ring.did, ring.votes) == (last.did, False)
    assert me.nodes == (*last.nodes, asked.node)
    assert base64.b64encode(raw)


def seeds_card(path: Path) -> bytes:
    return state_folder.identity(path.parent / "state")


def test_a_request_by_another_key_is_no_request(node):
    from protocol import token
    from protocol.kinds.identity import KeyRequest

    body = KeyRequest(identity=b"", node=bytes(32), record=bytes(32))
    raw = token.sign(seeds_of(node)["record"], "key-request", body)
    assert code(root_key.identities.open_request, raw) == "identity.keys"


def test_a_waiting_key_stays_the_same_until_it_is_in_use(node):
    state, seeds = node.parent / "state", seeds_of(node)
    first = record_keys.pending(state, seeds["store"], seeds["record"])
    assert record_keys.pending(state, seeds["store"], seeds["record"]) == first
    assert state_folder.unlock(_config(node)).record == seeds["record"]
    last = card_of(node)
    asked = root_key.KeyRequest(
        identity=last.raw,
        node=last.nodes[0],
        record=keys.public(first),
        old=last.vote_key,
    )
    made = root_key.sign(None, seeds["root"], last, root_key.plan_for(last, asked))
    state_folder.write_card(state, made)
    ring = state_folder.unlock(_config(node))
    assert (ring.record, ring.votes) == (first, True)
    # What was taken back is gone from the disk.
    assert "record" not in seeds_of(node)
    assert seeds["record"] not in record_keys.read(state, seeds["store"]).values()
    assert record_keys.pending(state, seeds["store"], first) != first
    assert state_folder.unlock(_config(node)).record == first
