"""The specification and the generated pages say what the code does, all of it and nothing else."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from protocol import limits
from protocol.errors import RULES
from protocol.kinds import KINDS
from tests.docs.test_cddl import TOKENS
from tools import datacage_docs, limits_docs, refusals_docs

ROOT = Path(__file__).parents[2]
SPECIFICATION = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
QUOTED = re.compile(r"`([a-z]+\.[a-z-]+)`")
SOURCES = {
    file: ast.parse(file.read_text(encoding="utf-8"))
    for package in ("protocol", "node", "enclave_host")
    for file in (ROOT / package).rglob("*.py")
}


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rows(*columns: str) -> list[list[str]]:
    """The cells of the table of the specification that has these columns."""
    head = f"| {' | '.join(columns)} |\n"
    body = SPECIFICATION.partition(head)[2]
    assert body, f"there is no table {columns}"
    lines = [line for line in body.partition("\n\n")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", [datacage_docs, refusals_docs, limits_docs])
def test_a_generated_page_is_current(tool):
    assert tool.PAGE.read_text(encoding="utf-8") == tool.render(), (
        f"run: python tools/{Path(tool.__file__).name}"
    )


@pytest.mark.parametrize("code", RULES)
def test_every_code_stands_in_the_list_with_its_rule_and_fix(code):
    rule = RULES[code]
    assert f"| `{code}` | {rule.sentence} | {rule.fix} |" in text_of("refusals.md")


def test_the_specification_cites_rules_that_exist():
    families = {code.partition(".")[0] for code in RULES}
    cited = {code for code in QUOTED.findall(SPECIFICATION) if code.partition(".")[0] in families}
    assert cited - RULES.keys() == set()
    assert len(cited) > len(RULES) * 0.9


def refused_codes(tree: ast.AST) -> list[str]:
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Refused"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]


def test_whatever_the_code_refuses_has_a_rule():
    found = {code for tree in SOURCES.values() for code in refused_codes(tree)}
    assert found - RULES.keys() == set()


def test_every_rule_is_used():
    text = {
        node.value
        for file, tree in SOURCES.items()
        if file != refusals_docs.RULES
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert RULES.keys() - text == set()


def test_codes_of_stores_and_configuration_are_found():
    codes = {row.code for found in refusals_docs.others().values() for row in found}
    assert {"config.refused", "store.disk", "journal.in-use", "keystore.passphrase"} <= codes
    assert codes.isdisjoint(RULES)


def test_a_code_that_is_made_anywhere_is_found():
    tree = ast.parse(
        'raise StoreError("mill.full", f"{n} sacks.", "Grind.")\n'
        'class Lost(ProtocolError):\n    """It is gone."""\n\n    code = "mill.lost"\n'
    )
    assert [(row.code, row.sentence, row.fix) for row in refusals_docs.spoken(tree)] == [
        ("mill.lost", "It is gone.", ""),
        ("mill.full", "… sacks.", "Grind."),
    ]


# --- limits ---------------------------------------------------------------------------------------

BOUNDS = [name for name in vars(limits) if name.isupper()]


@pytest.mark.parametrize("name", BOUNDS)
def test_every_limit_of_the_protocol_stands_in_the_list(name):
    assert f"| `{name}` | `" in text_of("limits.md").partition("## Connections")[0]


def test_limits_are_found_with_their_sentence():
    body = ast.parse(
        'A: Final = 2 * 1024\n"""Why A."""\nB = limits.ITEMS\n"""Why B."""\n'
        'C = 3\nD = "x"\n"""No number."""\n'
    ).body
    assert [(one.name, one.value, one.sentence) for one in limits_docs.limits(body)] == [
        ("A", "2 * 1024", "Why A."),
        ("B", "limits.ITEMS", "Why B."),
    ]


# --- kinds and rules ------------------------------------------------------------------------------


def test_every_kind_of_record_is_specified_with_its_topics():
    table = {
        name.strip("`"): topics for name, topics, *_ in rows("kind", "stands in", "says", "by")
    }
    assert table.keys() == KINDS.keys()
    for name, topics in table.items():
        assert set(topics.split(", ")) == KINDS[name].topics, name


def test_every_kind_of_token_is_specified():
    assert {name.strip("`") for name, *_ in rows("token", "says", "by")} == TOKENS.keys()


def test_rules_are_numbered_without_gap():
    numbers: dict[str, list[int]] = {}
    for letter, number in re.findall(r"^\| ([A-Z])(\d+) \|", SPECIFICATION, re.MULTILINE):
        numbers.setdefault(letter, []).append(int(number))
    assert set("RIKDPTGNESCUAL") == numbers.keys()
    for letter, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), letter


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_rules_that_are_cited_exist(page):
    known = set(re.findall(r"^\| ([A-Z]\d+) \|", SPECIFICATION, re.MULTILINE))
    cited = re.findall(r"\(([A-Z]\d{1,2})(?: to ([A-Z]\d{1,2}))?\)", page.read_text("utf-8"))
    assert {rule for pair in cited for rule in pair if rule} - known == set()


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_decisions_are_numbered_and_listed():
    folder = ROOT / "docs" / "adr"
    files = sorted(folder.glob("0*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert numbers[0] == 1
    assert all(following == one + 1 for one, following in pairwise(numbers))
    index = (folder / "README.md").read_text(encoding="utf-8")
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.startswith(f"# {file.name[:4]} ")
        assert f"| [{file.name[:4]}]({file.name}) | {text.splitlines()[0][7:]} |" in index
        for part in ("Context", "Decision", "Consequence"):
            assert f"\n## {part}\n" in text
