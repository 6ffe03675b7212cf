"""Every refusal code has a vector, or tests that expect it by its name."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import RULES
from tests.vectors.make import HERE, read

ROOT = Path(__file__).parents[2]
TESTS = [
    path for path in sorted((ROOT / "tests").rglob("*.py")) if "node_modules" not in path.parts
]
VECTORS = Counter(read(path).expect for path in HERE.glob("*.vector"))
CHECKS = (ast.Assert, ast.withitem, ast.Expr, ast.For, ast.AsyncFor)
"""Where a test says what it expects, beside its decorators and the tables of its module."""


def expectations(tree: ast.Module) -> Iterator[ast.AST]:
    """The parts of a module of tests that say what is expected."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            yield node
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from node.decorator_list
        elif isinstance(node, CHECKS):
            yield node.iter if isinstance(node, ast.For | ast.AsyncFor) else node


def codes(tree: ast.Module) -> set[tuple[int, int, str]]:
    """Line, column and code of every code that is expected; a pattern may escape the dot."""
    return {
        (found.lineno, found.col_offset, found.value.replace("\\.", "."))
        for part in expectations(tree)
        for found in ast.walk(part)
        if isinstance(found, ast.Constant) and isinstance(found.value, str)
    }


ASSERTED = Counter(
    code
    for path in TESTS
    if path != Path(__file__)
    for *_, code in codes(ast.parse(path.read_text(encoding="utf-8")))
    if code in RULES
)
"""Code -> how often the tests expect it."""


@pytest.mark.parametrize("code", RULES)
def test_a_vector_or_a_test_expects_the_code(code: str) -> None:
    assert VECTORS[code] + ASSERTED[code] > 0, f"nothing shows when {code} is said"


@pytest.mark.parametrize("family", ["codec", "record", "identity", "decision", "shape"])
def test_whatever_is_about_bytes_has_a_vector(family: str) -> None:
    bytes_ = {code for code in RULES if code.startswith(f"{family}.")}
    assert bytes_ - VECTORS.keys() <= WITHOUT


WITHOUT = {
    "record.policy",  # 65,536 records, or a role
    "decision.exclusive",  # an audit's word about two sound votes
}
"""Codes of these families that no single file of bytes can bring about."""


def test_expectations_are_found_and_mentions_are_not() -> None:
    tree = ast.parse(
        'TABLE = ["a.table"]\n'
        "@mark('a.mark')\n"
        "def test():\n"
        '    said = "a.mention"\n'
        '    assert said == "an.assert"\n'
        '    with raises(Refused, match=r"a\\.pattern"):\n'
        '        told.refused("a.call")\n'
    )
    found = {code for *_, code in codes(tree)}
    assert found == {"a.table", "a.mark", "an.assert", "a.pattern", "a.call"}
