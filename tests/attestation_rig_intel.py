"""Intel's part of a synthetic world: a root of our own, machines, quoting enclave and collateral.

Everything is made from fixed keys and deterministic signatures, so the same call makes the same
bytes. `python -m tests.attestation_rig_intel` writes tests/vectors/attestation/synthetic.
"""

import hashlib
import json
import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.attestation.intel import Roots
from tests.attestation_x509 import LEAF, NOW, ROOT, Party, Style, ec_key, revoke
from tests.attestation_x509 import issue as issue_by

DAY = 86400
FOLDER = Path(__file__).parent / "vectors" / "attestation" / "synthetic"

FMSPC, PCE_ID, PPID = bytes.fromhex("00606a000000"), b"\0\0", bytes(range(16))
INSTANCE = bytes(range(16, 32))
CPU_SVN = bytes([11, 11, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
PCE_SVN, QE_SVN, EVALUATION = 13, 8, 20
TEE_SVN = bytes([7, 1, 4]) + bytes(13)
QE_SIGNER, QE_ATTRIBUTES = b"\x8c" * 32, b"\x11" + bytes(15)
SEPT_VE_DISABLE = 1 << 28
SGX_ATTRIBUTES = bytes([5]) + bytes(7) + bytes([0xE7]) + bytes(7)

REGISTERS = {name: bytes([at]) * 48 for at, name in enumerate(
    ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3"), 0x21
)}  # fmt: skip
MRENCLAVE, MRSIGNER, PRODUCT, VERSION = b"\x31" * 32, b"\x32" * 32, 7, 3


@dataclass(frozen=True)
class Owner:
    """Who holds a key, and its certificates, leaf first."""

    party: Party
    path: tuple[x509.Certificate, ...]

    @property
    def pem(self) -> str:
        return b"".join(one.public_bytes(Encoding.PEM) for one in self.path).decode()


def issue(name: str, issuer: Owner | None = None, *, key: str = "", style: Style = LEAF) -> Owner:
    """A certificate by `issuer`, or by itself; `key` names another key than that of its name."""
    own = ec_key(key or name, ec.SECP256R1)
    party = issue_by(name, own, issuer.party if issuer else None, replace(style, hash=SHA256))
    return Owner(party, (party.certificate, *(issuer.path if issuer else ())))


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """r and s, 32 bytes each."""
    made = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
    return b"".join(number.to_bytes(32, "big") for number in utils.decode_dss_signature(made))


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def crl(
    issuer: Owner,
    *revoked: Owner,
    since: int = NOW - DAY,
    until: int = NOW + 30 * DAY,
    **options: Any,
) -> bytes:
    """A revocation list, DER."""
    serials = [one.path[0].serial_number for one in revoked]
    first, last = moment(since), moment(until)
    return revoke(issuer.party, serials, first=first, last=last, digest=SHA256(), **options)


# --- the machine's certificate -------------------------------------------------------------------


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = bytes([len(body)]) if len(body) < 128 else b"\x82" + len(body).to_bytes(2, "big")
    return bytes([tag]) + size + body


def sgx_extension(
    *,
    fmspc: bytes = FMSPC,
    pce_id: bytes = PCE_ID,
    cpu_svn: bytes = CPU_SVN,
    pce_svn: int = PCE_SVN,
) -> bytes:
    def entry(number: bytes, value: bytes) -> bytes:
        return der(0x30, der(6, bytes.fromhex("2a864886f84d010d01") + number), value)

    def integer(number: int) -> bytes:
        return der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))

    levels = [entry(bytes([2, place + 1]), integer(svn)) for place, svn in enumerate(cpu_svn)]
    levels += [entry(b"\2\x11", integer(pce_svn)), entry(b"\2\x12", der(4, cpu_svn))]
    return der(
        0x30,
        entry(b"\1", der(4, PPID)),
        entry(b"\2", der(0x30, *levels)),
        entry(b"\3", der(4, pce_id)),
        entry(b"\4", der(4, fmspc)),
        entry(b"\5", der(10, b"\1")),
        entry(b"\6", der(4, INSTANCE)),
    )


