"""advisory.*: an advisor of the space withdraws what nobody should compute on any more."""

from typing import Annotated, Any

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.space import SpaceName
from node.node import Node
from protocol.attestation.policy import REGISTERS
from protocol.errors import Refused
from protocol.kinds.advisory import Advisory, AdvisoryWithdrawal
from protocol.machines.advisories import Given
from protocol.machines.space import Space

METHODS = Methods("advisory")


@METHODS.add("publish", "govern")
async def publish(
    node: Node,
    *,
    technology: Annotated[str, "As in the agreement: nitro, sev-snp, tdx, sgx, tpm."],
    reason: Annotated[str, "Why, in words for everybody."],
    register: Annotated[
        tuple[str, ...] | None, "NAME=HEX; all that are given must be equal."
    ] = None,
    platform: Annotated[str | None, "The one machine, as host.explain names it."] = None,
    tcb_below: Annotated[tuple[str, ...] | None, "NAME=NUMBER; any that is lower is hit."] = None,
    family: Annotated[str | None, "Only these processors, with tcb_below."] = None,
    reference: Annotated[str | None, "Where more stands, as in CVE-2026-1."] = None,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Withdraw a measurement, a machine or a firmware from every agreement of the space."""
    found = lookup.space_of(node, space)
    _check_advisor(node, found)
    body = Advisory(
        technology=technology,
        registers=_registers(technology, register),
        platform=platform,
        tcb_below={name: _number(text) for name, text in _pairs(tcb_below)} or None,
        family=family,
        reason=reason,
        reference=reference,
    )
    for given in found.advisories.in_force(found.terms.advisors):
        if given.advisory == body and given.record.author == node.keyring.did:
            return {"already": True, **shown(node, found, given)}
    made = await node.pipeline.publish(found.id, "advisory", body)
    return {"already": False, **shown(node, found, Given(made, body))}


@METHODS.add("list", "read")
async def list_(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """Every advisory of a space, and whether it is in force."""
    found = lookup.space_of(node, space)
    return [shown(node, found, one) for one in found.advisories.given.values()]


@METHODS.add("withdraw", "govern")
async def withdraw(
    node: Node,
    *,
    id: Annotated[str, "Short id of the advisory."],  # noqa: A002 (the API's word)
    reason: Annotated[str, "Why, in words for everybody."],
    space: SpaceName = None,
) -> dict[str, Any]:
    """Take back an own advisory. Idempotent."""
    found = lookup.space_of(node, space)
    advisory = lookup.one_of(found.advisories.given, id, "advisory")
    given = found.advisories.given[advisory]
    if given.record.author != node.keyring.did:
        raise Refused("advisory.author", "only its author can withdraw an advisory")
    already = (node.keyring.did, advisory) in found.advisories.withdrawn
    if not already:
        body = AdvisoryWithdrawal(advisory=advisory, reason=reason)
        await node.pipeline.publish(found.id, "advisory-withdrawal", body)
    return {"already": already, **shown(node, found, given)}


def shown(node: Node, space: Space, given: Given) -> dict[str, Any]:
    """An advisory for screens."""
    one = given.advisory
    registers = one.registers or {}
    return {
        "advisory": given.record.id.hex(),
        "by": node.world.name(given.record.author),
        "at": given.record.at,
        "in_force": given in space.advisories.in_force(space.terms.advisors),
        "technology": one.technology,
        "registers": {name: value.hex() for name, value in registers.items()},
        "platform": one.platform,
        "tcb_below": one.tcb_below or {},
        "family": one.family,
        "reason": one.reason,
        "reference": one.reference,
    }


def _check_advisor(node: Node, space: Space) -> None:
    if node.keyring.did not in space.terms.advisors:
        raise Refused("advisory.author", f"this node is no advisor of {space.charter.name}")


def _registers(technology: str, given: tuple[str, ...] | None) -> dict[str, bytes] | None:
    known, found = REGISTERS.get(technology, {}), {}
    for name, text in _pairs(given):
        try:
            found[name] = bytes.fromhex(text)
        except ValueError as error:
            raise _fault(f"{text[:64]!r} is not hexadecimal.") from error
        if len(found[name]) != known.get(name, len(found[name])):
            raise _fault(f"{name} has {known[name]} bytes.")
    return found or None


def _pairs(given: tuple[str, ...] | None) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given or ()]
    if any(not (name and value) for name, _, value in pairs):
        raise _fault("A value has the form NAME=VALUE.")
    return [(name, value) for name, _, value in pairs]


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise _fault(f"{text[:64]!r} is no security version.")
    return int(text)


def _fault(detail: str) -> Failure:
    return Failure("admin.parameters", detail, "As in measurement=HEX, or microcode=72.")
