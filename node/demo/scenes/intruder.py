"""A share without a consent: a light peer of tests/hostile, with a letter of its own, tries it."""

import sys
from collections.abc import Callable
from string import Template
from typing import Final

import trio

from node.admin.client import AdminError, NoDaemon
from node.demo.actor import Actor, SceneFailed, expect
from node.demo.processes import wait_until
from node.demo.scenes import vaults
from node.demo.stage import DEMO, PROJECT
from node.demo.story import Story

NAME: Final = "intruder"
PERSON: Final = "row-900"
ROW: Final = f"person,inst,time,status,age,sex,ph_ecog\n{PERSON},1,500,0,60,2,1\n"

Say = Callable[[Story, str, str, str, str], None]


async def play(story: Story, say: Say) -> None:
    """The registrar wrote a letter to this person too; what lacks is the consent."""
    actor = await _start(story)
    letter = await story.node("registrar").ask(
        "enrolment.new", person=PERSON, category=vaults.CATEGORY
    )
    home = story.stage.home(NAME)
    await actor.ask("vault.new", vault=NAME, unlock=f"file:{home / 'passphrase'}")
    await actor.ask("vault.enrol", vault=NAME, code=letter["code"])
    path = str(home / "lung.csv")
    await actor.ask("vault.add", vault=NAME, dataset=vaults.DATASET, path=path)
    code = await _push(story, actor)
    expect("a share without a consent", "consent.missing", code)
    shown = await vaults_refusal(story)
    say(story, "a share comes without a consent", "refused", "consent check", shown)
    await trio.to_thread.run_sync(story.troupe.stop, NAME)


async def _push(story: Story, actor: Actor) -> str:
    try:
        await actor.ask(
            "consent.give",
            vault=NAME,
            agreement=story.known["agreement"],
            gateway=vaults.gateway_of(story, "00"),
        )
    except AdminError as error:
        return error.code
    raise SceneFailed("a share without a consent was taken")


async def vaults_refusal(story: Story) -> str:
    """The refusal at the host, as `village explain` shows it."""
    from node.demo.scenes.cheat import explained

    shown = await explained(story, "host-2", "consent.missing")
    refusal: str = shown["id"]
    return refusal


async def _start(story: Story) -> Actor:
    home = story.stage.home(NAME)
    home.mkdir(mode=0o700)
    (home / "vaults").mkdir(mode=0o700)
    for name, text in (("passphrase", "a passphrase of the intruder"), ("lung.csv", ROW)):
        path = home / name
        path.touch(0o600)
        path.write_text(text, "utf-8")
    template = Template((DEMO / "vaults.toml").read_text("utf-8"))
    registrar = (await story.node("registrar").ask("node.status"))["addresses"][0]
    text = template.substitute(home=home, run=home, gateways="[]", registrar=registrar)
    socket = story.stage.socket(NAME)
    text = text.replace(f"{home}/vaults.sock", str(socket))
    (home / "vaults.toml").write_text(text, "utf-8")
    command = [sys.executable, "-m", "tests.hostile.vault", "--", "vault", "run"]
    process = story.troupe.start(NAME, [*command, "--config", str(home / "vaults.toml")], PROJECT)
    actor = Actor(NAME, socket)
    await trio.to_thread.run_sync(wait_until, lambda: _answers(actor), process)
    return actor


def _answers(actor: Actor) -> bool:
    try:
        actor.call("vault.list")
    except NoDaemon:
        return False
    return True
