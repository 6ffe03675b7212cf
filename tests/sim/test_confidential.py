"""Confidential code among nodes: published, read by its reviewers, sent by its provider unasked."""

import base64
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import trio

from node import confidential, shares
from node.admin.failure import Failure
from node.confidential import CodeSender
from node.documents import template
from protocol.errors import Refused
from protocol.events import Appraised
from protocol.kinds.algorithm import CODE
from tests.sealed_rig import MARKER, ConfidentialRig
from tests.sim import share_rig
from tests.sim.admin_nodes import DEMO, demo_cast
from tests.sim.nodes import eventually
from tests.sim.share_rig import staged, until
from tests.sim.test_admin_story import ENVIRONMENT, knows, space

# --- publish, open, review -----------------------------------------------------------------------


async def test_members_see_the_documents_and_reviewers_the_code(tmp_path):
    folder = str(DEMO / "algorithms" / "cox-ph")
    async with demo_cast(tmp_path) as cast:
        for one in cast.values():
            await one.call("algorithm.env", name="scientific", digest=ENVIRONMENT)
        lab, reader, other = (cast[name] for name in ("biostat-lab", "hospital-a", "sponsor"))
        with pytest.raises(Failure, match="Nobody could review"):
            await lab.call("algorithm.publish", folder=folder, confidential=True)
        sealing = {"folder": folder, "confidential": True, "reviewers": ["@hospital-a"]}
        made = await lab.call("algorithm.publish", **sealing)
        assert (await lab.call("algorithm.publish", **sealing))["already"]
        await eventually(lambda: all(knows(one, made["bundle"]) for one in cast.values()))

        opened = await lab.call("algorithm.open", bundle="cox-ph")
        plain = opened["files"]
        assert opened["faults"] == []
        assert (await reader.call("algorithm.open", bundle="cox-ph"))["files"] == plain
        code = next(name for name in plain if name.endswith(".py"))
        text = base64.b64decode(plain[code])
        shown = await other.call("algorithm.show", bundle="cox-ph")
        assert shown["confidential"]
        assert code not in shown["files"]
        assert code in (await reader.call("algorithm.show", bundle="cox-ph"))["files"]
        for act in ("open", "review"):
            said = {"verdict": "approved", "text": "looks fine"} if act == "review" else {}
            with pytest.raises(Refused, match=r"algorithm\.reader"):
                await other.call(f"algorithm.{act}", bundle="cox-ph", **said)

        await reader.call("algorithm.review", bundle="cox-ph", verdict="approved", text="read it")
        digest = bytes.fromhex(made["bundle"])
        await eventually(lambda: space(other).approvals(digest))
        for one in cast.values():  # the sealed form is here, the bundle is nobody's blob
            assert not one.node.blobs.has(digest)
        assert text not in b"".join(
            path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
        )


async def test_a_reviewer_is_told_what_is_wrong_with_sealed_queries(tmp_path):
    folder = tmp_path / "stays"
    template.write("sql", "stays", folder)
    query = folder / "queries" / "summary" / "table.sql"
    query.write_text("SELECT * FROM read_csv('/etc/passwd') WHERE $by = 'sex'")
    async with demo_cast(tmp_path) as cast:
        lab, reader = cast["biostat-lab"], cast["hospital-a"]
        await lab.call("algorithm.env", name="scientific", digest=ENVIRONMENT)
        sealing = {"folder": str(folder), "confidential": True, "reviewers": ["@hospital-a"]}
        made = await lab.call("algorithm.publish", **sealing)
        await eventually(lambda: knows(reader, made["bundle"]))
        opened = await reader.call("algorithm.open", bundle="stays")
        assert any("table.sql:1: " in fault for fault in opened["faults"])
        for verdict, refused in (("approved", True), ("rejected", False)):
            with pytest.raises(Refused, match=r"algorithm\.sql") if refused else nullcontext():
                await reader.call("algorithm.review", bundle="stays", verdict=verdict, text="read")


