"""Real nodes found a space, admit one by vote, publish: all come to see the same."""

import base64

import pytest

from node.admin.client import AdminError
from tests.e2e.daemons import daemons, eventually

pytestmark = pytest.mark.e2e

CONTRACT = b"""\
apiVersion: v3.0.2
kind: DataContract
id: heights-v1
version: 1.0.0
status: active
schema: []
"""


def card(node):
    return base64.b64decode(node.call("key.export")["card"])


def founded(nodes):
    return all(space["founded"] for node in nodes for space in node.call("space.list"))


def found_space(first, *others):
    founders = [{"card": card(node), "roles": ["data-provider"]} for node in (first, *others)]
    founders[0]["roles"] = ["registrar"]
    made = first.call(
        "space.new",
        name="heights",
        purpose="How tall are people?",
        founders=founders,
        registrars=[f"@{first.name}"],
    )
    for node in others:
        node.call("space.join", file=base64.b64decode(made["file"]))
    eventually(lambda: founded((first, *others)))
    return made["space"]


def admit(guest, inviter, founders):
    invited = inviter.call("invite.new", card=card(guest), roles=["data-consumer"])
    joined = guest.call("space.join", file=base64.b64decode(invited["file"]))
    assert joined["waits"]
    join = eventually(
        lambda: [row["join"] for row in founders[0].call("space.show")["waiting"]], 20
    )[0]
    for node in founders:
        eventually(lambda node=node: node.call("space.show")["waiting"])
        node.call("space.vote", subject=join[:8])


def test_three_nodes_found_admit_and_publish(tmp_path):
    with daemons(tmp_path, "registrar", "hospital", "sponsor") as (registrar, hospital, sponsor):
        space = found_space(registrar, hospital)
        did = sponsor.ready["did"]
        claims = {"legal_name": "Sponsor BV", "country": "NL", "no_id": True}
        registrar.call("credential.issue", subject=did, **claims)
        eventually(lambda: hospital.call("credential.list"))
        admit(sponsor, registrar, (registrar, hospital))
        everybody = (registrar, hospital, sponsor)
        eventually(lambda: all(len(n.call("space.show")["members"]) == 3 for n in everybody))
        published = sponsor.call("contract.publish", file=CONTRACT)
        assert sponsor.call("contract.publish", file=CONTRACT)["already"]
        eventually(lambda: all(node.call("contract.list") for node in everybody))
        listed = [node.call("contract.list")[0]["contract"] for node in everybody]
        assert set(listed) == {published["contract"]}
        member = next(m for m in hospital.call("space.show")["members"] if m["did"] == did)
        assert (member["legal_name"], member["roles"]) == ("Sponsor BV", ["data-consumer"])
        assert {n.call("space.list")[0]["space"] for n in everybody} == {space}
        # A node that was off, killed, restores and catches up.
        hospital.kill()
        claims["legal_name"] = "Hospital BV"
        again = registrar.call("credential.issue", subject="@hospital", **claims)["credential"]
        hospital.start()
        eventually(lambda: again in [one["credential"] for one in hospital.call("credential.list")])


def test_a_guest_without_credential_is_not_voted_in(tmp_path):
    with daemons(tmp_path, "registrar", "hospital", "guest") as (registrar, hospital, guest):
        found_space(registrar, hospital)
        with pytest.raises(AdminError) as refused:
            admit(guest, registrar, (registrar, hospital))
        assert refused.value.code == "space.credential"
        assert "registrar" in refused.value.fix
        waiting = registrar.call("inbox.list")
        assert [item["kind"] for item in waiting] == ["join"]
