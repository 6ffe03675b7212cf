"""Scene 4: each person verifies, reads, and says yes or not yet; one withdraws."""

import functools

from node.demo.actor import expect
from node.demo.cast import LATECOMERS, WITHDREW
from node.demo.scenes import vaults
from node.demo.story import Story, clock, together


async def play(story: Story) -> None:
    """Sixteen are asked; eleven say yes; patient 07 withdraws."""
    everybody = list(story.stage.cast.patients)
    willing = [number for number in everybody if number not in LATECOMERS]
    story.progress("each vault verifies charter, code, host and notice by itself")
    checks: dict[str, int] = {}
    await together(
        (functools.partial(_asked, story, number, checks) for number in everybody), vaults.AT_ONCE
    )
    story.progress("eleven say yes; each share is sealed and sent")
    with story.tale.timed("shares of people"):
        await together(
            (functools.partial(vaults.consent, story, number) for number in willing),
            vaults.AT_ONCE,
        )
    story.command("patient-01", "consent show lung-survival-2026; village consent give --yes")
    withdrawn = await vaults.ask(story, WITHDREW, "consent.withdraw")
    last = withdrawn["consents"][-1]
    expect("patient 07's withdrawal", "withdrawn", last["state"])
    expect("from which run", 1, last["from_run"])
    story.command(f"patient-{WITHDREW}", "consent withdraw lung-survival-2026")
    story.line(
        f" 4 CONSENT      {len(checks)} asked, each vault verified {min(checks.values())} things"
        f" itself · {len(willing)} said yes, each for this purpose only"
        f" · {len(everybody) - len(willing)} think it over",
        story.known["agreement"],
    )
    story.line(
        f"                then patient {WITHDREW} withdrew: {last['confirmed']} parties confirmed,"
        f" in force from run {last['from_run']}          {clock(story.tale.seconds)}",
        last["id"],
    )


async def _asked(story: Story, number: str, checks: dict[str, int]) -> None:
    shown = await vaults.look(story, number)
    checks[number] = len(shown["checks"])
