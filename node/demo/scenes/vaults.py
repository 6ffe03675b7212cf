"""The patients: each acts by the light peer that serves its vault, and by nothing else."""

import base64
import functools
import json
from collections.abc import Sequence
from string import Template
from typing import Any, Final

import trio

from node.admin.client import NoDaemon
from node.demo.actor import Actor, SceneFailed, expect
from node.demo.cast import TOLD_OWN_RISK
from node.demo.processes import wait_until
from node.demo.stage import DEMO, HOSPITALS, VAULTS
from node.demo.story import Story, together, village

DATASET: Final = "lung-v1"
CATEGORY: Final = "patient"
NOT_TOLD: Final = "01"
"""A patient who did not ask, and so gets nothing."""
AT_ONCE: Final = 3
"""Vaults that act side by side."""


async def enrol(story: Story) -> int:
    """Start the light peer; each patient makes a vault, uses a one-time code, adds the own row."""
    story.progress("sixteen people get a letter, make a vault, and are enrolled")
    await start(story)
    with story.tale.timed("enrolment"):
        await together(
            (functools.partial(_enrol, story, number) for number in story.stage.cast.patients),
            AT_ONCE,
        )
    story.command("registrar", "enrolment new row-224 --category patient")
    story.command(
        "patient-01",
        "vault new me; village vault enrol CODE; village vault add lung.csv --dataset lung-v1",
    )
    letters = await story.node("registrar").ask("enrolment.list")
    used = len([one for one in letters if one["state"] == "used"])
    expect("people enrolled", len(story.stage.cast.patients), used)
    return used


async def start(story: Story) -> None:
    """Start the process that keeps the vaults."""
    home = story.stage.home(VAULTS)
    home.mkdir(mode=0o700)
    (home / "vaults").mkdir(mode=0o700)
    gateways = [(await story.node(name).ask("node.status"))["addresses"][0] for name in HOSPITALS]
    registrar = (await story.node("registrar").ask("node.status"))["addresses"][0]
    template = Template((DEMO / "vaults.toml").read_text("utf-8"))
    text = template.substitute(
        home=home, run=story.stage.run, gateways=json.dumps(gateways), registrar=registrar
    )
    config = home / "vaults.toml"
    config.write_text(text, "utf-8")
    process = story.troupe.start(VAULTS, village("vault", "run", "--config", str(config)))
    actor = Actor(VAULTS, story.stage.socket(VAULTS))
    await trio.to_thread.run_sync(wait_until, lambda: _answers(actor), process)
    story.nodes[VAULTS] = actor
    story.known["gateways"] = gateways


def _answers(actor: Actor) -> bool:
    try:
        actor.call("vault.list")
    except NoDaemon:
        return False
    return True


async def _enrol(story: Story, number: str) -> None:
    name, row = vault_of(number), story.stage.cast.patients[number]
    keeper = story.node(VAULTS)
    await keeper.ask("vault.new", vault=name, unlock=f"file:{story.stage.passphrase(name)}")
    letter = await story.node("registrar").ask(
        "enrolment.new", person=row.person, category=CATEGORY
    )
    await keeper.ask("vault.enrol", vault=name, code=letter["code"])
    path = str(story.stage.home(name) / "lung.csv")
    await keeper.ask("vault.add", vault=name, dataset=DATASET, path=path)


def vault_of(number: str) -> str:
    """The name of a patient's vault."""
    return f"patient-{number}"


def gateway_of(story: Story, number: str) -> str:
    """The gateway that a patient chose; here they take turns."""
    gateways = story.known["gateways"]
    gateway: str = gateways[int(number) % len(gateways)]
    return gateway


async def ask(story: Story, number: str, act: str, **parameters: object) -> Any:  # noqa: ANN401
    """An act of one patient's vault."""
    return await story.node(VAULTS).ask(act, vault=vault_of(number), **parameters)


async def look(story: Story, number: str) -> dict[str, Any]:
    """What the patient is shown before a yes or no, after the vault verified all of it."""
    agreement = story.known["agreement"]
    shown: dict[str, Any] = await ask(
        story, number, "consent.show", agreement=agreement, gateway=gateway_of(story, number)
    )
    return shown


async def consent(story: Story, number: str) -> None:
    """The patient says yes; told of the own risk only who asked for it."""
    given = await ask(
        story,
        number,
        "consent.give",
        agreement=story.known["agreement"],
        gateway=gateway_of(story, number),
        told=number in TOLD_OWN_RISK,
    )
    expect(f"patient {number}'s consent", "in force", given["consents"][-1]["state"])


async def fetch(story: Story, number: str) -> dict[str, Any]:
    """Bring home proofs and own results."""
    found: dict[str, Any] = await ask(story, number, "vault.fetch")
    return found


async def proof(story: Story, number: str, run: dict[str, Any]) -> dict[str, Any]:
    """Whether a run used this patient's row, as the vault proved it by the leaves of the run."""
    for use in (await fetch(story, number))["uses"]:
        if use["id"] == run["run"]:
            verdict = "present" if use["used"] else "absent"
            return {"patient": number, "verdict": verdict, **use}
    raise SceneFailed(f"patient {number} has no proof about run {run['number']}")


async def receipt(story: Story, number: str, runs: Sequence[int]) -> bytes:
    """The receipt file of a patient about these runs."""
    await fetch(story, number)
    made = await ask(story, number, "consent.receipt", runs=list(runs))
    return base64.b64decode(made["file"])


async def own_results(story: Story) -> None:
    """Who asked to be told has the own relative risk in the own vault; one who did not has none."""
    found: dict[str, list[Any]] = {}

    async def one(number: str) -> None:
        found[number] = (await fetch(story, number))["results"]

    await together(
        (functools.partial(one, number) for number in (*TOLD_OWN_RISK, NOT_TOLD)), AT_ONCE
    )
    told = {number: results[-1]["result"] for number, results in found.items() if results}
    expect("who was told the own risk", sorted(TOLD_OWN_RISK), sorted(told))
    risks = ", ".join(f"{number}: {told[number]['relative_risk']:.2f}" for number in sorted(told))
    story.line(
        "   Only the patients who asked have their own relative risk, in their own vault"
        f" ({risks})\n",
        story.known["run-2"]["run"],
    )
