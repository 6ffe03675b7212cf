"""The table of methods: permission first, then parameters; errors in one shape."""

import pytest

from node.admin import methods, openapi
from node.admin.failure import STATUS, Failure, describe, status
from node.admin.method import PERMISSIONS, Methods
from node.config import ConfigError, Problem
from node.store import StoreFault, StoreMissing
from protocol.errors import RULES, Refused

TOY = Methods("toy")


@TOY.add("add", "operate")
async def add(node, *, left: int, right: int = 1):
    """Add two numbers."""
    return {"sum": left + right, "node": node}


(METHOD,) = TOY.all


async def test_a_method_takes_its_parameters_by_name():
    assert METHOD.name == "toy.add"
    assert METHOD.doc == "Add two numbers."
    assert await METHOD.call("n", {"left": 2}) == {"sum": 3, "node": "n"}
    assert (await METHOD.call("n", {"left": 2, "right": 5}))["sum"] == 7


@pytest.mark.parametrize(
    ("given", "says"),
    [({}, "left is missing"), ({"left": "2"}, "left: "), ({"left": 1, "up": 2}, "'up'")],
)
async def test_wrong_parameters_are_refused_before_anything_runs(given, says):
    with pytest.raises(Failure) as refused:
        await METHOD.call("n", given)
    assert refused.value.code == "admin.parameters"
    assert says in refused.value.detail


@pytest.mark.parametrize("name", sorted(methods.METHODS))
async def test_each_method_needs_its_permission_even_to_complain_about_parameters(name):
    method = methods.METHODS[name]
    below = PERMISSIONS[: PERMISSIONS.index(method.permission)]
    with pytest.raises(Failure) as refused:
        await methods.call(None, frozenset(below), name, {"no such parameter": 1})
    assert refused.value.code == "admin.permission"


async def test_an_unknown_method_is_named_and_cut_short():
    with pytest.raises(Failure) as refused:
        await methods.call(None, frozenset(PERMISSIONS), "x" * 5000, {})
    assert refused.value.code == "admin.method"
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("prefix", ["space.vote", "agreement.accept", "credential.issue"])
def test_what_is_signed_for_the_organization_needs_govern(prefix):
    assert methods.METHODS[prefix].permission == "govern"


@pytest.mark.parametrize("name", ["result.show", "audit.export", "share.push", "run.start"])
def test_who_only_looks_gets_no_result_and_starts_nothing(name):
    assert methods.METHODS[name].permission == "operate"


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (Refused("run.budget", "12 of 12"), "run.budget", 422),
        (Failure("id.unknown", "There is none.", "Look."), "id.unknown", 404),
        (Failure("admin.waits", "Not yet.", "Wait."), "admin.waits", 504),
        (StoreMissing("blobs.missing", "Not here.", "Fetch it."), "blobs.missing", 404),
        (StoreFault("store.disk", "Broken.", "Repair."), "store.disk", 500),
        (ConfigError("a.yaml", [Problem(3, "x", "Wrong.", "Right.")]), "config.refused", 422),
    ],
)
def test_every_error_has_one_shape_and_its_status(error, code, expected):
    found = describe(error)
    assert found.keys() == {"code", "message", "rule", "set_by", "fix"}
    assert (found["code"], status(error)) == (code, expected)
    assert found["message"]


def test_a_refusal_says_which_rule_whose_and_what_would_fix_it():
    found = describe(Refused("gate.min-contributors", "9 of 10", set_by="hospital-b"))
    rule = RULES["gate.min-contributors"]
    assert found == {
        "code": "gate.min-contributors",
        "message": "9 of 10",
        "rule": rule.sentence,
        "set_by": "hospital-b",
        "fix": rule.fix,
    }


def test_the_openapi_document_has_every_method_with_its_permission():
    found = openapi.document(methods.METHODS.values(), "1")
    assert found["paths"].keys() == {f"/v1/{name}" for name in methods.METHODS}
    accept = found["paths"]["/v1/agreement.accept"]["post"]
    assert accept["x-permission"] == "govern"
    body = accept["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["digest"]


def test_no_code_of_the_api_is_a_rule_of_the_protocol():
    assert not STATUS.keys() & RULES.keys()
