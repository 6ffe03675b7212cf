"""Confidential algorithms on a node: sealing one's own, reading one that one may review, and the
author's duty to bring it to the enclave of each agreement.

What members fetch from each other is the sealed form. The bundle itself is never a blob of a node:
who may read it opens it anew each time.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Final

import trio

from node.connectors import SourceError
from node.keyring import Keyring
from node.net.transport import TransportError
from node.shares import LOOK_EVERY, Owner
from node.spread import Spread
from protocol import shape
from protocol.errors import ProtocolError, Refused
from protocol.identity import Participant
from protocol.kinds.agreement import Algorithm
from protocol.kinds.algorithm import CODE, SealedBundle
from protocol.machines.agreement import Collaboration
from protocol.machines.space import Space
from protocol.sealing import code, wrap

WAITS: Final = frozenset({"election.certificate", "evidence.stale", "host.unreachable"})
"""Refusals that only say that no host is there yet."""

log = logging.getLogger("village.confidential")


def seal(raw: bytes, author: Participant, reviewers: Sequence[Participant]) -> bytes:
    """The sealed form of a bundle, for its author and these reviewers. Raises Refused."""
    readers: dict[bytes, bytes] = {one.did: one.sealing for one in (author, *reviewers)}
    return shape.encode(code.seal(raw, readers, secrets.token_bytes(wrap.KEY_BYTES)))


def published(space: Space) -> dict[tuple[bytes, bytes], bytes]:
    """(author, digest of the bundle) -> digest of its sealed form."""
    return {
        (one.author, one.artifact.blob): one.artifact.sealed
        for one in space.publications.values()
        if one.kind == "algorithm" and one.artifact.sealed is not None
    }


async def fetch(spread: Spread, sealed: bytes, bundle: bytes, peers: Sequence[str]) -> SealedBundle:
    """The sealed form of a bundle, both by digest. Raises Refused (algorithm.*, topic.unknown)."""
    return code.read(await spread.fetch_blob(sealed, peers), bundle)


def open_(found: SealedBundle, keyring: Keyring) -> bytes:
    """The exact bytes of a bundle that this participant may read.

    Raises Refused (algorithm.reader, algorithm.sealed, share.wrap).
    """
    return code.open_(found, keyring.did, keyring.sealing)


class CodeSender:
    """Brings own confidential code to each agreement's enclave that has not confirmed it."""

    def __init__(self, owner: Owner, spread: Spread, keyring: Keyring) -> None:
        """Send as `owner` does; nothing is sent before `run`."""
        self.owner = owner
        self.spread = spread
        self.keyring = keyring
        self._refused: set[bytes] = set()

    async def run(self) -> None:
        """Look again and again what is owed, until cancelled."""
        while True:
            for collaboration in self.owner.world.collaborations():
                if self.owes(collaboration):
                    await self._send(collaboration)
            await trio.sleep(LOOK_EVERY)

    def owes(self, collaboration: Collaboration) -> bool:
        """Whether the elected enclave still lacks code that is ours to send."""
        algorithm, me = collaboration.document.algorithm, self.keyring.did
        if algorithm.sealed is None or algorithm.provider != me:
            return False
        if collaboration.ended(int(time.time())) or collaboration.election.elected() is None:
            return False
        kept = collaboration.current_shares().get((CODE, me))
        lacking = kept is None or kept.receipt is None
        return lacking and collaboration.id not in self._refused

    async def _send(self, collaboration: Collaboration) -> None:
        try:
            raw = await self._own(collaboration.document.algorithm, collaboration)
            await self.owner.send_code(collaboration.id, raw)
        except Refused as error:
            if error.code in WAITS:
                log.info("code of %s: %s", collaboration.document.name, error)
                return
            if error.code not in ("topic.unknown", "share.busy"):
                self._refused.add(collaboration.id)
            self.owner.pipeline.refuse(error, collaboration.id, None, collaboration.id)
        except (TransportError, SourceError, ProtocolError, trio.TooSlowError, OSError) as error:
            log.warning("code of %s: %s", collaboration.document.name, error)

    async def _own(self, algorithm: Algorithm, collaboration: Collaboration) -> bytes:
        room = self.owner.world.room(collaboration.id)
        peers = self.spread.audience_peers(room)
        sealed = algorithm.sealed or b""
        return open_(await fetch(self.spread, sealed, algorithm.bundle, peers), self.keyring)
