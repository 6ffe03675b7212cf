"""The live page of the demo: one console over the admin sockets of all nodes."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from node.admin.client import AdminError
from node.console.app import serve
from node.console.gather import Event, Source, look
from node.console.picture import Picture
from node.demo.actor import Actor
from node.demo.stage import NODES
from node.demo.story import Story

ROLES: Final = {
    **{name: "hospital" for name in NODES if name.startswith("hospital")},
    "host-1": "enclave-host",
    "biostat-lab": "lab",
    "sponsor": "sponsor",
    "16 patients": "people",
    "registrar": "registrar",
    "host-2": "enclave-host",
}
"""Everybody on the map, in their order around it."""


async def start(story: Story) -> str:
    """Serve the page as long as the story lasts; the link that opens it, once."""
    link: str = await story.nursery.start(serve, lambda: _look(story))
    return link


async def _look(story: Story) -> Picture:
    names = [name for name in ("sponsor", *NODES) if name in story.nodes]
    sources = [Source(name, ROLES[name], _ask(story.nodes[name])) for name in dict.fromkeys(names)]
    events = [
        Event(one.node, one.event["at"], one.event["event"], one.event["id"])
        for one in story.watch.heard
    ]
    return await look(sources, ROLES, "lung-survival-2026", events)


def _ask(actor: Actor) -> Callable[..., Awaitable[Any]]:
    async def ask(method: str) -> Any:  # noqa: ANN401 (any JSON)
        try:
            return await actor.ask(method)
        except AdminError as error:
            raise ConnectionError(str(error)) from error

    return ask
