"""Scene 1: keys, daemons, a charter that five sign, credentials, four guests admitted by vote."""

import functools
from typing import Any, Final

import trio

from node.admin.client import NoDaemon
from node.demo.actor import Actor, expect
from node.demo.processes import Process, listens, wait_until
from node.demo.scenes import vaults
from node.demo.stage import FOUNDERS, GUESTS, HOSTS, NODES, PROJECT
from node.demo.story import AT_ONCE, Story, clock, enclave, output_of, results, together, village

ROLES: Final = {
    "registrar": ["registrar"],
    "hospital-a": ["data-provider"],
    "hospital-b": ["data-provider", "data-consumer"],
    "hospital-c": ["data-provider"],
    "hospital-d": ["data-provider"],
    "biostat-lab": ["code-provider"],
    "sponsor": ["data-consumer"],
    "host-1": ["enclave-host"],
    "host-2": ["enclave-host"],
}

LEGAL_NAMES: Final = {
    "hospital-a": "Hospital A",
    "hospital-b": "Hospital B",
    "hospital-c": "Hospital C",
    "hospital-d": "Hospital D",
    "biostat-lab": "Biostatistics Laboratory",
    "sponsor": "Lung Cancer Research Fund",
    "host-1": "University Computing Centre",
    "host-2": "Regional Data Centre",
}

PURPOSE: Final = "Research on lung cancer that no member can do alone, without showing patients."


async def play(story: Story) -> None:
    """From nothing to a space of nine."""
    story.command("hospital-a", "node init --config node.toml; village node run --config …")
    with story.tale.timed("founding"):
        cards = await results(
            {name: functools.partial(story.node(name).ask, "key.export") for name in NODES}
        )
        await _found(story, cards)
        await _vouch(story, cards)
        await _admit(story, cards)
    people = await vaults.enrol(story)
    registrar = story.node("registrar")
    space = await registrar.ask("space.show")
    vouched = [one for one in await registrar.ask("credential.list") if one["valid"]]
    founders = [one for one in space["members"] if one["founder"]]
    guests = [one for one in space["members"] if not one["founder"]]
    expect("credentials", len(LEGAL_NAMES), len(vouched))
    expect("founders, and guests admitted", (5, 4), (len(founders), len(guests)))
    story.known["space"] = space["space"]
    story.line(
        f" 1 FOUNDING     registrar vouched for {len(vouched)} organizations and {people} people"
        f" · {len(founders)} signed the charter · {len(guests)} admitted by vote"
        f"          {clock(story.tale.seconds)}",
        space["space"],
    )


# --- processes -----------------------------------------------------------------------------------


async def start(story: Story) -> None:
    """Make each participant's keys, and start its daemon as soon as it has them."""
    for host, name in HOSTS.items():
        start_enclave(story, host, name)
    with story.tale.timed("start"):
        await together([functools.partial(_begin, story, name) for name in NODES], AT_ONCE)
        await together([functools.partial(ready, story, name) for name in NODES])


def start_enclave(story: Story, host: str, name: str) -> None:
    """Start a `village-enclave` of its own for a host."""
    config = PROJECT / "configs" / "demo" / f"enclave-{host}.toml"
    command = enclave("run", "--config", str(config), "--state", str(story.stage.run))
    story.troupe.start(name, command)


async def enclave_ready(story: Story, name: str) -> None:
    """Wait until an enclave takes questions."""
    process, path = story.troupe.running[name], story.stage.socket(name)
    await trio.to_thread.run_sync(wait_until, lambda: listens(path), process)


async def _begin(story: Story, name: str) -> None:
    config = str(story.stage.config(name))
    await output_of(village("node", "init", "--config", config))
    start_node(story, name)


def start_node(story: Story, name: str) -> None:
    """Start a node's daemon."""
    story.troupe.start(name, village("node", "run", "--config", str(story.stage.config(name))))


async def ready(story: Story, name: str) -> None:
    """Wait until a daemon answers, and take it into the cast."""
    actor = Actor(name, story.stage.socket(name))
    process: Process = story.troupe.running[name]
    await trio.to_thread.run_sync(wait_until, lambda: _answers(actor), process)
    story.nodes[name] = actor
    story.watch.follow(actor)


def _answers(actor: Actor) -> bool:
    try:
        actor.call("node.status")
    except NoDaemon:
        return False
    return True


# --- governance ----------------------------------------------------------------------------------


async def _found(story: Story, cards: dict[str, Any]) -> None:
    """The registrar writes the charter; the hospitals sign it."""
    story.progress("the founders sign the charter")
    registrar = story.node("registrar")
    founders = [{"card": cards[name]["card"], "roles": ROLES[name]} for name in FOUNDERS]
    made = await registrar.ask(
        "space.new",
        name="lung-cancer",
        purpose=PURPOSE,
        founders=founders,
        registrars=["@registrar"],
    )
    story.command(
        "registrar",
        "space new lung-cancer --purpose … --founder CARD:ROLE …",
    )
    for name in FOUNDERS[1:]:
        await story.node(name).ask("space.join", file=made["file"])
    story.command("hospital-a", "space join lung-cancer.charter")
    await together(
        functools.partial(
            story.node(name).until,
            "the charter with all signatures",
            lambda spaces: bool(spaces) and spaces[0]["founded"],
            "space.list",
        )
        for name in FOUNDERS
    )


async def _vouch(story: Story, cards: dict[str, Any]) -> None:
    """The registrar says who each organization is."""
    story.progress("the registrar issues credentials")
    for name, legal_name in LEGAL_NAMES.items():
        await story.node("registrar").ask(
            "credential.issue",
            subject=cards[name]["did"],
            legal_name=legal_name,
            country="NL",
            no_id=True,
        )
    story.command(
        "registrar", 'credential issue @hospital-b --name "Hospital B" --country NL --no-id'
    )


async def _admit(story: Story, cards: dict[str, Any]) -> None:
    """Hospital A invites the four others; they accept; the founders vote."""
    story.progress("four guests are invited and admitted")
    inviter = story.node("hospital-a")
    for name in GUESTS:
        invited = await inviter.ask("invite.new", card=cards[name]["card"], roles=ROLES[name])
        await story.node(name).ask("space.join", file=invited["file"])
    story.command("hospital-a", "invite new host-1.card --role enclave-host")
    await together(functools.partial(_vote, story, name) for name in FOUNDERS)
    await together(
        functools.partial(
            story.node(name).until,
            "the admission of everybody",
            lambda space: len(space["members"]) == len(NODES),
            "space.show",
        )
        for name in NODES
    )


async def _vote(story: Story, name: str) -> None:
    """Vote on each guest that this founder sees waiting, until all are admitted."""
    founder, seen = story.node(name), set[str]()

    def enough(space: Any) -> bool:  # noqa: ANN401 (JSON)
        waiting = [one for one in space["waiting"] if one["legal_name"]]
        return len(waiting) + len(space["members"]) >= len(NODES)

    space = await founder.until("the wish of every guest", enough, "space.show")
    for one in space["waiting"]:
        if one["join"] not in seen:
            await founder.ask("space.vote", subject=one["join"], choice="yes")
            seen.add(one["join"])
