"""The technology "simulated": evidence that proves nothing, and says so.

It is signed by a throw-away key that it contains, so anyone can make it. It is there to run the
whole protocol without special hardware: binding, measurement and freshness are checked as for any
other. An agreement must name it, and then can name no hardware.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from protocol import token
from protocol.attestation.evidence import Claims
from protocol.errors import Refused
from protocol.shape import Hash, Length

TECHNOLOGY = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedReport:
    """What stands where a vendor's report would."""

    label: Literal["SIMULATED, NOT CONFIDENTIAL"] = "SIMULATED, NOT CONFIDENTIAL"
    report_data: Annotated[bytes, Length(64)]
    measurement: Hash


def produce(seed: bytes, report_data: bytes, measurement: bytes) -> bytes:
    """Evidence by the throw-away Ed25519 key of `seed`."""
    report = SimulatedReport(report_data=report_data, measurement=measurement)
    return token.sign(seed, "simulated-evidence", report)


def verify(evidence: bytes, endorsements: Mapping[str, bytes], now: int) -> Claims:
    """The claims of simulated evidence. Raises Refused (codec.*, record.*, evidence.signature)."""
    if endorsements:
        raise Refused("evidence.signature", "simulated evidence has no endorsements")
    report = token.open_(evidence, "simulated-evidence", SimulatedReport).body
    return Claims(
        report_data=report.report_data,
        measurement=report.measurement,
        facts={"label": report.label, "measurement": report.measurement.hex()},
    )
