"""Letters in bulk: who gets one, and the files that a mail room prints from. All are secret."""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from node.cli.talk import read as read_bytes
from node.cli.talk import usage

BATCH: Final = 1000
"""Letters that are asked for at once; each batch is in the file before the next is asked for."""

MANY: Final = 1_000_000
"""People of one command."""

SECRET: Final = 0o600
"""Who reads a code can use it."""

COLUMNS: Final = ("person", "category", "code", "link", "until", "qr")

Wanted = dict[str, str]


def numbered(count: int, prefix: str, category: str) -> list[Wanted]:
    """So many people, numbered from 1 in digits of one width."""
    if not 1 <= count <= MANY:
        usage(f"--count is from 1 to {MANY}.")
    width = max(4, len(str(count)))
    return [
        {"person": f"{prefix}{number:0{width}}", "category": category}
        for number in range(1, count + 1)
    ]


def read(file: Path, category: str) -> list[Wanted]:
    """The people of a CSV file: columns person and, if it has one, category."""
    try:
        rows = list(csv.DictReader(read_bytes(file).decode("utf-8-sig").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        usage(f"{file} is no CSV file in UTF-8: {error}.")
    found: dict[str, Wanted] = {}
    for line, row in enumerate(rows, 2):
        person = (row.get("person") or "").strip()
        if not person or person in found:
            usage(f"{file}, line {line}: {'the same person twice' if person else 'no person'}.")
        found[person] = {"person": person, "category": (row.get("category") or category).strip()}
    if not found or len(found) > MANY:
        usage(f"{file} names {len(found)} people in a column person.")
    return list(found.values())


def batches(people: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    """The people, so many at a time."""
    for start in range(0, len(people), BATCH):
        yield people[start : start + BATCH]


class Letters:
    """The CSV file and the folder of QR codes; neither overwrites anything. Use it with `with`."""

    def __init__(self, out: Path, qr: Path | None, image: str) -> None:
        self.out = out
        self.qr = qr
        self.image = image
        self.written = 0
        self.known = 0

    def __enter__(self) -> Self:
        try:
            if self.qr is not None:
                self.qr.mkdir(mode=0o700, parents=True)
            self._file = os.fdopen(_create(self.out), "w", encoding="utf-8", newline="")
        except FileExistsError as error:
            usage(f"{error.filename} is there already: letters are never overwritten.")
        except OSError as error:
            usage(f"Cannot write {error.filename}: {error.strerror}.")
        self._csv = csv.DictWriter(self._file, COLUMNS, restval="", lineterminator="\n")
        self._csv.writeheader()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._file.close()

    def add(self, found: dict[str, Any]) -> None:
        """Keep one batch, on the disk before the next is asked for."""
        self.known += found["known"]
        for letter in found["letters"]:
            self.written += 1
            name = self._picture(letter.get("link"))
            self._csv.writerow({**letter, "until": found["until"], "qr": name})
        self._file.flush()
        os.fsync(self._file.fileno())

    def said(self) -> dict[str, Any]:
        """What was done, for the operator."""
        folder = str(self.qr) if self.qr is not None else None
        return {"letters": self.written, "known": self.known, "out": str(self.out), "qr": folder}

    def _picture(self, link: str | None) -> str:
        """The QR code of the newest letter; its file name, by number: names of people are not
        trusted in paths.
        """
        if self.qr is None or link is None:
            return ""
        import segno

        name = f"letter-{self.written:06}.{self.image}"
        with os.fdopen(_create(self.qr / name), "wb") as file:
            segno.make(link, error="m", micro=False).save(file, kind=self.image, scale=4)
        return name


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET)
