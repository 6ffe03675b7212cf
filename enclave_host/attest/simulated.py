"""The attester for machines without special hardware: SIMULATED, NOT CONFIDENTIAL."""

import hashlib
import secrets

from enclave_host.attest import Attester, Evidence
from protocol.attestation import simulated


class SimulatedAttester(Attester):
    """Signs its own reports with a throw-away key of this boot. `measurement`: 32 bytes."""

    technology = simulated.TECHNOLOGY

    def __init__(self, measurement: bytes) -> None:
        self._measurement = measurement
        self._seed = secrets.token_bytes(32)

    def evidence(self, preimage: bytes) -> Evidence:
        """A simulated report over the SHA-512 of `preimage`."""
        report_data = hashlib.sha512(preimage).digest()
        return Evidence(simulated.produce(self._seed, report_data, self._measurement))
