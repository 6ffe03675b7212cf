"""Steps of the gate on their own: framing, sets, rows, states, noise; and their order."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host import outputs
from enclave_host.gate import Gate, Passed, Stopped
from enclave_host.lineage import Lineage
from enclave_host.noising import Noising
from enclave_host.output_model import OutputModel
from enclave_host.outputs import Returned
from enclave_host.runners import common
from enclave_host.tables import Cleaned
from protocol import budget, limits
from protocol.errors import Refused
from protocol.kinds.agreement import Output
from protocol.kinds.run import Charge, Run
from tests.agreements import DOCUMENT, SPONSOR, B, with_rules
from tests.enclave_rig import seed
from tests.framing import framed, frames
from tests.unit.test_gate import people, rig_parties

FORMATS = st.sampled_from(["json", "arrow", "state"])
NAMES = st.text(min_size=1, max_size=9)


@given(st.dictionaries(NAMES, st.tuples(FORMATS, st.binary(max_size=40)), max_size=5))
def test_outputs_come_through_as_they_were_written(found):
    raw = frames([(name, form, content) for name, (form, content) in found.items()])
    assert outputs.parse(raw) == {name: Returned(*one) for name, one in found.items()}


@given(st.binary(max_size=200))
def test_any_bytes_are_outputs_or_refused(raw):
    for data in (raw, len(raw).to_bytes(8, "big") + raw):
        with suppress(Refused):
            outputs.parse(data)


def head(value: Any, rest: bytes = b"") -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return len(text).to_bytes(8, "big") + text + rest


@pytest.mark.parametrize(
    "raw",
    [
        head([], b"more"),
        head([["a", "json", 1]], b""),
        head([["a", "json", 1]], b"12"),
        head([["a", "json", -1]], b""),
        head([["a", "json", True]], b"1"),
        head([["a", "json", 1.0]], b"1"),
        head([["a", "json", 10**30]], b"1"),
        head([["a", "json", 1], ["a", "json", 1]], b"12"),
        head([["a", "csv", 1]], b"1"),
        head([["a" * 129, "json", 1]], b"1"),
        head([["a", "json"]], b""),
        head({"a": 1}),
        head([["", "json", 0]] * 2000),
        head(b"[" * 100_000),
        head(b"[" + b" " * 300_000 + b"]"),
        (10).to_bytes(8, "big") + b"[]",
        b"\xff" * 8 + b"[]",
    ],
)
def test_lengths_that_do_not_add_up_are_refused(raw):
    with pytest.raises(Refused) as refused:
        outputs.parse(raw)
    assert refused.value.code == "gate.schema"


def test_more_bytes_than_all_outputs_may_have_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "OUTPUT", 100)
    with pytest.raises(Refused) as refused:
        outputs.parse(frames([("a", "state", bytes(100))]))
    assert refused.value.code == "gate.quota"


def test_a_runner_writes_what_the_gate_reads(tmp_path):
    path = tmp_path / "pipe"
    with path.open("wb") as file:
        common.write_outputs(file.fileno(), {"é": {"n": 1}, "state": b"\x00", "none": b""})
    assert outputs.parse(path.read_bytes()) == {
        "é": Returned("json", b'{"n": 1}'),
        "state": Returned("state", b"\x00"),
        "none": Returned("state", b""),
    }


# --- steps ----------------------------------------------------------------------------------------


def number(kind: str = "integer", **more: object) -> dict[str, object]:
    return {"type": kind, "minimum": 0, "maximum": 100, **more}


def closed(**properties: object) -> dict[str, object]:
    required = list(properties)
    head_ = {"type": "object", "additionalProperties": False, "required": required}
    return {**head_, "properties": properties}


def judged(schema: dict[str, object], value: object, noise: bytes | None = None, **changed: Any):
    """The verdict and checks of one output `model` with this schema."""
    _, parties = rig_parties(**changed)
    models = {"model": OutputModel("model", json.dumps(schema).encode())}
    added = None
    if noise is not None:
        document = replace(parties.document, rules=replace(parties.document.rules, **NOISE))
        parties = replace(parties, document=document)
        added = Noising(noise, document.rules, len(models["model"].model.noised))
    gate = Gate(parties, models, ("model",), people(1, 2, 3), 10, noise=added)
    return gate.judge(framed({"model": value})), gate.checks


NOISE = {"noise": "laplace", "epsilon": 500_000, "epsilon_total": 1_000_000}


def test_a_set_leaves_in_one_order():
    """The order of a list is a message; of unique items it would be one that nobody agreed on."""
    inner = {"type": "array", "maxItems": 9, "uniqueItems": True, "items": number()}
    outer = {"type": "array", "maxItems": 9, "uniqueItems": True, "items": inner}
    schema = closed(sets=outer, line={"type": "array", "maxItems": 9, "items": number()})
    one, _ = judged(schema, {"sets": [[3, 1], [2]], "line": [3, 1, 2]})
    other, _ = judged(schema, {"sets": [[2], [1, 3]], "line": [3, 1, 2]})
    assert isinstance(one, Passed)
    assert one.whole == {"model": b'{"line":[3,1,2],"sets":[[1,3],[2]]}'}
    assert one == other


def test_rows_have_a_quota_of_their_own():
    schema = closed(rows={"type": "array", "maxItems": 9, "items": number()})
    verdict, checks = judged(schema, {"rows": [1, 2, 3]}, output_rows=3)
    assert isinstance(verdict, Passed)
    assert [one.rule for one in checks][-2:] == ["output_rows", "output_bytes"]
    verdict, checks = judged(schema, {"rows": [1, 2, 3]}, output_rows=2)
    assert (verdict.code, verdict.detail) == ("gate.quota", "3 rows; 1 fewer would release it")
    assert (checks[-1].limit, checks[-1].measured, checks[-1].passed) == (2, 3, False)


class Cleaner:
    """The worker of tables, which found this."""

    def __init__(self, found: Cleaned) -> None:
        self.found = found

    def clean(self, name: str, content: bytes, rules: Any) -> Cleaned:
        return self.found


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Cleaned(2, 2, 0, b"arrow"), None),
        (Cleaned(2, 3, 1, b"arrow"), None),
        (Cleaned(0, 3, 1, None),
         "1 of 3 cells count fewer than 3; a coarser table would release it"),
        (Cleaned(4, 4, 0, b"arrow"), "4 rows; 1 fewer would release it"),
        (Cleaned(2, 2, 0, bytes(65537)), "up to 131072 bytes; at most 65536 may leave"),
    ],
)  # fmt: skip
def test_a_table_passes_cells_rows_and_bytes(found, said):
    _, parties = rig_parties(small_cells="suppress", output_rows=3)
    (one, *_) = parties.document.outputs
    output = replace(one, format="arrow")
    parties = replace(parties, document=replace(parties.document, outputs=(output,)))
    gate = Gate(parties, {}, ("model",), people(1, 2, 3), 10, tables=Cleaner(found))
    verdict = gate.judge(frames([("model", "arrow", b"raw")]))
    if said is None:
        assert verdict == Passed({"model": b"arrow"}, {}, {})
    else:
        assert isinstance(verdict, Stopped)
        assert verdict.detail == said


def test_a_state_passes_as_it_is_and_leaves_to_nobody():
    _, parties = rig_parties()
    state = Output(name="weights", format="state", to=(), subject=False)
    parties = replace(parties, document=replace(parties.document, outputs=(state,)))
    gate = Gate(parties, {}, ("weights",), people(1, 2, 3), 10)
    assert gate.judge_people(Lineage()) is None
    assert gate.judge(framed({"weights": b"\x00\x01"})) == Passed({}, {}, {"weights": b"\x00\x01"})
    few = Gate(parties, {}, ("weights",), people(1, 2), 10).judge_people(Lineage())
    assert few is not None
    assert few.detail == "2 people for the next run; 1 more person would release it"
    text = Gate(parties, {}, ("weights",), people(1, 2, 3), 10).judge(framed({"weights": 1}))
    assert isinstance(text, Stopped)


def test_too_few_people_says_for_whom_and_how_many_more():
    rig, parties = rig_parties()
    models = {name: OutputModel(name, blob) for name, blob in rig.schemas.items()}
    own = people(1, organizations=frozenset({rig.b.did})) | people(2, 3)
    found = Gate(parties, models, ("model",), own, 10).judge_people(Lineage())
    assert found is not None
    assert found.detail == "2 people for hospital-b; 1 more person would release it"


def noisy_cells() -> dict[str, Any]:
    item = closed(
        site=number(**{"x-village-noise": False}),
        n=number(**{"x-village-cell-count": True, "x-village-noise": {"l1": 1}}),
    )
    return closed(cells={"type": "array", "minItems": 3, "maxItems": 3, "items": item})


def test_with_noise_cells_are_judged_by_what_leaves():
    value = {"cells": [{"site": n, "n": 50} for n in range(3)]}
    verdict, checks = judged(noisy_cells(), value, bytes(32))
    assert isinstance(verdict, Passed)
    assert [one.rule for one in checks] == [
        "output_model", "epsilon", "small_cells", "output_bytes",
    ]  # fmt: skip
    left = json.loads(verdict.whole["model"])["cells"]
    assert [cell["site"] for cell in left] == [0, 1, 2]
    assert [cell["n"] for cell in left] != [50] * 3
    # 3 people are enough without noise; with it, it depends on the noise alone.
    said = set()
    for n in range(40):
        three = {"cells": [{"site": n, "n": 3} for n in range(3)]}
        verdict, _ = judged(noisy_cells(), three, n.to_bytes(32, "big"))
        said.add(type(verdict))
    assert said == {Passed, Stopped}


def test_a_value_that_is_no_model_gets_no_noise():
    verdict, checks = judged(noisy_cells(), {"cells": []}, bytes(32))
    assert isinstance(verdict, Stopped)
    assert [one.rule for one in checks] == ["output_model"]


# --- how parties and auditors judge charges -------------------------------------------------------


def run(document: Any, *charges: Charge, to: bytes | None = SPONSOR.did) -> Run:
    """As much of a run record as the judgement reads."""
    told = () if to is None else (type("Told", (), {"to": to})(),)
    return type("Ran", (), {"charges": charges, "outputs": told})()  # type: ignore[return-value]


def test_charges_are_the_agreed_ones_or_nobody_votes():
    document = with_rules(DOCUMENT, B, **NOISE)
    due = budget.charges(document, ["lung-v1"], [SPONSOR.did])
    other = budget.charges(document, ["lung-v1"], [B.did])
    good = run(document, *due)
    assert budget.fits(document, good, [])
    assert budget.fits(document, good, [good])
    assert not budget.fits(document, good, [good, good])
    assert not budget.fits(document, run(document), [])
    assert not budget.fits(document, run(document, *other), [])
    assert not budget.fits(document, run(document, replace(due[0], amount=1)), [])
    assert not budget.fits(document, run(document, replace(due[0], dataset="more")), [])
    assert not budget.fits(document, run(document, *due, *due), [])
    assert budget.fits(document, run(document, to=None), [])
    assert not budget.fits(DOCUMENT, good, [])
    assert budget.fits(DOCUMENT, run(DOCUMENT), [])


def test_the_noise_of_a_run_follows_from_its_shares_alone():
    key = outputs.noise_key([bytes(32), seed("b")], b"agreement", b"1")
    assert key == outputs.noise_key([bytes(32), seed("b")], b"agreement", b"1")
    others = {
        outputs.noise_key([bytes(32)], b"agreement", b"1"),
        outputs.noise_key([bytes(32), seed("b")], b"agreement", b"2"),
        outputs.salts([bytes(32), seed("b")], b"agreement", b"1"),
    }
    assert key not in others
    assert len(others) == 3
