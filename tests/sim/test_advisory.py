"""Advisories by the admin API: two nodes, one of them an advisor; restart; the words for people."""

import base64
from functools import partial

import pytest
import trio

from enclave_host import attest
from enclave_host.attest.simulated import SimulatedAttester
from node import wire
from node.admin.failure import Failure
from node.cli import advisory as words
from node.net.memory import memory_network
from node.release import software
from protocol import keys, record
from protocol.attestation.evidence import Binding
from protocol.attestation.policy import merge
from protocol.errors import Refused
from protocol.kinds.attestation import Floors
from protocol.kinds.host import EnclaveKeys
from tests.agreements import DOCUMENT, seed
from tests.sim.admin_nodes import DEMO, candidacy, card, demo_cast, operate
from tests.sim.nodes import eventually
from tests.sim.test_admin_story import PARTIES, in_force, publish

FLOORS = b"attestation: { technologies: [simulated, sev-snp], max_age: PT1H }"


def space(one):
    return next(one.node.world.spaces())


async def found(cast):
    founders = [{"card": await card(one), "roles": ["data-provider"]} for one in cast.values()]
    made = await cast["registrar"].call(
        "space.new",
        name="lung",
        purpose="research",
        founders=founders,
        registrars=["@registrar"],
        advisors=["@registrar"],
        floors=FLOORS,
    )
    await cast["hospital-a"].call("space.join", file=base64.b64decode(made["file"]))
    await eventually(lambda: all(space(one).founded for one in cast.values()))


@pytest.fixture
async def cast(tmp_path):
    async with memory_network() as network, trio.open_nursery() as nursery:
        people = {
            name: await nursery.start(partial(operate, network, tmp_path, name))
            for name in ("registrar", "hospital-a")
        }
        await found(people)
        yield people
        nursery.cancel_scope.cancel()


async def test_an_advisory_from_publishing_to_withdrawal(cast):
    advisor, hospital = cast["registrar"], cast["hospital-a"]
    given = {
        "technology": "sev-snp",
        "tcb_below": ["microcode=72", "snp=23"],
        "family": "genoa",
        "reason": "known bad",
        "reference": "CVE-2026-1",
    }
    made = await advisor.call("advisory.publish", **given)
    assert not made["already"]
    assert (await advisor.call("advisory.publish", **given))["already"]
    await eventually(lambda: space(hospital).ground.advisories)
    (seen,) = await hospital.call("advisory.list")
    assert seen["in_force"]
    assert seen["tcb_below"] == {"microcode": 72, "snp": 23}
    said = list(words.lines([seen]))
    assert "snp below 23, microcode below 72 on genoa" in said[1]
    assert said[2].endswith("known bad (CVE-2026-1)")
    assert "known bad" in (await hospital.call("node.status"))["advisories"][0]
    with pytest.raises(Refused) as refused:
        await hospital.call("advisory.withdraw", id=seen["advisory"][:12], reason="no")
    assert refused.value.code == "advisory.author"
    await advisor.call("advisory.withdraw", id=seen["advisory"][:12], reason="a false alarm")
    back = await advisor.call("advisory.withdraw", id=seen["advisory"][:12], reason="again")
    assert back["already"]
    await eventually(lambda: not space(hospital).ground.advisories)
    (seen,) = await hospital.call("advisory.list")
    assert not seen["in_force"]
    assert list(words.lines([])) == ["no advisory"]


async def test_who_is_no_advisor_publishes_none(cast):
    with pytest.raises(Refused) as refused:
        await cast["hospital-a"].call(
            "advisory.publish", technology="tdx", platform="ab", reason="x"
        )
    assert refused.value.code == "advisory.author"


async def test_parameters_that_say_nothing(cast):
    for given in (
        {"register": ["measurement"]},
        {"register": ["measurement=xyz"]},
        {"register": ["measurement=00ff"]},
        {"tcb_below": ["snp=-1"]},
    ):
        with pytest.raises(Failure) as refused:
            await cast["registrar"].call(
                "advisory.publish", technology="sev-snp", reason="x", **given
            )
        assert refused.value.code == "admin.parameters"


async def test_an_advisory_that_names_nothing_is_refused_at_the_gate(cast):
    with pytest.raises(Refused) as refused:
        await cast["registrar"].call("advisory.publish", technology="sev-snp", reason="x")
    assert refused.value.code == "advisory.malformed"


