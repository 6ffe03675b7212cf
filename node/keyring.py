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

RECORD_SEEDS = ("record/next", "record/now", "record")
"""Names of record keys: one that may still wait to be delegated, one that a root delegated later
on, and the first.
"""

SEED_NAMES = ("root", "node", "record", "sealing", "store")
"""The seeds in a node's keystore; `root` may be taken offline."""


@dataclass(slots=True, kw_only=True)
class Keyring:
    """Seeds of a node (32 bytes each), and its own participant as others see it.

    Every part of the node holds the same keyring: `adopt` changes it for all of them.
    """

    node: bytes
    record: bytes
    sealing: bytes
    store: bytes
    me: Participant

    @property
    def did(self) -> bytes:
        """The participant that this node belongs to."""
        return self.me.did

    @property
    def votes(self) -> bool:
        """Whether this node has the one key of the participant that votes."""
        return keys.public(self.record) == self.me.vote_key

    def adopt(self, me: Participant, record: bytes) -> None:
        """Sign with another record key from now on. Raises Refused as `check`."""
        self.check(me, record)
        self.me, self.record = me, record

    def check(self, me: Participant, record: bytes) -> None:
        """Refuse an identity that is not the own next one, with this record key.

        Raises Refused (identity.root, identity.chain, identity.keys).
        """
        if me.did != self.me.did:
            raise Refused("identity.root", "the card is of another participant")
        follows = me.revision > self.me.revision + 1 or me.prev == self.me.id
        if me.id != self.me.id and (me.revision <= self.me.revision or not follows):
            raise Refused("identity.chain", f"it does not follow revision {self.me.revision}")
        if keys.public(record) not in me.record_keys:
            raise Refused("identity.keys", "the card delegates no record key of this node")


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
    """The keyring of an opened keystore; of its record keys the one that the identity delegates.

    Raises Refused (identity.keys) if the two do not match.
    """
    me = open_identity(identity)
    found = [seeds[name] for name in RECORD_SEEDS if name in seeds]
    record = next((seed for seed in found if keys.public(seed) in me.record_keys), None)
    if record is None or keys.public(seeds["node"]) not in me.nodes:
        raise Refused("identity.keys", "the identity record is not of this keystore")
    return Keyring(
        node=seeds["node"],
        record=record,
        sealing=seeds["sealing"],
        store=seeds["store"],
        me=me,
    )
