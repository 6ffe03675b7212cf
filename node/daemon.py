"""The daemon: start order and the nursery tree, nothing else."""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from node import config, reactions
from node.admin.app import Door
from node.admin.metrics import Metrics
from node.admin.server import claimed, locked, serve
from node.config import Config
from node.console import app as console
from node.console.view import looking
from node.expiry import Announcements
from node.keyring import Keyring
from node.logs import log_as_json
from node.net.libp2p.host import libp2p_transport
from node.net.peer_id import peer_id_of
from node.net.proxy import connect_by
from node.node import Node, build, running
from node.reactions import Reactions
from node.state_folder import unlock
from node.store import StoreError
from node.store.journal import Journal
from node.timetable import Timetable
from protocol import keys
from protocol.errors import ProtocolError
from protocol.keys import did_text

JOURNAL: Final = "journal.db"

STOP: Final = 4.0
"""Seconds that a clean stop may take; then the process ends as if killed, and nothing is lost."""

log = logging.getLogger("village.daemon")


def run(path: Path) -> int:
    """Run a node until SIGTERM or SIGINT; the exit code. Raises ConfigError, StoreError."""
    started = time.monotonic()
    settings = config.load(path)
    log_as_json(settings.node.log, sys.stderr)
    with locked_state(settings.node.state):
        ring = unlock(settings)
        journal = Journal.open(settings.node.state / JOURNAL)
        try:
            trio.run(_main, settings, ring, journal, started, strict_exception_groups=True)
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            journal.close()
    log.info("stopped")
    return 0


@contextmanager
def locked_state(state: Path) -> Iterator[None]:
    """One daemon per state folder: two would sign two records for one place in a feed."""
    if not state.is_dir():
        detail = f"There is no state folder {state.name}."
        raise StoreError("node.uninitialised", detail, "Make it: village node init.")
    with locked(state / "lock", f"The state folder {state.name}"):
        yield


async def _main(settings: Config, ring: Keyring, journal: Journal, started: float) -> None:
    known: list[Node] = []

    def admits(peer: str) -> bool:
        return bool(known) and known[0].world.owner_of(peer) is not None

    listen, connect = settings.network.listen, connect_by(settings.network.proxy)
    signals = trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT)
    with signals as asked, claimed(settings.admin) as listening:
        async with libp2p_transport(ring.node, listen, admits, connect=connect) as transport:
            node = build(settings, ring, journal, transport)
            known.append(node)
            rules = reactions.policy_of(node)
            metrics = Metrics(node)
            async with running(node), trio.open_nursery() as nursery:
                nursery.start_soon(Reactions(node, rules).run)
                nursery.start_soon(Announcements(node).run)
                nursery.start_soon(Timetable(node).run)
                nursery.start_soon(metrics.run)
                nursery.start_soon(serve, Door(node, metrics).app(), listening)
                if settings.console.listen is not None:
                    port = settings.console.listen.port
                    node.console = await nursery.start(console.serve, looking(node), port)
                say(_ready(node, started))
                await anext(asked)
                log.info("stopping")
                _bound_stop()
                nursery.cancel_scope.cancel()


def _ready(node: Node, started: float) -> dict[str, Any]:
    return {
        "event": "ready",
        "name": node.config.node.name,
        "did": did_text(node.keyring.did),
        "peer": peer_id_of(keys.public(node.keyring.node)),
        "socket": str(node.config.admin.socket),
        "addresses": list(node.transport.addresses()),
        "seconds": round(time.monotonic() - started, 3),
    }


def _bound_stop() -> None:
    timer = threading.Timer(STOP, os._exit, (1,))
    timer.daemon = True
    timer.start()


def say(line: Mapping[str, Any]) -> None:
    """One line of JSON on the standard output: for who started the daemon."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first, if it is a thing to tell the operator; else all of it."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, ProtocolError) else group
