"""Drives an enclave as a host's node does, step by step, so that a test can lie at any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enclave_host import environment
from enclave_host.attest.simulated import SimulatedAttester
from enclave_host.cage import Cage, Limits
from enclave_host.enclave import Enclave
from enclave_host.inputs import Datacage
from enclave_host.private import Room
from protocol import enclave_wire as wire
from protocol import limits, record, shape, token
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

    def prepare(self, number: int, statements: tuple[bytes, ...], **changes: Any) -> wire.Prepared:
        request = wire.Prepare(
            agreement=self.rig.id,
            number=number,
            statements=statements,
            lineage=self.lineage,
            runs=tuple(self.runs),
        )
        prepared: wire.Prepared = self.door.ask(replace(request, **changes), wire.Prepared)
        return prepared

    def load(self, number: int, prepared: wire.Prepared) -> None:
        for share in prepared.shares:
            stored = self.stored[share]
            for place, frame in enumerate(stored, 1):
                self.load_frame(number, share, frame, place == len(stored))

    def load_frame(self, number: int, share: bytes, frame: bytes, end: bool) -> None:
        request = wire.Load(agreement=self.rig.id, number=number, share=share, frame=frame, end=end)
        self.door.ask(request, Done)

    def conclude(self, number: int) -> wire.Concluded:
        request = wire.Conclude(agreement=self.rig.id, number=number)
        concluded: wire.Concluded = self.door.ask(request, wire.Concluded)
        return concluded

    def release(self, certificate: bytes) -> tuple[run.Delivery, ...]:
        request = wire.Release(agreement=self.rig.id, certificate=certificate)
        deliveries: tuple[run.Delivery, ...] = self.door.ask(request, wire.Released).deliveries
        return deliveries

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
        if self.concluded.lineage is not None:
            self.lineage = self.concluded.lineage
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


def boot(environments: Path, tier: str | None = None) -> Enclave:
    """An enclave in this process. Without `tier` nothing is probed: for tests that run no code."""
    cage = Cage("A") if tier is None else Cage.probe(None if tier == "any" else tier)
    limits_ = Limits(memory=4 << 30, cpu=60, wall=60.0, output=64 << 20)
    space = Room(64 << 20)
    datacage = Datacage(cage, space, environments, limits_)
    known = {environment.digest(environments): datacage}
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
