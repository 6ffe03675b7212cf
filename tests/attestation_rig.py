"""Producers of evidence under test roots, for Nitro and SEV-SNP: all as genuine but the root.

    rig = NitroRig()
    made = rig.produce(user_data=binding_hash(binding))
    nitro.examine(made.evidence, made.endorsements, terms, NOW, found, rig.roots)

Arguments of `produce` and of the rigs make the one fault that a test wants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from protocol.attestation import nitro, snp, snp_report
from protocol.attestation.evidence import Binding
from protocol.attestation.snp_certificate import KINDS
from protocol.kinds.host import EnclaveKeys
from tests.attestation_x509 import LEAF, NOW, ROOT, Party, Style, ec_key, issue, revoke, rsa_key

ENCLAVE = EnclaveKeys(signing=b"\x01" * 32, sealing=b"\x02" * 1216)


@dataclass(frozen=True)
class Produced:
    """What a host would send."""

    evidence: bytes
    endorsements: dict[str, bytes] = field(default_factory=dict)


def binding(technology: str, nonce: bytes) -> Binding:
    """What a verifier with this nonce expects."""
    return Binding(
        technology=technology,
        keys=ENCLAVE,
        host=b"\x03" * 32,
        requester=b"\x04" * 32,
        agreement=b"\x06" * 32,
        term=1,
        nonce=nonce,
        software=b"\x05" * 32,
    )


def ecdsa(key: ec.EllipticCurvePrivateKey, data: bytes) -> tuple[int, int]:
    """r and s of a deterministic signature (RFC 6979) with SHA-384."""
    return utils.decode_dss_signature(
        key.sign(data, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    )


# --- Nitro ---------------------------------------------------------------------------------------

PCRS: Mapping[int, bytes] = {
    **{index: bytes(48) for index in range(16)},
    **{index: bytes([0xA0 + index]) * 48 for index in (0, 1, 2, 4)},
}
INSTANCE = "i-00000000000000001"
MODULE = f"{INSTANCE}-enc0000000000000001"
NITRO_AUTHORITIES = ("region", "zone", "instance")


@dataclass(frozen=True)
class NitroRig:
    """A chain as AWS's: root, region, zone, instance, leaf. `styles` and `keys` are by name."""

    styles: Mapping[str, Style] = field(default_factory=dict)
    curve: type[ec.EllipticCurve] = ec.SECP384R1
    authorities: Sequence[str] = NITRO_AUTHORITIES
    keys: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def path(self) -> list[Party]:
        style = self.styles.get("root", replace(ROOT, signs=True))
        path = [issue("nitro root", ec_key("nitro root"), None, style)]
        for above, name in enumerate(self.authorities, 1):
            length = len(self.authorities) - above
            style = self.styles.get(name, replace(ROOT, path_length=length))
            key = self.keys.get(name, ec_key(name))
            path.append(issue(name, key, path[-1], style))
        leaf = ec_key("nitro leaf", self.curve)
        return [*path, issue(MODULE, leaf, path[-1], self.styles.get("leaf", _short_leaf()))]

    @property
    def roots(self) -> nitro.Roots:
        return frozenset([self.path[0].fingerprint])

    def document(self, user_data: bytes | None = None, at: int = NOW) -> dict[str, Any]:
        """The fields of a document dated `at`, unix seconds."""
        return {
            "module_id": MODULE,
            "digest": "SHA384",
            "timestamp": at * 1000 + 1,
            "pcrs": dict(PCRS),
            "certificate": self.path[-1].der,
            "cabundle": [party.der for party in self.path[:-1]],
            "public_key": None,
            "user_data": user_data,
            "nonce": None,
        }

    def produce(
        self,
        user_data: bytes | None = None,
        *,
        at: int = NOW,
        protected: bytes = b"\xa1\x01\x38\x22",
        unprotected: object = None,
        **fields: Any,
    ) -> Produced:
        """A signed document; `fields` replace those of the document, `...` leaves one out."""
        document = {**self.document(user_data, at), **fields}
        items = ((name, value) for name, value in document.items() if value is not ...)
        pairs = b"".join(cbor2.dumps(name) + cbor2.dumps(value) for name, value in items)
        return self.sign(b"\xbf" + pairs + b"\xff", protected, unprotected or {})

    def sign(self, payload: bytes, protected: bytes, unprotected: object) -> Produced:
        """COSE_Sign1 of any payload."""
        said = cbor2.dumps(["Signature1", protected, b"", payload])
        r, s = ecdsa(self.path[-1].key, said)
        size = (self.curve.key_size + 7) // 8
        raw = r.to_bytes(size) + s.to_bytes(size)
        return Produced(cbor2.dumps([protected, unprotected, payload, raw]))


def _short_leaf(at: int = NOW) -> Style:
    moment = datetime.fromtimestamp(at, UTC)
    return replace(LEAF, first=moment - timedelta(seconds=60), last=moment + timedelta(hours=3))


# --- SEV-SNP -------------------------------------------------------------------------------------

