"""The unix socket of the admin API: ours alone while we run, and every caller known by its uid."""

import fcntl
import grp
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from node.admin.bounded import BoundedServer
from node.admin.peercred import PEER, peer_uid
from node.config import Admin
from node.store import StoreError, disk_faults

BACKLOG: Final = 64

log = logging.getLogger("village.admin")


class PeerServer(BoundedServer):
    """Serves one connection of the admin socket: tells the application whose it is."""

    async def run(self) -> None:
        """Serve until the caller leaves."""
        PEER.set(peer_uid(self.stream.socket))
        await super().run()


async def serve(app: object, listening: socket.socket) -> None:
    """Serve an ASGI application on a listening unix socket until cancelled."""
    config = HypercornConfig()
    config.accesslog = None
    config.errorlog = logging.getLogger("village.admin.http")
    config.include_server_header = False
    context = WorkerContext(None)
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")

    async def connection(stream: trio.SocketStream) -> None:
        try:
            await PeerServer(wrapped, config, context, ConnectionState({}), stream).run()
        except Exception:  # whatever one caller sends ends that caller's connection only
            log.exception("a connection failed")

    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    await trio.serve_listeners(connection, [listener])


@contextmanager
def claimed(admin: Admin) -> Iterator[socket.socket]:
    """A listening socket at the configured path, which is ours until the block ends.

    Raises StoreError ("admin.taken" if another daemon serves it, "admin.group").
    """
    path = admin.socket
    with disk_faults("Cannot make the folder of the admin socket"):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with locked(path.with_name(f"{path.name}.lock"), "The admin socket"):
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with disk_faults(f"Cannot listen on {path.name}"):
                path.unlink(missing_ok=True)  # left by a daemon that was killed
                _bind(listening, path)
            _share(path, admin)
            yield listening
        finally:
            listening.close()
            path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs. Raises StoreError ("admin.taken")."""
    with disk_faults(f"Cannot open {path.name}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        detail, fix = f"{what} is in use by another daemon.", "Stop it first."
        raise StoreError("admin.taken", detail, fix) from error
    finally:
        os.close(descriptor)


def _bind(listening: socket.socket, path: Path) -> None:
    """Bind so that nobody else can connect before the mode is set."""
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    listening.listen(BACKLOG)
    listening.setblocking(False)


def _share(path: Path, admin: Admin) -> None:
    """Let the first group named open the socket; what each caller may do is asked per call."""
    group = admin.read or admin.operate or admin.govern
    if group is None:
        return
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except (KeyError, PermissionError) as error:
        detail = f"The admin socket cannot be given to group {group}."
        fix = "Make the group, and add the daemon's user to it."
        raise StoreError("admin.group", detail, fix) from error
    path.chmod(0o660)
