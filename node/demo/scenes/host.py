"""Scene 3: two candidates, evidence that each voter verifies for itself, an election."""

from typing import Any

from node.demo.actor import expect
from node.demo.stage import HOSTS, PARTIES
from node.demo.story import Story, clock


async def play(story: Story) -> None:
    """Wait for the election certificate, and say who verified what."""
    story.progress("each party challenges both enclaves")
    sponsor = story.node("sponsor")
    with story.tale.timed("election"):
        shown = await sponsor.until(
            "an elected host", lambda found: found["host"] is not None, "host.show"
        )
    explained = await sponsor.ask("host.explain", term=shown["term"])
    verified = verifiers(explained)
    candidates = {one["candidate"] for one in explained["verdicts"]}
    expect("candidates", set(HOSTS), candidates)
    expect("who verified both", set(PARTIES), verified)
    expect("the host and its standbys", ("host-1", ["host-2"]), (shown["host"], shown["standbys"]))
    expect("technology", "simulated", shown["technology"])
    story.command("sponsor", "host explain")
    story.known["enclave-1"] = shown["enclave"]
    story.line(
        f" 3 HOST         {len(candidates)} candidates · {len(verified)} of {len(PARTIES)} verified"
        f" the evidence themselves ({shown['technology'].upper()}) · elected {shown['host']},"
        f" term {shown['term']}, standby {', '.join(shown['standbys'])}"
        f"          {clock(story.tale.seconds)}",
        shown["certificate"],
    )


def verifiers(explained: dict[str, Any]) -> set[str]:
    """Who found every candidate eligible by an own challenge."""
    candidates = {one["candidate"] for one in explained["verdicts"]}
    eligible = {(one["by"], one["candidate"]) for one in explained["verdicts"] if one["eligible"]}
    voters = {one["by"] for one in explained["verdicts"]}
    return {voter for voter in voters if all((voter, one) in eligible for one in candidates)}
