"""The host's side of a run: an untrusted conveyer between the parties and the enclave behind it.

Nothing here decides anything. The enclave checks every certificate, statement and share itself; a
host that withholds or alters what it carries can stop a run, never bend it.
"""

import logging
import time
from collections.abc import Iterable

import trio

from node import stops, wire
from node.carrying import Carrying
from node.door import Bounds, Door
from node.enclave_link import EnclaveLink
from node.host_lineage import Lineages
from node.host_shares import HostShares
from node.leaves import fetch_leaves, keep_leaves
from node.net.transport import Transport, TransportError
from node.pipeline import Pipeline
from node.share_lane import ShareLane
from node.spread import Spread
from node.store import StoreFault
from node.store.blobs import Blobs
from node.talk import ask, serve
from node.world import Room
from protocol import effects as e
from protocol import enclave_wire as enclave
from protocol import kinds, record
from protocol.dialogue import Done
from protocol.errors import ProtocolError, Refused
from protocol.events import OrderRefused, StopHeard
from protocol.kinds.agreement import Agreement, events_of, models_of
from protocol.kinds.host import Candidacy
from protocol.kinds.run import Run, Statement
from protocol.machines.agreement import Collaboration
from protocol.machines.runs import read_run
from protocol.record import Record

LOOK_EVERY = 0.5
"""Seconds between two looks at the enclave: is it there, does it need to be offered anew."""

BEAT_EVERY = 0.1
"""Seconds between two heartbeats, however short an agreement's lease is."""

RUN_TIME = 24 * 3600.0
"""Seconds that the enclave may compute; the agreement's own limits end a run long before."""

CHALLENGES = Bounds(
    streams=4,
    all_streams=64,
    requests=2.0,
    burst=32.0,
    bytes=64 * 1024.0,
    bytes_burst=1024 * 1024.0,
)
"""Anybody may challenge a host; each answer is work for its enclave."""

PEER_FAULTS = (TransportError, Refused, trio.TooSlowError)

STOPS_TIME = 5.0
"""Seconds that a party may take to show the stops that its statement names."""

REFUSED_ORDERS = frozenset({"run.order", "run.trigger", "run.expired"})
"""What an enclave says to an order that it will not run, so that the next one is not kept waiting.
"""

LATER = 60
"""Seconds until an order that the enclave refused is offered to it again."""

log = logging.getLogger("village.host")


