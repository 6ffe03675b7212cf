"""One file per family of records. `KINDS` is the closed list: name -> document and topic."""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from protocol import shape
from protocol.errors import Misuse, Refused
from protocol.kinds import advisory, agreement, common, host, identity, run, share, space
from protocol.record import Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind:
    """The document of a kind of record, and the types of topic in which it may stand."""

    document: type[Any]
    topics: frozenset[str]


def _kind(document: type[Any], *topics: str) -> Kind:
    return Kind(document, frozenset(topics))


KINDS: Final[dict[str, Kind]] = {
    "identity": _kind(identity.Identity, "identity"),
    "keys": _kind(identity.Keys, "space", "negotiation", "agreement"),
    "vote": _kind(common.Vote, "space", "negotiation", "agreement"),
    "refusal": _kind(common.Refusal, "negotiation", "agreement"),
    "credential": _kind(identity.Credential, "space"),
    "credential-revocation": _kind(identity.CredentialRevocation, "space"),
    "invite": _kind(space.Invite, "space"),
    "join": _kind(space.Join, "space"),
    "decline": _kind(space.Decline, "space"),
    "invite-revocation": _kind(space.InviteRevocation, "space"),
    "leave": _kind(space.Leave, "space"),
    "change": _kind(space.Change, "space"),
    "recovery": _kind(space.Recovery, "space"),
    "veto": _kind(space.Veto, "space"),
    "algorithm": _kind(space.Artifact, "space"),
    "contract": _kind(space.Artifact, "space"),
    "review": _kind(space.Review, "space"),
    "commitment": _kind(space.Commitment, "space"),
    "advisory": _kind(advisory.Advisory, "space"),
    "advisory-withdrawal": _kind(advisory.AdvisoryWithdrawal, "space"),
    "proposal": _kind(agreement.Proposal, "negotiation"),
    "rejection": _kind(agreement.Rejection, "negotiation"),
    "suspension": _kind(agreement.Suspension, "agreement"),
    "resumption": _kind(agreement.Suspension, "agreement"),
    "candidacy": _kind(host.Candidacy, "agreement"),
    "verdict": _kind(host.Verdict, "agreement"),
    "lapse": _kind(host.Lapse, "agreement"),
    "share": _kind(share.Share, "agreement"),
    "rewrap": _kind(share.Rewrap, "agreement"),
    "receipt": _kind(share.Receipt, "agreement"),
    "erasure": _kind(share.Erasure, "agreement"),
    "order": _kind(run.Order, "agreement"),
    "cancel": _kind(run.Cancel, "agreement"),
    "missing": _kind(run.Missing, "agreement"),
    "bequest": _kind(run.Bequest, "agreement"),
    "lost": _kind(run.Lost, "agreement"),
    "summons": _kind(run.Summons, "agreement"),
    "statement": _kind(run.Statement, "agreement"),
    "started": _kind(run.Started, "agreement"),
    "run": _kind(run.Run, "agreement"),
}
"""Every kind of record. A stranger's reader needs nothing but this list and records.cddl."""

MEMBERS_ONLY: Final = frozenset(
    {"algorithm", "contract", "review", "commitment", "credential", "credential-revocation"}
)
"""What a space shows to its members. A guest gets these records without their bodies: it can follow
the feeds, and learns nothing of what they say before it is admitted."""

JOURNAL_ONLY: Final = frozenset({"commitment", "refusal"})
"""Kinds that no machine keeps: they are checked, kept and spread, and a start need not read them.
"""


def read(document: type[T], record: Record) -> T:
    """The typed body of `record`. Raises Refused (record.kind, record.body, shape.mismatch)."""
    kind = KINDS.get(record.kind)
    if kind is None:
        raise Refused("record.kind", record.kind)
    if kind.document is not document:
        raise Misuse(f"{record.kind} is a {kind.document.__name__}, not a {document.__name__}")
    if record.body is None:
        raise Refused("record.body", "the body was redacted")
    return shape.read(document, record.body)


def check(record: Record, topic_type: str) -> None:
    """Refuse a record whose kind may not stand in this type of topic, or whose body is off."""
    kind = KINDS.get(record.kind)
    if kind is None or topic_type not in kind.topics:
        raise Refused("record.kind", f"{record.kind} in a topic of type {topic_type}")
    if record.body is not None:
        shape.read(kind.document, record.body)
