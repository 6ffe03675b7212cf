"""What Intel SGX and TDX share: the way from a quote to Intel's pinned root, and its TCB status.

Two verifiers look at the same bytes, and both must be content.

Ours: where every byte stands (quote.py, collateral.py), the four certificate paths to the pinned
root with their roles and dates (chain.py), both revocation lists (revocation.py), the dates of what
Intel states, that it is about this machine, its TCB levels (intel_tcb.py), the floor of its
evaluation number, and what the report itself says (tdx.py, sgx.py).

The library dcap_qvl: the same paths, lists and dates once more, under the same root; the signatures
on quote, quoting enclave's report, TCB info and QE identity; that the quoting enclave vouches for
the attestation key and is the one that Intel names; the TCB level of processor, quoting enclave and
TDX module. It reports its first fault only, and leaves to us whether its status is good enough.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from protocol.attestation import chain, collateral, intel_library, intel_tcb, quote, revocation
from protocol.attestation.collateral import Collateral, Statement
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.attestation.intel_library import Machine, Verdict
from protocol.attestation.quote import Quote
from protocol.attestation.roots import intel as root
from protocol.errors import Refused
from protocol.kinds.attestation import SgxTerms, TdxTerms

STATUSES: Final = frozenset({"UpToDate", "SWHardeningNeeded"})
"""The TCB statuses of the baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The root trusted: the SHA-256 of its DER, and that DER. Another one is for tests only."""

    fingerprint: bytes
    certificate: bytes


PINNED: Final = Roots(fingerprint=bytes.fromhex(root.FINGERPRINT), certificate=root.ROOT)
"""Intel's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What differs between SGX and TDX: how Intel's statements about them are named."""

    tdx: bool
    tcb: str
    qe: str


SGX: Final = Family(tdx=False, tcb="SGX", qe="QE")
TDX: Final = Family(tdx=True, tcb="TDX", qe="TD_QE")

_ROOT: Final = frozenset({"Intel SGX Root CA"})
_PCK_CA: Final = frozenset({"Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"})
PCK: Final = (_ROOT, _PCK_CA, frozenset({"Intel SGX PCK Certificate"}))
"""Common names of the path of a machine's key (PCK), root first."""
SIGNING: Final = (_ROOT, frozenset({"Intel SGX TCB Signing"}))
"""Those of the path of what Intel states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What both technologies have in common, for their claims."""

    quote: Quote
    machine: Machine | None
    tcb: Mapping[str, int]
    valid_until: int | None
    facts: Mapping[str, str]

    def claims(
        self,
        report_data: bytes,
        registers: Mapping[str, bytes],
        tcb: Mapping[str, int],
        facts: Mapping[str, str],
    ) -> Claims:
        """All claims, with those that the technology adds."""
        return Claims(
            report_data=report_data,
            registers=registers,
            platform=None if self.machine is None else self.machine.ppid.hex(),
            tcb={**self.tcb, **tcb},
            issued=None,
            valid_until=self.valid_until,
            facts={**facts, **self.facts},
        )


def examine(
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    terms: TdxTerms | SgxTerms | None,
    now: int,
    found: Findings,
    roots: Roots,
    family: Family,
) -> Examined | None:
    """Examine what SGX and TDX share; None, with findings, if it is no quote of this family."""
    read = _quote(evidence, family, found)
    if read is None:
        return None
    pck = collateral.read_path(read.certificates, found)
    machine = _machine(read.certificates, found)
    check_qe_report(read, found)
    given = _collateral(endorsements, found)
    # Who signs the list of revoked machines is who issued this machine's certificate.
    lister = pck if given is None else (*given.crl_path, *pck[2:])
    for path in dict.fromkeys((pck, lister)):  # mostly one and the same
        check_path(path, PCK, now, found, roots)
    facts, tcb, valid_until = _facts(machine), _tcb(read, machine), None
    if given is not None:
        _check_collateral(given, machine, family, terms, now, found, roots)
        _check_lists(given, pck, now, found)
        tcb["evaluation"] = min(given.tcb.evaluation, given.qe.evaluation)
        valid_until = _valid_until(given, pck)
        facts |= _check_levels(given, read, machine, terms, found)
        facts |= _check_verdict(evidence, given, terms, now, found, roots)
    return Examined(quote=read, machine=machine, tcb=tcb, valid_until=valid_until, facts=facts)


