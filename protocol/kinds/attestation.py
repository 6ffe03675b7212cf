"""The appraisal policy of an agreement (RFC 9334), and the floors that a charter sets for it.

Closed and deny by default: what a policy does not name is refused. protocol.attestation.policy says
which policies stand, and merges a policy with floors.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol.shape import Count, Hash, Max, Name

Registers = dict[str, Annotated[bytes, Max(64)]]
"""One accepted environment: names of registers and their values. All named must be equal."""

Generation = Literal["milan", "genoa", "turin"]
"""Generations of AMD EPYC with SEV-SNP."""

Protection = Literal["alias-check", "no-smt", "ecc", "ciphertext-hiding"]
"""Bits of a SEV-SNP report's platform_info that a policy may ask for."""

Status = Literal["UpToDate", "SWHardeningNeeded"]
"""The TCB statuses by Intel that a policy may accept; no other ever is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NitroTerms:
    """AWS Nitro Enclaves. `platforms`, where given, are the only instances accepted."""

    accept: tuple[Registers, ...]
    platforms: tuple[Name, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpFloor:
    """The lowest security versions of one generation; `fmc` is counted on Turin only."""

    generation: Generation
    bootloader: Count
    tee: Count
    snp: Count
    microcode: Count
    fmc: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SevSnpTerms:
    """AMD SEV-SNP. Only the `generations` named are accepted, each with its floor.

    `crl`: the bundle must bring a current revocation list by the generation's root; `require` are
    protections that the platform must report; `vmpl` is the highest accepted.
    """

    accept: tuple[Registers, ...]
    generations: tuple[SnpFloor, ...]
    crl: bool
    require: tuple[Protection, ...]
    vmpl: Count
    platforms: tuple[Name, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxTerms:
    """Intel TDX. `evaluation` is the lowest tcbEvaluationDataNumber of the collateral."""

    accept: tuple[Registers, ...]
    statuses: tuple[Status, ...]
    evaluation: Count
    platforms: tuple[Name, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxTerms:
    """Intel SGX, as TdxTerms; `isv_prod_id` must be equal, `isv_svn` is the lowest accepted."""

    accept: tuple[Registers, ...]
    statuses: tuple[Status, ...]
    evaluation: Count
    isv_prod_id: Count
    isv_svn: Count
    platforms: tuple[Name, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmTerms:
    """TPM 2.0. `authorities` are the SHA-256 of the DER of accepted roots of endorsement keys."""

    accept: tuple[Registers, ...]
    authorities: tuple[Hash, ...]
    platforms: tuple[Name, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTerms:
    """Evidence that protects nothing: for tests only."""

    accept: tuple[Registers, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What must be true of an enclave. `max_age` is in seconds.

    `swtpm` and `simulated` are for tests only: a policy with one of them can name no hardware.
    """

    max_age: Count
    nitro: NitroTerms | None = None
    sev_snp: SevSnpTerms | None = None
    tdx: TdxTerms | None = None
    sgx: SgxTerms | None = None
    tpm: TpmTerms | None = None
    swtpm: TpmTerms | None = None
    simulated: SimulatedTerms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SevSnpFloors:
    """The least that a space asks of SEV-SNP in every agreement.

    Nothing is asked by `generations` left out, `crl` false, `require` empty and `vmpl` 3.
    """

    generations: tuple[SnpFloor, ...] | None = None
    crl: bool
    require: tuple[Protection, ...]
    vmpl: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelFloors:
    """The least that a space asks of TDX or SGX in every agreement.

    Nothing is asked by `statuses` left out and `evaluation` 0.
    """

    statuses: tuple[Status, ...] | None = None
    evaluation: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """The least that a space asks of attestation; merged with each agreement, strictest wins.

    `technologies`, where given, are the only ones allowed; `max_age` is in seconds.
    """

    technologies: tuple[Name, ...] | None = None
    max_age: Count
    sev_snp: SevSnpFloors | None = None
    tdx: IntelFloors | None = None
    sgx: IntelFloors | None = None
