"""Drives an enclave as a host's node does, step by step, so that a test can lie at any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from enclave_host import environment, lineage
from enclave_host.attest.simulated import SimulatedAttester
from enclave_host.cage import Cage, Limits
from enclave_host.enclave import Enclave
from enclave_host.inputs import Datacage
from enclave_host.lineage import Lineage
from enclave_host.private import Room
from node.host_shares import batches
from protocol import enclave_wire as wire
from protocol import kinds, limits, record, shape, token
from protocol.attestation.evidence import enclave_id
from protocol.dialogue import Done
from protocol.errors import RULES, Refused
from protocol.kinds import host, run
from protocol.kinds.consent import Stop
from protocol.record import Record
from protocol.sealing import wrap
from tests.enclave_rig import Actor, Rig, Sealed, seed


class Door:
    """Asks an enclave in this process, through the bytes of the wire."""

    def __init__(self, enclave: Enclave) -> None:
        self.enclave = enclave

    def ask(self, request: object, document: Any) -> Any:
        try:
            frame = wire.WIRE.pack_answer(
                self.enclave.answer(wire.WIRE.read_request(wire.WIRE.pack_request(request)))
            )
        except Refused as refused:
            frame = wire.WIRE.pack_refusal(refused)
        return wire.WIRE.read_answer(frame, document)


class Host:
    """What a host's node does with its enclave. `door` is a Door, or a server.Client."""

    def __init__(self, rig: Rig, who: Actor, door: Any) -> None:
        self.rig, self.who, self.door = rig, who, door
        self.hello = door.ask(wire.Hello(), wire.HelloAnswer)
        self.keys: host.EnclaveKeys = self.hello.keys
        self.id = enclave_id(self.keys)
        self.stored: dict[bytes, tuple[bytes, ...]] = {}
        self.runs: list[bytes] = []
        self.lineage: bytes | None = None
        self.bequests: list[run.Bequest] = []

    def join(self) -> "Host":
        self.door.ask(wire.Join(opening=self.rig.opening), Done)
        self.door.ask(wire.Provide(agreement=self.rig.id, blobs=self.rig.blobs), Done)
        self.attest()
        self.candidacy = self.rig.candidacy(self.who, self.keys)
        return self

    def attest(self, term: int = 1, nonce: bytes = seed("nonce")) -> bytes:
        request = wire.Attest(
            agreement=self.rig.id,
            host=self.who.did,
            requester=self.rig.a.did,
            term=term,
            nonce=nonce,
        )
        bundle: bytes = self.door.ask(request, wire.AttestAnswer).bundle
        return bundle

    def appoint(self, certificate: bytes, standbys: tuple[Record, ...] = ()) -> None:
        request = wire.Appoint(
            agreement=self.rig.id,
            certificate=certificate,
            host=self.candidacy.raw,
            standbys=tuple(one.raw for one in standbys),
        )
        self.door.ask(request, Done)

    def take_office(self, term: int = 1, standbys: tuple[Record, ...] = ()) -> "Host":
        self.certificate = self.rig.certificate(term, self.candidacy, standbys)
        self.appoint(self.certificate, standbys)
        return self

    def begin(
        self, share: Sealed, stored: bool = False, rewraps: tuple[bytes, ...] = ()
    ) -> wire.ShareReady:
        opener = share.opener.get(self.id) or next(iter(share.opener.values()))
        request = wire.ShareBegin(
            agreement=self.rig.id,
            share=opener,
            person=share.person,
            rewraps=rewraps,
            stored=stored,
        )
        ready: wire.ShareReady = self.door.ask(request, wire.ShareReady)
        return ready

    def feed(self, share: bytes, frame: bytes) -> None:
        request = wire.ShareFrame(agreement=self.rig.id, share=share, frame=frame)
        self.door.ask(request, Done)

    def end(self, share: bytes) -> Record:
        request = wire.ShareEnd(agreement=self.rig.id, share=share)
        (raw,) = self.door.ask(request, wire.Records).records
        return record.parse(raw)

    def push(self, share: Sealed) -> Record:
        """A whole upload; the receipt. The host stores the frames."""
        ready = self.begin(share)
        for frame in share.frames:
            self.feed(ready.share, frame)
        receipt = self.end(ready.share)
        self.stored[share.id] = share.frames
        return receipt

    def keep(self, share: Sealed, frames_: tuple[bytes, ...] | None = None) -> None:
        """A share that is stored already, as after a fail-over."""
        self.begin(share, stored=True)
        self.stored[share.id] = share.frames if frames_ is None else frames_

    def summon(self, number: int = 1, order: Record | None = None) -> bytes:
        order = order or self.rig.order()
        request = wire.Summon(agreement=self.rig.id, number=number, order=order.raw)
        (raw,) = self.door.ask(request, wire.Records).records
        return bytes(raw)

    def show(self, *stops: bytes) -> tuple[bytes, ...]:
        """Show stop tokens, as a host must before statements that name them; their ids."""
        self.door.ask(wire.Stops(agreement=self.rig.id, stops=stops), Done)
        return tuple(token.open_(stop, "stop", Stop).id for stop in stops)

    @property
    def wraps(self) -> tuple[bytes, ...]:
        """The key of the lineage, as far as it was wrapped to this enclave."""
        wraps = [one for bequest in self.bequests for one in bequest.wraps]
        return tuple(one.sealed for one in wraps if one.enclave == self.id)

    def take_over(self, before: "Host") -> None:
        """What another host brought so far: certificates, the sealed lineage, wraps of its key."""
        self.runs, self.lineage = list(before.runs), before.lineage
        self.bequests = list(before.bequests)

    def inherit(self, **changes: Any) -> list[Record]:
        """Show the enclave the lineage; what it says of it."""
        request = wire.Inherit(
            agreement=self.rig.id, runs=tuple(self.runs), lineage=self.lineage, wraps=self.wraps
        )
        answer = self.door.ask(replace(request, **changes), wire.Records)
        made = [record.parse(raw) for raw in answer.records]
        self.bequests += [kinds.read(run.Bequest, one) for one in made if one.kind == "bequest"]
        return made

    def keep_lineage(self, concluded: wire.Concluded) -> None:
        """What a run left of the lineage, whoever computed it."""
        if concluded.lineage is not None:
            self.lineage = concluded.lineage
            bequest = record.parse(concluded.bequest or b"")
            self.bequests = [kinds.read(run.Bequest, bequest)]

    def open_lineage(self) -> Lineage:
        """What lies in the lineage of the run computed last; its enclave is in this process."""
        blob = self.concluded.lineage or b""
        bequest = kinds.read(run.Bequest, record.parse(self.concluded.bequest or b""))
        wraps = [one.sealed for one in bequest.wraps if one.enclave == self.id]
        vault = self.door.enclave.vault
        pinned = lineage.digest(blob)
        return lineage.open_(blob, pinned, wraps, self.rig.id, vault.seed, vault.id)[0]

    def prepare(self, number: int, statements: tuple[bytes, ...], **changes: Any) -> wire.Prepared:
        request = wire.Prepare(
            agreement=self.rig.id,
            number=number,
            statements=statements,
            lineage=self.lineage,
            wraps=self.wraps,
            runs=tuple(self.runs),
        )
        prepared: wire.Prepared = self.door.ask(replace(request, **changes), wire.Prepared)
        return prepared

    def load(self, number: int, prepared: wire.Prepared) -> None:
        for frames in batches(lambda share: iter(self.stored[share]), prepared.shares):
            self.load_frames(number, frames)

    def load_frame(self, number: int, share: bytes, frame: bytes, end: bool) -> None:
        self.load_frames(number, (wire.StoredFrame(share=share, frame=frame, end=end),))

    def load_frames(self, number: int, frames: tuple[wire.StoredFrame, ...]) -> None:
        self.door.ask(wire.Load(agreement=self.rig.id, number=number, frames=frames), Done)

    def conclude(self, number: int) -> wire.Concluded:
        request = wire.Conclude(agreement=self.rig.id, number=number)
        concluded: wire.Concluded = self.door.ask(request, wire.Concluded)
        return concluded

    def release(self, certificate: bytes) -> tuple[run.Delivery, ...]:
        found: list[run.Delivery] = []
        more = True
        while more:
            page = self.release_page(certificate, len(found))
            found += page.deliveries
            more = page.more
        return tuple(found)

    def release_page(self, certificate: bytes, after: int = 0) -> wire.Released:
        request = wire.Release(agreement=self.rig.id, certificate=certificate, after=after)
        page: wire.Released = self.door.ask(request, wire.Released)
        return page

    def compute(self, number: int, order: Record | None = None, **changes: Any) -> run.Run:
        """A run up to its record; statements of every party."""
        summons = self.summon(number, order)
        prepared = self.prepare(number, self.rig.statements(summons), **changes)
        self.load(number, prepared)
        self.concluded = self.conclude(number)
        return body_of(self.concluded.run)

    def commit(self) -> tuple[run.Delivery, ...]:
        """The votes for the run computed last, and what leaves."""
        certificate = self.rig.run_certificate(self.concluded.run)
        deliveries = self.release(certificate)
        self.runs.append(certificate)
        self.keep_lineage(self.concluded)
        return deliveries


