"""The owner's side of shares: read, seal, publish, send; wrap again for a new host.

A push is durable. Its state and sealed key are in the journal before anything is published, so
after a crash the same share goes on, under the same record and key; a source that changed meanwhile
is refused, never mixed.
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import trio

from node import config, wire
from node.bulk_lane import Lanes
from node.connectors import CONTRACT_BYTES, SourceError
from node.connectors.process import Source
from node.net.transport import Transport, TransportError
from node.pipeline import Pipeline
from node.share_keys import ShareKeys
from node.share_plain import OpenPlain, plain_bytes, supply
from node.share_road import Road
from node.share_turns import Turns
from node.share_upload import Again, Parcel, Progress, Sealed, same
from protocol import kinds, record, shape
from protocol.attestation.evidence import enclave_id
from protocol.errors import RULES, Refused
from protocol.events import Appraised
from protocol.kinds import agreement as k
from protocol.kinds.agreement import Agreement, Dataset, provision
from protocol.kinds.algorithm import CODE
from protocol.kinds.host import Verdict
from protocol.kinds.share import Receipt, Rewrap, Share, ShareHeader, Wrap
from protocol.machines.agreement import Collaboration
from protocol.machines.election import Elected
from protocol.sealing import wrap
from protocol.sealing.stream import header_digest
from protocol.shape import Hash, Max, Name, Text

PAUSE: Final = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""

LONGEST_PAUSE: Final = 15.0
"""Seconds between attempts at a host that stays away."""

LOOK_EVERY: Final = 2.0
"""Seconds between two looks for pushes that a crash or a lost client left unfinished."""

BROKEN: Final = 5
"""Attempts that may fail with a broken stream of frames before the push ends."""

PASSING: Final = frozenset(
    {
        "share.busy", "share.unfinished", "share.chunk", "enclave.unreachable", "enclave.broken",
        "enclave.sequence", "record.gap", "record.author", "topic.unknown", "term.fenced",
        "election.certificate", "run.failed", "host.unreachable", "evidence.stale",
    }
)  # fmt: skip
"""Refusals of a host that time mends: it restarts, syncs, or learns of its election."""

OUT_OF_REACH: Final = frozenset({"source.file", "source.limit"})
"""Faults of a source that may be gone at the next attempt, with the same rows."""

NO_SOURCE: Final = config.Source(file=Path(), contract=Path(), query=None, exclude=None)
"""Where confidential code is read from: no file of this node holds it."""

PUSHING: Final = "pushing"
PUSHED: Final = "shared"
"""Names of what the journal keeps of a push under way, and of the last one that was confirmed."""

KEPT: Final = "kept"
"""The verdict of a receipt for a share that keeps its contract."""

T = TypeVar("T")

PathText = Annotated[str, Max(4096)]
QueryText = Annotated[str, Max(4 * config.QUERY)]

log = logging.getLogger("village.shares")


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A push under way, as the journal keeps it. `share` is the record's id once published; until
    then `key` is the sealed share key, after that it lies with the share keys. `sealed` is there
    once its last frame may have left.
    """

    agreement: Hash
    dataset: Name
    file: PathText
    contract: PathText
    exclude: PathText | None = None
    query: QueryText | None = None
    header: Annotated[bytes, Max(1024)]
    key: Annotated[bytes, Max(128)]
    share: Hash | None = None
    sealed: Sealed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The last share of a dataset that a host confirmed; `way` and `why` say how its frames went
    last (node/share_way.py:Way).
    """

    share: Hash
    sealed: Sealed
    way: Name | None = None
    why: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a push. `already`: the same data were there before, nothing was sent."""

    share: bytes
    already: bool
    receipt: Receipt
    replicas: int | None = None


Verify = Callable[[Collaboration, bytes, int], Awaitable[Verdict]]
"""(agreement, candidacy, term) -> this node's verdict by a fresh nonce (node.appraisal)."""


