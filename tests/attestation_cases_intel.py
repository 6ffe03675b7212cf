"""The numbered checks of TDX and SGX, each with faults for it alone.

Many faults are noticed twice, by us and by the library: there both are removed `together`.
"""

import json
import textwrap
from base64 import b64encode
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from protocol.attestation import collateral, intel, sgx, tdx
from protocol.attestation.findings import Findings
from protocol.kinds.attestation import SgxTerms, TdxTerms
from tests import attestation_rig_intel as rig
from tests.attestation_rig_intel import NOW
from tests.attestation_x509 import LEAF
from tests.hooks.mutants import Check

MODULES = (intel, collateral, tdx, sgx)

LIBRARY = ((intel, "check_library"),)
CHAIN, MALFORMED, SIGNATURE = "evidence.chain", "evidence.malformed", "evidence.signature"
COLLATERAL, TCB, DEBUG = "evidence.collateral", "evidence.tcb", "evidence.debug"

TDX_TERMS = TdxTerms(accept=(), statuses=("UpToDate",), evaluation=rig.EVALUATION)
SGX_TERMS = SgxTerms(
    accept=(),
    statuses=("UpToDate",),
    evaluation=rig.EVALUATION,
    isv_prod_id=rig.PRODUCT,
    isv_svn=rig.VERSION,
)


def td_quote(version: int = 4, **body: Any) -> bytes:
    return rig.quote(version, rig.td_body(rig.REPORT_DATA, **body))


def sgx_quote(**body: Any) -> bytes:
    return rig.quote(3, rig.sgx_body(rig.REPORT_DATA, **body))


def td_found(
    evidence: bytes | None = None,
    given: bytes | None = None,
    *,
    terms: TdxTerms | None = TDX_TERMS,
    now: int = NOW,
    roots: intel.Roots | None = None,
) -> Findings:
    """What is found in a domain's quote."""
    found, endorsements = Findings(), {"collateral": given or rig.collateral(True)}
    quote = td_quote() if evidence is None else evidence
    tdx.examine(quote, endorsements, terms, now, found, roots or rig.roots())
    return found


def sgx_found(
    evidence: bytes | None = None,
    given: bytes | None = None,
    *,
    terms: SgxTerms | None = SGX_TERMS,
) -> Findings:
    """What is found in an enclave's quote."""
    found, endorsements = Findings(), {"collateral": given or rig.collateral(False)}
    quote = sgx_quote() if evidence is None else evidence
    sgx.examine(quote, endorsements, terms, NOW, found, rig.roots())
    return found


def stated(**changes: Any) -> Findings:
    """What is found with another TCB info."""
    return td_found(given=rig.collateral(True, tcb=rig.tcb_info(True, **changes)))


def identified(**changes: Any) -> Findings:
    """What is found with another identity of the quoting enclave."""
    return td_found(given=rig.collateral(True, qe=rig.qe_identity(True, **changes)))


def by_machine(**extension: Any) -> Findings:
    """What is found in a quote by a machine with another certificate."""
    style = rig.machine_style(**extension)
    owner = rig.issue("Intel SGX PCK Certificate", rig.authority(), style=style)
    return td_found(rig.quote(4, rig.td_body(rig.REPORT_DATA), owner=owner))


def enclosed(**options: Any) -> Findings:
    """What is found in a quote whose quoting enclave is another one."""
    return td_found(rig.quote(4, rig.td_body(rig.REPORT_DATA), **options))


def altered(place: int) -> Findings:
    """What is found in a quote with one bit flipped after signing; from the end if negative."""
    raw = bytearray(td_quote())
    raw[place] ^= 1
    return td_found(bytes(raw))


def unsigned(name: str) -> Findings:
    """What is found in collateral with another signature."""
    given = json.loads(rig.collateral(True))
    return td_found(given=json.dumps({**given, name: "11" * 64}).encode())


def module(**changes: Any) -> Findings:
    """What is found with another TDX module's identity."""
    named = rig.tcb_info(True)["tdxModuleIdentities"][0]
    return stated(tdxModuleIdentities=[{**named, **changes}])


