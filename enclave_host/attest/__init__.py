"""Attesters: how an enclave gets evidence about itself from the technology that it runs in."""

from typing import Protocol

from protocol import shape
from protocol.attestation.evidence import VERSION, Binding, EvidenceBundle, binding_hash


class Attester(Protocol):
    """A source of evidence. `evidence` returns the vendor's raw bytes over 64 bytes of data."""

    @property
    def technology(self) -> str:
        """The technology's name, as policies write it."""

    def evidence(self, report_data: bytes) -> bytes:
        """Fresh evidence that contains `report_data` (64 bytes)."""


def bundle(attester: Attester, binding: Binding) -> bytes:
    """The encoded evidence bundle that answers a challenge with this binding."""
    return shape.encode(
        EvidenceBundle(
            version=VERSION,
            technology=attester.technology,
            evidence=attester.evidence(binding_hash(binding)),
            endorsements={},
            binding=binding,
        )
    )