AUTHORITY = replace(ROOT, path_length=0)


def machine_style(**extension: Any) -> Style:
    return replace(LEAF, extensions=[("1.2.840.113741.1.13.1", sgx_extension(**extension), False)])


@cache
def root(key: str = "") -> Owner:
    return issue("Intel SGX Root CA", key=key, style=replace(ROOT, path_length=1))


@cache
def authority() -> Owner:
    return issue("Intel SGX PCK Platform CA", root(), style=AUTHORITY)


@cache
def machine() -> Owner:
    return issue("Intel SGX PCK Certificate", authority(), style=machine_style())


@cache
def signing() -> Owner:
    return issue("Intel SGX TCB Signing", root())


def roots(owner: Owner | None = None) -> Roots:
    made = (owner or root()).path[0].public_bytes(Encoding.DER)
    return Roots(fingerprint=hashlib.sha256(made).digest(), certificate=made)


# --- quotes --------------------------------------------------------------------------------------


def report(
    *,
    attributes: bytes,
    mrenclave: bytes,
    mrsigner: bytes,
    product: int,
    version: int,
    report_data: bytes,
) -> bytes:
    """An enclave's report, 384 bytes."""
    return (
        CPU_SVN + bytes(4 + 28) + attributes + mrenclave + bytes(32) + mrsigner + bytes(96)
        + struct.pack("<HH", product, version) + bytes(60) + report_data.ljust(64, b"\0")
    )  # fmt: skip


def sgx_body(report_data: bytes, **changed: Any) -> bytes:
    parts = {
        "attributes": SGX_ATTRIBUTES,
        "mrenclave": MRENCLAVE,
        "mrsigner": MRSIGNER,
        "product": PRODUCT,
        "version": VERSION,
    }
    return report(**{**parts, **changed}, report_data=report_data)


def td_body(
    report_data: bytes,
    *,
    attributes: int = SEPT_VE_DISABLE,
    tee_svn: bytes = TEE_SVN,
    service: bytes | None = None,
    registers: dict[str, bytes] = REGISTERS,
) -> bytes:
    """A domain's report; with `service` that of TDX 1.5."""
    body = (
        tee_svn + bytes(48 + 48 + 8) + attributes.to_bytes(8, "little")
        + bytes.fromhex("e702060000000000") + b"".join(registers.values())
        + report_data.ljust(64, b"\0")
    )  # fmt: skip
    return body if service is None else body + tee_svn + service


def quote(
    version: int,
    body: bytes,
    *,
    owner: Owner | None = None,
    qe: dict[str, Any] | None = None,
    vouched: bytes = b"",
    pem: str | None = None,
) -> bytes:
    """A quote of version 3 (SGX), 4 or 5 (TDX). `vouched`: more that the quoting enclave signs."""
    owner, attestation, auth = (
        owner or machine(),
        ec_key("attestation", ec.SECP256R1),
        bytes(range(32)),
    )
    technology = 0 if version == 3 else 0x81
    head = struct.pack("<HHI", version, 2, technology) + bytes(4)
    head += bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
    if version == 5:
        head += struct.pack("<HI", {584: 2, 648: 3}[len(body)], len(body))
    qe_report = report(
        **{
            "attributes": QE_ATTRIBUTES,
            "mrenclave": b"\x51" * 32,
            "mrsigner": QE_SIGNER,
            "product": 1 if version == 3 else 2,
            "version": QE_SVN,
            **(qe or {}),
        },
        report_data=hashlib.sha256(public(attestation) + auth).digest() + vouched,
    )
    chain = (owner.pem if pem is None else pem).encode() + b"\0"
    inner = qe_report + sign(owner.party.key, qe_report) + struct.pack("<H", len(auth)) + auth
    inner += struct.pack("<HI", 5, len(chain)) + chain
    if version >= 4:
        inner = struct.pack("<HI", 6, len(inner)) + inner
    data = sign(attestation, head + body) + public(attestation) + inner
    return head + body + struct.pack("<I", len(data)) + data


