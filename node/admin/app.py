"""The admin API as a web application: POST /v1/noun.verb, events, OpenAPI, metrics."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, Final

import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from node.admin import methods, openapi
from node.admin.failure import Failure, describe, status
from node.admin.method import Permission
from node.admin.metrics import Metrics
from node.admin.peercred import PEER, permissions
from node.node import Node
from node.release import version
from protocol.errors import ProtocolError

BODY: Final = 32 * 1024 * 1024
"""Bytes of one request: the largest blob in base64, and a little."""

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which the event stream sends a comment."""

log = logging.getLogger("village.admin")


class Door:
    """The routes of the admin socket of one node."""

    def __init__(self, node: Node, metrics: Metrics) -> None:
        self.node = node
        self.metrics = metrics

    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/v1/events", self.events, methods=["GET"]),
                Route("/v1/openapi.json", self.openapi, methods=["GET"]),
                Route("/metrics", self.numbers, methods=["GET"]),
                Route("/v1/{name}", self.call, methods=["POST"]),
            ],
        )

    async def call(self, request: Request) -> Response:
        """Call one method; the body is a JSON object of its parameters."""
        try:
            allowed = await self._allowed()
            parameters = _json(await _body(request))
            name = request.path_params["name"]
            result = await methods.call(self.node, allowed, name, parameters)
        except ProtocolError as error:
            return _refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            # A bug of ours ends at this request: the daemon and its other duties go on.
            log.exception("a method failed")
            return JSONResponse({"code": "admin.bug", "message": _BUG}, status_code=500)
        return JSONResponse(result)

    async def events(self, request: Request) -> Response:
        """Happenings as server-sent events, from number `after` on, without end."""
        try:
            await self._check_read()
            after = int(request.query_params.get("after", "0"))
        except Failure as error:
            return _refusal(error)
        except ValueError:
            return _refusal(Failure("admin.parameters", "after is no number.", "As in ?after=12."))
        headers = {"cache-control": "no-store"}
        return StreamingResponse(self._stream(after), 200, headers, "text/event-stream")

    async def openapi(self, _: Request) -> Response:
        """The OpenAPI document; it says nothing about this node."""
        return JSONResponse(openapi.document(methods.METHODS.values(), version()))

    async def numbers(self, _: Request) -> Response:
        """Metrics in Prometheus' text format."""
        try:
            await self._check_read()
        except Failure as error:
            return _refusal(error)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _allowed(self) -> frozenset[Permission]:
        # The names of groups may come from a directory on the network: not in this thread.
        return await trio.to_thread.run_sync(permissions, PEER.get(), self.node.config.admin)

    async def _check_read(self) -> None:
        if "read" not in await self._allowed():
            raise Failure("admin.permission", "This user may not look.", "See [admin].")

    async def _stream(self, after: int) -> AsyncIterator[bytes]:
        happenings = self.node.happenings
        while True:
            for happening in happenings.since(after):
                after = happening.number
                data = json.dumps(asdict(happening))
                yield f"id: {after}\nevent: {happening.event}\ndata: {data}\n\n".encode()
            if not await happenings.news(after, KEEP_ALIVE):
                yield b": still here\n\n"


_BUG: Final = "This is a fault of the node itself; its log says more."


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY:
            raise Failure("admin.parameters", "The request is too large.", f"At most {BODY} bytes.")
    return bytes(body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise Failure("admin.parameters", "The body is not JSON.", "Send an object.") from error
    if not isinstance(value, dict):
        raise Failure("admin.parameters", "The body is no JSON object.", "Send an object.")
    return value


def _refusal(error: ProtocolError) -> JSONResponse:
    return JSONResponse(describe(error), status_code=status(error))
