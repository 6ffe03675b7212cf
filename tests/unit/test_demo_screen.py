"""How the demo's lines are shown and kept, and how its processes end."""

import io
import json
import socket
import sys
from pathlib import Path

import pytest

from node.demo import screen
from node.demo.play import SCENES, scene_named
from node.demo.processes import ProcessFailed, Troupe, listens, wait_until
from node.demo.record import Chronicle, Line

LINE = Line(at=1.5, scene="founding", kind="line", text="5 signed", record="ab" * 32)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_rewrites_what_goes_on_now():
    out = Terminal()
    shown = screen.choose(as_json=False, out=out)
    shown.progress("working")
    shown.show(LINE)
    before, _, after = out.getvalue().rpartition("\r\x1b[2K")
    assert "working" in before
    assert after.strip() == "5 signed"


@pytest.mark.parametrize("color", [None, "1"])
def test_a_pipe_or_no_color_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, color: str | None):
    out = io.StringIO() if color is None else Terminal()
    if color is not None:
        monkeypatch.setenv("NO_COLOR", color)
    shown = screen.choose(as_json=False, out=out)
    shown.progress("working")
    shown.show(LINE)
    assert out.getvalue() == "5 signed\n"


def test_json_is_one_object_a_line():
    out = Terminal()
    shown = screen.choose(as_json=True, out=out)
    shown.progress("working")
    shown.show(LINE)
    assert json.loads(out.getvalue())["record"] == "ab" * 32


def test_each_line_is_kept_with_its_record(tmp_path: Path):
    shown: list[Line] = []
    tale = Chronicle(tmp_path, shown.append)
    tale.scene = "founding"
    tale.say("5 signed", "cd" * 32)
    with tale.timed("founding"):
        pass
    tale.close()
    kept = json.loads((tmp_path / "events.jsonl").read_text())
    assert (kept["scene"], kept["record"], kept["text"]) == ("founding", "cd" * 32, shown[0].text)
    assert {"founding", "whole"} <= json.loads((tmp_path / "timings.json").read_text()).keys()


@pytest.mark.parametrize("text", ["1", "founding"])
def test_a_scene_has_a_name_and_a_number(text: str):
    assert scene_named(text) == "founding"


@pytest.mark.parametrize("text", ["", "99", "finale", "-1"])
def test_an_unknown_scene_is_none(text: str):
    assert scene_named(text) is None


def test_the_last_scene_is_number_ten():
    assert list(SCENES)[10] == "proof"


def test_processes_end_with_the_block(tmp_path: Path):
    with Troupe(tmp_path, {}) as troupe:
        sleeper = troupe.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
        killed = troupe.start("killed", [sys.executable, "-c", deaf])
        assert troupe.count() == 2
        troupe.kill("killed")
        assert (killed.alive, sleeper.alive) == (False, True)
    assert not sleeper.alive


def test_a_process_that_ended_is_named_with_its_log(tmp_path: Path):
    with Troupe(tmp_path, {}) as troupe:
        process = troupe.start("broken", [sys.executable, "-c", "raise SystemExit(3)"])
        with pytest.raises(ProcessFailed, match=r"broken ended with 3: .*broken\.log"):
            wait_until(lambda: False, process)


def test_the_socket_of_a_dead_process_does_not_listen(tmp_path: Path):
    path = tmp_path / "s"
    assert not listens(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert not listens(path)
        server.listen()
        assert listens(path)
    assert path.exists()
    assert not listens(path)
