"""The numbered checks of a TPM's evidence, each with faults for it alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from protocol.attestation import chain, tpm
from protocol.attestation import tpm_structures as structures
from protocol.attestation.findings import Findings
from tests.attestation_rig import Produced
from tests.attestation_rig_tpm import (
    ATTRIBUTES,
    HARDWARE,
    SOFTWARE,
    VALUES,
    TpmRig,
    decode,
    encode,
    registers,
    style,
    usage,
)
from tests.attestation_x509 import NOW, rsa_key
from tests.hooks.mutants import Check

MODULES = (tpm,)
RIG = TpmRig()
CHAIN, MALFORMED, SIGNATURE = "evidence.chain", "evidence.malformed", "evidence.signature"
OTHER = bytes(32)


def found_in(made: Produced, rig: TpmRig = RIG) -> Findings:
    """What is found in evidence of a rig, by terms that name its authority."""
    found = Findings()
    tpm.examine(made.evidence, made.endorsements, rig.terms(), NOW, found)
    return found


def by(rig: TpmRig) -> Findings:
    return found_in(rig.produce(), rig)


def without_attribute(bit: int) -> Findings:
    return by(TpmRig(attributes=ATTRIBUTES & ~(1 << bit)))


def certified(maker: Mapping[str, str] = HARDWARE, **more: Any) -> Findings:
    return by(TpmRig(certificate=style(maker, **more)))


def changed(name: str, place: int) -> Findings:
    """One bit of a part is another than when it was signed."""
    parts = decode(RIG.produce().evidence)
    part = bytearray(parts[name])
    part[place] ^= 1
    return found_in(replace(RIG.produce(), evidence=encode(parts | {name: bytes(part)})))


def scheme(digest: int) -> Findings:
    """The signature says another hash than that by which it was made."""
    signature = bytearray(decode(RIG.produce().evidence)["signature"])
    signature[2:4] = digest.to_bytes(2, "big")
    return found_in(RIG.produce(parts={"signature": bytes(signature)}))


def by_another_key() -> Findings:
    """Signed by a key of another kind than the one shown: no signature fits it."""
    message = decode(RIG.produce().evidence)["message"]
    signature = RIG.sign(message, rsa_key("tpm thief"))
    return found_in(RIG.produce(parts={"signature": signature}))


CHECKS = (
    Check("P1", tpm, "check_generated", SIGNATURE, "a message that no TPM made",
          lambda: found_in(RIG.produce(magic=0xFF544348))),
    Check("P2", tpm, "check_key", SIGNATURE, "not fixed to its TPM", lambda: without_attribute(1)),
    Check("P2", tpm, "check_key", SIGNATURE, "not fixed to its parent",
          lambda: without_attribute(4)),
    Check("P2", tpm, "check_key", SIGNATURE, "a key from outside", lambda: without_attribute(5)),
    Check("P2", tpm, "check_key", SIGNATURE, "signs anything", lambda: without_attribute(16)),
    Check("P2", tpm, "check_key", SIGNATURE, "may not sign", lambda: without_attribute(18)),
    Check("P2", tpm, "check_key", SIGNATURE, "decrypts too",
          lambda: by(TpmRig(attributes=ATTRIBUTES | 1 << 17))),
    Check("P2", tpm, "check_key", SIGNATURE, "a key for storage",
          lambda: by(TpmRig(symmetric=structures.AES_128_CFB))),
    Check("P3", tpm, "check_scheme", SIGNATURE, "a signature by SHA-384",
          lambda: scheme(0x000C)),
    Check("P3", tpm, "check_scheme", SIGNATURE, "a signature by SHA-1", lambda: scheme(0x0004)),
    Check("P4", tpm, "check_signature", SIGNATURE, "a changed clock",
          lambda: changed("message", 0x4B)),
    Check("P4", tpm, "check_signature", SIGNATURE, "a changed signature",
          lambda: changed("signature", -1)),
    Check("P4", tpm, "check_signature", SIGNATURE, "a signature by RSA for another kind of key",
          by_another_key, together=((tpm, "check_scheme"),)),
    Check("P5", tpm, "check_holder", SIGNATURE, "a key that is not under the certified one",
          lambda: found_in(RIG.produce(signer=b"\x00\x0b" + OTHER))),
    Check("P6", tpm, "check_selection", SIGNATURE, "fewer registers than given",
          lambda: found_in(RIG.produce(quote_selection=b"\xff\xff\x7f"))),
    Check("P6", tpm, "check_selection", SIGNATURE, "another bank",
          lambda: found_in(RIG.produce(bank=0x000C))),
    Check("P6", tpm, "check_selection", SIGNATURE, "the registers given are of another bank",
          lambda: found_in(RIG.produce(parts={"pcrs": registers(VALUES, bank=4)}))),
    Check("P7", tpm, "check_values", SIGNATURE, "other values than signed",
          lambda: found_in(RIG.produce(digest=OTHER))),
    Check("P7", tpm, "check_values", SIGNATURE, "a value of 31 bytes",
          lambda: found_in(RIG.produce(values=(VALUES[0][:31], *VALUES[1:])))),
    Check("P8", tpm, "check_endorsements", MALFORMED, "an unknown endorsement",
          lambda: found_in(RIG.produce(endorsements={"ek_chain": RIG.chain, "vcek": b""}))),
    Check("P9", tpm, "check_led", CHAIN, "no chain",
          lambda: found_in(RIG.produce(endorsements={})),
          together=((chain, "check_root"),)),
    Check("P10", tpm, "check_endorsement", CHAIN, "an authority", lambda: certified(ca=True)),
    Check("P10", tpm, "check_endorsement", CHAIN, "a key to sign by",
          lambda: certified(use=usage(digital_signature=True))),
    Check("P10", tpm, "check_endorsement", CHAIN, "a key for another purpose",
          lambda: certified(purpose=bytes.fromhex("300a06082b06010505070301"))),
    Check("P11", tpm, "check_hardware", "evidence.technology", "swtpm",
          lambda: certified(SOFTWARE)),
    Check("P11", tpm, "check_hardware", "evidence.technology", "a simulator",
          lambda: certified({**HARDWARE, "2.23.133.2.2": "TPM Simulator"})),
    Check("P11", tpm, "check_hardware", "evidence.technology", "a certificate that names no TPM",
          lambda: certified({})),
)  # fmt: skip
