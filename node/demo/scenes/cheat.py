"""Scene 9: attacks, live. Each is stopped by the rule that is named, and leaves a refusal that
`village explain` shows. Hostile programs come from tests/hostile, so only in a checkout.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any, Final

import trio

from node.demo.actor import LOOK_EVERY, PATIENCE, SceneFailed, expect
from node.demo.scenes import founding, intruder, proof, runs, vaults
from node.demo.stage import HOSPITALS, HOSTS, PARTIES, PROJECT
from node.demo.story import Story, enclave, output_of, title, verifier

HOSTILE: Final = PROJECT / "tests" / "hostile"
WITHDRAWS: Final = "03"
AFTER_HEADER: Final = 400
"""Bytes into a run record, where its body lies."""
WIDE: Final = (33, 43)
"""Columns of an attack, and of what came of it."""


async def play(story: Story) -> None:
    """Nine attacks."""
    story.line(
        f" 9 NOW WE CHEAT{'':<{sum(WIDE) - 10}}what stopped it",
    )
    hostile = HOSTILE.is_dir()
    if hostile:
        await _first_host_cheats(story)
    else:
        text = "   Five attacks need the programs of tests/hostile: not shown here."
        story.tale.say(text, kind="note")
    await _table_by_site(story)
    await vaults.ask(story, WITHDRAWS, "consent.withdraw")
    if hostile:
        await _second_host_cheats(story)
    await _again_without_one(story)
    await _way_out(story)
    await _flipped_bit(story)
    story.line("")


async def _first_host_cheats(story: Story) -> None:
    story.progress("host-1 comes back, and cheats")
    await _hostile_host(story, "host-1", ("wait",), new_enclave=True)
    await _changed_code(story)
    await intruder.play(story, say)
    await _forged_vote(story)
    await _old_host(story)


async def _second_host_cheats(story: Story) -> None:
    story.progress("host-2 cheats too")
    await _hostile_host(story, "host-2", ("hide",), new_enclave=False)
    await _hidden_withdrawal(story)


def say(story: Story, attack: str, outcome: str, stopped: str, record: str) -> None:
    """One line of this scene: what was tried, what came of it, which rule stopped it."""
    story.line(f"   {attack:<{WIDE[0]}} {outcome:<{WIDE[1]}} {stopped}", record)


async def explained(story: Story, name: str, code: str, **fields: object) -> dict[str, Any]:
    """The newest refusal with this code at a node, as `village explain` shows it."""
    node = story.node(name)

    def there(found: Any) -> bool:  # noqa: ANN401 (JSON)
        return any(one["code"] == code and _has(one, fields) for one in found)

    found = await node.until(f"the refusal {code}", there, "refusal.list")
    newest = next(one for one in found if one["code"] == code and _has(one, fields))
    shown: dict[str, Any] = await node.ask("explain.show", id=newest["refusal"])
    expect(
        f"explanation of {newest['refusal'][:8]}", (code, True), (shown["code"], bool(shown["fix"]))
    )
    return shown


def _has(one: dict[str, Any], fields: dict[str, object]) -> bool:
    return all(one[name] == value for name, value in fields.items())


# --- a host that cheats --------------------------------------------------------------------------


def _orders(story: Story, name: str) -> Path:
    return story.stage.home(name) / "orders"


async def _hostile_host(
    story: Story, name: str, orders: tuple[str, ...], *, new_enclave: bool
) -> None:
    """Start the host's node under the hostile wrapper, with these orders in force."""
    folder = _orders(story, name)
    folder.mkdir(exist_ok=True)
    for order in orders:
        (folder / order).touch()
    if new_enclave:
        founding.start_enclave(story, name, HOSTS[name])
        await founding.enclave_ready(story, HOSTS[name])  # its orders are not given twice
    else:
        await trio.to_thread.run_sync(story.troupe.stop, name)
    config = str(story.stage.config(name))
    hostile = [sys.executable, "-m", "tests.hostile.host", str(folder), "--"]
    story.troupe.start(name, [*hostile, "node", "run", "--config", config], PROJECT)
    await founding.ready(story, name)
    await story.node(name).until(
        "the agreement again",
        lambda found: any(one["state"] == "IN FORCE" for one in found),
        "agreement.list",
    )
    await story.node(name).until("its peers", lambda found: len(found["peers"]) > 6, "node.status")


async def _order(story: Story, name: str, act: str) -> dict[str, Any]:
    """Give a hostile host an order, and wait for what came of it."""
    folder = _orders(story, name)
    (folder / act).touch()
    answer = folder / f"{act}.answer"
    with trio.move_on_after(PATIENCE):
        while not answer.exists():  # noqa: ASYNC110 (another process writes it)
            await trio.sleep(LOOK_EVERY)
    if not answer.exists():
        raise SceneFailed(f"{name} did not do {act}")
    found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    if "error" in found:
        raise SceneFailed(f"{name} could not do {act}: {found['error']}")
    return found


