"""The story of the demo up to the election, by the admin API; the network is in memory."""

import base64
import hashlib
import time

import pytest

from node.admin.failure import Failure
from protocol import record
from protocol.audit.examine import examine
from protocol.errors import Refused
from tests.sim.admin_nodes import CONTRACT, DEMO, POLICIES, demo_cast
from tests.sim.nodes import eventually

ENVIRONMENT = hashlib.sha256(b"an environment").hexdigest()
PARTIES = [*(f"hospital-{x}" for x in "abcd"), "biostat-lab", "sponsor"]


async def publish(cast):
    """The lab publishes its code, hospital A approves it, the sponsor publishes the contract."""
    for one in cast.values():
        await one.call("algorithm.env", name="scientific", digest=ENVIRONMENT)
    await cast["sponsor"].call("contract.publish", file=CONTRACT.read_bytes())
    folder = str(DEMO / "algorithms" / "cox-ph")
    made = await cast["biostat-lab"].call("algorithm.publish", folder=folder)
    await eventually(lambda: knows(cast["hospital-a"], made["bundle"]))
    await cast["hospital-a"].call(
        "algorithm.review", bundle="cox-ph", verdict="approved", text="read all of it"
    )
    await eventually(lambda: all(approved(one, made["bundle"]) for one in cast.values()))
    return made["bundle"]


def space(one):
    return next(one.node.world.spaces())


def knows(one, bundle):
    return bundle in {p.artifact.blob.hex() for p in space(one).publications.values()}


def approved(one, bundle):
    found = space(one).approvals(bytes.fromhex(bundle))
    return bool(found) and len(space(one).publications) == 2


def in_force(one):
    return bool(list(one.node.world.collaborations()))


def commitments(one):
    """What a member that is no party learns of the agreement: no two digests are the same."""
    raws = one.node.journal.records(space(one).id)
    found = [made for made in map(record.parse, raws) if made.kind == "commitment"]
    return {made.body["digest"] for made in found}


async def test_from_founding_to_an_agreement_in_force(tmp_path):
    async with demo_cast(tmp_path) as cast:
        bundle = await publish(cast)
        sponsor, b = cast["sponsor"], cast["hospital-b"]
        path = str(DEMO / "agreement.yaml")
        assert (await sponsor.call("agreement.check", path=path))["faults"] == []
        proposed = await sponsor.call("agreement.propose", path=path)
        assert proposed["signed"], proposed
        await eventually(lambda: all(in_force(cast[name]) for name in (*PARTIES, "host-1")))
        await check_what_was_agreed(cast, bundle)
        await eventually(lambda: len(commitments(cast["host-1"])) == len(PARTIES))
        await check_acts(cast)
        await check_audit(b)


async def check_what_was_agreed(cast, bundle):
    b, host = cast["hospital-b"], cast["host-1"]
    (line,) = await b.call("agreement.list")
    assert (line["state"], sorted(line["signed"])) == ("IN FORCE", sorted(PARTIES))
    (theirs,) = await host.call("agreement.list")
    assert theirs["agreement"] == line["agreement"]
    shown = await b.call("agreement.show", id=line["agreement"][:8])
    rules = [one["says"] for one in shown["words"] if one["about"] == "rule"]
    assert "at least 10 people per result (set by hospital-b)" in rules
    assert any("two results differ by at least 5" in rule for rule in rules)
    assert any("SIMULATED" in note for note in shown["notes"])
    assert len(shown["versions"]) == 2
    changes = await cast["hospital-a"].call("agreement.diff")
    assert "rules.min_contributors" in {one["field"] for one in changes["changes"]}
    code = await b.call("algorithm.show", bundle=bundle[:8])
    assert code["approved"] == ["hospital-a"]
    assert (code["kind"], code["entries"][0]["function"]) == ("python", "cox:fit")
    assert code["entries"][0]["parameters"] == {"covariates": "any of age, sex, ph_ecog"}
    named = {one["name"]: one["digest"] for one in await b.call("algorithm.environments")}
    assert named["scientific"] == code["environment"] == ENVIRONMENT


async def check_acts(cast):
    sponsor, b = cast["sponsor"], cast["hospital-b"]
    stuck = (await sponsor.call("node.status"))["stuck"]
    assert "no host in term 1" in stuck[0]["why"]
    with pytest.raises(Refused) as refused:
        await b.call("run.start", entry="fit")
    assert refused.value.code == "run.order"
    ordered = await sponsor.call("run.start", entry="fit", parameters={"covariates": ["age"]})
    with pytest.raises(Failure) as waits:
        await sponsor.call("run.wait", order=ordered["order"][:8], seconds=0)
    assert waits.value.code == "admin.waits"
    assert (await sponsor.call("run.list"))[0]["outcome"] == "ordered"
    suspended = await b.call("agreement.suspend", reason="incident")
    assert suspended["suspended"]
    assert (await b.call("agreement.suspend", reason="incident"))["already"]
    explained = await b.call("explain.show", id=suspended["record"][:10])
    assert (explained["is"], explained["author"]) == ("suspension", "hospital-b")
    assert not (await b.call("agreement.resume", reason="closed"))["suspended"]
    assert [one["host"] for one in await b.call("host.list")] == ["host-1", "host-2"]
    with pytest.raises(Failure) as unknown:
        await b.call("result.show")
    assert unknown.value.code == "id.unknown"


async def check_audit(one):
    made = await one.call("audit.export")
    report = examine(base64.b64decode(made["file"]), int(time.time()))
    assert [finding.sentence for finding in report.findings] == []
    assert made["missing"] == []


async def test_without_a_policy_people_answer_and_only_what_they_read(tmp_path):
    policies = {name: text for name, text in POLICIES.items() if name != "hospital-c"}
    async with demo_cast(tmp_path, policies=policies) as cast:
        await publish(cast)
        await cast["sponsor"].call("agreement.propose", path=str(DEMO / "agreement.yaml"))
        c = cast["hospital-c"]
        others = {name for name in PARTIES if name != "hospital-c"}
        await eventually(lambda: signed(c) == others)
        (item,) = [one for one in await c.call("inbox.list") if one["kind"] == "proposal"]
        assert not in_force(c)
        with pytest.raises(Refused) as stale:
            await c.call("agreement.accept", digest=first_version(c).hex()[:8])
        assert stale.value.code == "agreement.version"
        accepted = await c.call("agreement.accept", digest=item["id"][:8])
        assert (accepted["state"], accepted["unsigned"]) == ("AGREED", [])
        assert (await c.call("agreement.accept", digest=item["id"][:8]))["already"]
        await eventually(lambda: all(in_force(cast[name]) for name in (*PARTIES, "host-2")))


def negotiation(one):
    return next(one.node.world.negotiations(), None)


def signed(one):
    found = negotiation(one)
    if found is None or found.newest is None or not found.newest.depth:
        return set()
    return {one.node.world.name(did) for did in found.signatures(found.newest)}


def first_version(one):
    return next(v.digest for v in negotiation(one).versions.values() if v.depth == 0)
