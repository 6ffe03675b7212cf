"""A collaboration space: its charter, invites, joins, and what members publish."""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol.kinds.identity import Role
from protocol.shape import Count, Document, Hash, Key, Max, Name, Text, Time

RawRecord = Annotated[bytes, Max(8 * 1024)]
"""The exact bytes of an identity record, carried where its subject becomes known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Founder:
    """One who signs the charter: its identity record and its roles."""

    identity: RawRecord
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Charter:
    """The opening document of a space; its digest is the space's id and topic.

    `registrars` are the trusted identity authorities (did keys); a member needs a credential by one
    of them, registrars themselves do not.
    """

    type: Literal["space"] = "space"
    name: Name
    purpose: Text
    founders: tuple[Founder, ...]
    registrars: tuple[Key, ...]
    salt: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """Invites one participant in named roles (kind `invite`); bound to its identity's root key."""

    identity: RawRecord
    roles: tuple[Role, ...]
    until: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """The invitee accepts (kind `join`); members vote on the id of this record."""

    invite: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Something published by digest (kinds `algorithm`, `contract`): members fetch the blob.

    For an algorithm the blob is the bundle (protocol.kinds.algorithm), for a contract the ODCS
    file.
    """

    name: Name
    version: Name
    blob: Hash
    size: Count
    note: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A signed review of an algorithm bundle (kind `review`)."""

    bundle: Hash
    verdict: Literal["approved", "rejected"]
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """That an agreement exists, to the space (kind `commitment`): hides which and with whom.

    `digest` = keys.digest("commitment", agreement id); the agreement document holds a random salt.
    """

    digest: Hash


Opening = Document
