"""Who belongs to a space, and whose records count: what follows from decisions and departures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from protocol import kinds
from protocol.identity import History, Participant
from protocol.kinds.space import Leave
from protocol.machines.chain import Chain, revision_of
from protocol.machines.departures import Departure, Grant, in_force, keys_after_bar
from protocol.machines.epochs import read_step
from protocol.machines.invitations import Invitations
from protocol.machines.recovery import CONFIRM, Recoveries
from protocol.record import Record

CHARTER_SLOT = "charter"


@dataclass(frozen=True, slots=True)
class Member:
    """A participant that belongs to the space, its roles, and the record that admitted it."""

    participant: Participant
    roles: tuple[str, ...]
    admitted_by: bytes


@dataclass(slots=True)
class Membership:
    """Grants, departures and members of one space. All is found anew from chain, invitations and
    leaves; `forget` says that one of these changed.
    """

    chain: Chain
    recoveries: Recoveries
    invitations: Invitations = field(default_factory=Invitations)
    leaves: dict[bytes, Record] = field(default_factory=dict)
    _grants: dict[bytes, list[Grant]] | None = field(default=None, init=False)
    _departures: dict[bytes, list[Departure]] | None = field(default=None, init=False)
    _members: dict[bytes, Member] | None = field(default=None, init=False)

    def forget(self) -> None:
        """Find all anew when asked next."""
        self._grants = self._departures = self._members = None

    def members(self) -> dict[bytes, Member]:
        """Everybody who belongs to the space now."""
        if self._members is None:
            self._members = dict(self._find_members())
        return self._members

    def departures(self, did: bytes) -> list[Departure]:
        """When somebody left or was removed, if ever."""
        if self._departures is None:
            self._departures = {}
            for one in self._find_departures():
                self._departures.setdefault(one.did, []).append(one)
        return self._departures.get(did, [])

    def anybody_gone(self) -> bool:
        """Whether anybody left or was removed."""
        left = self.leaves or self.recoveries.finals
        return bool(left) or any(True for _ in self.chain.removals())

    def stands(self, record: Record) -> bool:
        """Whether a record counts, whatever its date."""
        return self.chain.histories[record.author].stands(record) and self.void(record) is None

    def ended(self, record: Record) -> str | None:
        """The code by which a record is void for good though its key may sign: it comes after the
        key was barred, or after a pin. None if no later decision is needed for it to count.
        """
        if record.seq >= self.chain.barred.get(record.key, record.seq + 1):
            return "record.equivocation"
        if _decides(record):
            return None
        history = self.chain.histories[record.author]
        pinned = (one for one in self.departures(record.author) if record.key in one.pins)
        return None if all(_lets(one, record, history, ()) for one in pinned) else "space.removed"

    def void(self, record: Record) -> str | None:
        """The code by which a record counts for nothing though its key may sign: as `ended`, or its
        owner is gone and no later decision names that key. None if it counts.
        """
        code = self.ended(record)
        if code is not None or _decides(record):
            return code
        history, barred = self.chain.histories[record.author], self.chain.barred
        grants = self.grants().get(record.author, [])
        newest = max((one.revision for one in grants), default=-1)
        if barred and record.key not in keys_after_bar(history, barred, newest):
            return "record.equivocation"
        departures = self.departures(record.author)
        lasts = all(_lets(one, record, history, grants) for one in departures)
        return None if lasts else "space.removed"

    def _find_members(self) -> Iterator[tuple[bytes, Member]]:
        for did, grants in self.grants().items():
            grant = in_force(grants, self.departures(did))
            if grant is not None and did in self.chain.histories:
                yield did, Member(self.chain.histories[did].participant, grant.roles, grant.by)

    def grants(self) -> dict[bytes, list[Grant]]:
        """Everybody who is or was a member, and by which decisions."""
        if self._grants is None:
            self._grants = {}
            for one in (*self._seat_grants(), *self._join_grants(), *self._heir_grants()):
                self._grants.setdefault(one.did, []).append(one)
        return self._grants

    def _seat_grants(self) -> Iterator[Grant]:
        for epoch in self.chain.epochs:
            for did, seat in epoch.seats.items():
                history = self.chain.histories.get(did)
                revision = -1 if history is None else revision_of(history, seat.identity)
                order = (epoch.number, 0, 0, epoch.id)
                yield Grant(did, epoch.number, revision, seat.roles, epoch.id, order)

    def _join_grants(self) -> Iterator[Grant]:
        joins = self.invitations.joins
        for join, number in self.chain.admitted.items():
            record, invite_id = joins.get(join, (None, b""))
            if record is not None and invite_id in self.invitations.invites:
                _, invite, guest = self.invitations.invites[invite_id]
                order = (number, 1, record.at, join)
                yield Grant(guest.did, number, guest.revision, invite.roles, join, order)

    def _heir_grants(self) -> Iterator[Grant]:
        """Who was recovered has the roles that the lost participant had."""
        before = [*self._seat_grants(), *self._join_grants()]
        for case in self.recoveries.finals:
            number = self.chain.epoch(case.said.epoch).number
            lost = [one for one in before if one.did == case.said.did]
            newest = max(lost, key=lambda one: one.order, default=None)
            if newest is not None:
                order = (number, 2, case.record.at, case.record.id)
                heir = case.heir
                yield Grant(heir.did, number, heir.revision, newest.roles, case.record.id, order)

    def _find_departures(self) -> Iterator[Departure]:
        """By decision; then by leaves, as far as no decision ended the feed before."""
        decided = [*self._recovered_away(), *self._removed()]
        yield from decided
        for record in self.leaves.values():
            history = self.chain.histories.get(record.author)
            gone = [one for one in decided if one.did == record.author and record.key in one.pins]
            if history is None or not history.stands(record):
                continue
            if all(one.lets(record, history, ()) for one in gone):
                leave = kinds.read(Leave, record)
                pins = {pin.key: (pin.seq, pin.head) for pin in leave.pins}
                pins[record.key] = (record.seq, record.id)
                yield Departure(
                    record.author, pins, leave.reason, record.id, record.at, revision=leave.revision
                )

    def _recovered_away(self) -> Iterator[Departure]:
        for case in self.recoveries.finals:
            pins = {pin.key: (pin.seq, pin.head) for pin in case.said.pins}
            number = self.chain.epoch(case.said.epoch).number
            yield Departure(
                case.said.did, pins, case.said.reason, case.record.id, case.record.at, epoch=number
            )

    def _removed(self) -> Iterator[Departure]:
        for number, record, removal in self.chain.removals():
            pins = {pin.key: (pin.seq, pin.head) for pin in removal.pins}
            yield Departure(removal.did, pins, removal.reason, record.id, record.at, epoch=number)


def proves_terms(record: Record) -> bool:
    """Whether a record has a say in which terms of a space are in force. Raises Refused
    (decision.subject).
    """
    return record.kind == "change" or _decides(record)


def _decides(record: Record) -> bool:
    """The rule of an epoch says who votes in it: a removal cannot undo what decided it."""
    slot = slot_of(record)
    return slot == CHARTER_SLOT or read_step(slot) is not None or record.kind == "keys"


def _lets(gone: Departure, record: Record, history: History, grants: Iterable[Grant]) -> bool:
    """Whether a departure leaves a record standing.

    Who leaves ends the feeds that it names, and no others; what made a recovery final is not undone
    by it; and who was removed may answer an invite with a new key.
    """
    if gone.revision is not None and record.key not in gone.pins:
        return True
    if slot_of(record) == CONFIRM + gone.by.hex():
        return True
    if record.kind in ("join", "decline", "leave") and record.key not in gone.pins:
        return True
    return gone.lets(record, history, grants)


def slot_of(record: Record) -> str:
    """The slot of a vote; nothing of any other record."""
    return str((record.body or {}).get("slot")) if record.kind == "vote" else ""
