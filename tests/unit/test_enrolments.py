"""Letters in bulk: made once, kept as digests, counted, cancelled; and the files of a mail room."""

import csv
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from node import codes
from node.cli import letters as bulk
from node.cli import main as entry
from node.cli import talk
from node.enrolments import Enrolments
from node.people_wire import code_digest
from node.store.journal import Journal
from protocol.errors import Refused
from tests.agreements import seed

NOW = 1_800_000_000
DAY = 86_400
LINK = codes.link(codes.make(bytes(16)), "/dns4/r.example/tcp/1/p2p/12D3KooW")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Enrolments]:
    (tmp_path / "node").mkdir(mode=0o700)
    journal = Journal.open(tmp_path / "node" / "journal.db")
    yield Enrolments(journal)
    journal.close()


def chance(count: int, salt: str = "") -> list[bytes]:
    return [seed(f"chance {salt} {n}")[:16] for n in range(count)]


def write(kept: Enrolments, *people: str, salt: str = "") -> list[str | None]:
    wanted = [(person, "patient") for person in people]
    return kept.write(wanted, NOW + 30 * DAY, chance(len(wanted), salt), NOW)


def use(kept: Enrolments, code: str | None, base: str) -> str:
    return kept.use(code_digest(code or ""), seed(base), NOW + 365 * DAY, NOW).person


def refused(code: str, act: object, *arguments: object) -> None:
    with pytest.raises(Refused) as caught:
        act(*arguments)  # type: ignore[operator]
    assert caught.value.code == code


# --- what the registrar keeps -----------------------------------------------------------------


def test_thousands_are_one_transaction_and_codes_stand_nowhere(kept: Enrolments) -> None:
    people = [f"row-{n}" for n in range(3000)]
    made = write(kept, *people)
    assert len(set(made)) == 3000
    stored = b"".join(kept.journal.states("registrar/").values())
    assert not any((code or "").replace("-", "").encode() in stored for code in made[:50])
    assert kept.counts(NOW)["waiting"] == 3000
    assert use(kept, made[7], "a") == "row-7"


def test_again_makes_no_letter_for_who_has_one(kept: Enrolments) -> None:
    (first,) = write(kept, "a")
    again = write(kept, "a", "b", "b", salt="2")
    assert [code is None for code in again] == [True, False, True]
    use(kept, first, "base")
    assert write(kept, "a", salt="3") == [None]
    assert use(kept, again[1], "base 2") == "b"


def test_what_becomes_of_letters_is_counted(kept: Enrolments) -> None:
    used, cancelled, waits = write(kept, "used", "cancelled", "waits")
    use(kept, used, "base")
    assert kept.cancel(frozenset({"cancelled", "used", "nobody"}), NOW) == 1
    refused("enrolment.code", use, kept, cancelled, "x")
    refused("enrolment.code", use, kept, used, "thief")
    refused("enrolment.code", use, kept, codes.make(bytes(16)), "guess")
    assert kept.counts(NOW) == {
        "created": 3, "waiting": 1, "used": 1, "expired": 0, "cancelled": 1, "refused": 2,
        "revoked": 0,
    }  # fmt: skip
    assert kept.counts(NOW + 31 * DAY)["expired"] == 1
    late = code_digest(waits or "")
    refused("enrolment.code", kept.use, late, seed("late"), NOW + 400 * DAY, NOW + 31 * DAY)


def test_cancelled_in_bulk_and_written_again(kept: Enrolments) -> None:
    old = write(kept, "a", "b")
    assert kept.cancel(None, NOW) == 2
    assert kept.cancel(None, NOW) == 0
    new = write(kept, "a", "b", salt="2")
    refused("enrolment.code", use, kept, old[0], "x")
    assert use(kept, new[0], "x") == "a"


def test_a_revoked_person_stays_out_and_is_told_where_it_was(kept: Enrolments) -> None:
    (code,) = write(kept, "a")
    use(kept, code, "base")
    kept.admit("a", seed("agreement"), seed("key"))
    second = kept.write_one("a", "patient", NOW + DAY, seed("c")[:16])
    assert kept.revoke("a", NOW) is not None
    refused("enrolment.code", use, kept, second, "new base")
    refused("credential.expired", kept.person, seed("base"), NOW)
    assert [one.agreement for one in kept.admitted("a")] == [seed("agreement")]
    assert kept.counts(NOW)["revoked"] == 1


