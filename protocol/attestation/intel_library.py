"""The door to the library dcap_qvl: its words become ours, and whatever breaks in it is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import dcap_qvl

from protocol.attestation.collateral import Collateral
from protocol.errors import Refused

_T = TypeVar("_T")

_BLAME: Final = (
    ("Debug mode", "evidence.debug"),
    ("CertRevoked", "evidence.revoked"),
    ("Crl", "evidence.collateral"),
    ("CRL", "evidence.collateral"),
    ("RevocationStatus", "evidence.collateral"),
    ("TCBInfo", "evidence.collateral"),
    ("TcbInfo", "evidence.collateral"),
    ("tcb_info", "evidence.collateral"),
    ("QE Identity", "evidence.collateral"),
    ("QeIdentity", "evidence.collateral"),
    ("qe_identity", "evidence.collateral"),
    ("ertificate chain", "evidence.chain"),
    ("PCK certificate", "evidence.chain"),
    ("decode quote", "evidence.malformed"),
    ("signature", "evidence.signature"),
    ("Signature", "evidence.signature"),
    ("hash mismatch", "evidence.signature"),
)
"""Words of the library's errors -> our code; what none of them names is evidence.tcb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the certificate of a machine's key says about it (Intel SGX PCK certificate, 1.3.5)."""

    ppid: bytes
    instance: bytes | None
    fmspc: bytes
    pce_id: bytes
    cpu_svn: bytes
    pce_svn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the library makes of a quote that is genuine; whether that is good enough, we say."""

    status: str
    advisories: tuple[str, ...]


def verify(evidence: bytes, given: Collateral, now: int, root: bytes) -> Verdict:
    """The library's verdict, under the root whose DER is `root`. Raises Refused (evidence.*)."""
    texts: dict[str, Any] = dict(given.texts)
    for name in ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"):
        texts[name] = bytes.fromhex(texts[name])

    def ask() -> Verdict:
        asked = dcap_qvl.QuoteCollateralV3(**texts)
        said = dcap_qvl.verify_with_root_ca(evidence, asked, root, now)
        return Verdict(status=str(said.status), advisories=tuple(map(str, said.advisory_ids)))

    return _guarded(ask)


def machine(certificates: bytes) -> Machine:
    """What the first certificate of a PEM chain says. Raises Refused (evidence.chain)."""

    def ask() -> Machine:
        said = dcap_qvl.parse_pck_extension_from_pem(certificates)
        instance = said.platform_instance_id
        return Machine(
            ppid=bytes(said.ppid),
            instance=None if instance is None else bytes(instance),
            fmspc=bytes(said.fmspc),
            pce_id=bytes(said.pce_id),
            cpu_svn=bytes(said.cpu_svn),
            pce_svn=int(said.pce_svn),
        )

    return _guarded(ask, "evidence.chain")


def _guarded(call: Callable[[], _T], code: str | None = None) -> _T:
    """The result of a call into the library; whatever breaks in it is refused."""
    try:
        return call()
    except Exception as error:  # a parser of hostile bytes: whatever breaks in it is a refusal
        raise _refused(str(error) or type(error).__name__, code) from error
    except BaseException as error:  # a panic of Rust is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise _refused(f"panic: {error}", code or "evidence.malformed") from error


def _refused(said: str, code: str | None) -> Refused:
    words = " ".join(said.removeprefix("Verification failed: ").split())
    blamed = next((blamed for part, blamed in _BLAME if part in words), "evidence.tcb")
    return Refused(code or blamed, words)
