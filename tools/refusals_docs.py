"""Write docs/refusals.md: every code by which Village says no, from the code itself.

``python tools/refusals_docs.py`` writes the page; a test compares it with what `render` says.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "refusals.md"
RULES = ROOT / "protocol" / "errors.py"
PACKAGES = ("protocol", "node", "enclave_host")
SPEAKERS = {"StoreError", "StoreFault", "StoreFull", "StoreMissing", "SourceError", "Failure"}
"""Errors that take code, detail and fix as arguments."""

CODE = re.compile(r"[a-z0-9]+(\.[a-z0-9-]+)*")
SECTION = re.compile(r"# --- (.+?) -+$")
TITLES = {
    "admin": "admin socket",
    "blobs": "store: blobs",
    "cage": "datacage",
    "config": "configuration",
    "enclave": "enclave runtime",
    "id": "short ids",
    "journal": "store: journal",
    "keystore": "store: keys",
    "mail": "store: mailboxes",
    "net": "network",
    "node": "state folder",
    "shares": "store: shares",
    "source": "data sources",
    "store": "store: disk",
    "vault": "vault",
}
HEAD = """\
# Refusals

Each refusal has a stable code. It is printed by the command line, kept in the node's list of
refusals (`village refusal list`, `village explain ID`), and sent to the peer that asked.
The first part has the rules of the protocol; [protocol.md](protocol.md) cites them where they
apply. The second part has what one machine says about itself: its files, keys and configuration.

This page is written by `python tools/refusals_docs.py` from `protocol/errors.py` and the code.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One code: which rule was broken, and what would fix it ("" if it depends on the case)."""

    code: str
    sentence: str
    fix: str


BLANK = Row("", "", "")


def rules() -> dict[str, list[Row]]:
    """Section of protocol/errors.py -> its rules, in the order of the file."""
    text = RULES.read_text(encoding="utf-8")
    sections = {
        number: found[1]
        for number, line in enumerate(text.splitlines(), 1)
        if (found := SECTION.search(line))
    }
    found_rules: dict[str, list[Row]] = {title: [] for title in sections.values()}
    for key, rule in _rules_table(ast.parse(text)):
        title = sections[max(line for line in sections if line < key.lineno)]
        sentence, fix = (ast.literal_eval(argument) for argument in rule.args)
        found_rules[title].append(Row(ast.literal_eval(key), sentence, fix))
    return found_rules


def _rules_table(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.Call]]:
    for node in tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id="RULES"), value=ast.Dict(keys, values)):
                for key, rule in zip(keys, values, strict=True):
                    if key is not None and isinstance(rule, ast.Call):
                        yield key, rule
            case _:
                continue


def others() -> dict[str, list[Row]]:
    """Title -> codes that are no rule of the protocol, sorted."""
    known = {row.code for rows in rules().values() for row in rows}
    found: dict[str, Row] = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for row in spoken(ast.parse(file.read_text(encoding="utf-8"))):
                if not found.get(row.code, BLANK).sentence:
                    found[row.code] = row
    grouped: dict[str, list[Row]] = {}
    for code in sorted(found.keys() - known):
        prefix = code.partition(".")[0]
        grouped.setdefault(TITLES.get(prefix, prefix), []).append(found[code])
    return grouped


def spoken(tree: ast.AST) -> Iterator[Row]:
    """The codes of a file: of errors that are made with one, and of classes that have one."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Constant(str(code)), *rest]) if (
                name in SPEAKERS and CODE.fullmatch(code)
            ):
                words = [_words(argument) for argument in rest[:2]]
                sentence, fix = [*words, "", ""][:2]
                yield Row(code, sentence, fix)
            case ast.ClassDef(body=body):
                for code in _class_codes(body):
                    # The first sentence of a class's docstring says what it means.
                    doc = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                    yield Row(code, doc, "")
            case _:
                continue


def _class_codes(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(str(code))):
                yield code
            case _:
                continue


def _words(argument: ast.expr) -> str:
    """A sentence as it stands in the code; what is filled in becomes an ellipsis."""
    match argument:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(values):
            return "".join(_words(value) for value in values)
        case ast.FormattedValue():
            return "…"
        case _:
            return ""


def render() -> str:
    """The whole page."""
    parts = [HEAD, "## Rules of the protocol\n"]
    parts += [_table(title, rows) for title, rows in rules().items()]
    parts.append("## What one machine says about itself\n")
    parts += [_table(title, rows) for title, rows in sorted(others().items())]
    return "\n".join(parts)


def _table(title: str, rows: list[Row]) -> str:
    lines = [
        f"### {title.capitalize()}",
        "",
        "| code | rule | what would fix it |",
        "|---|---|---|",
    ]
    for row in rows:
        cells = (f"`{row.code}`", row.sentence or "The message says what was seen.", row.fix)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
