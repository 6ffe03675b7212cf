"""The command line: exit codes, harmless output, parameters; never a traceback."""

import json
from pathlib import Path

import pytest
import typer

from node.admin.client import AdminError
from node.cli import main as entry
from node.cli import show, talk
from node.cli.share import progress_line


@pytest.fixture(autouse=True)
def choices(monkeypatch):
    monkeypatch.setattr(talk.CHOICES, "json", False)
    monkeypatch.setattr(talk.CHOICES, "socket", None)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("run.budget", 422, 3),
        ("config.refused", 422, 2),
        ("admin.parameters", 400, 2),
        ("admin.permission", 403, 4),
        ("id.ambiguous", 409, 5),
        ("id.unknown", 404, 5),
        ("admin.waits", 504, 6),
        ("admin.no-daemon", 0, 7),
        ("store.disk", 500, 1),
        ("admin.bug", 500, 1),
    ],
)
def test_the_table_of_exit_codes(code, status, expected):
    assert talk.exit_code(code, status) == expected


def test_a_no_is_printed_with_rule_author_and_fix_and_cannot_move_the_cursor(capsys):
    answer = {
        "code": "gate.min-contributors",
        "message": "9 of 10\x1b[2J",
        "rule": "Too few.",
        "set_by": "hospital-b",
        "fix": "Wait.",
    }
    with pytest.raises(typer.Exit) as left:
        talk.fail(AdminError(answer, 422))
    assert left.value.exit_code == talk.REFUSED
    printed = capsys.readouterr().err
    assert "set by: hospital-b" in printed
    assert "fix: Wait." in printed
    assert "\x1b" not in printed


