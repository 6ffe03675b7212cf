"""Thousands of people with a share each, and an enclave with its real sandbox; no vault processes.

What crosses the host's door is measured: the largest frame, and how many there were of each kind.
"""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from enclave_host.enclave import Enclave
from node.host_shares import pages
from protocol import enclave_wire as wire
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds import host, run
from tests.enclave_drive import Host, body_of
from tests.enclave_rig import Patient, Rig, Sealed

AT_ONCE = 32
"""Uploads at once, as a host takes them (node/share_lane.py:UPLOADS)."""

PEOPLE_RULES = {"output_bytes": 8 << 20, "waits": False}
"""An agreement in which no hospital's share is waited for, and every person has a part."""


@dataclass
class Gauge:
    """A door to an enclave that notes what crosses it."""

    answer: Any
    largest: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    def ask(self, request: object, document: Any) -> Any:
        frame = wire.WIRE.pack_request(request)
        self.asked[type(request).__name__] += 1
        reply = self.answer(frame)
        self.largest = max(self.largest, len(frame), len(reply))
        return wire.WIRE.read_answer(reply, document)


def gauge(enclave: Enclave) -> Gauge:
    """The door of an enclave in this process."""

    def answer(frame: bytes) -> bytes:
        try:
            return wire.WIRE.pack_answer(enclave.answer(wire.WIRE.read_request(frame)))
        except Refused as refused:
            return wire.WIRE.pack_refusal(refused)

    return Gauge(answer)


def person(number: int) -> Patient:
    return Patient(f"row-{number:05}")


def share_of(rig: Rig, number: int, *enclaves: host.EnclaveKeys) -> Sealed:
    """The one row of this person."""
    who = person(number)
    row = {"person": who.value, "site": 1 + number % 9, "value": float(1 + number % 7)}
    return rig.person_share(who, [row], *enclaves)


def push_all(office: Host, shares: Iterable[Sealed], at_once: int = AT_ONCE) -> Counter[str]:
    """Push shares as a host's node does, several at once; how often which verdict came."""
    with ThreadPoolExecutor(at_once) as pool:
        receipts = pool.map(office.push, shares)
        return Counter(str(dict(one.body or {})["verdict"]) for one in receipts)


def show_all(office: Host, shares: Iterable[Sealed]) -> int:
    """Show stored shares to an enclave, only those that it lacks; how many these were."""
    by_id = {share.id: share for share in shares}
    lacking = compare(office, tuple(by_id))
    for share in lacking:
        office.keep(by_id[share])
    return len(lacking)


def compare(office: Host, shares: tuple[bytes, ...]) -> list[bytes]:
    """The shares that are new to an enclave."""
    questions = (wire.Compare(agreement=office.rig.id, shares=page) for page in pages(shares))
    answers = [office.door.ask(question, wire.Lacking) for question in questions]
    return [share for answer in answers for share in answer.shares]


def run_for_all(office: Host, number: int = 1) -> run.Run:
    """A run of the entry point that has a part for each person, up to its record."""
    summons = office.summon(number, office.rig.order("fit", {"covariates": ["age"]}))
    prepared = office.prepare(number, office.rig.statements(summons))
    office.load(number, prepared)
    office.concluded = office.conclude(number)
    return body_of(office.concluded.run)


def carried(office: Host, run_id: bytes) -> None:
    """The host says that all of a run arrived."""
    office.door.ask(wire.Carried(agreement=office.rig.id, run=run_id), Done)
