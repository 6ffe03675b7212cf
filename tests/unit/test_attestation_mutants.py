"""Each numbered check of the verifiers refuses its fault; with the check removed, it is missed."""

import pytest

from tests.hooks import mutants

TABLES = mutants.tables()
CHECKS = [check for table in TABLES for check in table.CHECKS]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_fault_is_refused_by_its_check_alone(check: mutants.Check) -> None:
    found, missed = check.fault().codes, mutants.without(check).codes
    assert check.code in found
    assert check.code not in missed
    assert not check.alone or (list(found), list(missed)) == ([check.code], [])


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_no_check_lacks_a_row(table) -> None:
    for module in table.MODULES:
        rows = {check.name for check in table.CHECKS if check.module is module}
        assert mutants.names(module) == rows, module.__name__


def test_a_number_is_one_check() -> None:
    pairs = {(check.number, check.name, check.module) for check in CHECKS}
    assert len({number for number, _, _ in pairs}) == len(pairs)
    assert len(CHECKS) == len(set(map(str, CHECKS)))