def test_a_name_that_is_too_long_spoils_nothing(kept: Enrolments) -> None:
    refused("shape.mismatch", write, kept, "fine", "x" * 500)
    assert kept.letters() == []


def test_a_person_is_admitted_to_so_many_agreements(
    kept: Enrolments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.enrolments.AGREEMENTS", 2)
    for name in ("one", "two", "one"):
        kept.admit("a", seed(name), seed("key"))
    refused("door.busy", kept.admit, "a", seed("three"), seed("key"))
    kept.admit("b", seed("three"), seed("key"))


# --- the files --------------------------------------------------------------------------------


def answer(*people: str, known: int = 0) -> dict[str, object]:
    found = [{"person": p, "category": "patient", "code": "C", "link": LINK} for p in people]
    return {"letters": found, "known": known, "until": NOW}


@pytest.mark.parametrize("image", ["svg", "png"])
def test_files_are_secret_and_named_by_number(tmp_path: Path, image: str) -> None:
    out, qr = tmp_path / "letters.csv", tmp_path / "qr"
    with bulk.Letters(out, qr, image) as file:
        file.add(answer("../../evil", "row-2", known=3))
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["person"] for row in rows] == ["../../evil", "row-2"]
    assert [row["link"] for row in rows] == [LINK, LINK]
    files = sorted(qr.iterdir())
    assert [one.name for one in files] == [row["qr"] for row in rows]
    assert {stat.S_IMODE(one.stat().st_mode) for one in (out, *files)} == {0o600}
    assert file.said() == {"letters": 2, "known": 3, "out": str(out), "qr": str(qr)}


def test_a_qr_code_holds_the_link(tmp_path: Path) -> None:
    import segno

    matrix = segno.make(LINK, error="m", micro=False).matrix
    with bulk.Letters(tmp_path / "letters.csv", tmp_path / "qr", "png") as file:
        file.add(answer("a"))
    png = (tmp_path / "qr" / "letter-000001.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    # Width and height in the header: the modules of this very link, 4 pixels each, and the margin.
    assert int.from_bytes(png[16:20], "big") == (len(matrix) + 8) * 4


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "letters.csv"
    out.write_text("codes of last year")
    with pytest.raises(typer.Exit), bulk.Letters(out, None, "svg"):
        raise AssertionError
    assert out.read_text() == "codes of last year"
    (tmp_path / "qr").mkdir()
    with pytest.raises(typer.Exit), bulk.Letters(tmp_path / "new.csv", tmp_path / "qr", "svg"):
        raise AssertionError
    assert not (tmp_path / "new.csv").exists()


def test_people_come_from_a_file_or_are_numbered(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes("\ufeffperson,category\nrow-1,nurse\nrow-2,\n".encode())
    assert bulk.read(file, "patient") == [
        {"person": "row-1", "category": "nurse"},
        {"person": "row-2", "category": "patient"},
    ]
    numbered = bulk.numbered(2500, "p-", "patient")
    assert (numbered[0]["person"], numbered[-1]["person"]) == ("p-0001", "p-2500")
    assert [len(batch) for batch in bulk.batches(numbered)] == [1000, 1000, 500]


@pytest.mark.parametrize(
    "data", [b"", b"name\nx\n", b"person\na\na\n", b"person\n\n,\n", b"\xff\xfe", b'person\n"a\n']
)
def test_a_file_that_names_nobody_or_somebody_twice(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(data)
    with pytest.raises(typer.Exit):
        bulk.read(file, "patient")


def test_the_command_asks_in_batches_and_writes_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def call(method: str, /, **given: object) -> dict[str, object]:
        people = given["people"]
        assert method == "enrolment.letters"
        assert isinstance(people, list)
        asked.append(len(people))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answer(*(one["person"] for one in people))

    monkeypatch.setattr("node.cli.enrolment.call", call)
    out = tmp_path / "letters.csv"
    command = ["enrolment", "letters", "--count", "2500", "--out", str(out)]
    assert entry.main(command) == talk.INTERRUPTED
    assert asked == [1000, 1000, 500]
    # What was asked for before the break is in the file: no code is lost.
    assert len(out.read_text().splitlines()) == 2001
    assert entry.main(command) == talk.USAGE
    assert entry.main([*command[:-1], str(tmp_path / "x"), "--from", "y"]) == talk.USAGE
    assert "never overwritten" in capsys.readouterr().err
