"""Whole nodes of the demo's cast on an in-memory network, driven by the admin API."""

import base64
import json
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from node import config
from node.admin import methods
from node.admin.method import PERMISSIONS
from node.net.memory import memory_network
from node.net.peer_id import peer_id_of
from node.node import build, running
from node.reactions import Reactions, policy_of
from node.release import software
from protocol import keys
from protocol.kinds.host import Candidacy
from tests.sim.nodes import eventually, make_keyring, open_journal

DEMO = Path(__file__).parents[2] / "configs" / "demo"
CONTRACT = DEMO / "contracts" / "lung-v1.odcs.yaml"
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")
FOUNDERS = ("registrar", *HOSPITALS)
GUESTS = {
    "biostat-lab": ["code-provider"],
    "sponsor": ["data-consumer"],
    "host-1": ["enclave-host"],
    "host-2": ["enclave-host"],
}
POLICIES = {
    **dict.fromkeys(HOSPITALS, "hospital"),
    "hospital-b": "hospital-b",
    "biostat-lab": "lab",
    "sponsor": "sponsor",
}


class Operator:
    """Somebody with all permissions at one node."""

    def __init__(self, node):
        self.node = node

    async def call(self, method, /, **given):
        """Call a method as the door does: through JSON, both ways."""
        body = json.loads(json.dumps(given, default=lambda b: base64.b64encode(b).decode()))
        answer = await methods.call(self.node, frozenset(PERMISSIONS), method, body)
        return json.loads(json.dumps(answer))


def candidacy(enclave, technology, operator):
    """An enclave as a host of the demo offers it."""
    return Candidacy(
        enclave=enclave,
        technology=technology,
        software=software(),
        tier="A",
        region="NL",
        operator=operator,
        memory=1,
        addresses=(),
    )


def settings(folder, name, policy=None):
    text = f'[node]\nname = "{name}"\nstate = "."\n'
    if policy is not None:
        text += f'[policy]\nfile = "{DEMO / "policies" / policy}.toml"\n'
    if name == "registrar":
        text += "[registrar]\nenabled = true\n"
    return config.parse(text.encode(), folder)


async def operate(network, folder, name, *, policy=None, ring=None, task_status):
    """Run a node until cancelled; starts with its operator."""
    ring = ring or make_keyring(name)
    place = folder / name
    journal = open_journal(place)
    known = []
    transport = network.join(
        peer_id_of(keys.public(ring.node)),
        admits=lambda peer: bool(known) and known[0].world.owner_of(peer) is not None,
    )
    node = build(settings(place, name, policy), ring, journal, transport)
    known.append(node)
    try:
        async with running(node):
            task_status.started(Operator(node))
            await Reactions(node, policy_of(node)).run()
    finally:
        network.leave(transport.peer_id)
        with trio.CancelScope(shield=True):
            await node.pipeline.close()  # what a peer just sent is saved first


@asynccontextmanager
async def demo_cast(folder, *, policies=POLICIES):
    """Everybody of the demo, in the space, vouched for; a failure of the test comes out bare."""
    failure = None
    async with memory_network() as network, trio.open_nursery() as nursery:
        try:
            cast = {}
            for name in (*FOUNDERS, *GUESTS):
                run = partial(operate, network, folder, name, policy=policies.get(name))
                cast[name] = await nursery.start(run)
            await _found(cast)
            await _admit(cast)
            yield cast
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def card(one):
    return base64.b64decode((await one.call("key.export"))["card"])


async def _found(cast):
    roles = {"registrar": ["registrar"]}
    founders = [
        {"card": await card(cast[name]), "roles": roles.get(name, ["data-provider"])}
        for name in FOUNDERS
    ]
    made = await cast["registrar"].call(
        "space.new",
        name="lung",
        purpose="research",
        founders=founders,
        registrars=["@registrar"],
        advisors=["@registrar"],
    )
    for name in HOSPITALS:
        await cast[name].call("space.join", file=base64.b64decode(made["file"]))
    await eventually(lambda: all(_space(cast[name]).founded for name in FOUNDERS))


def _space(one):
    return next(one.node.world.spaces())


async def _admit(cast):
    for name in (*HOSPITALS, *GUESTS):
        did = keys.did_text(cast[name].node.keyring.did)
        await cast["registrar"].call(
            "credential.issue", subject=did, legal_name=f"{name} BV", country="NL", no_id=True
        )
    for name, roles in GUESTS.items():
        made = await cast["hospital-a"].call("invite.new", card=await card(cast[name]), roles=roles)
        await cast[name].call("space.join", file=base64.b64decode(made["file"]))
    await eventually(lambda: all(len(_space(cast[name]).joins) == 4 for name in FOUNDERS))
    await eventually(lambda: all(len(_space(cast[name]).credentials) == 8 for name in FOUNDERS))
    for name in FOUNDERS:
        for row in (await cast[name].call("space.show"))["waiting"]:
            await cast[name].call("space.vote", subject=row["join"][:16])
    await eventually(lambda: all(len(_space(one).members()) == 9 for one in cast.values()))
    await eventually(lambda: all(len(_space(one).credentials) == 8 for one in cast.values()))