def body_of(raw: bytes) -> run.Run:
    """The run record in `raw`."""
    return shape.read(run.Run, dict(record.parse(raw).body or {}))


def open_delivery(delivery: run.Delivery, sealing: bytes) -> run.SealedOutput:
    """What the recipient reads."""
    plain = wrap.open_(
        delivery.sealed, sealing, "output", delivery.run, delivery.name.encode(), delivery.to
    )
    return shape.decode(run.SealedOutput, plain, limits.OUTPUT + 4096)


digest_of = environment.Watched().digest
"""The digest of an environment: read once in a test run, by a real enclave at each start."""


@cache
def caged(tier: str) -> Cage:
    """The sandbox of this tier, or the best; probed once."""
    return Cage.probe(None if tier == "any" else tier)


def boot(environments: Path, tier: str | None = None) -> Enclave:
    """An enclave in this process. Without `tier` nothing is probed: for tests that run no code."""
    cage = Cage("A") if tier is None else caged(tier)
    limits_ = Limits(memory=4 << 30, cpu=60, wall=60.0, output=64 << 20)
    space = Room(64 << 20)
    datacage = Datacage(cage, space, environments, limits_)
    known = {digest_of(environments): datacage}
    return Enclave(SimulatedAttester(seed("software")), space, cage.tier, known)


@contextmanager
def enclaves(environments: Path, tier: str | None = None) -> Iterator[Callable[[], Enclave]]:
    """Boots enclaves in this process, and wipes their rooms in the end."""
    booted: list[Enclave] = []

    def start() -> Enclave:
        booted.append(boot(environments, tier))
        return booted[-1]

    try:
        yield start
    finally:
        for enclave in booted:
            enclave.room.close()


@contextmanager
def booted(parent: Path) -> Iterator[Any]:
    """Boots enclaves that run no code, whose environment, `.folder` of the result, is one file."""
    folder = parent / "environment"
    folder.mkdir()
    (folder / "numbers.py").write_text("one = 1\n")
    with enclaves(folder) as start:
        start.folder = folder  # type: ignore[attr-defined]
        yield start


def refused(code: str, act: Callable[..., Any], *arguments: Any, **named: Any) -> Refused:
    """What an act is refused with: this code, which is one of the closed list."""
    with pytest.raises(Refused) as caught:
        act(*arguments, **named)
    assert caught.value.code == code, str(caught.value)
    assert code in RULES
    return caught.value
