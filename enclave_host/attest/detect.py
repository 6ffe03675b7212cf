"""Which attester an enclave uses: the one that its configuration names, or the one that is there.

A named one that is absent is a failure, never a reason to take another. What protects nothing
(simulated, swtpm) is only ever used by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enclave_host.attest import CODE, Attester, configfs, gramine, nitro, tpm
from enclave_host.attest.configfs import ConfigfsAttester
from enclave_host.attest.gramine import GramineAttester
from enclave_host.attest.nitro import NitroAttester
from enclave_host.attest.simulated import SimulatedAttester
from enclave_host.attest.tpm import TpmAttester
from protocol.errors import Refused

AUTO: Final = "auto"
LABELS: Final = {
    "simulated": "SIMULATED, NOT CONFIDENTIAL",
    "swtpm": "SOFTWARE TPM, NOT CONFIDENTIAL",
}
"""What is shown in place of the name of a technology that is for tests only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where evidence comes from: the table [attestation] of the configuration.

    `collateral` is a folder of endorsements that the operator keeps up to date, `tcti` how
    tpm2-tools reach the TPM, `ek_certificate` a file where the TPM does not hold its own. The three
    places are arguments for tests only.
    """

    technology: str
    collateral: Path | None = None
    tcti: str = tpm.TCTI
    ek_certificate: Path | None = None
    nsm: Path = nitro.DEVICE
    tsm: Path = configfs.ROOT
    gramine: Path = gramine.ROOT


def choose(source: Source, software: bytes) -> Attester:
    """The attester of `source`; `software` is the measurement that a simulated one states.

    Raises Refused (enclave.attester), with all that was tried.
    """
    if source.technology == "simulated":
        return SimulatedAttester(software)
    if source.technology != AUTO:
        return _named(source, source.technology)
    absent = []
    for technology in HARDWARE:
        try:
            return _named(source, technology)
        except Refused as refused:
            absent.append(f"{technology}: {refused.detail}")
    raise Refused(CODE, "no technology is here. " + "; ".join(absent))


def diagnose(source: Source) -> dict[str, str]:
    """Each technology that is no test, and what is wrong with it here; "" if nothing."""
    found = {}
    for technology in HARDWARE:
        try:
            _named(source, technology)
            found[technology] = ""
        except Refused as refused:
            found[technology] = refused.detail
    return found


def _named(source: Source, technology: str) -> Attester:
    attester = ATTESTERS[technology](source)
    if attester.technology != technology:
        raise Refused(CODE, f"this machine offers {attester.technology}, not {technology}")
    return attester


def _configfs(source: Source) -> Attester:
    return ConfigfsAttester(source.tsm, source.collateral)


def _tpm(source: Source) -> Attester:
    return TpmAttester("tpm", source.tcti, source.ek_certificate, source.collateral)


def _swtpm(source: Source) -> Attester:
    return TpmAttester("swtpm", source.tcti, source.ek_certificate, source.collateral)


ATTESTERS: Final[Mapping[str, Callable[[Source], Attester]]] = {
    "nitro": lambda source: NitroAttester(source.nsm),
    "sgx": lambda source: GramineAttester(source.gramine, source.collateral),
    "sev-snp": _configfs,
    "tdx": _configfs,
    "tpm": _tpm,
    "swtpm": _swtpm,
}
"""Technologies in the order in which they are looked for: inner ones first, a mere TPM last."""

HARDWARE: Final = tuple(name for name in ATTESTERS if name not in LABELS)
TECHNOLOGIES: Final = (AUTO, *ATTESTERS, "simulated")
