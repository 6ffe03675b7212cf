"""Scene 5: the hospitals' shares, sealed to host and standby, verified chunk by chunk."""

import functools
from typing import Any

from node.demo.actor import expect
from node.demo.cast import HOSPITAL_SIZES
from node.demo.scenes import vaults
from node.demo.stage import HOSPITALS
from node.demo.story import Story, results


async def play(story: Story) -> None:
    """Each hospital pushes its rows; the enclave counts them; the host stores ciphertext."""
    story.progress("four hospitals push their shares")
    pushed = await results({name: functools.partial(_push, story, name) for name in HOSPITALS})
    story.command("hospital-a", "share push lung")
    rows = {letter: pushed[name]["rows"] for name, letter in HOSPITALS.items()}
    expect("rows that the enclave counted", dict(HOSPITAL_SIZES), rows)
    expect("copies at the standby", {1}, {one["replicas"] for one in pushed.values()})
    people = [number for number in story.stage.cast.patients if await _in_force(story, number)]
    expect("people in", 10, len(people))
    term = (await story.node("sponsor").ask("host.show"))["term"]
    counted = "  ".join(f"{letter} {count}" for letter, count in rows.items())
    story.line(
        f" 5 SHARES       {counted}  patients {len(people)} · sealed to the key of term {term} and"
        " to the standby's · the host sees ciphertext\n",
        pushed["hospital-a"]["share"],
    )


async def _push(story: Story, name: str) -> dict[str, Any]:
    with story.tale.timed(f"share of {name}"):
        pushed: dict[str, Any] = await story.node(name).ask("share.push", source="lung")
    return pushed


async def _in_force(story: Story, number: str) -> bool:
    known = await vaults.ask(story, number, "consent.list")
    return any(one["consents"] and one["consents"][-1]["state"] == "in force" for one in known)