# --- numbered checks: tests/hooks/mutants.py removes each ----------------------------------------


def check_family(read: Quote, family: Family, found: Findings) -> bool:
    """The quote is of the technology that it is shown as."""
    detail = f"a quote of version {read.version} is not by {family.tcb}"
    return found.check(read.tdx == family.tdx, "evidence.malformed", detail)


def check_path(
    path: tuple[x509.Certificate, ...],
    roles: tuple[frozenset[str], ...],
    now: int,
    found: Findings,
    roots: Roots,
) -> bool:
    """A path leads to the pinned root, and its certificates have these roles.

    Without the roles, whoever holds the key of one machine could sign collateral for all.
    """
    names = [_common_name(one) for one in path]
    good = len(names) == len(roles) and all(map(frozenset.__contains__, roles, names))
    if not found.check(good, "evidence.chain", f"a path of {', '.join(names) or 'nothing'}"):
        return False
    chain.verify(path, [roots.fingerprint], now, found)
    return True


def check_qe_report(read: Quote, found: Findings) -> bool:
    """The quoting enclave's report data is the digest of the attestation key, and nothing more."""
    detail = "the quoting enclave vouches for something unknown"
    return found.check(not any(read.qe_report[352:384]), "evidence.signature", detail)


def check_kind(given: Collateral, family: Family, found: Findings) -> bool:
    """Intel states it about this technology, in the form of version 3 of its service or later."""
    good = given.tcb.kind == family.tcb and given.tcb.version == 3 and given.qe.kind == family.qe
    detail = f"collateral about {given.tcb.kind[:20]} and {given.qe.kind[:20]}"
    return found.check(good, "evidence.collateral", detail)


def check_current(stated: Statement, now: int, found: Findings) -> bool:
    """What Intel states is in force at `now`."""
    detail = f"the statement {stated.kind[:20]} holds from {stated.issued} until {stated.expires}"
    return found.check(stated.issued <= now <= stated.expires, "evidence.collateral", detail)


def check_machine(given: Collateral, machine: Machine, found: Findings) -> bool:
    """The TCB info is about this machine's family of processors and its provisioning enclave."""
    named = [str(given.tcb.content.get(name)).lower() for name in ("fmspc", "pceId")]
    good = named == [machine.fmspc.hex(), machine.pce_id.hex()]
    return found.check(good, "evidence.collateral", "the TCB info is about other processors")


def check_evaluation(given: Collateral, terms: TdxTerms | SgxTerms | None, found: Findings) -> bool:
    """Both statements know as much as the policy asks: older ones hide newer flaws."""
    lowest, floor = min(given.tcb.evaluation, given.qe.evaluation), terms.evaluation if terms else 0
    detail = f"evaluation data {lowest}, the policy asks for {floor}"
    return found.check(lowest >= floor, "evidence.tcb", detail)


def check_list(
    crl: x509.CertificateRevocationList | None,
    issuing: tuple[x509.Certificate, ...],
    named: Collection[x509.Certificate],
    now: int,
    found: Findings,
) -> bool:
    """A revocation list by the last of `issuing`, current, that names none of `named`."""
    if crl is None or not issuing:
        return False  # said when they were read
    revocation.verify(crl, issuing[-1], list(named), now, found)
    return True


def check_library(said: Verdict | Refused, found: Findings) -> bool:
    """The library accepts signatures, paths, quoting enclave and TCB level."""
    if isinstance(said, Refused):
        found.add(said.code, said.detail)
        return False
    return True


def check_status(
    part: str, status: str, terms: TdxTerms | SgxTerms | None, found: Findings
) -> bool:
    """The TCB status is one that the policy accepts; the library lets OutOfDate pass."""
    allowed = STATUSES if terms is None else STATUSES.intersection(terms.statuses)
    detail = f"TCB status of {part}: {status}; accepted: {', '.join(sorted(allowed))}"
    return found.check(status in allowed, "evidence.tcb", detail)


