"""docs/guides/new-algorithm.md is typed as it stands, in one shell, at nodes of their own."""

import re

import pytest

from node.demo.stage import ENVIRONMENTS
from tests.e2e.guides import ROOT, STEP, typed

pytestmark = pytest.mark.e2e

GUIDE = ROOT / "docs" / "guides" / "new-algorithm.md"
SECTION = re.compile(r"^## ([12])\. .*?(?=^## )", re.MULTILINE | re.DOTALL)
SAME = """\
bundle() { "$@" --json | grep -oE '"bundle": "[0-9a-f]{64}'; }
at lab algorithm env list
at lab algorithm publish stay-sql --json | grep -q '"already": true'
[ "$(bundle village algorithm pack stay-sql)" = "$(bundle at lab algorithm publish stay-sql)" ]
"""
"""Without a daemon the digest is the one that was published."""

COMMAND = re.compile(r"\bat (?:lab|clinic) ")


def test_each_kind_takes_fewer_than_ten_commands():
    sections = {found[1]: found[0] for found in SECTION.finditer(GUIDE.read_text())}
    counts = [len(COMMAND.findall("".join(STEP.findall(one)))) for one in sections.values()]
    assert counts == [9, 9]


@pytest.mark.skipif(not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment")
def test_the_guide_works_as_it_stands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a")  # short: sockets have at most 107 bytes
    assert len(STEP.findall(GUIDE.read_text())) >= 7
    said = typed(GUIDE, folder / "A", SAME)
    for kind in ("stay-python", "stay-sql"):
        assert f"made {kind}" in said
    tried, published = said.split("may leave: table")[1:], said.count('"mean_nights"')
    assert len(tried) == 2
    assert re.search(r"^scientific +[0-9a-f]{12} +/.*/scientific +named$", said, re.MULTILINE)
    assert published >= 4
