"""docs/guides/space-life.md is typed as it stands, in one shell, at nodes of their own."""

import re

import pytest

from tests.e2e.guides import ROOT, STEP, typed

pytestmark = pytest.mark.e2e

GUIDE = ROOT / "docs" / "guides" / "space-life.md"


def test_the_guide_works_as_it_stands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")  # short: sockets have at most 107 bytes
    assert len(STEP.findall(GUIDE.read_text())) > 10
    said = typed(GUIDE, folder / "A")
    assert "eva is out: contract ended" in said
    assert "recovery delay: 7 -> 0 days" in said
    assert "dee is out: left: study closed" in said
    assert len(re.findall(r"^epoch [0-4]  final", said.split("at bo")[-1], re.M)) >= 5
