"""Write docs/limits.md: every bound of Village with its reason, from the code itself.

``python tools/limits_docs.py`` writes the page; a test compares it with what `render` says.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "limits.md"
PROTOCOL = Path("protocol/limits.py")
PEERS = Path("node/net/libp2p/limits.py")
PACKAGES = ("protocol", "node", "enclave_host")
HEAD = """\
# Limits

Everything that comes from outside is bounded. Sizes are bytes, times seconds, unless the sentence
says otherwise. A bound cannot be configured unless `docs/configuration.md` names a key for it:
those of the protocol must be the same everywhere.

This page is written by `python tools/limits_docs.py` from the code.
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound: its name, its value as the code writes it, and the sentence below it."""

    name: str
    value: str
    sentence: str


def limits(body: list[ast.stmt]) -> Iterator[Limit]:
    """The numeric constants of a file or class that are followed by a sentence."""
    for statement, after in pairwise(body):
        match statement, after:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value),
                ast.Expr(ast.Constant(str(sentence))),
            ) if _is_number(value):
                yield Limit(name, ast.unparse(value), " ".join(sentence.split()))
            case _:
                continue


def _is_number(value: ast.expr) -> bool:
    """Whether an expression is a number, or computed from numbers and other bounds."""
    match value:
        case ast.Constant(number):
            return type(number) in (int, float)
        case ast.BinOp(left, _, right):
            return _is_number(left) and _is_number(right)
        case ast.Attribute(ast.Name(id="limits"), _):
            return True
        case _:
            return False


def of_protocol() -> list[Limit]:
    """The bounds that every node must keep alike."""
    return list(limits(_body(PROTOCOL)))


def of_peers() -> list[Limit]:
    """What a peer may take from a node."""
    classes = (node for node in _body(PEERS) if isinstance(node, ast.ClassDef))
    return [limit for one in classes for limit in limits(one.body)]


def of_others() -> dict[str, list[Limit]]:
    """File -> its own bounds."""
    found: dict[str, list[Limit]] = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            path = file.relative_to(ROOT)
            own = [] if path in (PROTOCOL, PEERS) else list(limits(_body(path)))
            if own:
                found[path.as_posix()] = own
    return found


def _body(path: Path) -> list[ast.stmt]:
    return ast.parse((ROOT / path).read_text(encoding="utf-8")).body


def render() -> str:
    """The whole page."""
    parts = [
        HEAD,
        _table("Protocol", "limit", of_protocol()),
        _table("Connections", "limit", of_peers()),
        "## Parts of the node and of the enclave\n",
    ]
    parts += [_table(f"`{path}`", "bound", rows, "###") for path, rows in of_others().items()]
    return "\n".join(parts)


def _table(title: str, word: str, rows: list[Limit], level: str = "##") -> str:
    lines = [f"{level} {title}", "", f"| {word} | value | why |", "|---|---|---|"]
    for row in rows:
        cells = (f"`{row.name}`", f"`{row.value}`", row.sentence)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
