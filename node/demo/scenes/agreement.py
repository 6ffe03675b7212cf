"""Scene 2: code and its review, data contracts, a proposal, a counter-offer, one digest."""

import base64
import functools
from typing import Any, Final

from node.demo.actor import expect
from node.demo.stage import DEMO, ENVIRONMENTS, HOSPITALS, HOSTS, PARTIES
from node.demo.story import Story, clock, enclave, output_of, title, together

ENVIRONMENT: Final = "scientific"
ALGORITHM: Final = "cox-ph"


async def play(story: Story) -> None:
    """From a published algorithm to an agreement in force."""
    with story.tale.timed("agreement"):
        await _publish(story)
        found = await _agree(story)
    versions = found["versions"]
    counter = [one for one in versions if one["changes"]]
    expect("versions of the agreement", 2, len(versions))
    expect("who countered", ["hospital-b"], [one["by"] for one in counter])
    expect("signatures on one digest", sorted(PARTIES), sorted(counter[0]["signed"]))
    story.known["agreement"] = found["agreement"]
    digest = found["digest"]
    story.line(
        f" 2 AGREEMENT    {versions[0]['by']} proposed · {title(counter[0]['by'])} countered: "
        f"{_asked(counter[0]['changes'])}",
        counter[0]["record"],
    )
    story.line(
        f"                {len(counter[0]['signed'])} of {len(PARTIES)} signed the same digest"
        f"  {digest[:4]}…{digest[-2:]}          {clock(story.tale.seconds)}",
        digest,
    )


def _asked(changes: list[str]) -> str:
    """Changes of a counter-offer in words, without the names of the fields before them."""
    return ", and ".join(one.partition(": ")[2] for one in changes)


async def _publish(story: Story) -> None:
    """The lab publishes, Hospital A reviews, the hospitals publish their data contract."""
    story.progress("the lab publishes its algorithm, Hospital A reviews it")
    digest = await _measure()
    for name in ("biostat-lab", "sponsor"):
        await story.node(name).ask("algorithm.env", name=ENVIRONMENT, digest=digest)
    lab, reviewer = story.node("biostat-lab"), story.node("hospital-a")
    packed = await lab.ask("algorithm.publish", folder=str(DEMO / "algorithms" / ALGORITHM))
    story.command("biostat-lab", "algorithm publish algorithms/cox-ph")
    bundle = packed["bundle"]
    await reviewer.until("the algorithm", _knows(bundle), "algorithm.list")
    await reviewer.ask(
        "algorithm.review",
        bundle=bundle,
        verdict="approved",
        text="Read in full; agrees with coxph of R's package survival on public data.",
    )
    story.command("hospital-a", "algorithm review cox-ph --text 'Read in full.'")
    contract = (DEMO / "contracts" / "lung-v1.odcs.yaml").read_bytes()
    file = base64.b64encode(contract).decode()
    for name in HOSPITALS:
        await story.node(name).ask("contract.publish", file=file)
    story.command("hospital-a", "contract publish contracts/lung-v1.odcs.yaml")
    await together(
        functools.partial(story.node(name).until, "the review", _approved(bundle), "algorithm.list")
        for name in PARTIES
    )
    sponsor = story.node("sponsor")
    await sponsor.until("the data contract", lambda found: len(found) > 0, "contract.list")
    story.known["bundle"] = bundle


async def _measure() -> str:
    """The digest of the algorithm's environment, as the enclave measures it."""
    said = await output_of(enclave("measure", "--environment", str(ENVIRONMENTS / ENVIRONMENT)))
    found = [line.split()[1] for line in said.splitlines() if line.startswith("environment")]
    return found[0]


async def _agree(story: Story) -> Any:  # noqa: ANN401 (JSON)
    story.progress("six policies answer the proposal")
    sponsor = story.node("sponsor")
    await sponsor.ask("agreement.propose", path=str(DEMO / "agreement.yaml"))
    story.command("sponsor", "agreement propose agreement.yaml")
    await together(
        functools.partial(
            story.node(name).until, "the agreement in force", _in_force, "agreement.list"
        )
        for name in (*PARTIES, *HOSTS)
    )
    return await sponsor.ask("agreement.show")


def _in_force(found: Any) -> bool:  # noqa: ANN401 (JSON)
    return any(one["state"] == "IN FORCE" for one in found)


def _knows(bundle: str) -> Any:  # noqa: ANN401 (a predicate)
    return lambda found: any(one["bundle"] == bundle for one in found)


def _approved(bundle: str) -> Any:  # noqa: ANN401 (a predicate)
    return lambda found: any(one["bundle"] == bundle and one["approved"] for one in found)
