"""`village algorithm try`: the same sandbox and gate as in an enclave, on an author's own rows."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from node import algorithm_check, trial
from node.demo.stage import ENVIRONMENTS
from node.documents import template
from node.trial import TrialFault, Wanted, run
from tests.e2e.guides import ROOT

ENVIRONMENT = ROOT / ".cache" / "environments" / "scientific"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment"),
]


def attempt(folder, *words, by="sex", check=True):
    """Exit code, and the answer: what was tried, or the error."""
    command = [sys.executable, "-m", "node.cli", "algorithm", "try", folder, "--json"]
    command += ["--environment", ENVIRONMENT, "-p", f"by={by}", *words]
    if "--table" not in words:
        command += ["--table", f"stays-v1={folder}/sample/stays-v1.csv"]
    done = subprocess.run(  # noqa: S603 (our own command line)
        command,
        cwd=ROOT,
        env={**os.environ, "VILLAGE_SOCKET": str(folder / "none.sock")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stdout or done.stderr
    return done.returncode, json.loads(said) if said.startswith("{") else said


@pytest.fixture(params=["python", "sql"])
def folder(request, tmp_path):
    template.write(request.param, "mine", tmp_path / "mine")
    return tmp_path / "mine"


def test_a_template_works_at_once(folder, tmp_path):
    code, tried = attempt(folder, "--out", str(tmp_path / "out"))
    assert (code, tried["status"], tried["people"], tried["rows"]) == (
        0,
        "ok",
        40,
        {"stays-v1": 60},
    )
    assert tried["simulated"].startswith("SIMULATED, NO ENCLAVE")
    assert tried["gate"]["passed"]
    assert all(check["passed"] for check in tried["gate"]["checks"])
    assert [row["group"] for row in tried["released"]["table"]] == ["men", "women"]
    assert [row["people"] for row in tried["returned"]["table"]] == [20, 20]
    released = json.loads((tmp_path / "out" / "table.json").read_text())
    assert released == tried["released"]["table"]


@pytest.fixture
def python(tmp_path):
    template.write("python", "mine", tmp_path / "mine")
    return tmp_path / "mine"


def rewrite(folder, *lines):
    text = "\n    ".join(["def summary(tables, parameters):", *lines])
    (folder / "stays.py").write_text(f"{text}\n")


def test_the_gate_says_what_it_would_hold_back(python):
    code, tried = attempt(python, "--min-contributors", "14", by="age")
    assert code == 0
    assert len(tried["returned"]["table"]) == 3
    assert (
        len(tried["released"]["table"]) < 3
    )  # small cells go, and more so that none is given back


def test_too_few_people_are_told_and_still_it_runs(python):
    rewrite(python, "return {'table': [{'group': 'men', 'name': 'x'}]}")
    code, tried = attempt(python, "--min-contributors", "41")
    assert (code, tried["status"], tried["released"]) == (3, "ok", {})
    assert tried["gate"]["code"] == "gate.min-contributors"
    assert tried["returned"]["table"] == [{"group": "men", "name": "x"}]
    failed = [one["rule"] for one in tried["gate"]["checks"] if not one["passed"]]
    assert failed == ["min_contributors", "output_model"]


def test_an_author_sees_the_whole_trace(python):
    rewrite(
        python,
        "import socket",
        "print('seen', tables['stays-v1'].column_names)",
        "try:",
        "    socket.socket()",
        "except OSError as error:",
        "    raise KeyError('oh') from error",
    )
    code, tried = attempt(python)
    assert (code, tried["status"], tried["gate"]["passed"]) == (1, "failed", False)
    assert "seen ['sex', 'age', 'nights', '_person']" in tried["log"]  # never who it is
    assert "Address family not supported" in tried["log"]
    assert "raise KeyError('oh') from error" in tried["log"]  # the line, though no file is there


def test_a_state_goes_from_one_run_to_the_next(python, tmp_path):
    manifest = python / "manifest.yaml"
    text = manifest.read_text().replace("outputs: [table]", "outputs: [table, seen]")
    manifest.write_text(text.replace("    parameters:", "    states: [seen]\n    parameters:"))
    (python / "stays.py").write_text(
        "def summary(tables, parameters, states):\n"
        "    seen = int(states.get('seen', b'0')) + tables['stays-v1'].num_rows\n"
        "    row = {'group': 'men', 'people': 40, 'stays': seen, 'mean_nights': 1}\n"
        "    return {'table': [row], 'seen': str(seen).encode()}\n"
    )
    code, tried = attempt(python, "--out", str(tmp_path / "out"))
    assert (code, tried["released"]["table"][0]["stays"]) == (0, 60)
    assert (tmp_path / "out" / "seen.state").read_bytes() == b"60"
    code, tried = attempt(python, "--state", f"seen={tmp_path}/out/seen.state")
    assert (code, tried["released"]["table"][0]["stays"]) == (0, 120)


def test_rows_that_break_the_contract(python):
    rows = python / "sample" / "stays-v1.csv"
    rows.write_text(rows.read_text().replace("p-00,1,", "p-00,3,", 1))
    code, error = attempt(python)
    assert code == 1
    assert "sex.maximum" in error["message"]


def test_an_authors_rows_have_no_path(python, tmp_path, monkeypatch):
    """So nothing of them stays, whenever it is killed."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    passed = {}

    def start(_wanted, _entry, words, files):
        for kind, pair in zip(words[::2], words[1::2], strict=True):
            passed[kind] = pair.partition("=")[2]
        passed["rows"] = Path(passed["--table"]).read_bytes()
        passed["open"] = len(files)
        return {}

    monkeypatch.setattr(trial, "_start", start)
    assert run(wanted(python)) == {}
    assert passed["rows"].count(b"nights") == 1
    assert passed["--contract"].startswith("/proc/self/fd/")
    assert passed["open"] == 2
    assert not Path(passed["--table"]).exists()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_wrong_words(python):
    code, error = attempt(python, by="height")
    assert (code, "by" in error["message"]) == (1, True)
    for changes, told in (
        ({"entry": "none"}, "Which entry point"),
        ({"tables": {}}, "no rows of stays-v1"),
        ({"tables": {"stays-v1": python, "none": python}}, "reads no 'none'"),
    ):
        with pytest.raises(TrialFault, match=told):
            run(wanted(python, **changes))


def wanted(folder, **changes):
    """The template's sample, by a new author."""
    names = {"scientific": bytes(32)}
    found = Wanted(
        checked=algorithm_check.check(folder, algorithm_check.Known(names, ENVIRONMENT)),
        environment=ENVIRONMENT,
        tables={"stays-v1": folder / "sample" / "stays-v1.csv"},
        contracts={},
        persons={},
        states={},
        entry=None,
        parameters={"by": "sex"},
        min_contributors=10,
        precision=6,
        out=None,
    )
    return replace(found, **changes)
