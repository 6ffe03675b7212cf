"""Scene 10: what every party can prove afterwards, offline, and what a patient can."""

import base64
import functools
import json
import time
from typing import Any

from node.demo.actor import SceneFailed, expect
from node.demo.scenes import vaults
from node.demo.stage import PARTIES
from node.demo.story import Story, clock, output_of, results, together, verifier

AUDIT = "audit.village"
RECEIPT = "receipt-07.village"

RELEASED = (1, 2)
"""The runs from which something left; the receipt is about them."""


async def play(story: Story) -> None:
    """Every party exports its audit file, and it verifies; so does a patient's receipt."""
    story.progress("six parties export and verify")
    exports = await export(story)
    for name, exported in exports.items():
        expect(f"what {name} lacks", [], exported["missing"])
    reports = await results(
        {name: functools.partial(_verify, story, f"audit-{name}.village") for name in PARTIES}
    )
    findings = sum(len(report["findings"]) for report in reports.values())
    expect("findings", 0, findings)
    size = len(base64.b64decode(exports["sponsor"]["file"]))
    story.line(
        f"10 PROOF        {AUDIT} {size / 1e6:.1f} MB · {exports['sponsor']['records']} records"
        f" · verified offline by all {len(reports)} parties · {findings} findings"
        f"          {clock(story.tale.seconds)}",
        story.known["agreement"],
    )
    await _receipt(story)
    story.line(
        "   What this cannot prove: physical attacks on a host's hardware; that approved code is"
        " wise. See docs/threat-model.md"
    )


async def export(story: Story) -> dict[str, Any]:
    """The audit file of each party, written down; the sponsor's is `audit.village`."""
    exports = await results(
        {name: functools.partial(story.node(name).ask, "audit.export") for name in PARTIES}
    )
    story.command("sponsor", "audit export --out audit.village; village verify audit.village")
    for name, exported in exports.items():
        data = base64.b64decode(exported["file"])
        (story.tale.folder / f"audit-{name}.village").write_bytes(data)
    data = base64.b64decode(exports["sponsor"]["file"])
    (story.tale.folder / AUDIT).write_bytes(data)
    return exports


async def _verify(story: Story, file: str) -> Any:  # noqa: ANN401 (JSON)
    said = await output_of(verifier("verify", str(story.tale.folder / file), "--json"), (0, 3))
    return json.loads(said)


async def _receipt(story: Story) -> None:
    data = await vaults.receipt(story, "07", RELEASED)
    path = story.tale.folder / RECEIPT
    path.write_bytes(data)
    before = time.perf_counter()
    report = await _verify(story, RECEIPT)
    whole = time.perf_counter() - before
    if not report["clean"]:
        raise SceneFailed(f"the receipt of patient 07: {report['findings']}")
    story.line(
        f"                patient 07's receipt: {len(data) / 1000:.1f} kB, verified alone in"
        f" {whole * 1000:.0f} ms with the start of the verifier · {report['headline']}"
        " · names nobody else",
        story.known["run-2"]["run"],
    )


async def verify_all(story: Story) -> None:
    """`village verify` says the same as the verifier without a node."""
    await together(functools.partial(_verify, story, f"audit-{name}.village") for name in PARTIES)
