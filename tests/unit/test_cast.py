"""The cast of the demo: who has which row, drawn the way that docs say."""

import hashlib
import re
from pathlib import Path

import pytest

from node.demo import cast

LUNG = Path(".cache/demo-data/lifelines/datasets/lung.csv")


@pytest.fixture(scope="module")
def text() -> str:
    if not LUNG.is_file():
        pytest.fail(f"{LUNG} is missing: run make setup")
    return LUNG.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lung(text: str) -> cast.Cast:
    return cast.split(text)


def test_everybody_has_a_part_and_only_one(lung: cast.Cast) -> None:
    everybody = [row.number for rows in lung.hospitals.values() for row in rows]
    everybody += [row.number for row in lung.patients.values()]
    assert sorted(everybody) == list(range(1, 229))
    assert {name: len(rows) for name, rows in lung.hospitals.items()} == {
        "A": 53, "B": 50, "C": 48, "D": 61,
    }  # fmt: skip


def test_patients_are_the_first_by_lot_of_those_who_live(lung: cast.Cast, text: str) -> None:
    lines = [line.split(",") for line in text.splitlines()[1:]]
    alive = [number for number, line in enumerate(lines, 1) if line[2] == "0"]
    assert len(alive) == 63
    lots = sorted((hashlib.sha256(f"village-demo-{n}".encode()).hexdigest(), n) for n in alive)
    found = [row.number for row in lung.patients.values()]
    assert found == [number for _, number in lots[:16]]
    assert found == [224, 228, 134, 3, 145, 216, 174, 197, 212, 213, 186, 83, 188, 157, 207, 204]
    assert list(lung.patients) == [f"{place:02}" for place in range(1, 17)]
    assert all(row.status == 0 for row in lung.patients.values())


def test_hospitals_are_their_institutions(lung: cast.Cast) -> None:
    found = {name: {row.inst for row in rows} for name, rows in lung.hospitals.items()}
    assert found == {
        "A": {1, 6, 26},
        "B": {12, 16, 7, 15},
        "C": {13, 22, 21},
        "D": {3, 11, 5, 32, 2, 4, 10, 33, None},
    }


def test_run_1_has_222_rows(lung: cast.Cast) -> None:
    absent = {cast.WITHDREW, *cast.LATECOMERS}
    rows = lung.rows(absent)
    assert len(rows) == 222
    gone = {row.number for row in lung.rows()} - {row.number for row in rows}
    assert gone == {174, 83, 188, 157, 207, 204}


def test_values_are_those_of_the_file(lung: cast.Cast) -> None:
    rows = {row.number: row for row in lung.rows()}
    assert rows[1] == cast.Row(1, 3, 306, 1, 74, 1, 1)
    assert [number for number, row in rows.items() if row.ph_ecog is None] == [14]
    assert [number for number, row in rows.items() if row.inst is None] == [156]
    assert rows[7].person == "row-007"


def test_csv_writes_nothing_for_what_is_not_known(lung: cast.Cast) -> None:
    rows = {row.number: row for row in lung.rows()}
    lines = cast.to_csv([rows[1], rows[14], rows[156]]).splitlines()
    assert lines[0] == "person,inst,time,status,age,sex,ph_ecog"
    assert lines[1] == "row-001,3,306,1,74,1,1"
    assert re.fullmatch(r"row-014,\d+,\d+,[01],\d+,[12],", lines[2])
    assert re.fullmatch(r"row-156,,\d+,[01],\d+,[12],[0-3]", lines[3])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text.replace("ph.ecog", "ecog"),
        lambda text: text.replace("3.0,306,1,74", "3.0,306,1,74.5"),
        lambda text: text.replace("3.0,306,1,74", "3.0,inf,1,74"),
        lambda text: text.replace("3.0,306,1,74", "3.0,,1,74"),
        lambda text: text + "1.0,306,1,74,1,1.0,90.0,100.0,1175.0,\n",
        lambda text: text.rpartition("\n")[0].rpartition("\n")[0],
        lambda text: text.replace("3.0,1010,0,56", "3.0,1010,1,56"),
        lambda text: text.replace("1.0,883,1,60", "99.0,883,1,60"),
    ],
)
def test_another_file_is_refused(text: str, spoil) -> None:
    spoilt = spoil(text)
    assert spoilt != text
    with pytest.raises(cast.NotTheStudy, match=r"lung\.csv has"):
        cast.split(spoilt)