class Host:
    """Performs the host effects of every agreement in which this participant is a candidate."""

    def __init__(
        self,
        pipeline: Pipeline,
        spread: Spread,
        blobs: Blobs,
        transport: Transport,
        link: EnclaveLink,
        lane: ShareLane,
        operator: str,
        region: str,
    ) -> None:
        """Serve challenges on `transport`; `run` keeps candidacies and heartbeats alive."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.spread = spread
        self.blobs = blobs
        self.transport = transport
        self.link = link
        self.lane = lane
        self.shares = HostShares(pipeline, link, lane)
        self.carrying = Carrying(pipeline, transport, link)
        self.lineages = Lineages(spread)
        self.operator = operator
        self.region = region
        self._joined: set[tuple[bytes, bytes]] = set()
        self._unfit: set[tuple[bytes, bytes]] = set()
        self._introduced: dict[tuple[bytes, bytes], frozenset[bytes]] = {}
        self._caught_up: set[tuple[bytes, bytes]] = set()
        self._nursery: trio.Nursery | None = None
        door = Door(CHALLENGES)
        transport.serve(
            wire.ENCLAVE, serve(wire.ENCLAVE_WIRE, self._challenge, door), admit_all=True
        )

    async def run(self) -> None:
        """Offer the enclave to each agreement, and carry its heartbeats, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._keep_beating)
            while True:
                try:
                    await self._offer_everywhere()
                except ProtocolError as error:
                    log.warning("enclave: %s", error)
                await trio.sleep(LOOK_EVERY)

    # --- candidacy ----------------------------------------------------------------------------

    async def _offer_everywhere(self) -> None:
        rooms = [r for r in self.world.rooms.values() if self._is_candidate(r)]
        if not rooms:
            return
        hello = await self.link.ask(enclave.Hello(), enclave.HelloAnswer)
        async with trio.open_nursery() as nursery:
            for room in rooms:
                nursery.start_soon(self._offer_to, room, hello)

    async def _offer_to(self, room: Room, hello: enclave.HelloAnswer) -> None:
        """Offer the enclave to one agreement; what fails here holds up no other. One whose runs may
        use more than this host allows is refused once, for the operator to see.
        """
        place = (room.topic, hello.keys.signing)
        if place in self._unfit:
            return
        try:
            await self._join(room, hello)
            await self._introduce(room, hello)
            await self._offer(room, hello)
            await self._catch_up(room, hello)
        except StoreFault:
            raise
        except ProtocolError as error:
            if isinstance(error, Refused) and error.code == "host.limits":
                self._unfit.add(place)
                self.pipeline.refuse(error, room.topic, self.world.me.did, room.topic)
            log.warning("not offered to %s: %s", room.topic.hex()[:16], error)

    def _is_candidate(self, room: Room) -> bool:
        machine = room.machine
        if not isinstance(machine, Collaboration) or machine.ended(int(time.time())):
            return False
        return self.world.me.did in machine.candidates

    async def _join(self, room: Room, hello: enclave.HelloAnswer) -> None:
        """Teach this boot of the enclave the agreement and the blobs that it names."""
        place = (room.topic, hello.keys.signing)
        document = room.opening.document
        if place in self._joined or not isinstance(document, Agreement):
            return
        await self.link.ask(enclave.Join(opening=room.opening.raw), Done)
        peers = self.spread.audience_peers(room)
        for digest in needed_blobs(document):
            blob = await self.spread.fetch_blob(digest, peers)
            await self.link.ask(enclave.Provide(agreement=room.topic, blobs=(blob,)), Done)
        self._joined.add(place)

    async def _introduce(self, room: Room, hello: enclave.HelloAnswer) -> None:
        """Show this boot of the enclave who renewed an identity: statements say whether all is."""
        place = (room.topic, hello.keys.signing)
        histories = collaboration(room).histories.values()
        known = frozenset(one.raw for history in histories for one in history.revisions())
        lacking = known - self._introduced.get(place, frozenset())
        for raw in sorted(lacking):
            question = enclave.Introduce(agreement=room.topic, identities=(raw,))
            await self.link.ask(question, Done)
        self._introduced[place] = known

    async def _offer(self, room: Room, hello: enclave.HelloAnswer) -> None:
        machine = collaboration(room)
        known = machine.candidacy_of(self.world.me.did)
        if known is not None and machine.election.candidacies[known][1].enclave == hello.keys:
            return
        offer = Candidacy(
            enclave=hello.keys,
            technology=hello.technology,
            software=hello.software,
            tier=hello.tier,
            region=self.region,
            operator=self.operator,
            memory=hello.memory,
            addresses=self.transport.addresses(),
        )
        await self.pipeline.publish(room.topic, "candidacy", offer)

    async def _catch_up(self, room: Room, hello: enclave.HelloAnswer) -> None:
        """Publish what the enclave said before this node crashed: its feed must have no gap."""
        place = (room.topic, hello.keys.signing)
        if place in self._caught_up:
            return
        more = True
        while more:
            seq = room.feeds.place(hello.keys.signing).seq
            question = enclave.Feed(agreement=room.topic, seq=seq)
            answer = await self.link.ask(question, enclave.Records)
            for raw in answer.records:
                await self._keep_again(room, raw)
            taken = await self.pipeline.relay(answer.records)
            more = taken.new > 0
        self._caught_up.add(place)

    async def _keep_again(self, room: Room, raw: bytes) -> None:
        """A run record that this node did not publish before it died: what goes with it is kept
        here and with the standbys first, as ever.
        """
        made = record.parse(raw)
        if made.kind != "run":
            return
        number = kinds.read(Run, made).number
        try:
            again = enclave.Conclude(agreement=room.topic, number=number)
            concluded = await self.link.ask(again, enclave.Concluded)
        except Refused as error:
            log.info("run %s is of a term that is over: %s", number, error)
            return
        if concluded.run == raw:
            await self._keep_blobs(concluded)
            await self._tell_standbys(room, made)

    async def _challenge(self, request: object, peer: str) -> wire.Evidence:
        """Relay a verifier's challenge; anyone who knows the agreement's id may ask, in its own
        name: a run rests on evidence that a party judged and keeps.
        """
        if not isinstance(request, wire.Challenge):
            raise Refused("session.request", f"from {peer}")
        parties = self.world.collaboration(request.agreement).parties
        if request.requester in parties.keys() - self.world.owners_of(peer):
            raise Refused("session.audience", "a party asks from its own node")
        question = enclave.Attest(
            agreement=request.agreement,
            host=self.world.me.did,
            requester=request.requester,
            term=request.term,
            nonce=request.nonce,
            credential=request.credential,
        )
        answer = await self.link.ask(question, enclave.AttestAnswer)
        return wire.Evidence(bundle=answer.bundle, secret=answer.secret)

    # --- lease --------------------------------------------------------------------------------

    async def _keep_beating(self) -> None:
        while True:
            leases = [0.5]
            for room in list(self.world.rooms.values()):
                if self._holds_term(room):
                    leases.append(max(BEAT_EVERY, collaboration(room).election.lease / 4))
                    await self._beat(room)
            await trio.sleep(min(leases))

    def _holds_term(self, room: Room) -> bool:
        if not self._is_candidate(room):
            return False
        elected = collaboration(room).election.elected()
        return elected is not None and elected.appointment.host == self.world.me.did

    async def _beat(self, room: Room) -> None:
        try:
            question = enclave.Beat(agreement=room.topic)
            answer = await self.link.ask(question, enclave.TokenAnswer)
        except ProtocolError as error:
            log.info("no heartbeat: %s", error)
            return
        for peer in self.spread.audience_peers(room):
            if self._nursery is not None:
                self._nursery.start_soon(self._send_beat, peer, answer.token)

    async def _send_beat(self, peer: str, token: bytes) -> None:
        try:
            await self._ask(peer, wire.Beat(token=token), Done, 2.0)
        except PEER_FAULTS as error:
            log.debug("heartbeat to %s: %s", peer, error)

    # --- effects ------------------------------------------------------------------------------

    async def appoint(self, room: Room, effect: e.Appoint) -> None:
        """Show the enclave the certificate that appoints it, and its and the standbys' keys."""
        machine = collaboration(room)
        elected = machine.election.elected()
        if elected is None:
            return
        known = machine.election.candidacies
        standbys = tuple(known[c][0].raw for c in elected.appointment.standbys if c in known)
        question = enclave.Appoint(
            agreement=room.topic,
            certificate=effect.certificate,
            host=known[elected.appointment.candidacy][0].raw,
            standbys=standbys,
        )
        await self.link.ask(question, Done)

    async def summon(self, room: Room, effect: e.Summon) -> None:
        """Have the enclave call for statements, and spread its summons."""
        order = collaboration(room).runs.orders[effect.order][0]
        question = enclave.Summon(agreement=room.topic, number=effect.number, order=order.raw)
        try:
            answer = await self.link.ask(question, enclave.Records)
        except Refused as error:
            await self._set_aside(room, effect.order, error)
            raise
        await self.pipeline.relay(answer.records)

    async def execute(self, room: Room, effect: e.Execute) -> None:
        """Bring the enclave statements, earlier runs and stored shares; publish its run record."""
        await self.shares.show(collaboration(room))
        await self._show_stops(room, effect.statements)
        question = await self._prepare(room, effect)
        try:
            prepared = await self.link.ask(question, enclave.Prepared, seconds=RUN_TIME)
        except Refused as error:
            summons = collaboration(room).runs.summons[effect.number, effect.term][1]
            await self._set_aside(room, summons.order, error)
            raise
        if prepared.started:  # none where nothing runs: the attempts are used up
            await self.pipeline.relay([prepared.started])
            self._note(room, "algorithm started", record.parse(prepared.started).id, effect.number)
        await self.shares.load(room.topic, effect.number, prepared.shares)
        conclude = enclave.Conclude(agreement=room.topic, number=effect.number)
        concluded = await self.link.ask(conclude, enclave.Concluded, seconds=RUN_TIME)
        await self._keep_blobs(concluded)
        await self._tell_standbys(room, record.parse(concluded.run))
        bequest = [concluded.bequest] if concluded.bequest is not None else []
        await self.pipeline.relay([*bequest, concluded.run])
        if prepared.shares:
            run = record.parse(concluded.run).id
            self.lane.used[room.topic] = (run, frozenset(prepared.shares))

    async def inherit(self, room: Room, effect: e.Inherit) -> None:
        """Show the enclave the lineage, spread what it says of it, and bring it to its standbys."""
        machine = collaboration(room)
        question = await self.lineages.inheritance(room, machine)
        answer = await self.link.ask(question, enclave.Records)
        await self.pipeline.relay(answer.records)
        for made, run in machine.runs.committed().values():
            if run.lineage == effect.lineage:
                await self._tell_standbys(room, made)

    async def release(self, room: Room, effect: e.Release) -> None:
        """Show the enclave the votes; carry what it hands out until every recipient has it."""
        run, _ = collaboration(room).runs.committed()[effect.number]
        await self.carrying.run(room.topic, run.id, effect.certificate)
        self._note(room, "released", b"", effect.number)

    async def _set_aside(self, room: Room, order: bytes, error: Refused) -> None:
        if error.code in REFUSED_ORDERS:
            until = int(time.time()) + LATER
            await self.pipeline.tell(room.topic, OrderRefused(order, until))

    async def _show_stops(self, room: Room, statements: tuple[bytes, ...]) -> None:
        """Give the enclave every stop that a statement names; ask its author for what is not here.

        Of a party that names what it does not show, the statement will not count.
        """
        machine = collaboration(room)
        named: set[bytes] = set()
        for found in map(record.parse, statements):
            ids = kinds.read(Statement, found).stops
            named.update(ids)
            if lacking := stops.missing(ids, machine):
                await self._fetch_stops(room, found.author, lacking)
        shown = tuple(machine.runs.stops[id_] for id_ in sorted(named & machine.runs.stops.keys()))
        if shown:
            await self.link.ask(enclave.Stops(agreement=room.topic, stops=shown), Done)

    async def _fetch_stops(self, room: Room, party: bytes, ids: tuple[bytes, ...]) -> None:
        machine = collaboration(room)
        question = wire.GetStops(agreement=room.topic, stops=ids)
        for peer in self.pipeline.world.peers_of(party):
            try:
                answer = await ask(
                    self.transport,
                    peer,
                    wire.SESSION,
                    wire.SESSION_WIRE,
                    question,
                    wire.StopTokens,
                    seconds=STOPS_TIME,
                )
                for raw in answer.tokens[: len(ids)]:
                    stop = stops.check(raw, machine)
                    stops.keep(self.pipeline.journal, stop)
                    event = StopHeard(stop.id, stop.body.consent, stop.raw)
                    await self.pipeline.tell(room.topic, event)
            except (TransportError, Refused, trio.TooSlowError) as error:
                log.info("stops of %s: %r", self.pipeline.world.name(party), error)
            else:
                return

    async def _prepare(self, room: Room, effect: e.Execute) -> enclave.Prepare:
        """All that the enclave must see of earlier numbers, and of earlier terms."""
        machine = collaboration(room)
        runs = machine.runs.committed()
        before = [number for number in runs if number < effect.number]
        lineage, wraps = await self.lineages.before(room, machine, effect.number)
        certificates = [machine.runs.certificate(number) for number in before]
        return enclave.Prepare(
            agreement=room.topic,
            number=effect.number,
            statements=effect.statements,
            lineage=lineage,
            wraps=wraps,
            runs=tuple(c for c in certificates if c is not None),
            terms=tuple(self._predecessors(machine, effect)),
            leaves=await self._earlier_leaves(room, effect.statements),
        )

    def _predecessors(
        self, machine: Collaboration, effect: e.Execute
    ) -> Iterable[enclave.Predecessor]:
        for run in shown_records(effect.statements):
            elected = machine.election.elected(run.term)
            certificate = machine.election.certificate(run.term)
            if elected is not None and certificate is not None:
                host = machine.election.candidacies[elected.appointment.candidacy][0].raw
                yield enclave.Predecessor(certificate=certificate, host=host)

    async def _earlier_leaves(self, room: Room, statements: tuple[bytes, ...]) -> bytes | None:
        """The leaves of the newest record that the statements show, from here or from a peer."""
        shown = sorted(shown_records(statements), key=lambda run: run.term)
        if not shown:
            return None
        root, peers = shown[-1].leaves, self.spread.audience_peers(room)
        try:
            return await fetch_leaves(self.pipeline.journal, self.spread, root, peers)
        except Refused as error:
            log.info("leaves of run %s: %s", shown[-1].number, error)
            return None

    async def _keep_blobs(self, concluded: enclave.Concluded) -> None:
        keep_leaves(self.pipeline.journal, self.blobs, concluded.leaves)
        if concluded.lineage is not None:
            await trio.to_thread.run_sync(self.blobs.put, concluded.lineage)

    async def _tell_standbys(self, room: Room, made: Record) -> None:
        """Before the record is spread, standbys keep what a fail-over would need."""
        run = kinds.read(Run, made)
        question = wire.Keep(agreement=room.topic, lineage=run.lineage, leaves=run.leaves)
        for did in collaboration(room).candidates:
            for peer in self.world.peers_of(did) if did != self.world.me.did else ():
                try:
                    await self._ask(peer, question, Done, 5.0)
                except PEER_FAULTS as error:
                    log.warning("standby %s keeps nothing of this run: %s", peer, error)

    async def _ask(
        self, peer: str, request: object, answer: type[Done], seconds: float = 20.0
    ) -> Done:
        wire_ = wire.SESSION_WIRE
        return await ask(
            self.transport, peer, wire.SESSION, wire_, request, answer, seconds=seconds
        )

    def _note(self, room: Room, event: str, id_: bytes, number: int) -> None:
        self.pipeline.happenings.add(time.time(), event, room.topic, id_, number=number)


def collaboration(room: Room) -> Collaboration:
    """The machine of an agreement's room. Raises Refused (topic.unknown) for another room."""
    if not isinstance(room.machine, Collaboration):
        raise Refused("topic.unknown", "not an agreement")
    return room.machine


def needed_blobs(document: Agreement) -> list[bytes]:
    """Digests of all blobs that an enclave needs: bundle, contracts, output schemas. Confidential
    code is no blob here: its provider sends it as a share.
    """
    contracts = [dataset.contract for dataset in document.datasets]
    code = [document.algorithm.bundle] if document.algorithm.sealed is None else []
    return [*code, *contracts, *models_of(document), *events_of(document)]


def shown_records(statements: tuple[bytes, ...]) -> list[Run]:
    """The run records of earlier terms that statements show, one per term."""
    found: dict[int, Run] = {}
    for raw in statements:
        accepted = kinds.read(Statement, record.parse(raw)).accepted
        shown = read_run(accepted) if accepted is not None else None
        if shown is not None:  # else a liar would hold up every run with a record that is none
            found[shown[1].term] = shown[1]
    return list(found.values())
