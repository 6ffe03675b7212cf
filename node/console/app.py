"""The console as a web application on loopback: one page, its changes as server-sent events."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import Any, Final, Protocol

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from node.admin.bounded import BoundedServer
from node.console import page
from node.console.door import Door
from node.console.picture import Picture

Look = Callable[[], Awaitable[Picture]]
"""What is to be shown now."""

EVERY: Final = 1.0
"""Seconds between two looks while somebody watches."""

WATCHERS: Final = 8
"""Pages open at once."""

_TYPES: Final = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "village.svg": "image/svg+xml",
}


class Console:
    """The pages of one console; `look` is asked only while a page is open."""

    def __init__(self, look: Look) -> None:
        """Nothing is served before `serve`."""
        self._look = look
        self._watchers = 0

    def app(self) -> Starlette:
        """The application behind the door."""
        return Starlette(
            routes=[
                Route("/", self.home),
                Route("/events", self.events),
                Route("/static/{name}", self.static),
            ]
        )

    async def home(self, _: Request) -> Response:
        """The page as it is now."""
        return HTMLResponse(page.whole(await self._look()))

    async def events(self, _: Request) -> Response:
        """Each part of the page when it changes, until the browser leaves."""
        if self._watchers >= WATCHERS:
            return PlainTextResponse("too many pages are open", 503)
        return StreamingResponse(self._changes(), media_type="text/event-stream")

    async def static(self, request: Request) -> Response:
        """One of our own files, from a closed list."""
        name = request.path_params["name"]
        if name not in _TYPES:
            return PlainTextResponse("no such file", 404)
        data = files("node.console").joinpath("static", name).read_bytes()
        return Response(data, media_type=_TYPES[name])

    async def _changes(self) -> AsyncIterator[bytes]:
        shown: dict[str, str] = {}
        self._watchers += 1
        try:
            while True:
                for name, html in page.parts(await self._look()).items():
                    if shown.get(name) != html:
                        data = json.dumps({"id": name, "html": html})
                        yield f"event: part\ndata: {data}\n\n".encode()
                        shown[name] = html
                yield b": still here\n\n"
                await trio.sleep(EVERY)
        finally:
            self._watchers -= 1


class _Waiting(Protocol):
    """Whoever waits in `Nursery.start` (trio.TaskStatus, which the stubs do not know)."""

    def started(self, value: str) -> None: ...


async def serve(
    look: Look, port: int = 0, *, task_status: _Waiting = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the console on loopback until cancelled; starts with the link that opens it, once."""
    listening = socket.create_server(("127.0.0.1", port))
    listening.setblocking(False)
    door = Door(Console(look).app(), listening.getsockname()[1])
    config = HypercornConfig()
    config.accesslog = config.errorlog = None
    config.include_server_header = False
    wrapped = wrap_app(door, config.wsgi_max_body_size, "asgi")
    context = WorkerContext(None)

    async def connection(stream: trio.SocketStream) -> None:
        await BoundedServer(wrapped, config, context, ConnectionState({}), stream).run()

    listener: Any = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, connection, [listener])
        task_status.started(door.link)
