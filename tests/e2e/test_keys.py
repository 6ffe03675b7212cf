"""The life of a participant's keys between real nodes: root offline, rotation, backup, restore."""

import json
import shutil

import pytest

from tests.e2e.daemons import Daemon, daemons, eventually

pytestmark = pytest.mark.e2e


def ok(node, *arguments):
    done = node.village(*arguments, "--json", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def pair(tmp_path):
    with daemons(tmp_path, "hospital-a", "hospital-b") as nodes:
        yield nodes


def founded(a, b):
    cards = [{"card": one.call("key.export")["card"], "roles": ["data-provider"]} for one in (a, b)]
    made = a.call("space.new", name="lung", purpose="research", founders=cards, registrars=[])
    b.call("space.join", file=made["file"])
    eventually(lambda: all(one.call("space.list")[0]["founded"] for one in (a, b)))
    return made["space"]


def test_keys_come_and_go_and_a_restored_node_goes_on(pair, tmp_path):
    a, b = pair
    founded(a, b)
    root, secret = tmp_path / "root.key", tmp_path / "root.pass"
    secret.touch(0o600)
    secret.write_text("a root in a safe place\n")
    by_root = ("--root", root, "--unlock", f"file:{secret}", "--config", a.config)

    # The root leaves the node.
    did = ok(a, "key", "export-root", root, "--unlock", f"file:{secret}", "--config", a.config)[
        "did"
    ]
    assert did == a.ready["did"]
    assert a.village("key", "rotate", "--config", a.config, check=False).returncode == 1

    # A new record key, while everything runs.
    before = a.call("key.show")
    ok(a, "key", "rotate", *by_root)
    after = a.call("key.show")
    assert (after["revision"], after["votes"]) == (1, True)
    assert after["record"] != before["record"]
    assert after["retired"] == [{"key": before["record"], "reason": "rotated", "pins": 0}]

    # Renewed, with a guardian.
    guardian = b.call("key.show")["did"]
    ok(a, "key", "renew", "--guardian", guardian, *by_root)
    assert a.call("key.show")["guardians"] == ["hospital-b"]

    # A backup while it runs; then the machine is lost.
    file = tmp_path / "a.backup"
    found = ok(a, "node", "backup", file, "--unlock", f"file:{secret}", "--config", a.config)
    assert found["bytes"] == file.stat().st_size
    assert not found["root"]
    assert not (a.folder / "state" / "snapshot.db").exists()
    a.kill()
    shutil.rmtree(a.folder / "state")
    restored = ok(
        a, "node", "restore", file, "--unlock", f"file:{secret}", "--root", root,
        "--root-unlock", f"file:{secret}", "--config", a.config,
    )  # fmt: skip
    assert restored["revision"] == 3
    a.start()
    assert a.ready["did"] == did
    assert a.call("key.show")["record"] != after["record"]
    assert a.call("space.list")[0]["founded"]
    # It asks the other first, and then has a voice again.
    eventually(lambda: a.call("key.show")["silent"] == 0)

    # The thief of the last key gets nothing.
    stolen = a.call("key.show")["record"]
    ok(a, "key", "revoke", "--reason", "stolen", *by_root)
    now = a.call("key.show")
    assert {"key": stolen, "reason": "stolen"}.items() <= now["retired"][-1].items()
    assert now["record"] != stolen

    _contradiction_is_refused(a, b, tmp_path, by_root)


def _contradiction_is_refused(a, b, tmp_path, by_root):
    """Without the newest card the root refuses to sign."""
    old = tmp_path / "old.card"
    old.write_text(b.call("key.export")["card"])
    asked = tmp_path / "key.request"
    a.village("key", "request", "--out", asked)
    refused = a.village(
        "key", "delegate", asked, "--card", old, "--out", tmp_path / "x.card", *by_root, check=False
    )
    assert refused.returncode == 3
    assert "identity." in refused.stderr


@pytest.mark.soak
def test_a_second_node_of_one_participant(pair, tmp_path):
    a, b = pair
    founded(a, b)
    twin = Daemon(tmp_path / "twin", "twin")
    try:
        twin.init()
        asked, made = tmp_path / "twin.request", tmp_path / "twin.card"
        ok(twin, "key", "request", "--out", asked, "--config", twin.config)
        ok(a, "key", "delegate", asked, "--out", made, "--config", a.config)
        ok(a, "key", "install", made)
        ok(twin, "key", "install", made, "--config", twin.config)
        twin.start()
        assert twin.ready["did"] == a.ready["did"]
        shown = twin.call("key.show")
        assert not shown["votes"]
        assert shown["record"] in {row["public"] for row in a.call("key.list")}
    finally:
        twin.close()
