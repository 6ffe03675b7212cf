"""Attesters: how an enclave gets evidence about itself from the technology that it runs in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from protocol import shape
from protocol.attestation.evidence import VERSION, Binding, EvidenceBundle, binding_preimage
from protocol.errors import Refused

CODE = "enclave.attester"
"""The code of a technology that is absent, or that gave no evidence."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The vendor's raw bytes, and the certificates and collateral that go with them, by name."""

    raw: bytes
    endorsements: Mapping[str, bytes] = field(default_factory=dict)


class Attester(ABC):
    """A source of evidence; may be asked by several threads at once.

    `activates`: no certificate shows that the machine holds the key that signs; an opened
    credential does.
    """

    activates: ClassVar[bool] = False

    @property
    @abstractmethod
    def technology(self) -> str:
        """The technology's name, as policies write it."""

    @abstractmethod
    def evidence(self, preimage: bytes) -> Evidence:
        """Fresh evidence, bound to `preimage` by the hash that the technology takes.

        Raises Refused (enclave.attester).
        """

    def activate(self, credential: bytes) -> bytes:
        """The secret in a credential for the machine's keys: proof that one machine holds both.

        Raises Refused (enclave.attester); always where it does not activate.
        """
        raise Refused(CODE, f"{self.technology} opens no credential ({len(credential)} bytes)")


def bundle(attester: Attester, binding: Binding) -> bytes:
    """The encoded evidence bundle that answers a challenge. Raises Refused (enclave.attester)."""
    evidence = attester.evidence(binding_preimage(binding))
    return shape.encode(
        EvidenceBundle(
            version=VERSION,
            technology=attester.technology,
            evidence=evidence.raw,
            endorsements=dict(evidence.endorsements),
            binding=binding,
        )
    )
