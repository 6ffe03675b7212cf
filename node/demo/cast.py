"""Who has which row of the public lung cancer data in the demo. Pure: text in, values out.

The data: NCCTG lung cancer study, Loprinzi et al., J. Clin. Oncol. 12 (1994), as `lung` in R's
package survival, in the file lung.csv of the Python package lifelines. Rows count from 1. There,
status 0 is alive and 1 died (R has 1 and 2), sex 1 is a man and 2 a woman.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

SITES: Final[Mapping[str, tuple[int | None, ...]]] = {
    "A": (1, 6, 26),
    "B": (12, 16, 7, 15),
    "C": (13, 22, 21),
    "D": (3, 11, 5, 32, 2, 4, 10, 33, None),
}
"""Each hospital's institutions; None is the row that names none."""

HOSPITAL_SIZES: Final[Mapping[str, int]] = {"A": 53, "B": 50, "C": 48, "D": 61}
"""Rows that each hospital has, without those of the sixteen patients."""

PATIENT_ROWS: Final = (
    224, 228, 134, 3, 145, 216, 174, 197, 212, 213, 186, 83, 188, 157, 207, 204,
)  # fmt: skip
"""Rows of patients 01 to 16: what `split` must find, written down to be checked."""

WITHDREW: Final = "07"
"""The patient who withdraws before run 1, and consents again before run 2."""

LATECOMERS: Final = ("12", "13", "14", "15", "16")
"""The patients who think it over, and say yes before run 2."""

TOLD_OWN_RISK: Final = ("03", "07")
"""The patients who ask to be told their own risk."""

PUBLISHED: Final[Mapping[str, float]] = {"age": 0.011067, "sex": -0.552612, "ph_ecog": 0.463728}
"""What R prints for coxph(Surv(time, status) ~ age + sex + ph.ecog, lung), ties after Efron."""

COLUMNS: Final = ("person", "inst", "time", "status", "age", "sex", "ph_ecog")
"""The columns of data contract lung-v1."""


class NotTheStudy(ValueError):
    """The text is not the lung.csv that this demo is about."""


@dataclass(frozen=True, slots=True)
class Row:
    """One person of the study. Units: time in days, age in years; None where not known."""

    number: int
    inst: int | None
    time: int
    status: int
    age: int
    sex: int
    ph_ecog: int | None

    @property
    def person(self) -> str:
        """The person's id in every dataset of the demo, such as row-007."""
        return f"row-{self.number:03}"


@dataclass(frozen=True, slots=True)
class Cast:
    """Hospitals A to D with their rows, patients 01 to 16 with one row each, all disjoint."""

    hospitals: Mapping[str, tuple[Row, ...]]
    patients: Mapping[str, Row]

    def rows(self, absent: Iterable[str] = ()) -> list[Row]:
        """Return the rows of everybody but the patients `absent`, in the order of the file."""
        left_out = set(absent)
        own = [row for patient, row in self.patients.items() if patient not in left_out]
        theirs = [row for rows in self.hospitals.values() for row in rows]
        return sorted([*own, *theirs], key=lambda row: row.number)


def split(csv_text: str) -> Cast:
    """Return the cast of the demo from the text of lung.csv; raises NotTheStudy."""
    rows = list(_parse(csv_text))
    ours = {row.number: row for row in rows}
    drawn = _draw([row.number for row in rows if row.status == 0])
    patients = {f"{place:02}": ours[number] for place, number in enumerate(drawn, 1)}
    hospitals = {
        name: tuple(row for row in rows if row.inst in sites and row.number not in drawn)
        for name, sites in SITES.items()
    }
    sizes = {name: len(theirs) for name, theirs in hospitals.items()}
    if drawn != PATIENT_ROWS or sizes != HOSPITAL_SIZES:
        raise NotTheStudy(f"lung.csv has other rows: hospitals {sizes}, patients {drawn}")
    return Cast(hospitals, patients)


def to_csv(rows: Iterable[Row]) -> str:
    """Return rows as CSV in the columns of contract lung-v1, empty where a value is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    return text.getvalue()


def _draw(alive: Iterable[int]) -> tuple[int, ...]:
    """Draw sixteen rows by lot that anyone can repeat: the order of a hash of the row number."""
    lots = sorted(alive, key=lambda row: hashlib.sha256(b"village-demo-%d" % row).digest())
    return tuple(lots[: len(PATIENT_ROWS)])


def _parse(csv_text: str) -> Iterator[Row]:
    for number, values in enumerate(csv.DictReader(io.StringIO(csv_text)), 1):
        try:
            yield Row(
                number,
                _whole_or_none(values["inst"]),
                _whole(values["time"]),
                _whole(values["status"]),
                _whole(values["age"]),
                _whole(values["sex"]),
                _whole_or_none(values["ph.ecog"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise NotTheStudy(f"lung.csv has another form in row {number}") from error


def _whole(text: str) -> int:
    """Read a whole number, which the file may write as 3.0; raises ValueError."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def _whole_or_none(text: str) -> int | None:
    return None if text == "" else _whole(text)
