"""Advisories: who a space trusts to say so withdraws a measurement, a machine or a firmware."""

from dataclasses import dataclass

from protocol.kinds.attestation import Registers
from protocol.shape import Hash, Name, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What genuine evidence said: kept in verdicts, so that a later advisory finds them.

    `family` is the kind of processor, as vendors count security versions for each of its own: the
    generation for SEV-SNP, the FMSPC for Intel.
    """

    technology: Name
    registers: Registers
    platform: Name | None = None
    family: Name | None = None
    tcb: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """Withdraws environments from every agreement of the space (kind `advisory`).

    It names exactly one thing: `registers`, all of which must be equal; `platform`, one machine; or
    `tcb_below`: any named component that is lower, or not stated, on processors of `family` (all,
    if it is left out). Only an advisor of the charter may.
    """

    technology: Name
    registers: Registers | None = None
    platform: Name | None = None
    tcb_below: dict[str, int] | None = None
    family: Name | None = None
    reason: Text
    reference: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisoryWithdrawal:
    """The author of an advisory takes it back (kind `advisory-withdrawal`)."""

    advisory: Hash
    reason: Text
