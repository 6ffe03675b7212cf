"""What may happen to a machine. Frozen values, one union; nothing here acts."""

from dataclasses import dataclass

from protocol.kinds.host import Verdict
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Received:
    """A record passed the gate and is in the journal (one's own records too)."""

    record: Record


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed; `now` of handle() says how far."""


@dataclass(frozen=True, slots=True)
class Appraised:
    """The answer to a Challenge: this node's own verdict, ready to publish."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class HeartbeatHeard:
    """A verified heartbeat of the enclave that holds `term`."""

    term: int
    enclave: bytes


@dataclass(frozen=True, slots=True)
class StopHeard:
    """A verified stop token of a person (raw); `stop` is its id, `consent` what it ends."""

    stop: bytes
    consent: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class ResultKept:
    """Output `name` of run `number` came here: nobody must release it to this participant again."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """Host: the enclave would not take this order; until then (unix seconds) others come first."""

    order: bytes
    until: int


Event = Received | Ticked | Appraised | HeartbeatHeard | StopHeard | ResultKept | OrderRefused