def test_no_daemon_is_exit_code_7_and_says_what_to_do(tmp_path, capsys):
    assert entry.main(["status", "--socket", str(tmp_path / "none")]) == talk.NO_DAEMON
    assert "village node run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["space", "nonsense"],
        ["space", "vote"],
        ["space", "vote", "abcd", "--loud"],
        ["agreement", "accept", "--yes"],
        ["space", "new", "x", "--purpose", "y", "--founder", "card-without-role"],
        ["contract", "publish", "/does/not/exist"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    assert entry.main(arguments) == talk.USAGE
    assert capsys.readouterr().err


def test_a_fault_of_ours_is_one_line(monkeypatch, capsys):
    def broken(_method):
        raise RuntimeError("boom")

    monkeypatch.setattr("node.cli.status.call", broken)
    assert entry.main(["status"]) == talk.FAILED
    assert capsys.readouterr().err == "village: RuntimeError: boom\n"


def test_an_interrupt_is_exit_code_130(monkeypatch):
    def interrupted(_method):
        raise KeyboardInterrupt

    monkeypatch.setattr("node.cli.status.call", interrupted)
    assert entry.main(["status"]) == talk.INTERRUPTED


def test_what_peers_wrote_is_harmless_and_ids_are_short(capsys):
    row = {
        "name": "evil\x1b[31m\u202e",
        "digest": "ab" * 32,
        "at": 0,
        "signed": ["a", "b"],
        "n": None,
    }
    show.tell([row])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "ab" * 6 in printed
    assert "ab" * 7 not in printed
    assert "a, b" in printed


def test_json_is_what_the_daemon_said(capsys, monkeypatch):
    monkeypatch.setattr(talk.CHOICES, "json", True)
    value = {"name": "é\x1b", "rows": [1, None]}
    show.tell(value)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == value


def test_run_parameters_are_json_or_text():
    given = ['covariates=["age","sex"]', "k=3", "name=plain"]
    assert talk.parameters(given, '{"k": 1, "x": true}') == {
        "covariates": ["age", "sex"],
        "k": 3,
        "name": "plain",
        "x": True,
    }
    for pairs, text in ((["alone"], None), ([], "[1]"), ([], "{")):
        with pytest.raises(typer.Exit):
            talk.parameters(pairs, text)


def test_the_socket_is_found_in_this_order(monkeypatch, tmp_path):
    monkeypatch.delenv("VILLAGE_SOCKET", raising=False)
    monkeypatch.setattr(talk, "SYSTEM_SOCKET", tmp_path / "system.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert talk.socket_path() == tmp_path / "village" / "admin.sock"
    (tmp_path / "system.sock").touch()
    assert talk.socket_path() == tmp_path / "system.sock"
    monkeypatch.setenv("VILLAGE_SOCKET", "/named.sock")
    assert talk.socket_path() == Path("/named.sock")
    monkeypatch.setattr(talk.CHOICES, "socket", Path("/chosen.sock"))
    assert talk.socket_path() == Path("/chosen.sock")


def test_scripts_must_say_yes(monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(typer.Exit) as left:
        talk.confirm("Sign?", yes=False)
    assert left.value.exit_code == talk.USAGE
    talk.confirm("Sign?", yes=True)


def test_rows_that_do_not_fit_side_by_side_are_blocks(capsys, monkeypatch):
    monkeypatch.setattr(show, "_columns", lambda: 40)
    show.tell([{"name": "a", "words": "w" * 50}, {"name": "b", "words": "short"}])
    assert capsys.readouterr().out.splitlines() == [
        "name   a",
        f"words  {'w' * 50}",
        "",
        "name   b",
        "words  short",
    ]


def test_deeper_fields_are_set_in(capsys):
    show.tell({"kind": "run", "body": {"rows": 5, "gate": [{"rule": "x", "passed": True}]}})
    assert capsys.readouterr().out.splitlines() == [
        "kind  run",
        "",
        "body",
        "  rows  5",
        "",
        "  gate",
        "    rule  passed",
        "    x     yes",
    ]


def test_a_refusal_is_explained_in_words(capsys, monkeypatch):
    answer = {"is": "refusal", "id": "ab" * 32, "refusal": "ab" * 32, "code": "term.fenced"}
    answer |= {"rule": "The term has ended.", "set_by": "protocol", "fix": "None.", "at": 0}
    answer |= {"subject": "", "party": "host-1", "detail": "term 1 ended"}
    monkeypatch.setattr("node.cli.explain.call", lambda *_, **__: answer)
    assert entry.main(["explain", "abab"]) == 0
    printed = capsys.readouterr().out
    for said in ("term 1 ended", "host-1", "The term has ended.", "set by  the protocol", "None."):
        assert said in printed


def test_the_wrong_socket_is_a_wrong_use_that_says_so(capsys):
    with pytest.raises(typer.Exit) as left:
        talk.fail(AdminError({"code": "admin.method", "message": "There is no act."}, 404))
    assert left.value.exit_code == talk.USAGE
    assert "is this the right one?" in capsys.readouterr().err


# --- progress ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "  vitals-v1: 256 MiB of about 1,024 MiB, 128 MiB/s, 6 s left \u00b7 lane"),
        ({"left": None, "rate": 0, "total": None}, "  vitals-v1: 256 MiB, 0.0 MiB/s \u00b7 lane"),
        (
            {"left": 95},
            "  vitals-v1: 256 MiB of about 1,024 MiB, 128 MiB/s, 1 min 35 s left \u00b7 lane",
        ),
        (
            {"way": "inside", "why": "no port"},
            "  vitals-v1: 256 MiB of about 1,024 MiB, 128 MiB/s, 6 s left \u00b7 inside: no port",
        ),
    ],
    ids=["lane", "begun", "minutes", "fallback"],
)
def test_a_push_says_how_far_it_is(changes, line):
    details = {"dataset": "vitals-v1", "sent": 2**28, "total": 2**30, "rate": 2**27, "left": 6}
    assert progress_line({**details, "way": "lane", "why": None, **changes}) == line


def test_a_push_says_what_it_waits_for():
    details = {"dataset": "vitals-v1", "why": "host.unreachable: nobody answers", "seconds": 2}
    assert progress_line(details) == "  vitals-v1: waits: host.unreachable: nobody answers"


def test_status_says_of_each_push_where_it_stands(monkeypatch, capsys):
    one = {"dataset": "vitals-v1", "agreement": "lungs", "share": None, "sent": 2**28}
    one |= {"total": None, "rate": 0, "left": None, "way": "lane", "why": None}
    stuck = one | {"way": None, "state": "stopped", "waits": "source.value: row 3, column 'age'"}
    pushes = [one | {"state": "checking", "waits": None}, stuck]
    monkeypatch.setattr("node.cli.share.call", lambda *_, **__: pushes)
    assert entry.main(["share", "status"]) == 0
    printed = capsys.readouterr().out
    for said in ("vitals-v1 for lungs: sent; the enclave checks it", "256 MiB", "row 3", "stopped"):
        assert said in printed
    pushes.clear()
    assert entry.main(["share", "status"]) == 0
    assert capsys.readouterr().out == "No push is under way.\n"
