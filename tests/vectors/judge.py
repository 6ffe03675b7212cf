"""What to do with the bytes of each kind of vector: README.md in code. Refused is a no."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from protocol import (
    codec,
    credentials,
    decision,
    equivocation,
    identity,
    limits,
    record,
    shape,
    stops,
    token,
)
from protocol.audit import receipt
from protocol.errors import Refused
from protocol.events import Received
from protocol.identity import History
from protocol.kinds.consent import Consent, Stop, StopReceipt, StopRight
from protocol.kinds.host import Heartbeat
from protocol.kinds.identity import Admission, PersonCredential
from protocol.machines.space import Space
from protocol.record import Record
from protocol.shape import Count, Hash, Key, Max, Name, Time
from protocol.topic import Feeds, read_opening

TOKENS: Final[dict[str, type[Any]]] = {
    "admission": Admission,
    "consent": Consent,
    "heartbeat": Heartbeat,
    "person": PersonCredential,
    "stop": Stop,
    "stop-receipt": StopReceipt,
    "stop-right": StopRight,
}

Raw = Annotated[bytes, Max(limits.RECORD)]
Raws = tuple[Raw, ...]


@dataclass(frozen=True, kw_only=True)
class Certificate:
    topic: Hash
    subject: Hash
    slot: Name
    needed: Count
    voters: tuple[tuple[Key, ...], ...]
    votes: Raws
    identities: Raws | None = None


@dataclass(frozen=True, kw_only=True)
class Signed:
    identities: Raws
    record: Raw


@dataclass(frozen=True, kw_only=True)
class Feed:
    type: Name
    topic: Hash
    now: Time
    proofs: Raws
    records: Raws


@dataclass(frozen=True, kw_only=True)
class Said:
    kind: Name
    token: Raw


@dataclass(frozen=True, kw_only=True)
class Stopped:
    agreement: Hash
    registrars: tuple[Key, ...]
    stop: Raw


@dataclass(frozen=True, kw_only=True)
class Told:
    charter: Raw
    now: Time
    records: Raws
    epoch: Hash | None = None
    recovery: Hash | None = None
    credential: Key | None = None
    member: Key | None = None
    review: Hash | None = None


class Anybody:
    """An authority that lets everybody write."""

    def authorise(self, record: Record) -> None:
        """Yes."""


def certificate(data: bytes) -> None:
    value = shape.decode(Certificate, data)
    if any(len(pair) != 2 for pair in value.voters):
        raise Refused("shape.mismatch", "a voter and its key")
    known: dict[bytes, History] = {}
    for raw in value.identities or ():
        identity.learn(known, identity.open_identity(raw))
    voters = {
        did: {key} | (known[did].voting_keys if did in known else set())
        for did, key in value.voters
    }
    decision.verify(
        value.votes,
        topic=value.topic,
        subject=value.subject,
        slot=value.slot,
        rule=decision.Rule(voters, value.needed),
        histories=known,
    )


def history(data: bytes) -> None:
    value = shape.decode(Signed, data)
    known = [identity.open_identity(raw) for raw in value.identities]
    if not known:
        raise Refused("record.author")
    History.of(*known).may_sign(record.parse(value.record))


def feed(data: bytes) -> None:
    value = shape.decode(Feed, data)
    feeds = Feeds(value.topic, value.type)
    for raw in value.proofs:
        fork = equivocation.open_proof(raw)
        feeds.bar(fork.key, fork.seq)
    for raw in value.records:
        found = record.parse(raw)
        if feeds.check(found, Anybody(), value.now):
            feeds.add(found)


def opening(data: bytes) -> None:
    found = read_opening(data)
    if found.type == "space":
        Space(found)


def open_token(data: bytes) -> None:
    value = shape.decode(Said, data)
    if value.kind not in TOKENS:
        raise Refused("record.kind")
    token.open_(value.token, value.kind, TOKENS[value.kind])


def stop(data: bytes) -> None:
    value = shape.decode(Stopped, data)
    stops.open_stop(value.stop, value.agreement, value.registrars)


def space(data: bytes) -> None:
    value = shape.decode(Told, data)
    found = Space(read_opening(value.charter))
    feeds = Feeds(found.id, "space")
    for raw in value.records:
        one = record.parse(raw)
        if feeds.check(one, found, value.now):
            feeds.add(one)
            found.handle(Received(one), 0.0)
    _ask(found, value)


def _ask(space: Space, asked: Told) -> None:
    if asked.epoch is not None and space.epoch.id != asked.epoch:
        raise Refused("decision.quorum")
    recovered = {case.record.id for case in space.recoveries.finals}
    if asked.recovery is not None and asked.recovery not in recovered:
        raise Refused("decision.quorum")
    if asked.member is not None and asked.member not in space.members():
        raise Refused("space.member")
    counted = {record.id for record, _ in space.reviews}
    if asked.review is not None and asked.review not in counted:
        raise Refused("space.member")
    if asked.credential is not None and space.credential(asked.credential, asked.now) is None:
        raise Refused("credential.expired")


def check_receipt(data: bytes) -> None:
    found = next(iter(receipt.verify(data).findings), None)
    if found is not None:
        raise Refused(found.code)


JUDGES: Final[dict[str, Callable[[bytes], object]]] = {
    "codec": codec.decode,
    "record": record.parse,
    "certificate": certificate,
    "identity": identity.open_identity,
    "history": history,
    "proof": equivocation.open_proof,
    "feed": feed,
    "opening": opening,
    "token": open_token,
    "stop": stop,
    "presentation": credentials.open_presentation,
    "space": space,
    "receipt": check_receipt,
}
"""Kind of vector -> what judges its bytes."""
