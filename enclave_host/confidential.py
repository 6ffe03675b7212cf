"""Confidential code on its way into the enclave, and while it is here: in this process's memory.

Its provider streams it as a share. What counts is the digest that the parties agreed on, on the
word of reviewers who read it; the enclave compares the digest, and the manifest with the agreement.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from enclave_host.inputs import KEPT, Checked
from enclave_host.private import Room
from protocol import limits
from protocol.consistency import manifest_faults
from protocol.errors import Refused
from protocol.kinds import algorithm
from protocol.kinds.agreement import Agreement
from protocol.kinds.algorithm import Bundle

OTHER: Final = "run.code"
"""The verdict on what is not the agreed code."""


@dataclass(slots=True)
class CodeIntake:
    """The plain bytes of a bundle, as far as they came; `bundle` is there once they are good."""

    document: Agreement
    room: Room
    bundle: Bundle | None = None
    size: int = 0
    _plain: bytearray = field(default_factory=bytearray)

    def write(self, plain: memoryview) -> None:
        """Take the next bytes. Raises Refused (enclave.full, share.chunk)."""
        if self.size + len(plain) > limits.BLOB:
            raise Refused("share.chunk", f"code has at most {limits.BLOB} bytes")
        self.room.take(len(plain))
        self.size += len(plain)
        self._plain += plain

    def end(self) -> Checked:
        """Whether this is the agreed code."""
        try:
            self.bundle = read_bundle(self.document, bytes(self._plain))
        except Refused:
            self.abandon()
            return Checked(OTHER, 0, 0)
        self._wipe()
        return Checked(KEPT, 0, 0)

    def abandon(self) -> None:
        """Forget it; safe to repeat."""
        self.room.give(self.size)
        self.size = 0
        self.bundle = None
        self._wipe()

    def _wipe(self) -> None:
        self._plain[:] = bytes(len(self._plain))
        self._plain.clear()


def read_bundle(document: Agreement, raw: bytes) -> Bundle:
    """The agreed bundle in `raw`. Raises Refused (run.code, algorithm.bundle, codec.*, shape.*)."""
    if hashlib.sha256(raw).digest() != document.algorithm.bundle:
        raise Refused("run.code")
    bundle = algorithm.unpack(raw)
    faults = manifest_faults(document, bundle)
    if faults:
        raise Refused("run.code", "; ".join(faults)[:500])
    return bundle
