"""Every `path/file.py:name` that a page names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = re.compile(r"\b((?:[\w.-]+/)*[\w-]+\.py):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


def references(text):
    return sorted(set(REFERENCE.findall(text)))


def defines(body, name):
    """Whether these statements define a function, class, class member or constant of that name."""
    first, _, rest = name.partition(".")
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == first:
                return not rest
            case ast.ClassDef() if node.name == first:
                return not rest or defines(node.body, rest)
            case ast.Assign(targets=[ast.Name(id=target)]) if target == first:
                return not rest
            case ast.AnnAssign(target=ast.Name(id=target)) if target == first:
                return not rest
    return False


def fault(path, name):
    """Return why a reference is wrong, or None."""
    file = ROOT / path
    if not file.is_file():
        return f"{path}: no such file"
    body = ast.parse(file.read_text(encoding="utf-8")).body
    if defines(body, name) or len(classes_with(body, name)) == 1:
        return None
    return f"{path} defines no {name}"


def classes_with(body, name):
    """The classes that define such a member: a page may leave out the class if it is only one."""
    return [node for node in body if isinstance(node, ast.ClassDef) and defines(node.body, name)]


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_exists(page):
    found = references(page.read_text(encoding="utf-8"))
    assert [why for why in (fault(*reference) for reference in found) if why] == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/protocol.md"])
def test_pages_that_lead_through_the_code_name_functions(page):
    found = references((ROOT / page).read_text(encoding="utf-8"))
    assert len(found) > 10, f"{page} names few functions: is the form `path/file.py:function`?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`node/net/session.py:serve`", [("node/net/session.py", "serve")]),
        ("(a.py:B.c)", [("a.py", "B.c")]),
        ("a/b.py, line:3; a/b.py:12", []),
    ],
)
def test_references_are_found(text, expected):
    assert references(text) == expected


@pytest.mark.parametrize(
    ("path", "name", "right"),
    [
        ("tests/docs/test_tree.py", "fault", True),
        ("tests/docs/test_tree.py", "ROOT", True),
        ("tests/docs/test_tree.py", "missing", False),
        ("tests/docs/missing.py", "fault", False),
        ("node/net/libp2p/fastecdsa_stand_in.py", "SEC1Encoder.encode_public_key", True),
        ("node/net/libp2p/fastecdsa_stand_in.py", "SEC1Encoder.missing", False),
        ("node/pipeline.py", "restore", True),
        ("protocol/machines/runs.py", "missing", False),
        ("protocol/sealing/stream.py", "__init__", False),  # of which class?
    ],
)
def test_faults_are_found(path, name, right):
    assert (fault(path, name) is None) is right
