"""A TPM of our own making, under a test authority: it quotes, and it opens credentials.

    rig = TpmRig()
    made = rig.produce(preimage)
    tpm.examine(made.evidence, made.endorsements, rig.terms(), NOW, found)

Arguments of the rig and of `produce` make the one fault that a test wants.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from protocol.attestation import tpm_credential
from protocol.attestation import tpm_structures as structures
from protocol.kinds.attestation import TpmTerms
from tests.attestation_rig import Produced
from tests.attestation_x509 import ROOT, Party, Style, ec_key, issue, rsa_key

VALUES = tuple(hashlib.sha256(b"register %d" % place).digest() for place in range(24))
HARDWARE = {"2.23.133.2.1": "id:54455354", "2.23.133.2.2": "Chip 1", "2.23.133.2.3": "id:0001"}
SOFTWARE = {"2.23.133.2.1": "id:00001014", "2.23.133.2.2": "swtpm", "2.23.133.2.3": "id:0001"}
ATTRIBUTES = 0x00050072
"""fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign."""


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def sized(data: bytes) -> bytes:
    return number(len(data), 2) + data


def usage(**bits: bool) -> bytes:
    """A key usage with these bits alone."""
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**dict.fromkeys(names, False) | bits).public_bytes()


def names(maker: Mapping[str, str]) -> bytes:
    """A subject alternative name that says which TPM a certificate is for."""
    parts = [x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in maker.items()]
    return x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(parts))]).public_bytes()


ENCIPHERS = usage(key_encipherment=True)
PURPOSE = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")]).public_bytes()


def style(
    maker: Mapping[str, str] = HARDWARE,
    use: bytes = ENCIPHERS,
    purpose: bytes = PURPOSE,
    **more: Any,
) -> Style:
    """How the certificate of an endorsement key is made."""
    extensions = [("2.5.29.15", use, True), ("2.5.29.37", purpose, False)]
    if maker:
        extensions.append(("2.5.29.17", names(maker), True))
    return Style(**({"ca": False, "extensions": extensions} | more))


@dataclass(frozen=True)
class TpmRig:
    """A TPM with its two keys; `certificate` is how its endorsement key is certified."""

    certificate: Style = field(default_factory=style)
    issuer: Style = ROOT
    endorsement: Any = field(default_factory=lambda: rsa_key("tpm endorsement"))
    attestation: Any = field(default_factory=lambda: ec_key("tpm attestation", ec.SECP256R1))
    attributes: int = ATTRIBUTES
    symmetric: bytes = number(structures.NULL, 2)

    @cached_property
    def path(self) -> list[Party]:
        root = issue("tpm root", ec_key("tpm root"), None, ROOT)
        maker = issue("tpm maker", ec_key("tpm maker"), root, self.issuer)
        return [root, maker, issue("tpm", self.endorsement, maker, self.certificate)]

    @property
    def chain(self) -> bytes:
        """PEM, the issuer first."""
        parts = [party.certificate for party in reversed(self.path[:-1])]
        return b"".join(part.public_bytes(serialization.Encoding.PEM) for part in parts)

    def terms(self, **registers: bytes) -> TpmTerms:
        return TpmTerms(
            accept=(registers or {"pcr11": VALUES[11]},), authorities=(self.path[0].fingerprint,)
        )

    @cached_property
    def public(self) -> bytes:
        """The TPMT_PUBLIC of the attestation key."""
        kind, scheme = structures.ECC, structures.ECDSA
        if isinstance(self.attestation, rsa.RSAPrivateKey):
            kind, scheme = structures.RSA, structures.RSASSA
        head = number(kind, 2) + number(structures.SHA256, 2) + number(self.attributes, 4)
        head += sized(b"") + self.symmetric + number(scheme, 2) + number(structures.SHA256, 2)
        key = self.attestation.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            size = key.key_size
            modulus = number(key.public_numbers().n, size // 8)
            return head + number(size, 2) + bytes(4) + sized(modulus)
        point = key.public_numbers()
        size = (key.key_size + 7) // 8
        curve = {256: 3, 384: 4}[key.key_size]
        unique = sized(number(point.x, size)) + sized(number(point.y, size))
        return head + number(curve, 2) + number(structures.NULL, 2) + unique

    @cached_property
    def name(self) -> bytes:
        return number(structures.SHA256, 2) + hashlib.sha256(self.public).digest()

    def quote(
        self,
        extra: bytes,
        values: Sequence[bytes] = VALUES,
        *,
        magic: int = structures.GENERATED,
        kind: int = structures.QUOTE,
        signer: bytes | None = None,
        bank: int = structures.SHA256,
        selection: bytes = b"\xff\xff\xff",
        digest: bytes | None = None,
    ) -> bytes:
        """A TPMS_ATTEST."""
        if signer is None:
            signer = structures.qualified_name(self.endorsement.public_key(), self.name)
        digest = hashlib.sha256(b"".join(values)).digest() if digest is None else digest
        parts = (
            number(magic, 4), number(kind, 2), sized(signer), sized(extra), number(1000, 8),
            number(1, 4), number(0, 4), b"\x01", number(7, 8), number(1, 4), number(bank, 2),
            b"\x03", selection, sized(digest),
        )  # fmt: skip
        return b"".join(parts)

    def sign(self, message: bytes, key: Any = None) -> bytes:
        """A TPMT_SIGNATURE."""
        key = key or self.attestation
        digest = number(structures.SHA256, 2)
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
            return number(structures.RSASSA, 2) + digest + sized(signature)
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = utils.decode_dss_signature(key.sign(message, algorithm))
        size = (key.key_size + 7) // 8
        return (
            number(structures.ECDSA, 2) + digest + sized(number(r, size)) + sized(number(s, size))
        )

    def produce(
        self,
        preimage: bytes = b"",
        values: Sequence[bytes] = VALUES,
        *,
        selection: bytes = b"\xff\xff\xff",
        quote_selection: bytes | None = None,
        parts: Mapping[str, bytes] | None = None,
        endorsements: Mapping[str, bytes] | None = None,
        **quote: Any,
    ) -> Produced:
        """Evidence over the SHA-256 of `preimage`; `parts` stand in place of the genuine ones."""
        quote["selection"] = selection if quote_selection is None else quote_selection
        message = self.quote(hashlib.sha256(preimage).digest(), values, **quote)
        found = {
            "message": message,
            "signature": self.sign(message),
            "pcrs": registers(values, selection),
            "ak_public": sized(self.public),
            "ek_certificate": self.path[-1].der,
        } | dict(parts or {})
        return Produced(
            encode(found), {"ek_chain": self.chain} if endorsements is None else dict(endorsements)
        )

    def activate(self, credential: bytes, name: bytes | None = None) -> bytes | None:
        """TPM2_ActivateCredential: the secret, or None where a TPM refuses."""
        size = int.from_bytes(credential[8:10], "big")
        identity, seed = credential[10 : 10 + size], credential[12 + size :]
        return open_identity(identity, self._seed(seed), self.name if name is None else name)

    def _seed(self, sealed: bytes) -> bytes:
        if isinstance(self.endorsement, rsa.RSAPrivateKey):
            oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
            return self.endorsement.decrypt(sealed, oaep)
        x, y = sealed[2:34], sealed[36:]
        numbers = (int.from_bytes(part, "big") for part in (x, y))
        point = ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
        own = number(self.endorsement.public_key().public_numbers().x, 32)
        shared = self.endorsement.exchange(ec.ECDH(), point)
        return tpm_credential.kdfe(shared, b"IDENTITY\0", x, own)


def open_identity(identity: bytes, seed: bytes, name: bytes) -> bytes | None:
    """The secret in a TPMS_ID_OBJECT, if its code is for this name."""
    code, sealed = identity[2:34], identity[34:]
    key = tpm_credential.kdfa(seed, b"INTEGRITY", b"", 32)
    if not hmac.compare_digest(hmac.digest(key, sealed + name, "sha256"), code):
        return None
    key = tpm_credential.kdfa(seed, b"STORAGE", name, 16)
    opener = Cipher(algorithms.AES(key), CFB(bytes(16))).decryptor()
    plain = opener.update(sealed) + opener.finalize()
    return plain[2 : 2 + int.from_bytes(plain[:2], "big")]


def registers(values: Sequence[bytes], selection: bytes = b"\xff\xff\xff", bank: int = 11) -> bytes:
    """The file of `tpm2_quote --pcr`."""
    parts = [values[at : at + 8] for at in range(0, len(values), 8)]
    lists = b"".join(
        len(part).to_bytes(4, "little")
        + b"".join(len(one).to_bytes(2, "little") + one.ljust(64, b"\0") for one in part)
        + bytes(66 * (8 - len(part)))
        for part in parts
    )
    head = (1).to_bytes(4, "little") + bank.to_bytes(2, "little") + b"\x03" + selection
    return head + bytes(2 + 15 * 8) + len(parts).to_bytes(4, "little") + lists


def encode(parts: Mapping[str, bytes]) -> bytes:
    return json.dumps({n: base64.b64encode(one).decode() for n, one in parts.items()}).encode()


def decode(evidence: bytes) -> dict[str, bytes]:
    return {name: base64.b64decode(text) for name, text in json.loads(evidence).items()}