class Owner:
    """Pushes own data into agreements, and wraps the keys of own shares."""

    def __init__(
        self, pipeline: Pipeline, transport: Transport, verify: Verify, lanes: Lanes
    ) -> None:
        """`run` goes on with what was left unfinished."""
        self._verify = verify
        self.pipeline = pipeline
        self.world = pipeline.world
        self.journal = pipeline.journal
        self.road = Road(transport, lanes)
        self.keys = ShareKeys(pipeline.journal, pipeline.keyring.store)
        self.turns = Turns()

    async def run(self) -> None:
        """Go on with unfinished pushes, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                for place, push in self.unfinished().items():
                    if self.turns.is_idle(place) and push.dataset != CODE:
                        nursery.start_soon(self._go_on, place, push)
                await trio.sleep(LOOK_EVERY)

    def unfinished(self) -> dict[str, Push]:
        """Every push that no host confirmed yet."""
        states = self.journal.states(f"{PUSHING}/")
        return {name: shape.decode(Push, raw) for name, raw in states.items()}

    async def push(
        self, agreement: bytes, dataset: str, source: config.Source, *, anew: bool = False
    ) -> Outcome:
        """Bring a source into an agreement; returns when the host and its standbys have it.

        `anew` gives up an unfinished push. Cancelled, it goes on in the background. Raises
        SourceError (source.*), Refused (share.changed, share.contract, evidence.*, ...).
        """
        collaboration = self.world.collaboration(agreement)
        agreed = self._dataset(collaboration, dataset)
        self._trusted(collaboration)
        place = _place(PUSHING, agreement, dataset)
        with self.turns.alone(place):
            if anew:
                self.journal.delete_state(place)
            async with supply(await _open_source(source, agreed)) as found:
                known = await self._already(collaboration, agreed.id, found.begins, found.open)
                if known is not None:
                    return known
                push = self._begin(collaboration, agreed, source)
                try:
                    return await self._finish(place, push, found.open)
                except SourceError as error:
                    if error.code not in OUT_OF_REACH:
                        self.journal.delete_state(place)  # other rows make another share
                    raise

    async def send_code(self, agreement: bytes, raw: bytes) -> Outcome:
        """Bring own confidential code to the elected enclave and its standbys, as a share.

        Raises Refused (share.*, evidence.*, election.certificate).
        """
        collaboration = self.world.collaboration(agreement)
        agreed = self._dataset(collaboration, CODE)
        self._trusted(collaboration)
        place, open_plain = _place(PUSHING, agreement, CODE), plain_bytes(raw)
        with self.turns.alone(place):
            known = await self._already(collaboration, CODE, (), open_plain)
            if known is not None:
                return known
            push = self._begin(collaboration, agreed, NO_SOURCE)
            return await self._finish(place, push, open_plain)

    def give_up(self, agreement: bytes, dataset: str) -> Push | None:
        """End an unfinished push; what it was, if there is one. What a host has of it, the owner
        erases by its key (node/erasing.py).
        """
        place = _place(PUSHING, agreement, dataset)
        push = self.unfinished().get(place)
        self.journal.delete_state(place)
        self.turns.end(place)
        if push is not None:
            self.road.forget(push.share or b"")
        return push

    async def rewrap(self, share: bytes, candidacy: bytes) -> None:
        """Wrap the key of an own share to the enclave of `candidacy`, and to trusted standbys.

        Raises Refused (evidence.*, term.fenced, run.share-missing).
        """
        for collaboration in self.world.collaborations():
            if share in collaboration.shares and candidacy in collaboration.election.candidacies:
                elected = self._trusted(collaboration)
                if elected.appointment.candidacy != candidacy:
                    raise Refused("term.fenced", "another enclave holds the newest term")
                if not await self._wrap_again(collaboration, elected, share):
                    raise Refused("host.unreachable", "a standby does not answer the challenge")
                return
        raise Refused("share.binding", "no agreement has this share and this candidacy")

    def way(self, agreement: bytes, share: bytes) -> tuple[str, str | None] | None:
        """How the frames of an own share went last, and why not by a bulk lane."""
        for raw in self.journal.states(_place(PUSHED, agreement, "")).values():
            pushed = shape.decode(Pushed, raw)
            if pushed.share == share and pushed.way is not None:
                return pushed.way, pushed.why
        return None

    # --- what may be pushed, and to whom --------------------------------------------------------

    def _dataset(self, collaboration: Collaboration, name: str) -> Dataset:
        if collaboration.ended(int(time.time())):
            raise Refused("agreement.ended")
        found = next((d for d in _datasets(collaboration.document) if d.id == name), None)
        if found is None or self.world.me.did not in {source.did for source in found.sources}:
            raise Refused("share.provider", name)
        return found

    def _trusted(self, collaboration: Collaboration) -> Elected:
        """The elected host, if this node itself found its enclave eligible in this term."""
        elected = collaboration.election.elected()
        if elected is None:
            raise Refused("election.certificate", "no host is elected yet")
        reasons = self._doubts(collaboration, elected.term, elected.appointment.candidacy)
        if reasons:
            known = next((code for code in reasons if code in RULES), "evidence.policy")
            raise Refused(known, f"this node's own verdict in term {elected.term}")
        return elected

    def _doubts(self, collaboration: Collaboration, term: int, candidacy: bytes) -> tuple[str, ...]:
        """Why this node would not wrap a key to a candidate; empty if it would."""
        verdicts = collaboration.election.verdicts.get((term, candidacy), {})
        mine = verdicts.get(self.world.me.did)
        if mine is None:
            return ("evidence.stale",)
        if not mine.eligible:
            return mine.reasons or ("evidence.policy",)
        collaboration.election.heed(self.world.ground(collaboration.document.space))
        doubt = collaboration.election.doubt(self.world.me.did, candidacy, int(time.time()))
        return () if doubt is None else (doubt,)

    async def _wraps(
        self,
        collaboration: Collaboration,
        elected: Elected,
        key: bytes,
        header: bytes,
        wrapped: Iterable[bytes] = (),
    ) -> tuple[Wrap, ...]:
        """Wraps to the host and those standbys that this node trusts, but for those `wrapped`.

        Each answers a fresh challenge first: a verdict of yesterday seals nothing today.
        """
        trusted = await self._verified(collaboration, elected)
        known = collaboration.election.candidacies
        enclaves = {enclave_id(known[c][1].enclave): known[c][1].enclave for c in trusted}
        digest = header_digest(header)
        return tuple(
            Wrap(enclave=id_, sealed=wrap.seal(key, keys.sealing, "share-key", digest, id_))
            for id_, keys in enclaves.items()
            if id_ not in wrapped
        )

    async def _verified(self, collaboration: Collaboration, elected: Elected) -> list[bytes]:
        """The candidacies that just proved themselves; the host must be one of them.

        Raises Refused (evidence.*, host.unreachable).
        """
        host, found = elected.appointment.candidacy, []
        for candidacy in (host, *elected.appointment.standbys):
            if self._doubts(collaboration, elected.term, candidacy):
                continue
            verdict = await self._verify(collaboration, candidacy, elected.term)
            if verdict.eligible:
                found.append(candidacy)
                continue
            if "host.unreachable" not in verdict.reasons:
                await self.pipeline.tell(collaboration.id, Appraised(verdict))
            if candidacy == host:
                known = next((code for code in verdict.reasons if code in RULES), "evidence.policy")
                raise Refused(known, f"asked again before sealing, in term {elected.term}")
        return found

    async def _wrap_again(
        self, collaboration: Collaboration, elected: Elected, share: bytes
    ) -> bool:
        """Whether all whom this node trusts have a wrap now. Raises Refused."""
        wrapped = collaboration.wrapped_to(share)
        trusted = [
            candidacy
            for candidacy in (elected.appointment.candidacy, *elected.appointment.standbys)
            if not self._doubts(collaboration, elected.term, candidacy)
        ]
        wanted = set(map(collaboration.election.enclave_of, trusted))
        if wanted <= wrapped:
            return True
        header = collaboration.shares[share][1].header
        key = self.keys.of(share, header)
        wraps = await self._wraps(collaboration, elected, key, header, wrapped)
        if wraps:
            rewrap = Rewrap(share=share, wraps=wraps)
            await self.pipeline.publish(collaboration.id, "rewrap", rewrap)
        return wanted <= wrapped | {one.enclave for one in wraps}

    # --- the steps of a push --------------------------------------------------------------------

    def _begin(self, collaboration: Collaboration, agreed: Dataset, source: config.Source) -> Push:
        """The push of a source: the one that was left unfinished, or a new one."""
        place = _place(PUSHING, collaboration.id, agreed.id)
        raw = self.journal.state(place)
        if raw is None:
            push = self._prepare(collaboration, agreed, source)
        else:
            push = replace(shape.decode(Push, raw), **_origin(source))
        self.journal.put_state(place, shape.encode(push))
        return push

    async def _already(
        self,
        collaboration: Collaboration,
        dataset: str,
        head: Sequence[bytes],
        open_plain: OpenPlain,
    ) -> Outcome | None:
        """The share that has these data already, if it is current and its receipt is good."""
        raw = self.journal.state(_place(PUSHED, collaboration.id, dataset))
        kept = collaboration.current_shares().get((dataset, self.world.me.did))
        if raw is None or kept is None or kept.receipt is None:
            return None
        known = shape.decode(Pushed, raw)
        if kept.record.id != known.share or kept.receipt.verdict != KEPT:
            return None
        key = self.keys.of(known.share, kept.share.header)
        begin = partial(Again, key, kept.share.header, known.sealed.segments)
        if not await same(begin, known.sealed, head, open_plain):
            return None
        return Outcome(share=known.share, already=True, receipt=kept.receipt)

    def _prepare(
        self, collaboration: Collaboration, dataset: Dataset, source: config.Source
    ) -> Push:
        """A new share: its key and header, not yet published."""
        key = secrets.token_bytes(wrap.KEY_BYTES)
        header = shape.encode(
            ShareHeader(
                agreement=collaboration.id,
                owner=self.world.me.did,
                dataset=dataset.id,
                contract=dataset.contract,
                commitment=wrap.commitment(key),
                salt=secrets.token_bytes(32),
            )
        )
        return Push(
            agreement=collaboration.id,
            dataset=dataset.id,
            header=header,
            key=self.keys.seal(key, header),
            **_origin(source),
        )

    async def _go_on(self, place: str, push: Push) -> None:
        """Finish, in the background, a push that was left."""
        try:
            with self.turns.alone(place):
                collaboration = self.world.collaboration(push.agreement)
                agreed = self._dataset(collaboration, push.dataset)
                async with supply(await _open_source(_configured(push), agreed)) as found:
                    await self._finish(place, push, found.open)
        except Refused as error:
            self.turns.stopped[place] = str(error)
            self.pipeline.refuse(error, push.share or push.agreement, None, push.agreement)
        except (SourceError, OSError) as error:
            self.turns.stopped[place] = str(error)
            log.warning("push of %s: %s", push.dataset, error)

    async def _finish(self, place: str, push: Push, open_plain: OpenPlain) -> Outcome:
        push = await self._patiently(push, partial(self._publish, place, push))
        taken = await self._patiently(push, partial(self._attempt, place, open_plain))
        push = self._kept(place)
        receipt = await self._read_receipt(push, taken)
        share = push.share or b""
        if receipt.verdict == KEPT and push.sealed is not None:
            last = self.road.last(share)
            way, why = (None, None) if last is None else (last.way, last.why)
            pushed = shape.encode(Pushed(share=share, sealed=push.sealed, way=way, why=why))
            self.journal.put_state(_place(PUSHED, push.agreement, push.dataset), pushed)
        self.journal.delete_state(place)
        self.road.forget(share)
        if receipt.verdict != KEPT:
            raise Refused("share.contract", receipt.verdict)
        self._note("share taken", push, replicas=taken.replicas, rows=receipt.rows)
        return Outcome(share=share, already=False, receipt=receipt, replicas=taken.replicas)

    async def _publish(self, place: str, push: Push) -> Push:
        """Publish the share record, once: one that a crash cut off is found by its header."""
        if push.share is not None:
            return push
        collaboration = self.world.collaboration(push.agreement)
        share = next(
            (id_ for id_, (_, s, _) in collaboration.shares.items() if s.header == push.header),
            None,
        )
        if share is None:
            key = self.keys.open(push.key, push.header)
            before = collaboration.current_shares().get((push.dataset, self.world.me.did))
            body = Share(
                header=push.header,
                wraps=await self._wraps(
                    collaboration, self._trusted(collaboration), key, push.header
                ),
                replaces=None if before is None else before.record.id,
            )
            share = (await self.pipeline.publish(push.agreement, "share", body)).id
        self.keys.keep(share, push.key)
        push = replace(push, share=share, key=b"")
        self.journal.put_state(place, shape.encode(push))
        self._note("share sealed", push)
        return push

    async def _patiently(self, push: Push, step: Callable[[], Awaitable[T]]) -> T:
        """A step towards whoever is the elected host, as often as it takes."""
        pause, broken, why = PAUSE, 0, ""
        while True:
            try:
                return await step()
            except Refused as error:
                broken += error.code == "share.chunk"
                if error.code not in PASSING or broken == BROKEN:
                    raise
                why = str(error)
            except (TransportError, trio.BrokenResourceError, trio.TooSlowError) as error:
                why = str(error) or type(error).__name__
            log.info("push of %s: %s", push.dataset, why)
            self._note("share waits", push, why=why, seconds=round(pause))
            await trio.sleep(pause * (0.75 + secrets.randbelow(50) / 100))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _kept(self, place: str) -> Push:
        """What the journal says of a push by now. Raises Refused (share.changed): given up."""
        raw = self.journal.state(place)
        if raw is None:
            raise Refused("share.changed", "this push was given up")
        return shape.decode(Push, raw)

    def _keep_sealed(self, place: str, sealed: Sealed) -> None:
        self.journal.put_state(place, shape.encode(replace(self._kept(place), sealed=sealed)))

    async def _attempt(self, place: str, open_plain: OpenPlain) -> wire.ShareTaken:
        push = self._kept(place)
        collaboration = self.world.collaboration(push.agreement)
        self._dataset(collaboration, push.dataset)
        elected = self._trusted(collaboration)
        share = push.share or b""
        if elected.appointment.enclave not in collaboration.wrapped_to(share):
            await self._wrap_again(collaboration, elected, share)
        signed = collaboration.shares[share][0]
        parcel = Parcel(
            share=share,
            key=self.keys.of(share, push.header),
            header=push.header,
            offer=wire.OfferShare(agreement=push.agreement, share=signed.raw),
            open_plain=open_plain,
            before=push.sealed,
            ending=partial(trio.from_thread.run_sync, self._keep_sealed, place),
        )
        peers = self.world.peers_of(elected.appointment.host)
        send = partial(
            self.road.send,
            addresses=elected.candidacy.addresses,
            parcel=parcel,
            report=partial(self._report, push),
        )
        for peer in peers[:-1]:
            try:
                return await send(peer)
            except TransportError as error:
                log.info("push of %s to %s: %s", push.dataset, peer, error)
        return await send(peers[-1])

    def _report(self, push: Push, progress: Progress) -> None:
        self._note(
            "share progress",
            push,
            sent=progress.sent,
            total=progress.total,
            rate=int(progress.rate),
            left=None if progress.left is None else round(progress.left),
            lane=progress.by_lane,
            way=progress.way,
            why=progress.why,
        )

    async def _read_receipt(self, push: Push, taken: wire.ShareTaken) -> Receipt:
        """The enclave's receipt, as the host handed it over, held against the topic's gate."""
        found = record.parse(taken.receipt)
        receipt = kinds.read(Receipt, found)
        collaboration = self.world.collaboration(push.agreement)
        enclaves = {c.enclave.signing for _, c in collaboration.election.candidacies.values()}
        if found.key not in enclaves or receipt.share != push.share:
            raise Refused("share.binding", "the receipt is for another share, or by no enclave")
        if push.sealed is None or receipt.digest != push.sealed.chain:
            raise Refused("share.binding", "the receipt is for another stream than was sent")
        await self.pipeline.take([taken.receipt])
        return receipt

    def _note(self, event: str, push: Push, **details: object) -> None:
        self.pipeline.happenings.add(
            time.time(), event, push.agreement, push.share or b"", dataset=push.dataset, **details
        )


def _place(what: str, agreement: bytes, dataset: str) -> str:
    return f"{what}/{agreement.hex()}/{dataset}"


def _datasets(document: Agreement) -> Iterator[Dataset]:
    """What a party may provide: data, or confidential code."""
    yield from document.datasets
    agreed = provision(document, CODE)
    if agreed is not None:
        by = tuple(k.Source(did=did, legal_basis="", waits=True) for did in agreed[1])
        yield Dataset(id=CODE, contract=agreed[0], person="", sources=by)


def _origin(source: config.Source) -> dict[str, Any]:
    """Where a push reads, for the journal."""
    return {
        "file": str(source.file),
        "contract": str(source.contract),
        "exclude": None if source.exclude is None else str(source.exclude),
        "query": source.query,
    }


def _configured(push: Push) -> config.Source:
    exclude = None if push.exclude is None else Path(push.exclude)
    return config.Source(
        file=Path(push.file), contract=Path(push.contract), query=push.query, exclude=exclude
    )


async def _open_source(source: config.Source, dataset: Dataset) -> Source:
    """The source with its contract. Raises SourceError, Refused (share.binding)."""
    try:
        contract = await trio.to_thread.run_sync(source.contract.read_bytes)
    except OSError as error:
        raise SourceError(
            "source.contract", f"Cannot read the contract: {error.strerror}.", "Check its path."
        ) from error
    same = hashlib.sha256(contract).digest() == dataset.contract
    if not same or len(contract) > CONTRACT_BYTES:
        raise Refused("share.binding", f"{source.contract.name} is not the agreed contract")
    return Source(
        file=source.file,
        contract=contract,
        person=dataset.person,
        exclude=source.exclude,
        query=source.query,
    )
