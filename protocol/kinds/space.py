"""A collaboration space: its charter, invites, joins, and what members publish."""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol import limits
from protocol.kinds.attestation import Floors
from protocol.kinds.identity import Role
from protocol.shape import Count, Document, Hash, Key, Max, Name, Text, Time

RawRecord = Annotated[bytes, Max(limits.IDENTITY)]
"""The exact bytes of an identity record, carried where its subject becomes known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Founder:
    """One who signs the charter: its identity record and its roles."""

    identity: RawRecord
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the members of a space agreed on, and may change together.

    `registrars` are the trusted identity authorities (did keys); a member needs a credential by one
    of them, registrars themselves do not. `advisors` (did keys) may publish advisories that count.
    `recovery_delay` is how long, in seconds, a recovered key waits for a veto. `page` is SHA-256 of
    the page that gateways serve to people. `attestation` is the least that every agreement asks.
    """

    registrars: tuple[Key, ...]
    advisors: tuple[Key, ...]
    recovery_delay: Time
    page: Hash | None = None
    attestation: Floors | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charter:
    """The opening document of a space; its digest is the space's id and topic.

    `terms` hold until a change replaces them (`Change`).
    """

    type: Literal["space"] = "space"
    name: Name
    purpose: Text
    founders: tuple[Founder, ...]
    terms: Terms
    salt: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """Invites one participant in named roles (kind `invite`); bound to its identity's root key.

    `contract` names the data contract that it is asked to provide.
    """

    identity: RawRecord
    roles: tuple[Role, ...]
    until: Time
    contract: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """The invitee accepts (kind `join`); members vote on the id of this record."""

    invite: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """The invitee says no (kind `decline`)."""

    invite: Hash
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteRevocation:
    """Who invited takes it back (kind `invite-revocation`): nobody votes on its join any more."""

    invite: Hash
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPin:
    """The last record of one key in this space that stands: its place and its id."""

    key: Key
    seq: Count
    head: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """The author leaves (kind `leave`), with this record as the last one of its voting key.

    `revision` is its newest identity's: to come back takes a newer one. `pins` are the last records
    of its other keys.
    """

    revision: Count
    reason: Text
    pins: tuple[FeedPin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A voter of the next epoch: participant, id of its newest identity record, roles."""

    did: Key
    identity: Hash
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A participant that leaves the space by this change; what it signed up to `pins` stands."""

    did: Key
    reason: Text
    pins: tuple[FeedPin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A guardian proposes that the seat of `did`, whose root is lost, passes to a new root.

    `identity` is the first identity of the new root; what the old keys signed up to `pins` stands;
    `epoch` is the one whose voters confirm (kind `recovery`).
    """

    did: Key
    identity: RawRecord
    epoch: Hash
    pins: tuple[FeedPin, ...]
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Veto:
    """A key of the participant is not lost: no honest voter confirms the recovery (kind `veto`)."""

    recovery: Hash
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The next epoch of a space as one of its voters proposes it (kind `change`).

    `epoch` is the one that it ends. Each voter of it stands in `members` or in `removed`.
    """

    epoch: Hash
    members: tuple[Seat, ...]
    removed: tuple[Removal, ...]
    terms: Terms
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Something published by digest (kinds `algorithm`, `contract`): members fetch the blob.

    For an algorithm the blob is the bundle (protocol.kinds.algorithm), for a contract the ODCS
    file. The blob of a confidential algorithm stays with its author and reviewers; members fetch
    `sealed`, its SealedBundle.
    """

    name: Name
    version: Name
    blob: Hash
    sealed: Hash | None = None
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
    """That its author is party of an agreement (kind `commitment`): hides which and with whom.

    `digest` = keys.digest("commitment", agreement id, did of the author). The document holds a
    random salt, and no two parties commit to one digest; who has the agreement can check both.
    """

    digest: Hash


Opening = Document
