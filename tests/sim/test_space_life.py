"""The life of a space between whole nodes: invites, admission, changes in two steps, removal,
leaving, coming back; each operator uses the API, confirms come by themselves.
"""

import base64
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from node.net.memory import memory_network
from protocol.errors import Refused
from tests.sim.admin_nodes import card, operate
from tests.sim.nodes import eventually

FOUNDERS = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")


def space(one):
    return next(one.node.world.spaces())


@asynccontextmanager
async def founded(folder, *, guests=("sponsor",)):
    """Four founders and some guests that know of nothing yet."""
    failure = None
    async with memory_network() as network, trio.open_nursery() as nursery:
        try:
            cast = {}
            for name in (*FOUNDERS, *guests):
                cast[name] = await nursery.start(partial(operate, network, folder, name))
            founders = [
                {"card": await card(cast[name]), "roles": ["data-provider"]} for name in FOUNDERS
            ]
            made = await cast["hospital-a"].call(
                "space.new", name="lung", purpose="research", founders=founders, registrars=[]
            )
            with pytest.raises(Refused, match="first all founders sign"):
                await cast["hospital-a"].call(
                    "invite.new", card=await card(cast[guests[0]]), roles=["data-consumer"]
                )
            for name in FOUNDERS[1:]:
                await cast[name].call("space.join", file=base64.b64decode(made["file"]))
            await eventually(lambda: all(space(cast[name]).founded for name in FOUNDERS))
            yield cast
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def admit(cast, name, **extra):
    made = await cast["hospital-a"].call(
        "invite.new", card=await card(cast[name]), roles=["data-consumer"], **extra
    )
    await cast[name].call("space.join", file=base64.b64decode(made["file"]))
    await eventually(lambda: any(space(cast[n]).joins for n in FOUNDERS))
    did = cast[name].node.keyring.did
    for founder in FOUNDERS[:3]:
        await vote_all(cast[founder])
    await eventually(lambda: all(did in space(one).members() for one in cast.values()))
    return made


async def vote_all(one):
    """Answer everything that the inbox shows about joins and changes."""
    await eventually(lambda: bool(space(one).waiting_joins(one.node.keyring.did)))
    for row in await one.call("inbox.list"):
        if row["kind"] in ("join", "change"):
            await one.call("space.vote", subject=row["id"])


async def decide(cast, change, names):
    for name in names:
        await eventually(lambda n=name: bytes.fromhex(change) in space(cast[n]).chain.changes)
        row = [r for r in await cast[name].call("inbox.list") if r["id"] == change]
        assert row[0]["kind"] == "change", row
        await cast[name].call("space.vote", subject=change[:12])
    voters = ("hospital-a", *names)
    await eventually(lambda: all(space(cast[n]).epoch.id.hex() == change for n in voters))


async def test_from_admission_to_removal(tmp_path):
    async with founded(tmp_path) as cast:
        a = cast["hospital-a"]
        made = await admit(cast, "sponsor", contract="lung-v1")
        shown = await a.call("invite.show", id=made["invite"][:12])
        assert (shown["state"], shown["contract"], shown["opened"]) == ("admitted", "lung-v1", True)
        assert (await a.call("invite.counts"))["admitted"] == 1
        rows = await a.call("space.members")
        assert [row["votes"] for row in rows] == [True, True, True, True, False]

        proposed = await a.call("space.change", reason="new terms", recovery_days=3)
        assert proposed["alters"] == [
            "sponsor votes from now on (data-consumer)", "recovery delay: 7 -> 3 days"
        ]  # fmt: skip
        again = await a.call("space.change", reason="new terms", recovery_days=3)
        assert (again["change"], again["already"]) == (proposed["change"], True)
        await decide(cast, proposed["change"], FOUNDERS[1:3])
        assert space(a).terms.recovery_delay == 3 * 86_400
        assert cast["sponsor"].node.keyring.did in space(a).epoch.seats

        gone = await a.call("space.remove", who="@sponsor", reason="contract ended")
        await decide(cast, gone["change"], FOUNDERS[1:4])
        assert cast["sponsor"].node.keyring.did not in space(a).members()
        peers = a.node.spread.audience_peers(a.node.world.room(space(a).id))
        assert not set(peers) & {*a.node.world.peers_of(cast["sponsor"].node.keyring.did)}
        rows = await a.call("space.history")
        assert [row["state"] for row in rows] == ["final"] * 3
        assert "sponsor is out: contract ended" in rows[2]["alters"][0]
        with pytest.raises(Refused, match=r"space\.member"):
            await a.call("space.remove", who="@sponsor", reason="again")


async def test_who_was_removed_and_goes_on_listening_hears_nothing_more(tmp_path):
    """Neither by gossip, nor by push, nor when it asks."""
    async with founded(tmp_path) as cast:
        a, sponsor = cast["hospital-a"], cast["sponsor"].node
        await admit(cast, "sponsor")
        topic = space(a).id
        gone = await a.call("space.remove", who="@sponsor", reason="contract ended")
        await decide(cast, gone["change"], FOUNDERS[1:4])
        await trio.sleep(1)
        held = sponsor.world.room(topic).feeds.count()
        heard = []
        take = sponsor.transport.topics[topic.hex()]
        listen = lambda peer, data: (heard.append(data), take(peer, data))  # noqa: E731
        sponsor.transport.subscribe(topic.hex(), listen)
        made = await a.call("space.change", reason="among ourselves", recovery_days=3)
        change = bytes.fromhex(made["change"])
        await eventually(lambda: all(change in space(cast[n]).chain.changes for n in FOUNDERS))
        for name in FOUNDERS:
            await sponsor.spread.pull(cast[name].node.transport.peer_id)
        assert heard == []
        assert sponsor.world.room(topic).feeds.count() == held
        assert change not in space(cast["sponsor"]).chain.changes


async def test_who_leaves_is_gone_and_is_taken_out_by_the_next_change(tmp_path):
    async with founded(tmp_path) as cast:
        d = cast["hospital-d"]
        assert not (await d.call("space.leave", reason="merged"))["already"]
        assert (await d.call("space.leave", reason="merged"))["already"]
        gone = d.node.keyring.did
        await eventually(lambda: all(gone not in space(cast[n]).members() for n in FOUNDERS))
        rows = await cast["hospital-a"].call("space.members")
        assert [(row["votes"], row["state"]) for row in rows][-1] == (True, "left")
        made = await cast["hospital-a"].call("space.change", reason="three of us")
        assert "hospital-d is out: left: merged" in made["alters"][0]
        await decide(cast, made["change"], FOUNDERS[1:3])
        assert len(space(cast["hospital-b"]).epoch.seats) == 3


async def test_invites_are_declined_and_revoked(tmp_path):
    async with founded(tmp_path, guests=("sponsor", "host-1")) as cast:
        a = cast["hospital-a"]
        for name in ("sponsor", "host-1"):
            made = await a.call("invite.new", card=await card(cast[name]), roles=["data-consumer"])
            file = base64.b64decode(made["file"])
            if name == "sponsor":
                await cast[name].call("invite.decline", file=file, reason="no capacity")
            else:
                await a.call("invite.revoke", id=made["invite"], reason="oops")
                assert (await a.call("invite.revoke", id=made["invite"], reason="oops"))["already"]
        await eventually(lambda: len(space(a).invitations.declined) == 1)
        counts = await a.call("invite.counts")
        assert (counts["declined"], counts["revoked"], counts["invited"]) == (1, 1, 2)