# --- collateral ----------------------------------------------------------------------------------


def stamp(seconds: int) -> str:
    return moment(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def dates(since: int = NOW - DAY, until: int = NOW + 30 * DAY) -> dict[str, str]:
    return {"issueDate": stamp(since), "nextUpdate": stamp(until)}


def tcb_info(tdx: bool, status: str = "UpToDate", **changed: Any) -> dict[str, Any]:
    def components(svn: bytes) -> list[dict[str, int]]:
        return [{"svn": one} for one in svn]

    level: dict[str, Any] = {"sgxtcbcomponents": components(CPU_SVN), "pcesvn": PCE_SVN}
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    one = {"tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"}
    found: dict[str, Any] = {
        "id": "TDX" if tdx else "SGX",
        "version": 3,
        **dates(),
        "fmspc": FMSPC.hex().upper(),
        "pceId": PCE_ID.hex().upper(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION,
    }
    if tdx:
        level["tdxtcbcomponents"] = components(TEE_SVN)
        found["tdxModule"] = module
        found["tdxModuleIdentities"] = [
            {"id": "TDX_01", **module, "tcbLevels": [{"tcb": {"isvsvn": TEE_SVN[0]}, **one}]}
        ]
    found["tcbLevels"] = [{"tcb": level, **one, "tcbStatus": status}]
    return {**found, **changed}


def qe_identity(tdx: bool, status: str = "UpToDate", **changed: Any) -> dict[str, Any]:
    found = {
        "id": "TD_QE" if tdx else "QE",
        "version": 2,
        **dates(),
        "tcbEvaluationDataNumber": EVALUATION,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": QE_ATTRIBUTES.hex().upper(),
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": 2 if tdx else 1,
        "tcbLevels": [
            {
                "tcb": {"isvsvn": QE_SVN},
                "tcbDate": "2026-01-01T00:00:00Z",
                "tcbStatus": status,
            }
        ],
    }
    return {**found, **changed}


def collateral(
    tdx: bool,
    *,
    tcb: dict[str, Any] | None = None,
    qe: dict[str, Any] | None = None,
    signer: Owner | None = None,
    root_crl: bytes | None = None,
    pck_crl: bytes | None = None,
    **texts: Any,
) -> bytes:
    """Collateral for quotes made here; `texts` stand in place of what would be there."""
    signer = signer or signing()
    stated = {"tcb_info": tcb or tcb_info(tdx), "qe_identity": qe or qe_identity(tdx)}
    found: dict[str, Any] = {
        "pck_crl_issuer_chain": authority().pem,
        "root_ca_crl": (root_crl or crl(root())).hex(),
        "pck_crl": (pck_crl or crl(authority())).hex(),
    }
    for name, value in stated.items():
        text = json.dumps(value, separators=(",", ":"))
        found[name + "_issuer_chain"] = signer.pem
        found[name] = text
        found[name + "_signature"] = sign(signer.party.key, text.encode()).hex()
    return json.dumps({**found, **texts}, indent=1).encode()


# --- what is shipped -----------------------------------------------------------------------------

REPORT_DATA = hashlib.sha512(b"village synthetic evidence").digest()

SHIPPED = {
    "tdx-v4": lambda: (quote(4, td_body(REPORT_DATA)), collateral(True)),
    "tdx-v5": lambda: (quote(5, td_body(REPORT_DATA, service=bytes(48))), collateral(True)),
    "sgx-v3": lambda: (quote(3, sgx_body(REPORT_DATA)), collateral(False)),
}
"""Name -> quote and collateral, accepted at NOW under `intel-root.der`."""


def files() -> dict[str, bytes]:
    """Every shipped file of this part, by name."""
    found = {"intel-root.der": roots().certificate}
    for name, make in SHIPPED.items():
        evidence, given = make()
        found[f"{name}.quote"], found[f"{name}.collateral.json"] = evidence, given
    return found


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in files().items():
        (FOLDER / name).write_bytes(data)
