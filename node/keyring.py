"""The keys a running node holds, and the identity record by which its root delegates them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from protocol import keys, record
from protocol.errors import Refused
from protocol.identity import Participant, identity_topic, open_identity
from protocol.kinds.identity import Identity, RecordKey
from protocol.record import Place
from protocol.sealing.wrap import public_key

YEAR = 365 * 24 * 3600
"""Seconds for which a root delegates; renewal is announced before it ends."""

SEED_NAMES = ("root", "node", "record", "sealing", "store")
"""The seeds in a node's keystore; `root` may be taken offline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """Seeds of a node (32 bytes each), and its own participant as others see it."""

    node: bytes
    record: bytes
    sealing: bytes
    store: bytes
    me: Participant

    @property
    def did(self) -> bytes:
        """The participant that this node belongs to."""
        return self.me.did


def new_seeds() -> dict[str, bytes]:
    """Fresh seeds for a keystore."""
    return {name: secrets.token_bytes(32) for name in SEED_NAMES}


def sign_identity(seeds: Mapping[str, bytes], name: str, now: int) -> bytes:
    """The first identity record of a participant, signed by its root key; raw bytes."""
    root = keys.public(seeds["root"])
    until = now + YEAR
    body = Identity(
        revision=0,
        name=name,
        nodes=(keys.public(seeds["node"]),),
        records=(RecordKey(key=keys.public(seeds["record"]), vote=True, until=until),),
        sealing=public_key(seeds["sealing"]),
        until=until,
    )
    return record.sign(
        seeds["root"],
        topic=identity_topic(root),
        author=root,
        kind="identity",
        body=body,
        place=Place(),
        at=now,
        salt=secrets.token_bytes(16),
    ).raw


def open_keyring(seeds: Mapping[str, bytes], identity: bytes) -> Keyring:
    """The keyring of an opened keystore. Raises Refused (identity.keys) if the two do not match."""
    me = open_identity(identity)
    if me.vote_key != keys.public(seeds["record"]) or me.sealing != public_key(seeds["sealing"]):
        raise Refused("identity.keys", "the identity record is not of this keystore")
    return Keyring(
        node=seeds["node"],
        record=seeds["record"],
        sealing=seeds["sealing"],
        store=seeds["store"],
        me=me,
    )
