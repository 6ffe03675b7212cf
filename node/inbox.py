"""Results that arrive: for this participant, or for a person whose mailbox this node keeps."""

import logging
import time
from collections.abc import Sequence

import trio

from node.pipeline import Pipeline
from protocol import shape
from protocol.errors import Refused
from protocol.events import ResultKept
from protocol.kinds.run import Delivery, Run, SealedOutput, output_digest
from protocol.record import Record
from protocol.sealing import wrap


def kept(agreement: bytes) -> str:
    """Where the journal says which results of an agreement came: by number and output, for ever.

    A result may be deleted; that it came must not be forgotten, or it would be asked for again.
    """
    return f"kept/{agreement.hex()}/"


log = logging.getLogger("village.inbox")


class Inbox:
    """Takes deliveries; what it keeps stays sealed to its recipient's key."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Keep what arrives in the journal of `pipeline`."""
        self.pipeline = pipeline

    async def receive_all(
        self, agreement: bytes, deliveries: Sequence[Delivery], peer: str
    ) -> tuple[int, ...]:
        """Take deliveries from a host; the places of those that are not kept, and why in the log:
        the host tries these again. What is for people goes into their mailboxes together.
        """
        lacking: list[int] = []
        mail: dict[int, tuple[bytes, bytes]] = {}
        for place, delivery in enumerate(deliveries):
            try:
                committed = self._require_released(agreement, delivery, peer)
                if delivery.person:
                    mail[place] = delivery.to, self._mail(delivery)
                else:
                    await self._keep(agreement, delivery, committed)
            except Refused as error:
                log.info("delivery %s of run %d: %s", delivery.name, delivery.number, error)
                lacking.append(place)
        if mail:
            put = self.pipeline.journal.mail_put_all
            full = await trio.to_thread.run_sync(put, list(mail.values()))
            lacking += [list(mail)[place] for place in full]
        return tuple(lacking)

    def _require_released(
        self, agreement: bytes, delivery: Delivery, peer: str
    ) -> tuple[Record, Run]:
        """The decided record of a delivery. Raises Refused (run.votes, host.candidate)."""
        collaboration = self.pipeline.world.collaboration(agreement)
        committed = collaboration.runs.decided(delivery.run)
        if committed is None or committed[1].number != delivery.number:
            raise Refused("run.votes", f"run {delivery.number} is not committed in this view")
        # Another candidate could fill a person's mailbox, and so keep the true result out.
        elected = collaboration.election.elected(committed[1].term)
        host = elected.appointment.host if elected is not None else None
        if host not in self.pipeline.world.owners_of(peer):
            raise Refused("host.candidate", "only the host of that run delivers its results")
        return committed

    async def _keep(
        self, agreement: bytes, delivery: Delivery, committed: tuple[Record, Run]
    ) -> None:
        output = open_delivery(delivery, self.pipeline.keyring.sealing, *committed)
        kept_here = self.pipeline.world.collaboration(agreement).runs.kept
        if (delivery.number, output.name) in kept_here:
            return  # what an earlier term released is the same
        sealed = shape.encode(delivery)
        self.pipeline.journal.add_result(delivery.run, output.name, sealed, int(time.time()))
        mark = f"{kept(agreement)}{delivery.number}/{output.name}"
        self.pipeline.journal.put_state(mark, delivery.run)
        self.pipeline.happenings.add(
            time.time(), "result", agreement, delivery.run, number=delivery.number, name=output.name
        )
        await self.pipeline.tell(agreement, ResultKept(delivery.number, output.name))

    def _mail(self, delivery: Delivery) -> bytes:
        if delivery.gateway != self.pipeline.world.me.did:
            raise Refused("gate.recipient", "the person's mailbox is elsewhere")
        return shape.encode(delivery)


def open_delivery(delivery: Delivery, seed: bytes, record: Record, run: Run) -> SealedOutput:
    """Open a sealed output and hold it against its run record. Raises Refused (share.wrap, ...)."""
    binding = (delivery.run, delivery.name.encode(), delivery.to)
    plain = wrap.open_(delivery.sealed, seed, "output", *binding)
    output = shape.decode(SealedOutput, plain, len(plain))
    leaves = (*run.outputs, *run.logs)
    promised = {o.digest for o in leaves if (o.name, o.to) == (delivery.name, delivery.to)}
    if output.run != record.id or output_digest(output.salt, output.content) not in promised:
        raise Refused("audit.altered", "the output is not the one that the run record names")
    return output
