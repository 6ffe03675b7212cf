"""Invites into a space and what became of them: joins, refusals, and invites taken back."""

from dataclasses import dataclass, field
from typing import Literal

from protocol import kinds
from protocol.identity import Participant, open_identity
from protocol.kinds.space import Decline, Invite, InviteRevocation, Join
from protocol.record import Record

InviteState = Literal["admitted", "revoked", "declined", "joined", "expired", "open"]
"""What became of an invite; "joined" waits for votes, "open" for the guest."""


@dataclass(slots=True)
class Invitations:
    """All invites of a space. Nothing here depends on the order of arrival: an answer to an invite
    that is not known, or is not for its author, is kept and counts for nothing. Else the feed of
    who answered would end there for all who know the invite to be void.
    """

    invites: dict[bytes, tuple[Record, Invite, Participant]] = field(default_factory=dict)
    _joins: dict[bytes, tuple[Record, bytes]] = field(default_factory=dict)
    _declines: list[tuple[Record, bytes, str]] = field(default_factory=list)
    _revocations: list[tuple[Record, bytes, str]] = field(default_factory=list)

    def take(self, record: Record) -> None:
        """Take an invite, or what became of it."""
        match record.kind:
            case "invite":
                invite = kinds.read(Invite, record)
                self.invites[record.id] = (record, invite, open_identity(invite.identity))
            case "invite-revocation":
                taken = kinds.read(InviteRevocation, record)
                self._revocations.append((record, taken.invite, taken.reason))
            case "decline":
                no = kinds.read(Decline, record)
                self._declines.append((record, no.invite, no.reason))
            case _:
                self._joins[record.id] = (record, kinds.read(Join, record).invite)

    @property
    def joins(self) -> dict[bytes, tuple[Record, bytes]]:
        """Join -> its record, and the invite for its author that it accepts in time. Of several by
        one key for one invite the first of its feed.
        """
        first: dict[tuple[bytes, bytes], Record] = {}
        for record, invite in self._joins.values():
            place = (record.key, invite)
            if self._answers(record, invite) and record.seq <= first.get(place, record).seq:
                first[place] = record
        return {record.id: (record, invite) for (_, invite), record in first.items()}

    @property
    def declined(self) -> dict[bytes, tuple[Record, str]]:
        """Invite -> the record by which its guest said no, and why."""
        return {
            invite: (record, why)
            for record, invite, why in sorted(self._declines, key=_by_id)
            if self._answers(record, invite)
        }

    @property
    def revoked(self) -> dict[bytes, tuple[Record, str]]:
        """Invite -> the record by which who invited took it back, and why."""
        return {
            invite: (record, why)
            for record, invite, why in sorted(self._revocations, key=_by_id)
            if invite in self.invites and self.invites[invite][0].author == record.author
        }

    def state(self, invite: bytes, admitted: frozenset[bytes], now: int) -> InviteState:
        """What became of an invite; `admitted` are the joins that were decided."""
        joined = [join for join, (_, named) in self.joins.items() if named == invite]
        if admitted.intersection(joined):
            return "admitted"
        if invite in self.revoked:
            return "revoked"
        if joined:
            return "joined"
        if invite in self.declined:
            return "declined"
        return "expired" if self.invites[invite][1].until < now else "open"

    def guest_of(self, join: bytes) -> Participant:
        """The participant as the invite of a join describes it."""
        return self.invites[self.joins[join][1]][2]

    def _answers(self, record: Record, invite: bytes) -> bool:
        """Whether a record answers an invite that is for its author and was open by its date."""
        found = self.invites.get(invite)
        return found is not None and found[2].did == record.author and record.at <= found[1].until


def _by_id(one: tuple[Record, bytes, str]) -> bytes:
    return one[0].id