async def test_the_ground_is_there_again_after_a_restart(cast):
    made = await cast["registrar"].call(
        "advisory.publish", technology="simulated", platform="m", reason="stolen"
    )
    node = cast["registrar"].node
    node.world.rooms.clear()
    node.pipeline.restore()
    ground = node.world.ground(
        bytes.fromhex((await cast["registrar"].call("space.list"))[0]["space"])
    )
    assert [one.reason for one in ground.advisories] == ["stolen"]
    assert ground.floors == Floors(technologies=("simulated", "sev-snp"), max_age=3600)
    assert merge(DOCUMENT.attestation, ground.floors).max_age == 3600
    assert made["in_force"]


# --- an agreement in force -----------------------------------------------------------------------


class FakeEnclaves:
    """Enclaves of the hosts: real evidence of the simulated attester, on the way from a host."""

    def __init__(self):
        self.keys = {}

    async def offer(self, host):
        """The host offers an enclave of the software that all agreed on."""
        me = host.node.keyring
        (room,) = host.node.world.collaborations()
        self.keys[me.did] = EnclaveKeys(
            signing=keys.public(seed(f"enclave {me.me.name}")), sealing=bytes(1216)
        )
        body = candidacy(self.keys[me.did], "simulated", me.me.name)
        await host.node.pipeline.publish(room.id, "candidacy", body)

    async def answer(self, host, question, _seconds):
        """What stands in for node.appraisal.Appraiser._ask: the network to the enclave."""
        binding = Binding(
            technology="simulated",
            keys=self.keys[host],
            host=host,
            requester=question.requester,
            agreement=question.agreement,
            term=question.term,
            nonce=question.nonce,
            software=software(),
        )
        return wire.Evidence(bundle=attest.bundle(SimulatedAttester(software()), binding))


async def in_office(cast):
    """The demo's agreement, signed, and host-1 elected by verdicts of real evidence."""
    await publish(cast)
    await cast["sponsor"].call("agreement.propose", path=str(DEMO / "agreement.yaml"))
    await eventually(lambda: all(in_force(cast[name]) for name in (*PARTIES, "host-1", "host-2")))
    made = FakeEnclaves()
    for name in PARTIES:
        cast[name].node.effects.appraiser._ask = made.answer
    for name in ("host-1", "host-2"):
        await made.offer(cast[name])
    await eventually(lambda: all(election(cast[name]).elected(1) for name in PARTIES))


def election(one):
    (found,) = one.node.world.collaborations()
    return found.election


async def test_an_advisory_ends_the_term_of_every_host_that_it_hits(tmp_path):
    async with demo_cast(tmp_path) as cast:
        await in_office(cast)
        shown = await cast["sponsor"].call("host.show")
        assert shown["doubt"] is None
        assert shown["verdicts"][0]["measured"] == {"software": software().hex()}
        given = {"technology": "simulated", "register": [f"software={software().hex()}"]}
        made = await cast["registrar"].call("advisory.publish", reason="leaks", **given)
        await eventually(lambda: all(election(cast[name]).term > 1 for name in PARTIES))
        lapses = [
            one.body["reason"]
            for name in PARTIES
            for one in records(cast["sponsor"], "lapse")
            if one.author == cast[name].node.keyring.did
        ]
        assert lapses
        assert all(one.startswith("evidence.withdrawn") for one in lapses)
        await eventually(lambda: len(election(cast["sponsor"]).reasons()) == 2)
        await eventually(
            lambda: all(
                codes == ["evidence.withdrawn"]
                for codes in election(cast["sponsor"]).reasons().values()
            )
        )
        await cast["sponsor"].call("run.start", entry="fit", parameters={"covariates": ["age"]})
        assert election(cast["sponsor"]).elected() is None
        notes = (await cast["sponsor"].call("agreement.show"))["notes"]
        assert any("leaks" in note for note in notes)
        affected = await cast["sponsor"].call("audit.affected")
        assert affected == {"runs": 0, "advisories": 1, "affected": []}
        await cast["registrar"].call("advisory.withdraw", id=made["advisory"][:12], reason="no")
        await eventually(lambda: all(election(cast[name]).elected() for name in PARTIES))


def records(one, kind):
    (found,) = one.node.world.collaborations()
    raws = one.node.journal.records(found.id)
    return [made for raw in raws if (made := record.parse(raw)).kind == kind]
