"""What ends, and who is told: keys, credentials, invites and letters, 30, 7 and 1 days ahead.

What ends is computed from the state. That it was announced is kept in the journal, so that each
step is said once, whatever restarts come between. Renewed with another date, it is another end.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import trio

from node.node import Node
from protocol import record
from protocol.identity import History, expiries
from protocol.machines.space import Space

DAY: Final = 86_400

STEPS: Final = (30, 7, 1, 0)
"""Days ahead of an end at which it is announced; 0 is the end itself."""

LOOK_EVERY: Final = 600.0
"""Seconds between two looks."""

_TOLD: Final = "expiry/"
"""State of the journal: the last step that was announced of an end."""

log = logging.getLogger("village.expiry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Something that ends: its kind, the id behind it (hex or a name), what it is in words, when,
    and what renews it. `lasting`: worth a word after its end too. `since`: when it was made; a step
    that had come by then is no news to who made it.
    """

    kind: str
    id: str
    what: str
    until: int
    command: str
    lasting: bool = False
    since: int = 0

    @property
    def name(self) -> str:
        """What tells this end from all others; a renewed date is another end."""
        return f"{self.kind}/{self.id}/{self.until}"

    def step(self, now: int) -> int | None:
        """The last of STEPS that came since it was made; None if none did, or it is over and done
        with.
        """
        left = self.until - now
        reached = [days for days in STEPS if self.since < self.until - days * DAY <= now]
        return None if not reached or (left <= 0 and not self.lasting) else min(reached)

    def words(self, now: int) -> str:
        """When it ends, for people."""
        left, date = self.until - now, time.strftime("%Y-%m-%d", time.gmtime(self.until))
        if left <= 0:
            return f"{self.what} ended on {date}"
        days = left // DAY
        when = f"in {days} day{'s' if days > 1 else ''}" if days else "within a day"
        return f"{self.what} ends {when} ({date})"


def endings(node: Node, now: int) -> list[Ending]:
    """Everything that this node knows to end, and that its people can renew."""
    found = [*_keys(node)]
    for space in node.world.spaces():
        found += [*_credentials(node, space), *_issued(node, space), *_invites(node, space)]
    return [*found, *_people(node, now)]


def soon(node: Node, now: int) -> list[Ending]:
    """What has reached a step, the next to end first."""
    found = [one for one in endings(node, now) if one.step(now) is not None]
    return sorted(found, key=lambda one: (one.until, one.name))


class Announcements:
    """The background task of a node; `clock` gives unix seconds."""

    def __init__(self, node: Node, clock: Callable[[], float] = time.time) -> None:
        self.node = node
        self.clock = clock

    async def run(self) -> None:
        """Announce until cancelled."""
        while True:
            self.look()
            await trio.sleep(LOOK_EVERY)

    def look(self) -> list[Ending]:
        """Announce what reached a step since the last look; return it. Durable before it is said:
        a crash between the two leaves the line in inbox and status, and never says it twice.
        """
        now = int(self.clock())
        all_ = endings(self.node, now)
        self._forget({_TOLD + one.name for one in all_})
        told = self.node.journal.states(_TOLD)
        new = []
        for one in all_:
            # One line for each end, at the last step that has come: a node that was off says one.
            step, before = one.step(now), told.get(_TOLD + one.name)
            if step is not None and (before is None or step < before[0]):
                self.node.journal.put_state(_TOLD + one.name, bytes([step]))
                self._say(one, now)
                new.append(one)
        return new

    def _forget(self, names: set[str]) -> None:
        """What was renewed, revoked or used does not end any more."""
        for name in self.node.journal.states(_TOLD).keys() - names:
            self.node.journal.delete_state(name)

    def _say(self, one: Ending, now: int) -> None:
        words = one.words(now)
        log.warning("%s: %s", words, one.command)
        self.node.happenings.add(
            now, "ends", b"", b"", kind=one.kind, words=words, until=one.until, command=one.command
        )


def _keys(node: Node) -> Iterator[Ending]:
    """The own identity, and each key that it delegates."""
    since = record.parse(node.keyring.me.raw).at
    for name, until in expiries(History.of(node.keyring.me)):
        kind, _, key = name.partition(" ")
        what = f"the own key {key[:8]}" if key else "the own identity"
        yield Ending(
            kind=kind,
            id=key or node.keyring.did.hex(),
            what=what,
            until=until,
            command="village key renew",
            lasting=True,
            since=since,
        )


def _credentials(node: Node, space: Space) -> Iterator[Ending]:
    """The own credential in a space: the one that ends last counts."""
    me, name = node.keyring.did, space.charter.name
    mine = [
        (one.until, made)
        for made, one in space.credentials.values()
        if one.subject == me and not space.revoked(made.id)
    ]
    if mine and me not in space.terms.registrars:
        until, last = max(mine, key=lambda pair: (pair[0], pair[1].id))
        yield Ending(
            kind="credential",
            id=last.id.hex(),
            what=f"the own credential in {name}",
            until=until,
            command=f"ask {node.world.name(last.author)}, its registrar, to issue it again",
            lasting=True,
            since=last.at,
        )


def _issued(node: Node, space: Space) -> Iterator[Ending]:
    """As a registrar: the last credential of each organization that it vouches for."""
    last: dict[bytes, tuple[int, bytes, int]] = {}
    for made, one in space.credentials.values():
        if made.author == node.keyring.did and not space.revoked(made.id):
            known = last.get(one.subject, (0, b"", 0))
            last[one.subject] = max(known, (one.until, made.id, made.at))
    for subject, (until, id_, since) in last.items():
        name = node.world.name(subject)
        yield Ending(
            kind="issued",
            id=id_.hex(),
            what=f"the credential of {name}",
            until=until,
            command=f"village credential issue @{name} …",
            since=since,
        )


def _invites(node: Node, space: Space) -> Iterator[Ending]:
    """Invites that wait for their guest: the own ones, and those to this participant."""
    me, joined = node.keyring.did, {invite for _, invite in space.joins.values()}
    for id_, (made, invite, guest) in space.invites.items():
        if id_ in joined or me not in (made.author, guest.did):
            continue
        mine = made.author == me
        yield Ending(
            kind="invite",
            id=id_.hex(),
            what=f"the invite of {guest.name}" if mine else f"the invite to {space.charter.name}",
            until=invite.until,
            command="village invite new CARD" if mine else "village space join FILE",
            since=made.at,
        )


def _people(node: Node, now: int) -> Iterator[Ending]:
    """As a registrar: people's credentials, the admissions under them, and letters that wait. All
    of one kind that end on one day are one line: thousands may.
    """
    if node.registrar is None:
        return
    for (what, category, until), count in node.registrar.enrolments.ends(now).items():
        letters = what == "letters"
        yield Ending(
            kind=what,
            id=category,
            what=(
                f"the validity of {count} unused letters"
                if letters
                else f"what admits {count} people (credential and admissions)"
            ),
            until=until,
            command="village enrolment new PERSON",
            # Letters live for weeks: 30 days ahead most of them are not written yet.
            since=until - STEPS[0] * DAY if letters else 0,
        )
