"""docs/guides/two-banks.md is typed as it stands, in one shell, at nodes of their own; what leaves
is held against a plain count over the rows.
"""

import csv
import json
import re
from collections import Counter
from contextlib import suppress

import pytest

from node.demo.stage import ENVIRONMENTS
from tests.e2e.guides import ROOT, STEP, typed

pytestmark = pytest.mark.e2e

GUIDE = ROOT / "docs" / "guides" / "two-banks.md"
LEAST = 5
"""min_contributors of configs/banks/agreement.yaml."""


def plainly(folder):
    """What the outputs must say, from the lists themselves; and which cells are too small."""
    frauds, listed = (
        list(csv.DictReader((folder / bank / "frauds.csv").read_text().splitlines()))
        for bank in ("bank-a", "bank-b")
    )
    at_a = {row["customer"]: row["risk"] for row in frauds}
    at_b = {row["client"] for row in listed}
    both = Counter(risk for customer, risk in at_a.items() if customer in at_b)
    damage = Counter()
    for row in frauds:
        damage[row["risk"]] += int(row["amount"]) * (row["customer"] in at_b)
    gone: list[str] = []
    for risk, count in sorted(both.items(), key=lambda one: one[1]):
        if count < LEAST or 0 < sum(both[one] for one in gone) < LEAST:
            gone.append(risk)
    overlap = [{"at_a": len(at_a), "at_b": len(at_b), "at_both": both.total()}]
    cells = [
        {"risk": risk, "customers": both[risk], "damage": damage[risk]}
        for risk in sorted(both.keys() - set(gone))
    ]
    return overlap, cells, gone


def shown(text):
    """(output, value) of each `village result show --json`, in the order of the guide."""
    found = []
    for place in re.finditer(r"^\{$", text, re.MULTILINE):
        with suppress(ValueError):
            one, _ = json.JSONDecoder().raw_decode(text[place.start() :])
            found += [(one["name"], one["result"])] if "result" in one else []
    return found


@pytest.mark.skipif(not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment")
def test_the_guide_works_as_it_stands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("b")  # short: sockets have at most 107 bytes
    assert len(STEP.findall(GUIDE.read_text())) >= 8
    said = typed(GUIDE, folder / "A")
    overlap, cells, gone = plainly(folder / "A" / "banks")
    assert len(gone) == 2  # the control: cells are really missing
    assert "critical" in gone
    assert shown(said) == [("overlap", overlap), ("by-risk", cells), ("overlap", overlap)]
    assert re.search(r"overlap\.sql:2: .*read_csv.*may look outside", said)
    assert re.search(r"overlap\.sql:3: .*fraud-c-v1.*no input", said)
    assert "refused, as it should be" in said
    assert "0 findings" in said