# --- send -----------------------------------------------------------------------------------------


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(share_rig, "Rig", ConfidentialRig)
    for module in (shares, confidential):
        monkeypatch.setattr(module, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(shares, "PAUSE", 0.02)
    monkeypatch.setattr(shares, "LONGEST_PAUSE", 0.1)
    async with staged(tmp_path, monkeypatch) as made:
        rig = made.rig  # the lab's node signs for itself: four others are a quorum
        rig.parties = (*(one for one in rig.parties if one is not rig.lab), rig.lab)
        yield made


def sender(stage, sealed=None):
    """The lab's duty, with the sealed form at hand."""
    site, rig = stage.sites["lab"], stage.rig

    async def fetch(digest, _peers):
        assert digest == rig.document.algorithm.sealed
        return rig.sealed if sealed is None else sealed

    spread = SimpleNamespace(fetch_blob=fetch, audience_peers=lambda _room: ())
    return CodeSender(site.owner, spread, site.keyring)


async def lab(stage):
    """The lab's node, which found both hosts eligible."""
    for one in stage.hosts.values():
        await stage.tell(stage.verdict(stage.rig.lab, one, 1, True))
    return await stage.site("lab")


def taken(stage):
    kept = stage.sites["lab"].machine.current_shares().get((CODE, stage.rig.lab.did))
    return kept if kept is not None and kept.receipt is not None else None


def bundle_in(stage, host):
    return stage.hosts[host].door.enclave.sessions[stage.rig.id].code


async def test_its_provider_sends_the_code_unasked_and_the_host_never_has_its_text(stage):
    site = await lab(stage)
    duty = sender(stage)
    assert duty.owes(site.machine)
    stage.tasks.start_soon(duty.run)
    await until(lambda: taken(stage), seconds=20)
    assert taken(stage).receipt.verdict == "kept"
    assert not duty.owes(site.machine)
    assert bundle_in(stage, "host-1").bundle.files["vitals.py"] == stage.rig.code
    share = taken(stage).record.id
    assert stage.sites["host-2"].lane.index.complete(share)  # the standby has a sealed copy
    assert bundle_in(stage, "host-2") is None
    for name in ("host-1", "host-2", "hospital-a", "lab"):
        folder = stage.sites[name].folder
        assert MARKER not in b"".join(
            path.read_bytes() for path in folder.rglob("*") if path.is_file()
        )


async def test_after_a_fail_over_the_new_host_shows_its_enclave_the_code_again(stage):
    site = await lab(stage)
    stage.tasks.start_soon(sender(stage).run)
    await until(lambda: taken(stage), seconds=20)
    share = taken(stage).record.id
    second = stage.hosts["host-2"]
    await site.pipeline.tell(stage.rig.id, Appraised(stage.verdict_on(second, 2, True)))
    await stage.tell(*stage.elect(2, second, ()))
    await site.owner.rewrap(share, second.candidacy.id)
    lane = stage.sites["host-2"].lane
    await until(lambda: lane.stored(stage.rig.id))
    (stored,) = lane.stored(stage.rig.id)
    assert stored.code
    for _ in range(2):  # safe to repeat
        await lane.show_code(share)
    assert bundle_in(stage, "host-2").bundle.files["vitals.py"] == stage.rig.code


async def test_without_an_own_verdict_or_with_other_code_nothing_is_sent(stage):
    await stage.site("lab")  # it appraised nobody
    duty = sender(stage)
    with trio.move_on_after(0.5):
        await duty.run()
    assert duty.owes(stage.sites["lab"].machine)
    other = ConfidentialRig(stage.rig.document.algorithm.environment, code=b"other").sealed
    false = sender(stage, sealed=other)
    with trio.move_on_after(0.5):
        await false.run()
    assert not false.owes(stage.sites["lab"].machine)  # refused: a person must look
    assert not stage.sites["lab"].machine.shares
