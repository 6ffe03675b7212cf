"""Write docs/attestation-checks.md: every numbered check on evidence, from code and tables.

``python -m tests.hooks.mutants_docs`` writes the page; a test compares it with what `render` says.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tests.hooks import mutants

PAGE = Path(__file__).parents[2] / "docs" / "attestation-checks.md"
HEAD = """\
# Checks on evidence

Made from the code by `make docs`. Each check is a function of its own. For each there is a fault
that it alone notices: the tests show that evidence with this one fault is refused with the code,
and that it would be accepted with the check taken out (`tests/hooks/mutants.py:without`). What is
the same for all technologies (binding, measurement, age, machines, advisories) is checked in
`protocol/attestation/appraise.py:appraise`.
"""


def render() -> str:
    """The page."""
    return HEAD + "".join(part for table in mutants.tables() for part in _sections(table))


def _sections(table: ModuleType) -> Iterator[str]:
    for module in table.MODULES:
        title = (module.__doc__ or "").partition(":")[0].partition("\n")[0].rstrip(".")
        yield f"\n## {title}\n\n| check | refused with | the rule | faults |\n|---|---|---|---|\n"
        checks = [check for check in table.CHECKS if check.module is module]
        for number in sorted({check.number for check in checks}, key=_order):
            yield _row([check for check in checks if check.number == number])


def _row(checks: list[mutants.Check]) -> str:
    module, name = checks[0].module, checks[0].name
    place = f"{module.__name__.replace('.', '/')}.py:{name}"
    codes = " ".join(sorted({f"`{check.code}`" for check in checks}))
    rule = " ".join((getattr(module, name).__doc__ or "").partition("\n\n")[0].split())
    faults = "; ".join(check.what for check in checks)
    return f"| {checks[0].number} `{place}` | {codes} | {rule} | {faults} |\n"


def _order(number: str) -> tuple[str, int]:
    letters = re.sub(r"\d", "", number)
    return letters, int(number.removeprefix(letters))


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
