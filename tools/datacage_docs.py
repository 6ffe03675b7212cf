"""Write docs/datacage-syscalls.md: what an algorithm may ask of the kernel, from the filter itself.

``python tools/datacage_docs.py`` writes the page; a test compares it with what `render` says.
"""

import errno
import sys
from pathlib import Path

from enclave_host.cage.seccomp import ANY_BIT, RULES, Rule, When

PAGE = Path(__file__).parents[1] / "docs" / "datacage-syscalls.md"
HEAD = """\
# System calls in the datacage

The last wall around an algorithm: a seccomp filter that the shim installs right before the
algorithm, and that nothing can take off again. It is an allow-list, and the same in each tier. What
stands in no row below fails with `EPERM`, also the calls of future kernels; a call by the numbers
of another machine (32-bit, x32) ends the process. What ends the process ends the run with status
`policy`.

This page is written by `python tools/datacage_docs.py` from `enclave_host/cage/seccomp.py`; the
other walls are in [threat-model.md](threat-model.md).
"""
ALLOWED = "## Allowed\n\n| why | calls |\n|---|---|"
FAILING = "## Always fail\n\n| why | calls | with |\n|---|---|---|"
ENDING = "## End the process\n\n| what for | calls |\n|---|---|"


def render() -> str:
    """The whole page."""
    allowed = [_row(one.why, _calls(one)) for one in RULES if one.answer == "allow"]
    failing = [
        _row(one.why, _calls(one), f"`{errno.errorcode[one.answer]}`")
        for one in RULES
        if isinstance(one.answer, int)
    ]
    ending = [_row(one.why, _calls(one)) for one in RULES if one.answer == "kill"]
    parts = [HEAD, ALLOWED, *allowed, "", FAILING, *failing, "", ENDING, *ending, ""]
    return "\n".join(parts)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _calls(rule: Rule) -> str:
    names = ", ".join(f"`{name}`" for name in rule.calls.split())
    conditions = " and ".join(_condition(when) for when in rule.when)
    return f"{names}, if {conditions}" if conditions else names


def _condition(when: When) -> str:
    argument = f"argument {when.position}"
    if when.mask != ANY_BIT:
        argument += f" under mask {when.mask:#x}"
    values = [hex(value) if value > 0xFFF else str(value) for value in when.values]
    return f"{argument} is {' or '.join(values)}"


def main() -> int:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
