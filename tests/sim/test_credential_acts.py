"""Acts of a registrar by the admin API: organizations, people, and what a credential's end does."""

import base64
from functools import partial
from types import SimpleNamespace

import pytest
import trio

from node import codes, judgement
from node.admin.failure import Failure
from node.net.memory import memory_network
from protocol import keys
from protocol.errors import Refused
from tests.sim.admin_nodes import card, operate
from tests.sim.nodes import eventually

LEI = "213800KUD8LAJWSQ9D15"


async def two(network, folder, nursery):
    """A registrar and a hospital that founded a space."""
    cast = {}
    for name in ("registrar", "hospital"):
        cast[name] = await nursery.start(partial(operate, network, folder, name))
    founders = [{"card": await card(one), "roles": ["data-provider"]} for one in cast.values()]
    made = await cast["registrar"].call(
        "space.new", name="lung", purpose="p", founders=founders, registrars=["@registrar"]
    )
    await cast["hospital"].call("space.join", file=base64.b64decode(made["file"]))
    await eventually(lambda: all(next(c.node.world.spaces()).founded for c in cast.values()))
    return cast["registrar"], cast["hospital"]


async def test_a_credential_from_issue_to_revocation(tmp_path):
    async with memory_network() as network, trio.open_nursery() as nursery:
        registrar, hospital = await two(network, tmp_path, nursery)
        claims = {"subject": "@hospital", "legal_name": "Hospital BV", "country": "nl"}
        for wrong in ({}, {"no_id": True, "lei": LEI}):
            with pytest.raises(Failure, match="say which"):
                await registrar.call("credential.issue", **claims, **wrong)
        with pytest.raises(Refused, match=r"credential\.claims"):
            await registrar.call("credential.issue", **claims, lei="213800KUD8LAJWSQ9D16")
        with pytest.raises(Refused, match=r"credential\.issuer"):
            await hospital.call("credential.issue", **claims, lei=LEI)
        made = await registrar.call("credential.issue", **claims, lei=LEI)
        assert (await registrar.call("credential.issue", **claims, lei=LEI))["already"]
        space = next(hospital.node.world.spaces())
        await eventually(lambda: bool(space.credentials))
        shown = await hospital.call("credential.show", credential=made["credential"][:8])
        did = keys.did_text(registrar.node.keyring.did)
        assert (shown["claims"]["iss"], shown["claims"]["lei"]) == (did, LEI)
        assert shown["claims"]["cti"] == made["credential"]
        # Shown to somebody outside, here to the registrar itself.
        file = (await hospital.call("credential.present", to="the board"))["file"]
        found = await registrar.call("credential.check", file=base64.b64decode(file))
        assert (found["state"], found["trusted_in"], found["to"]) == (
            "in force",
            ["lung"],
            "the board",
        )
        document = SimpleNamespace(
            space=space.id,
            parties=[SimpleNamespace(did=hospital.node.keyring.did)],
            hosts=SimpleNamespace(candidates=[]),
        )
        judgement.check_credentials(registrar.node, document)
        with pytest.raises(Refused, match=r"credential\.issuer"):
            await hospital.call("credential.revoke", credential=made["credential"], reason="x")
        await registrar.call("credential.revoke", credential=made["credential"], reason="closed")
        with pytest.raises(Refused, match=r"space\.credential.*hospital"):
            judgement.check_credentials(registrar.node, document)
        status = await registrar.call("node.status")
        assert any("no new agreement with hospital" in one["why"] for one in status["stuck"])
        checked = await registrar.call("credential.check", file=base64.b64decode(file))
        assert checked["state"] == "revoked"
        await eventually(lambda: space.revoked(bytes.fromhex(made["credential"])))
        with pytest.raises(Refused, match=r"credential\.expired"):
            await hospital.call("credential.present", to="the board")
        nursery.cancel_scope.cancel()


async def test_letters_from_making_to_revocation(tmp_path):
    async with memory_network() as network, trio.open_nursery() as nursery:
        registrar = await nursery.start(partial(operate, network, tmp_path, "registrar"))
        people = [{"person": f"row-{n}", "category": "patient"} for n in range(3)]
        made = await registrar.call("enrolment.letters", people=people)
        address = registrar.node.transport.addresses()[0]
        code, where = codes.read(made["letters"][0]["link"])
        assert (code, where) == (codes.check(made["letters"][0]["code"]), address)
        again = await registrar.call("enrolment.letters", people=people)
        assert (again["letters"], again["known"]) == ([], 3)
        assert (await registrar.call("enrolment.status"))["waiting"] == 3
        assert not any("code" in one for one in await registrar.call("enrolment.list"))
        assert await registrar.call("enrolment.cancel", people=["row-0"]) == {"cancelled": 1}
        assert (await registrar.call("enrolment.revoke", person="row-1"))["revoked"] is False
        shown = await registrar.call("enrolment.show", person="row-1")
        assert [one["state"] for one in shown["letters"]] == ["cancelled"]
        assert await registrar.call("enrolment.cancel") == {"cancelled": 1}
        inbox = await registrar.call("inbox.list")
        assert {one["kind"] for one in inbox} == set()
        nursery.cancel_scope.cancel()
