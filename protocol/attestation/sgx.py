"""Intel SGX: the report of an enclave in a quote of version 3.

Layout: Intel SGX ECDSA quoting library API, appendix A.4 (enclave report, 384 bytes).
"""

from collections.abc import Mapping
from typing import Final

from protocol.attestation import intel
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.kinds.attestation import SgxTerms

TECHNOLOGY: Final = "sgx"

_DEBUG: Final = 0x02


def examine(
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    terms: SgxTerms | None,
    now: int,
    found: Findings,
    roots: intel.Roots = intel.PINNED,
) -> Claims | None:
    """Examine a quote of an enclave. Endorsements: `collateral`."""
    shared = intel.examine(evidence, endorsements, terms, now, found, roots, intel.SGX)
    if shared is None:
        return None
    body = shared.quote.body
    product, version = (int.from_bytes(body[at : at + 2], "little") for at in (256, 258))
    check_debug(body, found)
    if terms is not None:
        check_product(product, terms, found)
        check_version(version, terms, found)
    return shared.claims(
        report_data=body[320:384],
        registers={
            "mrenclave": body[64:96],
            "mrsigner": body[128:160],
            "isv_prod_id": product.to_bytes(2, "big"),
            "isv_svn": version.to_bytes(2, "big"),
        },
        tcb={"isv_svn": version},
        facts={
            "quote": f"version {shared.quote.version}",
            "debug": "yes" if is_debug(body) else "no",
            "attributes": body[48:64].hex(),
        },
    )


# --- numbered checks: tests/hooks/mutants.py removes each ----------------------------------------


def is_debug(body: bytes) -> bool:
    """Whether a debugger may read and write the enclave's memory."""
    return bool(body[48] & _DEBUG)


def check_debug(body: bytes, found: Findings) -> bool:
    """The enclave is not in debug mode."""
    return found.check(not is_debug(body), "evidence.debug", "the enclave is in debug mode")


def check_product(product: int, terms: SgxTerms, found: Findings) -> bool:
    """It is the product that the policy names: one signer has many."""
    detail = f"product {product} of its signer, the policy names {terms.isv_prod_id}"
    return found.check(product == terms.isv_prod_id, "evidence.measurement", detail)


def check_version(version: int, terms: SgxTerms, found: Findings) -> bool:
    """Its security version is not below the floor."""
    detail = f"security version {version} of the enclave, the policy asks for {terms.isv_svn}"
    return found.check(version >= terms.isv_svn, "evidence.tcb", detail)
