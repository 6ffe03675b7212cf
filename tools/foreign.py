"""Refuse what import contracts cannot say: which packages of others each of ours may import.

``python tools/foreign.py`` prints each offender as ``path:line: why`` and then exits with 1.
A dependency that is not in the table is a decision to take, not an import to add.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ALLOWED = {
    "protocol": {"cbor2", "cryptography", "nacl"},
    "enclave_host": {"cbor2", "cryptography", "jsonschema_rs", "nacl", "pyseccomp", "trio", "yaml"},
}
# Evidence alone is read with the verifier of its vendor's format; tables only inside the sandbox.
EXCEPTIONS = {
    "protocol/attestation": {"dcap_qvl"},
    "protocol/schedule.py": {"cronsim"},
    "enclave_host/runners": {"pyarrow"},
}
OURS = {"protocol", "node", "enclave_host"}
# A pure module opens and prints nothing; its nonces and keys are arguments.
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "breakpoint"}
IMPURE_MODULES = {"nacl.utils"}
IMPURE_ALLOWED = {Path("protocol/audit/__main__.py")}


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each absolute import in a file, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def allowed_in(path: Path) -> set[str]:
    """Return the top-level packages of others that a file may import."""
    extra = (names for folder, names in EXCEPTIONS.items() if path.is_relative_to(folder))
    return ALLOWED[path.parts[0]].union(OURS, sys.stdlib_module_names, *extra)


def impure(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and reason for each call or import by which a pure file would act."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield node.lineno, f"protocol does not call {name}()"
    for line, name in imported(tree):
        if name in IMPURE_MODULES:
            yield line, f"protocol does not import {name}: chance is an argument"


def offences(path: Path) -> Iterator[str]:
    """Yield one printable line for each offence of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    known = allowed_in(path)
    foreign = {(line, name.partition(".")[0]) for line, name in imported(tree)}
    for line, name in sorted(foreign):
        if name not in known:
            yield f"{path}:{line}: {path.parts[0]} may not import {name}"
    if path.parts[0] == "protocol" and path not in IMPURE_ALLOWED:
        yield from (f"{path}:{line}: {why}" for line, why in sorted(set(impure(tree))))


def main() -> int:
    """Check the packages of the table, from the root of the checkout; return the exit code."""
    paths = sorted(path for folder in ALLOWED for path in Path(folder).rglob("*.py"))
    found = [line for path in paths for line in offences(path)]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
