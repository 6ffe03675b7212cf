"""A verifier's challenge to an enclave: one round, or two where a machine must prove its keys."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from node import wire
from protocol.attestation import possession
from protocol.errors import Refused

ROUND_TIME: Final = 3.0
"""Seconds that an enclave may take to answer one round."""

SLOW_ROUND_TIME: Final = 25.0
"""Seconds where a slow chip answers its verifiers one after the other, and for those who relay."""

Answered = wire.Evidence | None
"""What a round brought; None if the enclave cannot be reached."""

Ask = Callable[[wire.Challenge, float], Awaitable[Answered]]
"""(question, seconds that the answer may take) -> the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The bundle to appraise. `activated`: its machine proved that it holds the keys in it; None
    where nobody has to.
    """

    bundle: bytes
    activated: bool | None


async def challenge(ask: Ask, technology: str, question: wire.Challenge) -> Answer | None:
    """The answer to a question of an own, new nonce; None if the enclave cannot be reached."""
    if not possession.needed(technology):
        only = await ask(question, ROUND_TIME)
        return None if only is None else Answer(only.bundle, None)
    first = await ask(replace(question, nonce=secrets.token_bytes(32)), SLOW_ROUND_TIME)
    if first is None:
        return None
    try:
        riddle = possession.pose(first.bundle, secrets.token_bytes(32), secrets.token_bytes(32))
    except Refused:
        return Answer(first.bundle, activated=False)  # the appraisal says what is wrong with it
    second = await ask(replace(question, credential=riddle.credential), SLOW_ROUND_TIME)
    if second is None:
        return None
    return Answer(second.bundle, possession.solved(riddle, second.bundle, second.secret))
