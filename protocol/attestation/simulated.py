"""The technology "simulated": evidence that proves nothing, and says so.

It is signed by a throw-away key that it contains, so anyone can make it. It is there to run the
whole protocol without special hardware: binding, measurement and freshness are checked as for any
other. An agreement must name it, and then can name no hardware.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from protocol import token
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.errors import ProtocolError
from protocol.kinds.attestation import SimulatedTerms
from protocol.shape import Hash, Length

TECHNOLOGY: Final = "simulated"


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


def examine(
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    terms: SimulatedTerms | None,
    now: int,
    found: Findings,
) -> Claims | None:
    """The claims of simulated evidence; None if it cannot be read. Faults go into `found`."""
    found.check(not endorsements, "evidence.malformed", "simulated evidence has no endorsements")
    try:
        report = token.open_(evidence, "simulated-evidence", SimulatedReport).body
    except ProtocolError as error:
        forged = error.code == "record.signature"
        found.add("evidence.signature" if forged else "evidence.malformed", str(error))
        return None
    return Claims(
        report_data=report.report_data,
        registers={"software": report.measurement},
        platform=None,
        tcb={},
        issued=None,
        valid_until=None,
        facts={"label": report.label},
    )
