"""Intel TDX: the report of a trust domain in a quote of version 4 or 5.

Layouts: Intel TDX DCAP quoting library API, appendix A.3 (TD 1.0 report, 584 bytes, and 1.5, 648);
attributes: Intel TDX module ABI, "ATTRIBUTES".
"""

from collections.abc import Mapping
from typing import Final

from protocol.attestation import intel
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.kinds.attestation import TdxTerms

TECHNOLOGY: Final = "tdx"

_REGISTERS: Final = {
    "mrtd": 136,
    "mrconfigid": 184,
    "mrowner": 232,
    "mrownerconfig": 280,
    "rtmr0": 328,
    "rtmr1": 376,
    "rtmr2": 424,
    "rtmr3": 472,
}
"""Register -> where its 48 bytes stand in the report."""

_SERVICE: Final = slice(600, 648)

_DEBUG: Final = 0xFF
"""Bits 0 to 7: any of them, and the domain's memory is open to its host."""

_SEPT_VE_DISABLE: Final = 1 << 28
"""The host cannot take a page away and have the domain go on without noticing."""

_HARMLESS: Final = _SEPT_VE_DISABLE | 1 << 30 | 1 << 31
"""And protection keys and key locker: what a domain may use for itself."""


def examine(
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    terms: TdxTerms | None,
    now: int,
    found: Findings,
    roots: intel.Roots = intel.PINNED,
) -> Claims | None:
    """Examine a quote of a trust domain. Endorsements: `collateral`."""
    shared = intel.examine(evidence, endorsements, terms, now, found, roots, intel.TDX)
    if shared is None:
        return None
    body = shared.quote.body
    attributes = int.from_bytes(body[120:128], "little")
    check_debug(attributes, found)
    check_sept(attributes, found)
    check_attributes(attributes, found)
    check_service(body, found)
    return shared.claims(
        report_data=body[520:584],
        registers=_registers(body),
        tcb={f"tdx{place}": svn for place, svn in enumerate(body[:16])},
        facts={
            "quote": f"version {shared.quote.version}",
            "debug": "yes" if attributes & _DEBUG else "no",
            "td attributes": body[120:128].hex(),
            "xfam": body[128:136].hex(),
            "mrseam": body[16:64].hex(),
        },
    )


# --- numbered checks: tests/hooks/mutants.py removes each ----------------------------------------


def check_debug(attributes: int, found: Findings) -> bool:
    """The domain is not under debug."""
    return found.check(not attributes & _DEBUG, "evidence.debug", "the domain is under debug")


def check_sept(attributes: int, found: Findings) -> bool:
    """SEPT_VE_DISABLE is on."""
    detail = "SEPT_VE_DISABLE is off: the host can interfere with the domain's memory"
    return found.check(bool(attributes & _SEPT_VE_DISABLE), "evidence.tcb", detail)


def check_attributes(attributes: int, found: Findings) -> bool:
    """No other attribute: migration, performance counters, and what is reserved today."""
    other = attributes & ~(_DEBUG | _HARMLESS)
    return found.check(not other, "evidence.tcb", f"the domain has the attributes {other:016x}")


def check_service(body: bytes, found: Findings) -> bool:
    """No service domain is bound to this one (report 1.5): it could move it elsewhere."""
    bound = any(body[_SERVICE])
    return found.check(not bound, "evidence.tcb", "a service domain is bound to the domain")


def _registers(body: bytes) -> dict[str, bytes]:
    registers = {name: body[at : at + 48] for name, at in _REGISTERS.items()}
    return registers | ({"mrservicetd": body[_SERVICE]} if body[_SERVICE] else {})
