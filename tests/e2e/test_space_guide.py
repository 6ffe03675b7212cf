"""docs/guides/space-life.md is typed as it stands, in one shell, at nodes of their own."""

import re

import pytest

from tests.e2e.test_two_machines import ROOT, Shell

pytestmark = pytest.mark.e2e

GUIDE = ROOT / "docs" / "guides" / "space-life.md"
STEP = re.compile(r"^```sh\n(.*?)```", re.MULTILINE | re.DOTALL)


def test_the_guide_works_as_it_stands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")  # short: sockets have at most 107 bytes
    steps = STEP.findall(GUIDE.read_text())
    assert len(steps) > 10
    shell = Shell(folder / "A")
    try:
        for text in steps:
            shell.type(text)
    finally:
        shell.end()
    assert "eva is out: contract ended" in shell.said
    assert "recovery delay: 7 -> 0 days" in shell.said
    assert "dee is out: left: study closed" in shell.said
    assert len(re.findall(r"^epoch [0-4]  final", shell.said.split("at bo")[-1], re.M)) >= 5
