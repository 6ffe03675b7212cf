"""Results that arrive: for this participant, or for a person whose mailbox this node keeps."""

import time

from node.pipeline import Pipeline
from protocol import shape
from protocol.dialogue import Done
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


class Inbox:
    """Takes deliveries; what it keeps stays sealed to its recipient's key."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Keep what arrives in the journal of `pipeline`."""
        self.pipeline = pipeline

    async def receive(self, agreement: bytes, delivery: Delivery, peer: str) -> Done:
        """Take one delivery from a host. Raises Refused; the host then tries again later."""
        collaboration = self.pipeline.world.collaboration(agreement)
        committed = collaboration.runs.decided(delivery.run)
        if committed is None or committed[1].number != delivery.number:
            raise Refused("run.votes", f"run {delivery.number} is not committed in this view")
        # Another candidate could fill a person's mailbox, and so keep the true result out.
        elected = collaboration.election.elected(committed[1].term)
        host = elected.appointment.host if elected is not None else None
        if host not in self.pipeline.world.owners_of(peer):
            raise Refused("host.candidate", "only the host of that run delivers its results")
        if delivery.person:
            return self._keep_mail(delivery)
        output = open_delivery(delivery, self.pipeline.keyring.sealing, *committed)
        if (delivery.number, output.name) in collaboration.runs.kept:
            return Done()  # what an earlier term released is the same
        sealed = shape.encode(delivery)
        self.pipeline.journal.add_result(delivery.run, output.name, sealed, int(time.time()))
        mark = f"{kept(agreement)}{delivery.number}/{output.name}"
        self.pipeline.journal.put_state(mark, delivery.run)
        self.pipeline.happenings.add(
            time.time(), "result", agreement, delivery.run, number=delivery.number, name=output.name
        )
        await self.pipeline.tell(agreement, ResultKept(delivery.number, output.name))
        return Done()

    def _keep_mail(self, delivery: Delivery) -> Done:
        if delivery.gateway != self.pipeline.world.me.did:
            raise Refused("gate.recipient", "the person's mailbox is elsewhere")
        items = self.pipeline.journal.mail_list(delivery.to, 0, 1000)
        item = shape.encode(delivery)
        if item not in {raw for _, raw in items}:
            self.pipeline.journal.mail_put(delivery.to, item)
        return Done()


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
