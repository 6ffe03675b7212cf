"""Mutants of the verifiers: each numbered check removed must let at least one named fault through.

A verifier's checks are functions `check_…` of its module that add to Findings; callers reach them
by the module's own name, so to remove a check is to replace that name by a function that says yes.

To add yours: write tests/attestation_cases_NAME.py with

    MODULES = (tdx,)                # modules whose every check_… must have a row
    CHECKS = (
        Check("T1", tdx, "check_debug", "evidence.debug", "debug bit", lambda: found_by(...)),
    )

Each row is one numbered fault: `fault` makes evidence with this one fault, examines it and returns
the Findings. tests/unit/test_attestation_mutants.py finds the file by its name and asserts for each
row that the code is the only one, and that nothing is found once the check is removed; and for each
module that no check lacks a row. So make the fault the only one: sign after altering. Where that
cannot be, `together` names other checks to remove with it, or `alone=False` says that other codes
may be there too.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from protocol.attestation.findings import Findings


@dataclass(frozen=True)
class Check:
    """One numbered check, the code that it refuses by, and a fault that only it notices."""

    number: str
    module: ModuleType
    name: str
    code: str
    what: str
    fault: Callable[[], Findings]
    together: tuple[tuple[ModuleType, str], ...] = ()
    alone: bool = True

    def __str__(self) -> str:
        return f"{self.number} {self.name}: {self.what}"


@contextmanager
def removed(*checks: tuple[ModuleType, str]) -> Iterator[None]:
    """These checks say yes to everything, and add nothing."""
    with ExitStack() as stack:
        for module, name in checks:
            stack.enter_context(patch.object(module, name, _yes))
        yield


def without(check: Check) -> Findings:
    """What is found in the check's own fault once the check is removed."""
    with removed((check.module, check.name), *check.together):
        return check.fault()


def names(module: ModuleType) -> set[str]:
    """All checks that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if name.startswith("check_") and getattr(value, "__module__", "") == module.__name__
    }


def tables() -> list[ModuleType]:
    """The modules with tables of checks: tests/attestation_cases*.py."""
    folder = Path(__file__).parents[1]
    stems = sorted(path.stem for path in folder.glob("attestation_cases*.py"))
    return [importlib.import_module(f"tests.{stem}") for stem in stems]


def _yes(*_: Any, **__: Any) -> bool:
    return True
