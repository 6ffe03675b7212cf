"""Refusals that people can ask about: kept, counted, bounded for each party that causes them."""

import time
from collections import Counter

import trio

from node.happenings import Happenings
from node.store import Refusal
from node.store.journal import Journal
from node.world import World
from protocol.errors import Refused

EXPLAINED = 64
"""Refusals of one party's acts that are kept in a minute: peers cause them, each is a write."""

STRANGER = b"?"
"""Under this name refusals are counted whose party nobody here knows: it is free to invent."""


class Refusing:
    """What this node refused, and how often."""

    def __init__(self, journal: Journal, world: World, happenings: Happenings) -> None:
        """Keep refusals in `journal`, and tell of them in `happenings`."""
        self.journal = journal
        self.world = world
        self.happenings = happenings
        self.counted: Counter[str] = Counter()
        self._explained: dict[bytes, tuple[float, int]] = {}

    def refuse(
        self, error: Refused, subject: bytes, party: bytes | None, topic_id: bytes = b""
    ) -> None:
        """Keep an explainable refusal: log, count, `village explain`; so many of one party."""
        self.counted[error.code] += 1
        if not self._may_explain(party):
            return
        rule = error.rule
        refusal = Refusal(
            code=error.code,
            rule=rule.sentence,
            set_by=error.set_by,
            fix=rule.fix,
            subject=subject.hex(),
            party=self.world.name(party) if party else "",
            at=int(time.time()),
            detail=error.detail,
        )
        self.journal.add_refusal(refusal)
        self.happenings.add(
            time.time(),
            "refused",
            topic_id,
            refusal.id,
            code=error.code,
            party=refusal.party,
            detail=error.detail,
        )

    def _may_explain(self, party: bytes | None) -> bool:
        known = party is None or party in self.world.participants()
        who = STRANGER if not known else party or b""
        now = trio.current_time()
        since, count = self._explained.get(who, (now, 0))
        if now - since >= 60:
            since, count = now, 0
        self._explained[who] = since, count + 1
        return count < EXPLAINED
