"""The attester for machines without special hardware: SIMULATED, NOT CONFIDENTIAL."""

import secrets

from protocol.attestation import simulated


class SimulatedAttester:
    """Signs its own reports with a throw-away key of this boot. `measurement`: 32 bytes."""

    technology = simulated.TECHNOLOGY

    def __init__(self, measurement: bytes) -> None:
        self._measurement = measurement
        self._seed = secrets.token_bytes(32)

    def evidence(self, report_data: bytes) -> bytes:
        """A simulated report over `report_data` (64 bytes)."""
        return simulated.produce(self._seed, report_data, self._measurement)
