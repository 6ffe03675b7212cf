"""A root is lost: guardians, a delay and a veto, typed at the command lines of real nodes."""

import base64
import time

import pytest

from node.admin.space_file import SpaceFile
from protocol import shape
from protocol.kinds.space import Charter, Founder, Terms
from tests.e2e.daemons import Daemon, daemons, eventually
from tests.e2e.test_keys import ok

pytestmark = pytest.mark.e2e

DELAY = 4
"""Seconds that a recovery waits for a veto: terms in days are for people."""

NAMES = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")


def founded(nodes, folder):
    """A space whose recoveries wait for seconds; its charter as a file."""
    cards = [base64.b64decode(one.call("key.export")["card"]) for one in nodes]
    charter = Charter(
        name="lung",
        purpose="research",
        founders=tuple(Founder(identity=card, roles=("data-provider",)) for card in cards),
        terms=Terms(registrars=(), advisors=(), recovery_delay=DELAY),
        salt=bytes(32),
    )
    file = folder / "lung.charter"
    reached = tuple(nodes[0].ready["addresses"])
    file.write_bytes(shape.encode(SpaceFile(opening=shape.encode(charter), addresses=reached)))
    for one in nodes:
        ok(one, "space", "join", file)
    eventually(lambda: all(one.call("space.list")[0]["founded"] for one in nodes))
    return file


def card_of(node):
    file = node.folder / "own.card"
    ok(node, "key", "export", "--out", file)
    return file


def only(node):
    found = node.call("key.recoveries")
    assert len(found) == 1
    return found[0]


def test_guardians_pass_a_seat_on_after_the_delay_unless_somebody_says_no(tmp_path):
    with daemons(tmp_path, *NAMES) as nodes:
        a, b, c, d = nodes
        file = founded(nodes, tmp_path)
        guardians = [word for one in (a, b) for word in ("--guardian", one.ready["did"])]
        ok(d, "key", "renew", *guardians, "--needed", "2", "--config", d.config)
        heir = Daemon(tmp_path / "heir", "hospital-d2")
        try:
            heir.init()
            heir.start()
            own = card_of(heir)

            # Two guardians are wrong, or lie: the keys are not lost, and their owner says so.
            lie = ["key", "recover", "@hospital-d", "--card", card_of(c), "--reason", "gone?"]
            # Until the news of them is there, nobody named guardians.
            eventually(lambda: a.village(*lie, check=False).returncode == 0)
            made = eventually(lambda: d.call("key.recoveries"))[0]
            ok(d, "key", "veto", made["recovery"][:8], "--reason", "our root is in the safe")
            eventually(lambda: all(only(one)["state"] == "vetoed" for one in nodes))
            ok(b, *lie)
            time.sleep(DELAY + 2)  # nobody confirms, however long it waits
            assert {only(one)["state"] for one in nodes} == {"vetoed"}
            assert only(a)["confirmed"] == []

            # Now they are lost.
            d.kill()
            words = ["key", "recover", "@hospital-d", "--card", own, "--reason", "the safe burned"]
            for one in (a, b):
                found = ok(one, *words)
            begun = time.monotonic()
            assert (found["state"], found["confirmed"]) == ("waits", [])
            ok(heir, "space", "join", file)
            eventually(lambda: _state(a, heir) == "recovered")
            assert time.monotonic() - begun > DELAY - 1
            eventually(lambda: _state(c, heir) == "recovered")
            members = eventually(lambda: len(heir.call("space.members")) > 3 and _names(heir))
            assert "hospital-d2" in members
            assert "hospital-d" not in members
        finally:
            heir.close()


def _state(node, heir):
    return next(
        one["state"] for one in node.call("key.recoveries") if one["heir"] == heir.ready["did"]
    )


def _names(node):
    return {row["name"] for row in node.call("space.members") if row["state"] == "member"}
