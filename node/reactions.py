"""What a node does by itself for its people: accept the invite they said yes to, and answer
proposals by their policy. Both follow from the state, so a restart loses nothing.
"""

import logging
from typing import Final, assert_never

import trio

from node import judgement
from node.documents import policy_file
from node.node import Node
from protocol.errors import ProtocolError, Refused
from protocol.keys import digest
from protocol.kinds.space import Commitment, Decline, Join
from protocol.machines.negotiation import Negotiation, Version
from protocol.policy import Accept, Ask, Counter, Policy, Refuse, Verdict

JOIN_WISH: Final = "join/"
"""State of the journal: ids of invites that the operator accepted before they arrived."""

COMMITTED: Final = "commitment/"
"""State of the journal: agreements of which the space was told that they exist."""

DECLINE_WISH: Final = "decline/"
"""State of the journal: ids of invites that the operator declined before they arrived, and why."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks if nothing happens."""

GATHER: Final = 0.1
"""Seconds in which what happens is answered together: a burst of records costs one look."""

PATIENCE: Final = 10.0
"""Seconds for which a refusal must stand before it is said: a review may still be on its way."""

log = logging.getLogger("village.reactions")


class Reactions:
    """The background task; `rules` is the acceptance policy, None: people answer."""

    def __init__(self, node: Node, rules: Policy | None) -> None:
        self.node = node
        self.rules = rules
        self._refusing: dict[bytes, float] = {}
        self._told: set[bytes] = set()

    async def run(self) -> None:
        """React until cancelled."""
        happenings = self.node.happenings
        while True:
            seen = happenings.count
            await self._join()
            await self._decline()
            await self._commit()
            for negotiation in list(self.node.world.negotiations()):
                await self._answer(negotiation)
            await happenings.news(seen, LOOK_EVERY)
            await trio.sleep(GATHER)

    async def _join(self) -> None:
        for name in self.node.journal.states(JOIN_WISH):
            invite = bytes.fromhex(name.removeprefix(JOIN_WISH))
            for space in list(self.node.world.spaces()):
                if invite not in space.invites:
                    continue
                if invite not in {accepted for _, accepted in space.joins.values()}:
                    await self._try(space.id, space.id, "join", Join(invite=invite))
                self.node.journal.delete_state(name)

    async def _decline(self) -> None:
        for name, reason in self.node.journal.states(DECLINE_WISH).items():
            invite = bytes.fromhex(name.removeprefix(DECLINE_WISH))
            for space in list(self.node.world.spaces()):
                if invite not in space.invites:
                    continue
                if invite not in space.invitations.declined:
                    body = Decline(invite=invite, reason=reason.decode())
                    await self._try(space.id, space.id, "decline", body)
                self.node.journal.delete_state(name)

    async def _commit(self) -> None:
        """Tell the space that there is an agreement of mine, and nothing more of it."""
        me = self.node.keyring.did
        for one in list(self.node.world.collaborations()):
            name = f"{COMMITTED}{one.id.hex()}"
            space = self.node.world.rooms.get(one.document.space)
            if me not in one.parties or space is None or self.node.journal.state(name) is not None:
                continue
            body = Commitment(digest=digest("commitment", one.id, me))
            await self._try(space.topic, one.id, "commitment", body)
            self.node.journal.put_state(name, b"")

    async def _answer(self, negotiation: Negotiation) -> None:
        version = negotiation.newest
        if self.rules is None or version is None or not negotiation.pending():
            return
        try:
            verdict = await judgement.judge(self.node, self.rules, negotiation, version)
            await self._act(negotiation, version, verdict)
        except Refused as error:
            if error.code != "topic.unknown":  # a blob that comes with one of the next looks
                self._tell_once(error, version.digest, negotiation.id)
        except ProtocolError as error:
            log.warning("%s is not judged: %s", negotiation.document.name, error)

    async def _act(self, negotiation: Negotiation, version: Version, verdict: Verdict) -> None:
        match verdict:
            case Accept(rule):
                await judgement.sign(self.node, negotiation, version.digest)
                log.info("signed %s by rule %r", version.digest.hex()[:8], rule)
            case Counter(_, document, changes):
                effects = negotiation.propose(document, changes)
                await judgement.publish(self.node, negotiation.id, effects)
            case Ask():
                return
            case Refuse(_, reasons):
                if self._stands(version.digest):
                    words = tuple(reason.words for reason in reasons)
                    effects = negotiation.reject(version.digest, words)
                    await judgement.publish(self.node, negotiation.id, effects)
            case _:
                assert_never(verdict)

    def _stands(self, version: bytes) -> bool:
        now = self.node.pipeline.now()
        return now - self._refusing.setdefault(version, now) >= PATIENCE

    async def _try(self, topic: bytes, subject: bytes, kind: str, body: object) -> None:
        try:
            await self.node.pipeline.publish(topic, kind, body)
        except Refused as error:
            self._tell_once(error, subject, topic)

    def _tell_once(self, error: Refused, subject: bytes, topic: bytes) -> None:
        place = digest("told", subject, error.code.encode())
        if place not in self._told:
            self._told.add(place)
            self.node.pipeline.refuse(error, subject, self.node.keyring.did, topic)


def policy_of(node: Node) -> Policy | None:
    """The acceptance policy of the configuration. Raises ConfigError with every problem."""
    path = node.config.policy.file
    return policy_file.load(path) if path is not None else None