# --- the steps -----------------------------------------------------------------------------------


def _quote(evidence: bytes, family: Family, found: Findings) -> Quote | None:
    try:
        read = quote.read(evidence)
    except Refused as error:
        found.add(error.code, error.detail)
        return None
    return read if check_family(read, family, found) else None


def _machine(certificates: bytes, found: Findings) -> Machine | None:
    try:
        return intel_library.machine(certificates)
    except Refused as error:
        found.add(error.code, error.detail)
        return None


def _collateral(endorsements: Mapping[str, bytes], found: Findings) -> Collateral | None:
    if endorsements.keys() != {"collateral"}:
        found.add("evidence.collateral", "a quote needs exactly one endorsement: collateral")
        return None
    return collateral.read(endorsements["collateral"], found)


def _check_collateral(
    given: Collateral,
    machine: Machine | None,
    family: Family,
    terms: TdxTerms | SgxTerms | None,
    now: int,
    found: Findings,
    roots: Roots,
) -> None:
    check_kind(given, family, found)
    for path in dict.fromkeys((given.tcb.path, given.qe.path)):
        check_path(path, SIGNING, now, found, roots)
    for stated in (given.tcb, given.qe):
        check_current(stated, now, found)
    if machine is not None:
        check_machine(given, machine, found)
    check_evaluation(given, terms, found)


def _check_lists(
    given: Collateral, pck: tuple[x509.Certificate, ...], now: int, found: Findings
) -> None:
    by_root = {*pck[:2], *given.tcb.path, *given.qe.path, *given.crl_path}
    check_list(given.root_crl, given.crl_path[:1], by_root, now, found)
    check_list(given.pck_crl, given.crl_path, pck[2:], now, found)


def _check_levels(
    given: Collateral,
    read: Quote,
    machine: Machine | None,
    terms: TdxTerms | SgxTerms | None,
    found: Findings,
) -> dict[str, str]:
    if machine is None:
        return {}
    try:
        parts = intel_tcb.statuses(given, read, machine.cpu_svn, machine.pce_svn)
    except Refused as error:
        found.add(error.code, error.detail)
        return {}
    for part, status in parts.items():
        if status != "UpToDate":  # a part that lacks nothing leaves it to the others
            check_status(part, status, terms, found)
    return {f"tcb status of {part}": status for part, status in parts.items()}


def _check_verdict(
    evidence: bytes,
    given: Collateral,
    terms: TdxTerms | SgxTerms | None,
    now: int,
    found: Findings,
    roots: Roots,
) -> dict[str, str]:
    try:
        said: Verdict | Refused = intel_library.verify(evidence, given, now, roots.certificate)
    except Refused as error:
        said = error
    check_library(said, found)
    if isinstance(said, Refused):
        return {}
    check_status("all", said.status, terms, found)
    advisories = ", ".join(said.advisories) or "none"
    return {"tcb status": said.status, "open advisories": advisories}


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value)[:80] if len(names) == 1 else "somebody"


def _valid_until(given: Collateral, pck: tuple[x509.Certificate, ...]) -> int:
    ends = [given.tcb.expires, given.qe.expires]
    ends += [
        chain.valid_until(path, crl)
        for path, crl in (
            (pck, None),
            (given.tcb.path, given.root_crl),
            (given.qe.path, None),
            (given.crl_path, given.pck_crl),
        )
        if path
    ]
    return min(ends)


def _tcb(read: Quote, machine: Machine | None) -> dict[str, int]:
    tcb = {"qe": int.from_bytes(read.qe_report[258:260], "little")}
    if machine is not None:
        tcb |= {f"svn{place}": svn for place, svn in enumerate(machine.cpu_svn)}
        tcb["pce"] = machine.pce_svn
    return tcb


def _facts(machine: Machine | None) -> dict[str, str]:
    if machine is None:
        return {}
    facts = {"fmspc": machine.fmspc.hex(), "ppid": machine.ppid.hex()}
    return facts if machine.instance is None else facts | {"instance": machine.instance.hex()}
