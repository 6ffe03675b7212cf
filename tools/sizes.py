"""Refuse files over 600 lines, functions over 60, and class names that say nothing.

``python tools/sizes.py FOLDER...`` prints each offender as ``path:line: why``, then exits with 1.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 600
FUNCTION_LINES = 60
EMPTY_NAMES = re.compile(r"(Manager|Helper|Helpers|Util|Utils|Handler|Info|Service)$")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def function_lines(node: Function) -> int:
    """Return how many lines a function takes, its docstring included, its decorators not."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def offences_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and reason for each function or class of one file that breaks a rule."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                lines = function_lines(node)
                if lines > FUNCTION_LINES:
                    yield node.lineno, f"{node.name} has {lines} lines, over {FUNCTION_LINES}"
            case ast.ClassDef() if EMPTY_NAMES.search(node.name):
                yield node.lineno, f"class {node.name}: name it after what it is or does"


def offences(path: Path) -> Iterator[str]:
    """Yield one printable line for each offence of a file; raises SyntaxError for no Python."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{path}:1: {lines} lines, over {FILE_LINES}"
    for line, why in offences_in(ast.parse(text, str(path))):
        yield f"{path}:{line}: {why}"


def main(folders: list[str]) -> int:
    """Check every Python file under the folders; return the exit code."""
    paths = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    if not paths:
        sys.stderr.write("sizes: no Python file there\n")
        return 2
    found = [line for path in paths for line in offences(path)]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