async def _changed_code(story: Story) -> None:
    found = await _order(story, "host-1", "flip-code")
    expect("changed code", "run.code", found["code"])
    expect("shares opened with changed code", 0, found["opened"])
    shown = await explained(story, "host-1", "run.code")
    say(
        story,
        "host changes a byte of the code",
        "enclave refused to open any share",
        f"code digest, agreed by {len(PARTIES)} parties",
        shown["id"],
    )


async def _forged_vote(story: Story) -> None:
    found = await _order(story, "host-1", "forge")
    expect("forged votes taken", 0, found["new"])
    shown = await explained(story, "hospital-b", "record.signature")
    say(
        story,
        "a vote with a forged signature",
        "refused at the gate of Hospital B",
        "record signature",
        shown["id"],
    )


async def _old_host(story: Story) -> None:
    found = await _order(story, "host-1", "ask-keys")
    answers = found["answers"]
    expect("answers to the old host", {"term.fenced"}, {one["code"] for one in answers})
    expect("who was asked", set(HOSPITALS), {one["owner"] for one in answers})
    shown = await explained(story, "hospital-a", "term.fenced")
    term = (await story.node("sponsor").ask("host.show"))["term"]
    say(
        story,
        "old host-1 asks for keys again",
        f"refused by all {len(set(HOSPITALS))}",
        f"term 1 ended, fenced by term {term}",
        shown["id"],
    )


async def _hidden_withdrawal(story: Story) -> None:
    """Host-2 keeps back what tells of a withdrawal: too few statements are left for a run."""
    story.known["order without one"] = await runs.order(story)
    shown = await explained(story, "host-2", "run.statements")
    (_orders(story, "host-2") / "hide").unlink()
    say(
        story,
        f"host hides {WITHDRAWS}'s withdrawal",
        "run refused",
        f"statements of {_quorum()} of {len(PARTIES)} parties needed",
        shown["id"],
    )


def _quorum() -> int:
    return 2 * len(PARTIES) // 3 + 1


# --- a sponsor that asks too much ----------------------------------------------------------------


async def _again_without_one(story: Story) -> None:
    order = story.known.get("order without one") or await runs.order(story)
    run = await runs.ended(story, order)
    expect("the run without one", ("held", "gate.min-change"), (run["outcome"], run["code"]))
    expect(
        "people fewer than in run 2", 1, story.known["run-2"]["contributors"] - run["contributors"]
    )
    await _explains(story, run)
    say(
        story,
        f"sponsor: again without vault {WITHDRAWS}",
        f"held: {run['detail'].partition(';')[0]}",
        _rule(run, "min_change"),
        run["run"],
    )


async def _table_by_site(story: Story) -> None:
    run = await runs.ended(story, await runs.order(story, "by-site"))
    expect("the table by site", ("refused", "gate.small-cells"), (run["outcome"], run["code"]))
    await _explains(story, run)
    say(
        story,
        "sponsor wants a table by site",
        f"refused: {run['detail'].partition(';')[0]}",
        _rule(run, "min_contributors"),
        run["run"],
    )


async def _explains(story: Story, run: dict[str, Any]) -> None:
    shown = await story.node("sponsor").ask("explain.show", id=run["run"])
    expect("what explains the run", run["code"], shown["code"])


def _rule(run: dict[str, Any], name: str) -> str:
    """A rule as the gate of this run applied it, and the party that set it."""
    check = next(one for one in run["gate"] if one["rule"] == name)
    return f"{name} {check['limit']}, set by {title(check['set_by'])}"


# --- an algorithm that wants out, and a file that was altered ------------------------------------


async def _way_out(story: Story) -> None:
    """The probe of the datacage tries sockets and files, as `village-enclave doctor` does."""
    said = json.loads(await output_of(enclave("doctor", "--json"), (0, 1)))
    tier = next(report for report in said["tiers"] if report["holds"])
    observed = dict(tier["observed"])
    outcomes = [observed["socket"], observed["write /"]]
    expect("the way out", ["EAFNOSUPPORT", "EROFS"], outcomes)
    say(
        story,
        "code opens a socket, writes /",
        ", ".join(outcomes),
        f"datacage, tier {tier['tier']}",
        story.known["bundle"],
    )


async def _flipped_bit(story: Story) -> None:
    """One bit of an audit file, in the record of run 2."""
    await proof.export(story)
    run = story.known["run-2"]["run"]
    shown = await story.node("sponsor").ask("record.show", id=run)
    altered = bytearray((story.tale.folder / proof.AUDIT).read_bytes())
    altered[altered.index(base64.b64decode(shown["raw"])) + AFTER_HEADER] ^= 1
    path = story.tale.folder / "audit-altered.village"
    path.write_bytes(altered)
    said = await output_of(verifier("verify", str(path), "--json"), (3,))
    report = json.loads(said)
    said_first = str(report["findings"][0]["sentence"]).partition(" (")[0].partition(":")[0]
    say(story, "a bit of the audit file flipped", f"exit 3: {said_first}", "village verify", run)
