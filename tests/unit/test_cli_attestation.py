"""village audit affected and village host, in words, JSON and exit codes."""

import json
from dataclasses import replace

import pytest

from node.cli import audit, host, talk
from node.cli import main as entry
from protocol.kinds.advisory import Advisory
from tests.agreements import MEASURED
from tests.audit_rig import REGISTRAR, Story


@pytest.fixture(autouse=True)
def choices(monkeypatch):
    monkeypatch.setattr(talk.CHOICES, "json", False)
    monkeypatch.setattr(talk.CHOICES, "socket", None)


@pytest.fixture(scope="module")
def story():
    told = Story()
    told.terms = replace(told.terms, advisors=(REGISTRAR.did,))
    return told.begin()


def test_a_file_without_advisories(story, tmp_path, capsys):
    file = tmp_path / "lung.village"
    file.write_bytes(story.export())
    assert entry.main(["audit", "affected", str(file)]) == talk.DONE
    assert "0 affected: 1 runs, 0 advisories in force" in capsys.readouterr().out


def test_affected_runs_are_told_and_give_exit_code_3(story, tmp_path, capsys):
    file = tmp_path / "lung.village"
    advisory = Advisory(
        technology="simulated",
        registers=MEASURED.registers,
        reason="leaks\x1b[2J",
        reference="CVE-2026-1",
    )
    story.space.write(REGISTRAR, "advisory", advisory)
    file.write_bytes(story.export())
    assert entry.main(["audit", "affected", str(file)]) == talk.REFUSED
    said = capsys.readouterr().out
    assert "run 1  term 1 on host-1, record " in said
    assert "(CVE-2026-1)" in said
    assert "measured by  biostat-lab, hospital-a" in said
    assert "\x1b" not in said
    assert entry.main(["audit", "affected", str(file), "--json"]) == talk.REFUSED
    (one,) = json.loads(capsys.readouterr().out)["affected"]
    assert (one["run"], one["term"], one["ended"]) == (1, 1, True)


def test_what_is_no_audit_file_is_a_mistake_in_use(tmp_path, capsys):
    file = tmp_path / "lung.village"
    file.write_bytes(b"\xa0")
    assert entry.main(["audit", "affected", str(file)]) == talk.USAGE
    assert "audit.malformed" in capsys.readouterr().err


def test_faults_of_the_file_are_told():
    found = {"runs": 1, "advisories": 0, "faults": 2, "affected": []}
    assert list(audit.lines(found))[-1] == "the file has 2 faults: village audit verify"


VERDICT = {
    "candidate": "host-1",
    "by": "hospital-a",
    "eligible": False,
    "reasons": ["evidence.tcb"],
    "says": ["The machine's firmware or microcode is older than the policy allows."],
    "technology": "sev-snp",
    "evidence": "ab" * 32,
    "measured": {"measurement": "cd" * 48},
    "platform": "ef" * 64,
    "tcb": {"snp": 22},
}


def test_an_election_tells_reasons_and_claims():
    found = {
        "term": 1,
        "elected": None,
        "votes": [],
        "needed": 4,
        "lapsed": [],
        "verdicts": [VERDICT],
    }
    said = "\n".join(host.words(found))
    assert "evidence.tcb: The machine's firmware or microcode is older" in said
    assert f"claims measurement {'cd' * 8}, snp 22, machine {'ef' * 8}" in said
