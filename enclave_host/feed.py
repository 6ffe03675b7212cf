"""The enclave's own signed records in one agreement. Keys and place in the feed live in memory: an
enclave that starts again has a new key, so it can never sign two records for one place.
"""

import os
import time
from dataclasses import dataclass, field

from protocol import keys, limits, record
from protocol.record import Place, Record


@dataclass(slots=True)
class Feed:
    """The feed (topic, enclave signing key); `signed` are its records so far, at index seq."""

    seed: bytes
    topic: bytes
    place: Place = field(default_factory=Place)
    signed: list[bytes] = field(default_factory=list)

    def sign(self, kind: str, body: object) -> Record:
        """The next record. The time in it is the machine's: no rule rests on it."""
        author = keys.public(self.seed)
        signed = record.sign(
            self.seed,
            topic=self.topic,
            author=author,
            kind=kind,
            body=body,
            place=self.place,
            at=int(time.time()),
            salt=os.urandom(limits.SALT),
        )
        self.place = Place(seq=signed.seq + 1, prev=signed.id)
        self.signed.append(signed.raw)
        return signed
