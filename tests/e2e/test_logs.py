"""Logs with the real sandbox: also of a run that failed, and counted like a result."""

import json

import pytest

from tests.enclave_drive import Door, Host, digest_of, enclaves, open_delivery
from tests.enclave_rig import SCIENTIFIC, rows_of
from tests.sealed_rig import CODE, SealedRig

pytestmark = pytest.mark.e2e


@pytest.fixture
def start():
    with enclaves(SCIENTIFIC, "any") as boot:
        yield boot


def office(start, **changes):
    rig = SealedRig(digest_of(SCIENTIFIC), waits=False, **changes)
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    return rig, host


def line_of(text):
    return CODE.decode().splitlines().index(text) + 1


def test_a_failed_run_tells_its_author_where_and_nothing_of_the_data(start):
    rig, host = office(start, logs={"what": "errors", "bytes": 4096})
    whole = rig.share(rig.a, rows_of(*range(10)), host.keys)
    host.push(whole)
    body = host.compute(1, rig.order("crash", {}))
    assert (body.outcome, body.outputs) == ("failed", ())
    assert body.lineage is not None
    assert {one.to for one in body.logs} == {rig.lab.did, rig.sponsor.did}
    deliveries = host.commit()
    mine = next(one for one in deliveries if one.to == rig.lab.did)
    assert mine.name == "log"
    line = line_of('    return inner({}[tables["vitals-v1"].num_rows])')
    assert json.loads(open_delivery(mine, rig.lab.sealing).content) == {
        "class": "KeyError",
        "frames": [{"file": "vitals.py", "line": line}],
    }

    # What a log told of ten people is compared like a result: nine of them are one too few.
    host.push(rig.share(rig.a, rows_of(*range(9)), host.keys, replaces=whole.id))
    body = host.compute(2, rig.order("keep", {}))
    assert (body.outcome, body.refusal_code) == ("held", "gate.min-change")
    assert (body.logs, host.commit()) == ((), ())


@pytest.mark.soak
def test_all_that_is_printed_leaves_where_all_agreed_as_text(start):
    rig, host = office(start, logs={"what": "all", "bytes": 300})
    host.push(rig.share(rig.a, rows_of(*range(3)), host.keys))
    body = host.compute(1, rig.order("hold", {"seconds": 0}))
    assert body.outcome == "released"
    (mine,) = (one for one in host.commit() if (one.to, one.name) == (rig.lab.did, "log"))
    opened = open_delivery(mine, rig.lab.sealing)
    assert json.loads(opened.content) == {"text": "the-marker-of-confidential-code-7f3a\n"}
    body = host.compute(2, rig.order("crash", {}))
    (mine,) = (one for one in host.commit() if one.to == rig.lab.did)
    text = json.loads(open_delivery(mine, rig.lab.sealing).content)["text"]
    assert "KeyError" in text
    assert len(open_delivery(mine, rig.lab.sealing).content) <= 300
    assert "\x1b" not in text
