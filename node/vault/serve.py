"""A process that keeps many vaults open behind one unix socket: POST /v1/noun.verb, JSON in, out.

The same calls as a node's admin socket, so that the same client serves: node.admin.client. Only the
user who runs it, and root, may call.
"""

import json
import logging
import signal
import sys
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.admin.failure import Failure, describe, status
from node.admin.peercred import PEER, permissions
from node.admin.server import claimed, serve
from node.config import Admin
from node.logs import log_as_json
from node.net.libp2p.host import libp2p_transport
from node.net.proxy import Proxy, connect_by
from node.net.transport import Transport
from node.vault import acts, settings
from node.vault.keeper import Keeper
from node.vault.settings import Settings
from protocol.errors import ProtocolError

BODY: Final = 1024 * 1024
"""Bytes of one request."""

log = logging.getLogger("village.vault")


def connect(seed: bytes, proxy: Proxy | None = None) -> AbstractAsyncContextManager[Transport]:
    """The network of a light peer: outbound only, through `proxy` if there is one, and nobody is
    admitted.
    """
    return libp2p_transport(seed, (), lambda _peer: False, connect=connect_by(proxy))


class Door:
    """The routes of the socket."""

    def __init__(self, keeper: Keeper, admin: Admin) -> None:
        self.keeper = keeper
        self.admin = admin

    def app(self) -> Starlette:
        """The application."""
        return Starlette(routes=[Route("/v1/{name}", self.call, methods=["POST"])])

    async def call(self, request: Request) -> Response:
        """Do one act; the body is a JSON object of its parameters."""
        try:
            if "govern" not in permissions(PEER.get(), self.admin):
                raise Failure("admin.permission", "These vaults are another user's.", "Use yours.")
            given = _object(await _body(request))
            answer = await acts.call(self.keeper, request.path_params["name"], given)
        except ProtocolError as error:
            return JSONResponse(describe(error), status_code=status(error))
        except trio.TooSlowError:
            return JSONResponse({"code": "net.stalled", "message": "Too slow."}, status_code=504)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            # A bug of ours ends at this request: the other vaults go on.
            log.exception("an act failed")
            return JSONResponse({"code": "admin.bug", "message": "See the log."}, status_code=500)
        return JSONResponse(answer)


def run(path: Path) -> int:
    """Serve vaults until SIGTERM or SIGINT; the exit code. Raises ConfigError, StoreError."""
    found = settings.load(path)
    log_as_json(found.log, sys.stderr)
    trio.run(main, found)
    return 0


async def main(found: Settings) -> None:
    """Serve until stopped; says "ready" on the standard output, as a node does."""
    out = partial(connect, proxy=found.proxy)
    keeper = Keeper(out, found.gateways, found.registrar, found.folder, found.unlock)
    admin = Admin(socket=found.socket, read=None, operate=None, govern=None, four_eyes=None)
    try:
        with claimed(admin) as listening:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve, Door(keeper, admin).app(), listening)
                ready = {"event": "ready", "name": "vaults", "socket": str(found.socket)}
                sys.stdout.write(json.dumps(ready) + "\n")
                sys.stdout.flush()
                with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    async for _ in signals:
                        break
                nursery.cancel_scope.cancel()
    finally:
        keeper.close()


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY:
            raise Failure("admin.parameters", "The request is too large.", f"At most {BODY} bytes.")
    return bytes(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise Failure("admin.parameters", "The body is not JSON.", "Send an object.") from error
    if not isinstance(value, dict):
        raise Failure("admin.parameters", "The body is no JSON object.", "Send an object.")
    return value
