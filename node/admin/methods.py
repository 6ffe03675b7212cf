"""The one table of the admin API. Command line, console, demo and documentation come from it."""

from collections.abc import Mapping
from typing import Any, Final

from node.admin.failure import Failure
from node.admin.method import Method, Permission
from node.admin.operations import (
    advisory,
    agreement,
    agreement_acts,
    algorithm,
    audit,
    console,
    contract,
    credential,
    enrolment,
    explain,
    host,
    inbox,
    invite,
    key,
    node,
    peer,
    policy,
    record,
    refusal,
    result,
    run,
    run_queue,
    share,
    space,
    space_change,
    status,
)
from node.node import Node

_NOUNS: Final = (
    status,
    inbox,
    key,
    node,
    peer,
    space,
    space_change,
    invite,
    console,
    credential,
    enrolment,
    contract,
    algorithm,
    agreement,
    agreement_acts,
    policy,
    host,
    advisory,
    share,
    run,
    run_queue,
    result,
    refusal,
    explain,
    record,
    audit,
)

METHODS: Final[Mapping[str, Method]] = {
    method.name: method for noun in _NOUNS for method in noun.METHODS.all
}
"""Every method by name."""


async def call(
    node: Node, allowed: frozenset[Permission], name: str, parameters: Mapping[str, Any]
) -> Any:  # noqa: ANN401 (any JSON)
    """Call a method by name. Raises Failure (admin.*, id.*), Refused, StoreError, ConfigError."""
    method = METHODS.get(name)
    if method is None:
        raise Failure(
            "admin.method", f"There is no method {name[:64]!r}.", "See docs/admin-api.md."
        )
    if method.permission not in allowed:
        raise Failure(
            "admin.permission",
            f"{name} needs the permission {method.permission}.",
            "See [admin] in the node's configuration: it names a group for each permission.",
        )
    return await method.call(node, parameters)
