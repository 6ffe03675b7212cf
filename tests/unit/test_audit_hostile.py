"""Hostile files: `examine` never raises, and says clean of nothing that was changed."""

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import codec, shape
from protocol.audit import receipt
from protocol.audit.__main__ import main
from protocol.audit.examine import examine
from tests.audit_rig import NOW, Story
from tests.strategies import plain

STORY = Story().begin()
FILE = STORY.export()
RECEIPT = receipt.build(
    shape.encode(STORY.document), [(STORY.certificate(1), STORY.leaves[1])], STORY.patient.consents
)
RECORD = STORY.agreement.records[-1].raw
FILES = (FILE, RECEIPT, RECORD)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert not examine(data, NOW).clean


@given(st.fixed_dictionaries({"type": st.sampled_from(["audit", "receipt"])}), plain)
def test_any_value_of_a_known_type(value: dict[str, object], more: object) -> None:
    fields = ("topics", "evidence", "leaves", "manifest", "agreement", "runs", "consents", "stops")
    assert not examine(codec.encode({**value, **dict.fromkeys(fields, more)}), NOW).clean


@settings(max_examples=60)
@given(st.sampled_from(FILES), st.data())
def test_any_change_of_a_good_file(good: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 64)))
    changed = good[:start] + data.draw(st.binary(max_size=64)) + good[end:]
    assert examine(changed, NOW).clean == (changed == good)


@settings(max_examples=40)
@given(st.data())
def test_records_in_any_order_and_number(data: st.DataObject) -> None:
    """What stays in its feed's order is clean only if it is all there."""
    value = codec.decode(FILE, len(FILE))
    records = value["topics"][2]["records"]
    chosen = data.draw(st.lists(st.sampled_from(records), min_size=1, max_size=len(records)))
    value["topics"][2]["records"] = chosen
    report = examine(codec.encode(value), NOW)
    assert report.clean == (chosen == records)


def test_a_single_record() -> None:
    report = examine(RECORD, NOW)
    assert report.clean
    assert report.kind == "record"
    assert report.headline.startswith("a vote by did:key:z")


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = tmp_path / "good.village", tmp_path / "bad.village"
    good.write_bytes(FILE)
    bad.write_bytes(FILE[:-1])
    at = ["--at", "2027-02-01T00:00:00+00:00"]
    assert main(["verify", str(good), *at]) == 0
    assert "complete up to run 1" in capsys.readouterr().out
    assert main(["verify", str(bad), *at, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["clean"] is False
    assert main(["verify", str(tmp_path / "none")]) == 2
    stdin = io.TextIOWrapper(io.BytesIO(RECORD))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["verify", "-", *at]) == 0
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(good), "--at", "yesterday"])
    assert stopped.value.code == 2
