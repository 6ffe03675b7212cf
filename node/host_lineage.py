"""What a host carries of the lineage: sealed blobs between enclaves, and the wraps of the keys."""

import logging

from node.spread import Spread
from node.world import Room
from protocol import enclave_wire as enclave
from protocol.errors import Refused
from protocol.kinds.run import Run
from protocol.machines.agreement import Collaboration

log = logging.getLogger("village.host")


class Lineages:
    """The sealed lineages of every agreement; an enclave opens them, a host cannot."""

    def __init__(self, spread: Spread) -> None:
        """Get blobs from here and from peers by `spread`."""
        self.spread = spread

    async def inheritance(self, room: Room, machine: Collaboration) -> enclave.Inherit:
        """All certificates, and the newest lineage that the enclave in office may open: if it is to
        be had from anybody.
        """
        ended = machine.runs.committed()
        certificates = [machine.runs.certificate(number) for number in ended]
        shown: bytes | None = None
        wraps: tuple[bytes, ...] = ()
        for _, run in reversed(ended.values()):
            found = self._wraps(machine, run)
            blob = await self._fetch(room, run.lineage) if found and run.lineage else None
            if blob is not None:
                shown, wraps = blob, found
                break
        return enclave.Inherit(
            agreement=room.topic,
            runs=tuple(one for one in certificates if one is not None),
            lineage=shown,
            wraps=wraps,
        )

    async def before(
        self, room: Room, machine: Collaboration, number: int
    ) -> tuple[bytes | None, tuple[bytes, ...]]:
        """The lineage on which a run rests, and its key for the enclave in office."""
        ended = machine.runs.committed()
        earlier = [run for n, (_, run) in ended.items() if n < number and run.lineage is not None]
        if not earlier or earlier[-1].lineage is None:
            return None, ()
        return await self._fetch(room, earlier[-1].lineage), self._wraps(machine, earlier[-1])

    def _wraps(self, machine: Collaboration, run: Run) -> tuple[bytes, ...]:
        elected = machine.election.elected()
        if elected is None or run.lineage is None:
            return ()
        return machine.runs.heritage.wraps(run.lineage, elected.appointment.enclave)

    async def _fetch(self, room: Room, digest: bytes) -> bytes | None:
        """A sealed lineage, from here or from who hosted before."""
        try:
            return await self.spread.fetch_blob(digest, self.spread.audience_peers(room))
        except Refused as error:
            log.info("lineage %s: %s", digest.hex()[:16], error)
            return None
