"""Arrow outputs and noise through the real sandbox: a table built anew, and a budget that ends."""

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from protocol.errors import Refused
from protocol.kinds import agreement as k
from protocol.kinds import algorithm
from tests.enclave_drive import Door, Host, digest_of, enclaves, open_delivery
from tests.enclave_rig import SCIENTIFIC, Rig, rows_of, sha256

pytestmark = pytest.mark.e2e

CODE = b"""
import pyarrow as pa


def table(tables, parameters):
    sites = tables["vitals-v1"].column("site").to_pylist()
    found = sorted(set(sites), reverse=True)
    people = [sites.count(site) for site in found]
    made = pa.table({"people": pa.array(people), "site": pa.array(found, pa.int32())})
    return {"cells": made.replace_schema_metadata({"secret": "row-001"})}


def counts(tables, parameters):
    values = tables["vitals-v1"].column("value").to_pylist()
    return {"model": {"n": len(values), "mean": sum(values) / len(values)}}
"""

TABLE = b"""
apiVersion: v3.0.2
kind: DataContract
id: cells-v1
schema:
  - name: cells
    quality: [{ rule: rowCount, mustBeBetween: [0, 99], severity: error }]
    properties:
      - name: site
        logicalType: integer
        logicalTypeOptions: { minimum: 1, maximum: 99 }
        required: true
      - name: people
        logicalType: integer
        logicalTypeOptions: { minimum: 0, maximum: 10000 }
        required: true
        customProperties: [{ property: x-village-cell-count, value: true }]
"""

MODEL = json.dumps(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["n", "mean"],
        "properties": {
            "n": {"type": "integer", "minimum": 0, "maximum": 10_000,
                  "x-village-noise": {"l1": 1}},
            "mean": {"type": "number", "minimum": 0, "maximum": 1000,
                     "x-village-noise": {"l1": 100}},
        },
    }
).encode()  # fmt: skip


class OutputRig(Rig):
    """The world of the rig with one output: `cells` (arrow), or `model` with noise."""

    def __init__(self, environment_digest: bytes, output: str, **changes: Any) -> None:
        self.output, self.model = output, TABLE if output == "cells" else MODEL
        super().__init__(environment_digest, **changes)
        self.blobs = (*self.blobs, self.model)

    def _bundle(self, environment_digest: bytes) -> algorithm.Bundle:
        made = super()._bundle(environment_digest)
        function = "table" if self.output == "cells" else "counts"
        entry = algorithm.Entry(
            name="by-site", function=f"vitals:{function}", parameters=(), outputs=(self.output,)
        )
        manifest = replace(made.manifest, entries=(entry,))
        self.schemas = {}
        return replace(made, manifest=manifest, files={"vitals.py": CODE})

    def _output(self, name: str, to: tuple[bytes, ...] = (), subject: bool = False) -> k.Output:
        form = "arrow" if self.output == "cells" else "json"
        both = (self.sponsor.did, self.b.did)
        return k.Output(
            name=self.output, format=form, schema=sha256(self.model), to=both, subject=False
        )

    def _document(self, environment_digest: bytes, changes: dict[str, Any]) -> k.Agreement:
        made = super()._document(environment_digest, changes)
        entries = (k.AgreedEntry(name="by-site", parameters=()),)
        return replace(
            made,
            outputs=made.outputs[:1],
            algorithm=replace(made.algorithm, entries=entries),
        )


@pytest.fixture(scope="module")
def digest():
    return digest_of(SCIENTIFIC)


@pytest.fixture
def start():
    with enclaves(SCIENTIFIC, "any") as boot:
        yield boot


def office(rig, enclave, who=None, term=1, standbys=()):
    host = Host(rig, who or rig.host_1, Door(enclave)).join()
    return host.take_office(term, standbys)


def push(rig, host, *more):
    shares = [
        rig.share(rig.a, [*rows_of(*range(5)), *rows_of(5, 6, site=2)], host.keys, *more),
        rig.share(rig.b, rows_of(*range(10, 15), site=3), host.keys, *more),
    ]
    for share in shares:
        host.push(share)
    return shares


def opened(rig, deliveries, who):
    (mine,) = (one for one in deliveries if one.to == who.did)
    return open_delivery(mine, who.sealing)


def test_an_arrow_output_leaves_as_the_contract_says(digest, start):
    rig = OutputRig(digest, "cells", small_cells="suppress")
    host = office(rig, start())
    push(rig, host)
    body = host.compute(1, rig.order("by-site"))
    assert (body.outcome, body.refusal_detail) == ("released", None)
    deliveries = host.commit()
    found = opened(rig, deliveries, rig.sponsor)
    assert found.format == "arrow"
    table = pa.ipc.open_stream(found.content).read_all()
    # Site 2 has two people, which is fewer than 3; with it goes the next smallest.
    assert table.to_pydict() in ({"site": [1], "people": [5]}, {"site": [3], "people": [5]})
    assert table.schema.metadata is None
    assert table.schema.field("site").type == pa.int64()
    assert opened(rig, deliveries, rig.b).content == found.content


NOISE = {"noise": "laplace", "epsilon": 500_000, "epsilon_total": 1_000_000}


def test_noise_is_the_same_after_fail_over_and_ends_with_its_budget(digest, start):
    rig = OutputRig(digest, "model", **NOISE)
    first, second = Host(rig, rig.host_1, Door(start())), Host(rig, rig.host_2, Door(start()))
    first.join(), second.join()
    first.take_office(1, (second.candidacy,))
    shares = push(rig, first, second.keys)
    order = rig.order("by-site")
    body = first.compute(1, order)
    assert body.outcome == "released"
    assert [(one.dataset, one.amount) for one in body.charges] == [("vitals-v1", 500_000)] * 2
    assert [check.rule for check in body.gate] == [
        "min_contributors", "min_change", "output_model", "epsilon", "small_cells", "output_bytes",
    ]  # fmt: skip

    # The host dies; another enclave computes the same number from the same shares.
    second.take_office(2)
    for share in shares:
        second.keep(share)
    again = second.compute(1, order)
    assert again.outputs == body.outputs
    found = json.loads(opened(rig, second.commit(), rig.sponsor).content)
    assert found != {"n": 12, "mean": 7.5}

    other = second.compute(2, rig.order("by-site"))
    assert other.outcome == "released"
    assert other.outputs != body.outputs
    assert json.loads(opened(rig, second.commit(), rig.sponsor).content) != found
    with pytest.raises(Refused) as refused:
        second.compute(3, rig.order("by-site"))
    assert refused.value.code == "gate.budget"
    assert refused.value.set_by == "hospital-b"
    assert "has 0 epsilon of 1 epsilon left on vitals-v1" in refused.value.detail
