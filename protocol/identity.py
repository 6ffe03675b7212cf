"""Participants: what an identity record proves about a root key, checked once, used everywhere."""

from dataclasses import dataclass

from protocol import kinds, record
from protocol.errors import Refused
from protocol.keys import Did, digest
from protocol.kinds.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A participant as its root key describes it. Only `open_identity` makes one.

    `vote_key` is the one record key that may vote; `record_keys` all that may sign records; `nodes`
    the Ed25519 keys of its nodes; `sealing` the HPKE key for results; `id` the identity record's
    id.
    """

    did: Did
    name: str
    revision: int
    nodes: tuple[bytes, ...]
    record_keys: frozenset[bytes]
    vote_key: bytes
    sealing: bytes
    until: int
    id: bytes
    raw: bytes


def identity_topic(did: bytes) -> bytes:
    """The topic of a participant's identity records."""
    return digest("identity", did)


def open_identity(raw: bytes) -> Participant:
    """Verify an identity record. Raises Refused (record.*, identity.root, identity.keys).

    It must be signed by the root key that it is about, and delegate exactly one voting key: two
    would let one participant vote twice.
    """
    found = record.parse(raw)
    if found.kind != "identity":
        raise Refused("record.kind", f"{found.kind} is no identity")
    kinds.check(found, "identity")
    if found.key != found.author or found.topic != identity_topic(found.author):
        raise Refused("identity.root")
    body = kinds.read(Identity, found)
    voting = [key.key for key in body.records if key.vote]
    if len(voting) != 1:
        raise Refused("identity.keys", f"{len(voting)} voting keys")
    if found.author in {key.key for key in body.records}:
        raise Refused("identity.keys", "the root key must not sign records")
    return Participant(
        did=Did(found.author),
        name=body.name,
        revision=body.revision,
        nodes=body.nodes,
        record_keys=frozenset(key.key for key in body.records),
        vote_key=voting[0],
        sealing=body.sealing,
        until=body.until,
        id=found.id,
        raw=raw,
    )