def old_module() -> Findings:
    (level,) = rig.tcb_info(True)["tdxModuleIdentities"][0]["tcbLevels"]
    return module(tcbLevels=[{**level, "tcbStatus": "OutOfDate"}])


def wide_pem() -> str:
    """The machine's chain with lines of 76 characters."""
    parts = []
    for one in rig.machine().path:
        text = b64encode(one.public_bytes(Encoding.DER)).decode()
        lines = "\n".join(textwrap.wrap(text, 76))
        parts.append(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    return "".join(parts)


def revoked(root: bool) -> Findings:
    if root:
        return td_found(given=rig.collateral(True, root_crl=rig.crl(rig.root(), rig.authority())))
    return td_found(given=rig.collateral(True, pck_crl=rig.crl(rig.authority(), rig.machine())))


def signed_by_machine() -> Findings:
    return td_found(given=rig.collateral(True, signer=rig.machine()))


def signed_by_stranger() -> Findings:
    signer = rig.issue("Intel SGX TCB Signing", rig.authority(), style=LEAF)
    return td_found(given=rig.collateral(True, signer=signer))


ATTRIBUTES = rig.SEPT_VE_DISABLE

INTEL_CHECKS = (
    Check("I1", intel, "check_family", MALFORMED, "a quote of SGX shown as TDX",
          lambda: td_found(sgx_quote()), alone=False),
    Check("I2", intel, "check_path", CHAIN, "a root of one's own",
          lambda: td_found(roots=rig.roots(rig.root("thief"))), LIBRARY, alone=False),
    Check("I2", intel, "check_path", CHAIN, "collateral signed by a machine", signed_by_machine),
    Check("I2", intel, "check_path", CHAIN, "signed below the machines' authority",
          signed_by_stranger),
    Check("I3", intel, "check_qe_report", SIGNATURE, "the quoting enclave vouches for more",
          lambda: enclosed(vouched=b"\x01" * 32)),
    Check("I4", intel, "check_kind", COLLATERAL, "a TCB info of version 4",
          lambda: stated(version=4)),
    Check("I4", intel, "check_kind", COLLATERAL, "a TCB info about SGX",
          lambda: stated(id="SGX"), LIBRARY, alone=False),
    Check("I4", intel, "check_kind", COLLATERAL, "an identity of another enclave",
          lambda: identified(id="QVE"), LIBRARY, alone=False),
    Check("I5", intel, "check_current", COLLATERAL, "a TCB info that ended",
          lambda: stated(**rig.dates(until=NOW - 1)), LIBRARY),
    Check("I5", intel, "check_current", COLLATERAL, "a TCB info of the future",
          lambda: stated(**rig.dates(since=NOW + 1)), LIBRARY),
    Check("I5", intel, "check_current", COLLATERAL, "an identity that ended",
          lambda: identified(**rig.dates(until=NOW - 1)), LIBRARY),
    Check("I6", intel, "check_machine", COLLATERAL, "another provisioning enclave",
          lambda: by_machine(pce_id=b"\x01\0")),
    Check("I6", intel, "check_machine", COLLATERAL, "another family of processors",
          lambda: by_machine(fmspc=bytes(6)), LIBRARY, alone=False),
    Check("I7", intel, "check_evaluation", TCB, "a TCB info from before the floor",
          lambda: stated(tcbEvaluationDataNumber=rig.EVALUATION - 1)),
    Check("I7", intel, "check_evaluation", TCB, "an identity from before the floor",
          lambda: identified(tcbEvaluationDataNumber=rig.EVALUATION - 1)),
    Check("I8", intel, "check_list", "evidence.revoked", "the machine is revoked",
          lambda: revoked(root=False), LIBRARY),
    Check("I8", intel, "check_list", "evidence.revoked", "its authority is revoked",
          lambda: revoked(root=True), LIBRARY),
    Check("I9", intel, "check_library", SIGNATURE, "a changed report", lambda: altered(600)),
    Check("I9", intel, "check_library", SIGNATURE, "a changed header", lambda: altered(30)),
    Check("I9", intel, "check_library", SIGNATURE, "a changed attestation key",
          lambda: altered(48 + 584 + 4 + 64 + 5)),
    Check("I9", intel, "check_library", SIGNATURE, "a changed report of the quoting enclave",
          lambda: altered(48 + 584 + 4 + 128 + 6 + 70)),
    Check("I9", intel, "check_library", SIGNATURE, "changed authentication data",
          lambda: altered(48 + 584 + 4 + 128 + 6 + 384 + 64 + 2 + 9)),
    Check("I9", intel, "check_library", COLLATERAL, "a TCB info that Intel did not sign",
          lambda: unsigned("tcb_info_signature")),
    Check("I9", intel, "check_library", COLLATERAL, "an identity that Intel did not sign",
          lambda: unsigned("qe_identity_signature")),
    Check("I9", intel, "check_library", TCB, "a quoting enclave by another signer",
          lambda: enclosed(qe={"mrsigner": bytes(32)})),
    Check("I9", intel, "check_library", TCB, "another quoting enclave of its signer",
          lambda: enclosed(qe={"product": 9})),
    Check("I9", intel, "check_library", TCB, "a TDX module by another signer",
          lambda: module(mrsigner="11" * 48)),
    Check("I10", intel, "check_status", TCB, "an old processor",
          lambda: stated(status="OutOfDate")),
    Check("I10", intel, "check_status", TCB, "a status that the policy does not name",
          lambda: stated(status="SWHardeningNeeded")),
    Check("I10", intel, "check_status", TCB, "an old quoting enclave",
          lambda: identified(status="OutOfDate")),
    Check("I10", intel, "check_status", TCB, "an old TDX module", old_module),
    Check("I10", intel, "check_status", TCB, "a processor below every level",
          lambda: by_machine(cpu_svn=bytes(16)), LIBRARY),
    Check("I11", collateral, "check_written", CHAIN, "a chain written in another way",
          lambda: enclosed(pem=wide_pem())),
)  # fmt: skip

TDX_CHECKS = (
    Check("T1", tdx, "check_debug", DEBUG, "a domain under debug",
          lambda: td_found(td_quote(attributes=ATTRIBUTES | 1)), LIBRARY),
    Check("T1", tdx, "check_debug", DEBUG, "a domain under another debug",
          lambda: td_found(td_quote(attributes=ATTRIBUTES | 0x80)), LIBRARY, alone=False),
    Check("T2", tdx, "check_sept", TCB, "SEPT_VE_DISABLE is off",
          lambda: td_found(td_quote(attributes=0)), LIBRARY),
    Check("T3", tdx, "check_attributes", TCB, "performance counters",
          lambda: td_found(td_quote(attributes=ATTRIBUTES | 1 << 63))),
    Check("T3", tdx, "check_attributes", TCB, "a domain that can migrate",
          lambda: td_found(td_quote(attributes=ATTRIBUTES | 1 << 29)), LIBRARY),
    Check("T3", tdx, "check_attributes", TCB, "a reserved attribute",
          lambda: td_found(td_quote(attributes=ATTRIBUTES | 1 << 39)), LIBRARY),
    Check("T4", tdx, "check_service", TCB, "a service domain",
          lambda: td_found(td_quote(5, service=b"\x01" * 48)), LIBRARY),
)  # fmt: skip

SGX_CHECKS = (
    Check("G1", sgx, "check_debug", DEBUG, "an enclave in debug mode",
          lambda: sgx_found(sgx_quote(attributes=b"\x07" + bytes(15))), LIBRARY),
    Check("G2", sgx, "check_product", "evidence.measurement", "another product",
          lambda: sgx_found(sgx_quote(product=rig.PRODUCT + 1))),
    Check("G3", sgx, "check_version", TCB, "a version below the floor",
          lambda: sgx_found(sgx_quote(version=rig.VERSION - 1))),
    Check("G3", sgx, "check_version", TCB, "a higher floor",
          lambda: sgx_found(terms=replace(SGX_TERMS, isv_svn=rig.VERSION + 1))),
)  # fmt: skip

CHECKS = INTEL_CHECKS + TDX_CHECKS + SGX_CHECKS
