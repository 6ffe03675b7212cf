"""Tokens: signed statements that stand outside any feed.

What a person signs for an enclave, what a registrar signs for a person, and what is said in passing
(heartbeats, receipts of a stop) has no place in a topic's order. A token is a COSE_Sign1 array
whose external_aad names its kind, so that none can be taken for another or for a record.
"""

import hashlib
from dataclasses import dataclass
from typing import Generic, TypeVar

from protocol import codec, keys, limits, shape

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Token(Generic[T]):
    """A verified token: who signed (`key`), what it says, its id, and the exact bytes."""

    id: bytes
    key: bytes
    body: T
    raw: bytes


def sign(seed: bytes, kind: str, body: object) -> bytes:
    """The token that the key of `seed` makes of `body` (a document dataclass)."""
    return codec.encode(keys.sign1(seed, f"token/{kind}", shape.encode(body)))


def open_(raw: bytes, kind: str, document: type[T]) -> Token[T]:
    """Verify `raw` as a token of `kind`. Raises Refused (codec.*, record.*, shape.mismatch).

    The caller still decides whether the key may say this.
    """
    key, payload, signed = keys.open1(codec.decode(raw, limits.RECORD), f"token/{kind}")
    body = shape.decode(document, payload)
    return Token(hashlib.sha256(signed).digest(), key, body, raw)
