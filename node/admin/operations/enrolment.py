"""enrolment.*: letters with one-time codes, by which people get their credential (registrar)."""

from dataclasses import asdict
from typing import Annotated, Any

import trio

from node.admin.failure import Failure
from node.admin.method import Methods
from node.node import Node
from node.registrar import Registrar

METHODS = Methods("enrolment")

Person = Annotated[str, "Value of the person column in this person's rows."]


@METHODS.add("new", "operate")
async def new(
    node: Node,
    *,
    person: Person,
    category: Annotated[str, "What the person is in agreements, as in patient."],
    days: Annotated[int, "Days for which the code is valid."] = 30,
) -> dict[str, Any]:
    """Make a letter for one person. The code is shown this once, and kept only as a digest."""
    registrar = _registrar(node)
    code = await trio.to_thread.run_sync(registrar.enrol_new, person, category, days)
    return {"person": person, "category": category, "code": code}


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """Every letter, and what became of it; never a code."""
    return [asdict(letter) for letter in _registrar(node).enrolments()]


@METHODS.add("revoke", "operate")
async def revoke(node: Node, *, person: Person) -> dict[str, Any]:
    """Admit a person to nothing more."""
    return {"person": person, "revoked": _registrar(node).revoke(person)}


def _registrar(node: Node) -> Registrar:
    if node.registrar is None:
        fix = "Set registrar.enabled on the node of an identity authority."
        raise Failure("admin.parameters", "This node is no registrar.", fix)
    return node.registrar
