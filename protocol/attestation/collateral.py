"""Collateral of Intel: what a verifier needs beside a quote, as one JSON document of nine texts.

Two statements that Intel signs over their exact text (the security versions of a processor family,
the identity of the quoting enclave), with the certificates of who signed them, and two revocation
lists. Every text has one form only, so that an altered byte never goes unnoticed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol import limits, strict_json
from protocol.attestation import chain, revocation
from protocol.attestation.findings import Findings
from protocol.errors import Refused

TEXTS: Final = frozenset(
    {
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
    }
)
"""What collateral consists of: PEM chains, JSON, and hexadecimal for lists and signatures."""

_END: Final = b"-----END CERTIFICATE-----\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What Intel says: its `kind` ("TDX", "QE", …), and from when until when (unix seconds).

    `path` is the chain of who signed it, root first; empty if it could not be read.
    """

    kind: str
    version: int
    evaluation: int
    issued: int
    expires: int
    content: Mapping[str, Any]
    path: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """Collateral as read: nothing is verified yet. A revocation list is None if it is none."""

    texts: Mapping[str, str]
    tcb: Statement
    qe: Statement
    crl_path: tuple[x509.Certificate, ...]
    root_crl: x509.CertificateRevocationList | None
    pck_crl: x509.CertificateRevocationList | None


def read(raw: bytes, found: Findings) -> Collateral | None:
    """The collateral in `raw`; None, with a finding (evidence.collateral), if it is none."""
    try:
        texts = _texts(raw)
        chains = {texts[name] for name in TEXTS if name.endswith("_chain")}
        paths = {text: read_path(text.encode(), found) for text in sorted(chains)}
        tcb, qe = _statement(texts, "tcb_info", paths), _statement(texts, "qe_identity", paths)
        crls = {name: octets(texts[name]) for name in ("root_ca_crl", "pck_crl")}
    except Refused as error:
        found.add(error.code, error.detail)
        return None
    return Collateral(
        texts=texts,
        tcb=tcb,
        qe=qe,
        crl_path=paths[texts["pck_crl_issuer_chain"]],
        root_crl=revocation.read(crls["root_ca_crl"], found),
        pck_crl=revocation.read(crls["pck_crl"], found),
    )


def read_path(pem: bytes, found: Findings) -> tuple[x509.Certificate, ...]:
    """The path, root first, in PEM with the leaf first; empty, with a finding, if it is none.

    The text must be exactly what its certificates are written as; an end of NUL or line ends is
    left aside, as quotes have either.
    """
    text = pem.rstrip(b"\n\0") + b"\n"
    parts = [part + _END for part in text.split(_END)[:-1]]
    path = chain.read_path(parts[::-1], found)
    if path is None or not check_written(text, path, found):
        return ()
    return tuple(path)


def check_written(text: bytes, path: list[x509.Certificate], found: Findings) -> bool:
    """A chain is written in one way only."""
    written = b"".join(one.public_bytes(Encoding.PEM) for one in reversed(path))
    return found.check(text == written, "evidence.chain", "a chain with bytes of no certificate")


def octets(text: str) -> bytes:
    """The bytes in hexadecimal, all in lower or all in upper case. Raises Refused."""
    try:
        found = bytes.fromhex(text)
    except ValueError as error:
        raise _refused("a text is not hexadecimal") from error
    if text not in (found.hex(), found.hex().upper()):
        raise _refused("a hexadecimal text of mixed case")
    return found


def _texts(raw: bytes) -> dict[str, str]:
    if len(raw) > limits.EVIDENCE:
        raise _refused(f"collateral of {len(raw)} bytes")
    found = _object(raw.decode(errors="replace"), "collateral")
    if found.keys() != TEXTS or not all(isinstance(text, str) for text in found.values()):
        raise _refused(f"collateral must be the texts {', '.join(sorted(TEXTS))}")
    return found


def _statement(
    texts: Mapping[str, str], name: str, paths: Mapping[str, tuple[x509.Certificate, ...]]
) -> Statement:
    content = _object(texts[name], name)
    octets(texts[name + "_signature"])
    return Statement(
        kind=_field(content, "id", str),
        version=_field(content, "version", int),
        evaluation=_field(content, "tcbEvaluationDataNumber", int),
        issued=_time(_field(content, "issueDate", str)),
        expires=_time(_field(content, "nextUpdate", str)),
        content=content,
        path=paths[texts[name + "_issuer_chain"]],
    )


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=strict_json.no_repeats)
    except (ValueError, RecursionError) as error:
        raise _refused(f"{name} is not JSON: {str(error)[:80]}") from error
    if not isinstance(found, dict):
        raise _refused(f"{name} is not an object")
    return found


def _field(content: Mapping[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 (of `kind`)
    value = content.get(name)
    if type(value) is not kind:
        raise _refused(f"{name} is missing")
    return value


def _time(text: str) -> int:
    """Unix seconds of an ISO 8601 time with its zone. Raises Refused."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return int(moment.timestamp())
    except (ValueError, OverflowError) as error:
        raise _refused(f"{text[:40]!r} is no time") from error


def _refused(detail: str) -> Refused:
    return Refused("evidence.collateral", detail)
