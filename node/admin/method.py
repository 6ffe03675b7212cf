"""A method of the admin API: name, permission, typed parameters, one sentence, and what it does.

The signature of the function is the declaration: keyword parameters, `Annotated` with a sentence.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from node.admin.failure import Failure
from node.admin.parameters import read, schema
from node.node import Node

Permission = Literal["read", "operate", "govern"]
"""Look; also push, run and export; also sign and vote. Each includes those before it."""

PERMISSIONS: Final[tuple[Permission, ...]] = get_args(Permission)

Run = Callable[..., Awaitable[Any]]
"""async (node, *, keyword parameters) -> any JSON value. Raises ProtocolError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter: its annotation, and whether it must be given."""

    name: str
    kind: Any
    required: bool

    @property
    def doc(self) -> str:
        """Its sentence."""
        return str(self.schema.get("description", ""))

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        return schema(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method, "noun.verb"."""

    name: str
    permission: Permission
    parameters: tuple[Parameter, ...]
    doc: str
    run: Run

    async def call(self, node: Node, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 (any JSON)
        """Check the parameters and act. Raises Failure (admin.parameters), ProtocolError."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                fix = f"Known are: {', '.join(known) or 'none'}."
                raise Failure("admin.parameters", f"{name[:64]!r} is no parameter.", fix)
        for parameter in self.parameters:
            if parameter.required and parameter.name not in given:
                raise Failure("admin.parameters", f"{parameter.name} is missing.", parameter.doc)
        values = {name: read(known[name].kind, value, name) for name, value in given.items()}
        return await self.run(node, **values)


class Methods:
    """The methods of one noun, in the order of the file."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.all: list[Method] = []

    def add(self, verb: str, permission: Permission) -> Callable[[Run], Run]:
        """Register a function as "noun.verb"; its docstring is the sentence of the API."""

        def register(run: Run) -> Run:
            self.all.append(
                Method(
                    name=f"{self.noun}.{verb}",
                    permission=permission,
                    parameters=tuple(_parameters(run)),
                    doc=inspect.getdoc(run) or "",
                    run=run,
                )
            )
            return run

        return register


def _parameters(run: Run) -> list[Parameter]:
    found = inspect.signature(run, eval_str=True).parameters.values()
    return [
        Parameter(
            name=one.name, kind=one.annotation, required=one.default is inspect.Parameter.empty
        )
        for one in found
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    ]
