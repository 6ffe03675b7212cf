"""A change of a space in words, and how it is drafted: shared by the API, inbox and history."""

from collections.abc import Callable, Iterator, Mapping

from protocol.identity import History
from protocol.kinds.space import Change, FeedPin, Removal, Seat, Terms
from protocol.machines.epochs import Epoch
from protocol.machines.space import Space
from protocol.topic import Head

DAY = 86_400

Name = Callable[[bytes], str]


def diff(epoch: Epoch, change: Change, name: Name) -> list[str]:
    """What a change alters against the epoch that it ends, one line each; never nothing."""
    found = [
        *_people(epoch, change, name),
        *_terms(epoch.terms, change.terms, name),
    ]
    return found or ["nothing but a new epoch"]


def _people(epoch: Epoch, change: Change, name: Name) -> Iterator[str]:
    for seat in change.members:
        before = epoch.seats.get(seat.did)
        roles = ", ".join(seat.roles) or "no role"
        if before is None:
            yield f"{name(seat.did)} votes from now on ({roles})"
        elif before.roles != seat.roles:
            yield f"{name(seat.did)}: {', '.join(before.roles) or 'no role'} -> {roles}"
        elif before.identity != seat.identity:
            yield f"{name(seat.did)} votes with its newest key"
    for removal in change.removed:
        kept = max((pin.seq + 1 for pin in removal.pins), default=0)
        why = f": {removal.reason}" if removal.reason else ""
        yield f"{name(removal.did)} is out{why} (its first {kept} records stand)"


def _terms(before: Terms, after: Terms, name: Name) -> Iterator[str]:
    yield from _list("registrars", before.registrars, after.registrars, name)
    yield from _list("advisors", before.advisors, after.advisors, name)
    if before.recovery_delay != after.recovery_delay:
        days = f"{before.recovery_delay / DAY:g} -> {after.recovery_delay / DAY:g} days"
        yield f"recovery delay: {days}"
    if before.attestation != after.attestation:
        yield "the least that attestation asks is another"
    if before.page != after.page:
        yield "the page for people is another"


def _list(
    what: str, before: tuple[bytes, ...], after: tuple[bytes, ...], name: Name
) -> Iterator[str]:
    new = [f"+ {name(did)}" for did in after if did not in before]
    gone = [f"- {name(did)}" for did in before if did not in after]
    if new or gone:
        yield f"{what}: {', '.join([*new, *gone])}"


def draft(
    space: Space,
    heads: Mapping[bytes, Head],
    *,
    removed: Mapping[bytes, str],
    roles: Mapping[bytes, tuple[str, ...]],
    terms: Terms,
    reason: str,
) -> Change:
    """The next epoch: all members of now vote, but those in `removed` (did -> why); who left is
    taken out as well.
    """
    members = space.members()
    gone = dict(removed)
    for did in space.epoch.seats.keys() - members.keys():
        gone.setdefault(did, _left(space, did))
    staying = [
        Seat(did=did, identity=one.participant.id, roles=roles.get(did, one.roles))  # type: ignore[arg-type]
        for did, one in sorted(members.items())
        if did not in gone
    ]
    out = [
        Removal(did=did, reason=why, pins=pins(space.histories[did], heads))
        for did, why in sorted(gone.items())
    ]
    return Change(
        epoch=space.epoch.id,
        members=tuple(staying),
        removed=tuple(out),
        terms=terms,
        reason=reason,
    )


def _left(space: Space, did: bytes) -> str:
    gone = space.membership.departures(did)[-1]
    return f"left: {gone.reason}" if gone.revision is not None else f"recovered: {gone.reason}"


def pins(history: History, heads: Mapping[bytes, Head]) -> tuple[FeedPin, ...]:
    """Where every feed of a participant stands here."""
    return tuple(
        FeedPin(key=key, seq=heads[key].seq, head=heads[key].id)
        for key in sorted(history.record_keys)
        if key in heads
    )