CPUS = {"milan": (0x19, 0x01, 0x01), "genoa": (0x19, 0x11, 0x01), "turin": (0x1A, 0x02, 0x01)}
VERSIONS = {"bootloader": 9, "tee": 1, "snp": 23, "microcode": 210, "fmc": 2}
CHIP = bytes(range(1, 65))
MEASUREMENT = b"\x5a" * 48
POLICY = 0x30000
PLATFORM = 0x34
"""ECC, ciphertext hiding and the alias check; no SMT."""


@dataclass(frozen=True)
class SnpRig:
    """A chip of a generation, with AMD's three certificates. Fields make the leaf wrong."""

    generation: str = "genoa"
    kind: str = "vcek"
    versions: Mapping[str, int] = field(default_factory=lambda: VERSIONS)
    certified: Mapping[str, int] = field(default_factory=dict)
    chip: bytes | None = None
    product: str | None = None
    curve: type[ec.EllipticCurve] = ec.SECP384R1
    styles: Mapping[str, Style] = field(default_factory=dict)

    @property
    def turin(self) -> bool:
        return self.generation == "turin"

    @cached_property
    def ark(self) -> Party:
        name = f"ARK-{self.generation.title()}"
        return issue(name, rsa_key("ark"), None, self.styles.get("ark", ROOT))

    @cached_property
    def ask(self) -> Party:
        return self._ask(self.kind)

    def _ask(self, kind: str) -> Party:
        name = f"SEV-{'VLEK-' if kind == 'vlek' else ''}{self.generation.title()}"
        style = self.styles.get("ask", replace(ROOT, path_length=0))
        return issue(name, rsa_key("ask"), self.ark, style)

    @cached_property
    def leaf(self) -> Party:
        style = self.styles.get("leaf", Style())
        style = replace(style, extensions=[*self._extensions(), *style.extensions])
        name = f"SEV-{self.kind.upper()}"
        return issue(name, ec_key("snp leaf", self.curve), self.ask, style)

    def _extensions(self) -> list[tuple[str, bytes, bool]]:
        oid = "1.3.6.1.4.1.3704.1."
        places = {"bootloader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8"}
        places |= {"fmc": "3.9"} if self.turin else {}
        certified = {**self.versions, **self.certified}
        product = (self.product or self.generation.title()).encode()
        found = [(oid + place, _integer(certified[name])) for name, place in places.items()]
        found.append((oid + "2", b"\x16" + bytes([len(product)]) + product))
        if self.kind == "vcek":
            found.append((oid + "4", self.chip_id if self.chip is None else self.chip))
        return [(place, value, False) for place, value in found]

    @property
    def chip_id(self) -> bytes:
        return CHIP[:8] if self.turin else CHIP

    @property
    def roots(self) -> snp.Roots:
        name, asks = self.generation, {kind: self._ask(kind).der for kind in KINDS}
        return snp.Roots(
            {name: self.ark.fingerprint},
            {name: self.ark.der},
            {(name, kind): der for kind, der in asks.items()},
        )

    def tcb(self, **versions: int) -> bytes:
        """The eight bytes of a TCB field in the generation's layout."""
        v = {**self.versions, **versions}
        if self.turin:
            return bytes([v["fmc"], v["bootloader"], v["tee"], v["snp"], 0, 0, 0, v["microcode"]])
        return bytes([v["bootloader"], v["tee"], 0, 0, 0, 0, v["snp"], v["microcode"]])

    def report(
        self, report_data: bytes = bytes(64), patch: Mapping[int, bytes] | None = None
    ) -> bytes:
        """The signed part of a report; `patch` puts bytes at places."""
        raw = bytearray(snp_report.SIGNED)
        masked = self.kind == "vlek"
        parts = {
            0x00: (3).to_bytes(4, "little"),
            0x08: POLICY.to_bytes(8, "little"),
            0x34: (1).to_bytes(4, "little"),
            0x38: self.tcb(),
            0x40: PLATFORM.to_bytes(8, "little"),
            0x48: (4 if masked else 0).to_bytes(4, "little"),
            0x50: report_data,
            0x90: MEASUREMENT,
            0x180: self.tcb(),
            0x188: bytes(CPUS[self.generation]),
            0x1A0: b"" if masked else self.chip_id,
            0x1E0: self.tcb(),
            0x1F0: self.tcb(),
            **(patch or {}),
        }
        for place, value in parts.items():
            raw[place : place + len(value)] = value
        return bytes(raw)

    def produce(
        self,
        report_data: bytes = bytes(64),
        *,
        patch: Mapping[int, bytes] | None = None,
        padding: bytes = bytes(368),
        **endorsements: bytes,
    ) -> Produced:
        """A signed report; `endorsements` come beside the leaf or replace it."""
        said = self.report(report_data, patch)
        r, s = ecdsa(self.leaf.key, said)
        raw = said + r.to_bytes(72, "little") + s.to_bytes(72, "little") + padding
        return Produced(raw, {self.kind: self.leaf.der, **endorsements})

    def crl(self, *revoked: Party, **options: Any) -> bytes:
        """A revocation list by the root, DER."""
        return revoke(self.ark, [one.certificate.serial_number for one in revoked], **options)


def _integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1)
    return b"\x02" + bytes([len(raw)]) + raw
