"""The numbered checks of chain, revocation, nitro and sev-snp, each with faults for it alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_der_x509_certificate, load_der_x509_crl

from protocol.attestation import chain, nitro, revocation, snp
from protocol.attestation.findings import Findings
from protocol.kinds.attestation import SevSnpTerms, SnpFloor
from tests.attestation_rig import MEASUREMENT, PCRS, VERSIONS, NitroRig, Produced, SnpRig
from tests.attestation_x509 import LEAF, NOW, ROOT, Style, ec_key, issue, rsa_key
from tests.hooks.mutants import Check

MODULES = (chain, revocation, nitro, snp)

NITRO, GENOA = NitroRig(), SnpRig()
AUTHORITY = replace(ROOT, path_length=3)
LONG_LEAF = {"leaf": LEAF}
OTHER = {b"\x11" * 32}
SOON, LATE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)

FLOOR = SnpFloor(generation="genoa", **{**VERSIONS, "fmc": None})
TERMS = SevSnpTerms(
    accept=({"measurement": MEASUREMENT},),
    generations=(FLOOR,),
    crl=False,
    require=("alias-check", "no-smt", "ecc", "ciphertext-hiding"),
    vmpl=0,
)


def nitro_found(
    made: Produced, rig: NitroRig = NITRO, now: int = NOW, roots: Any = None
) -> Findings:
    """What is found in a document."""
    found = Findings()
    trusted = rig.roots if roots is None else roots
    nitro.examine(made.evidence, made.endorsements, None, now, found, trusted)
    return found


def styled(**styles: Style) -> Findings:
    """What is found in a document of a chain with these certificates."""
    rig = NitroRig(styles=styles)
    return nitro_found(rig.produce(), rig)


def snp_found(
    made: Produced,
    rig: SnpRig = GENOA,
    terms: SevSnpTerms | None = TERMS,
    now: int = NOW,
    roots: snp.Roots | None = None,
) -> Findings:
    """What is found in a report."""
    found = Findings()
    snp.examine(made.evidence, made.endorsements, terms, now, found, roots or rig.roots)
    return found


def snp_by(rig: SnpRig) -> Findings:
    return snp_found(rig.produce(), rig)


def patched(place: int, value: bytes, terms: SevSnpTerms | None = TERMS) -> Findings:
    """What is found in a signed report with these bytes."""
    return snp_found(GENOA.produce(patch={place: value}), terms=terms)


def with_crl(**options: Any) -> Findings:
    return snp_found(GENOA.produce(crl=GENOA.crl(**options)))


def flipped(made: Produced, place: int) -> Produced:
    """The same with one bit of the evidence flipped."""
    raw = bytearray(made.evidence)
    raw[place] ^= 1
    return replace(made, evidence=bytes(raw))


def another_issuer() -> Findings:
    """The leaf is by a key of the same name as the one in the path."""
    thief = issue("instance", ec_key("thief"), NITRO.path[2], replace(ROOT, path_length=0))
    bundle = [*(party.der for party in NITRO.path[:3]), thief.der]
    return nitro_found(NITRO.produce(cabundle=bundle))


def changed_document() -> Findings:
    made = NITRO.produce(b"to be changed")
    return nitro_found(flipped(made, made.evidence.index(b"to be changed")))


def pcrs(changes: Mapping[int, bytes]) -> Findings:
    return nitro_found(NITRO.produce(pcrs={**PCRS, **changes}))


def unused_bit(der: bytes, load: Any = load_der_x509_certificate) -> bytes:
    """The last bit of the signature, a zero, declared unused."""
    size = len(load(der).signature)
    assert der[-1] % 2 == 0
    return der[: -size - 1] + b"\x01" + der[-size:]


def open_certificate() -> Findings:
    """One authority of the path with its signature in another form."""
    bundle = [party.der for party in NITRO.path[:-1]]
    place = next(i for i, der in enumerate(bundle) if i and der[-1] % 2 == 0)
    bundle[place] = unused_bit(bundle[place])
    return nitro_found(NITRO.produce(cabundle=bundle))


def open_list() -> Findings:
    """A revocation list with its signature in another form."""
    lists = (GENOA.crl() for _ in range(256))
    even = next(raw for raw in lists if raw[-1] % 2 == 0)
    return snp_found(GENOA.produce(crl=unused_bit(even, load_der_x509_crl)))


def weak_zone() -> Findings:
    rig = NitroRig(keys={"zone": ec_key("zone", ec.SECP224R1)})
    return nitro_found(rig.produce(), rig)


def other_curve() -> Findings:
    rig = NitroRig(curve=ec.BrainpoolP384R1)
    return nitro_found(rig.produce(), rig)


def many(count: int) -> Findings:
    rig = NitroRig(authorities=[f"authority {place}" for place in range(count)])
    return nitro_found(rig.produce(), rig)


def of_tomorrow() -> Findings:
    rig = NitroRig(styles=LONG_LEAF)
    return nitro_found(rig.produce(), rig, now=NOW - 302)


def bound(name: str) -> Findings:
    """A document with a nonce and a key that are not those that the verifier knows."""
    found, rig = Findings(), NITRO
    made = rig.produce(nonce=b"n", public_key=b"k")
    claims = nitro.examine(made.evidence, {}, None, NOW, found, rig.roots)
    assert claims is not None
    known = {"nonce": b"n", "public_key": b"k"} | {name: b"other"}
    nitro.check_bound(claims, known["nonce"], known["public_key"], found)
    return found


def terms(**changes: Any) -> SevSnpTerms:
    return replace(TERMS, **changes)


def floor(**changes: int) -> SevSnpTerms:
    return terms(generations=(replace(FLOOR, **changes),))


CHAIN, MALFORMED, SIGNATURE = "evidence.chain", "evidence.malformed", "evidence.signature"
COLLATERAL, TCB, DEBUG = "evidence.collateral", "evidence.tcb", "evidence.debug"

CHAIN_CHECKS = (
    Check("C1", chain, "check_length", CHAIN, "ten certificates", lambda: many(8)),
    Check("C2", chain, "check_root", CHAIN, "a root of one's own",
          lambda: nitro_found(NITRO.produce(), roots=OTHER)),
    Check("C3", chain, "check_issued", CHAIN, "an issuer of the same name", another_issuer),
    Check("C4", chain, "check_dates", CHAIN, "a leaf of yesterday",
          lambda: nitro_found(NITRO.produce(), now=NOW + 86_400)),
    Check("C4", chain, "check_dates", CHAIN, "a leaf of the next minute",
          lambda: nitro_found(NITRO.produce(), now=NOW - 61)),
    Check("C4", chain, "check_dates", CHAIN, "an authority that ended",
          lambda: styled(zone=replace(AUTHORITY, last=SOON))),
    Check("C5", chain, "check_hash", CHAIN, "SHA-224",
          lambda: styled(zone=replace(AUTHORITY, hash=hashes.SHA224))),
    Check("C6", chain, "check_key", CHAIN, "an authority with a key of P-224", weak_zone),
    Check("C7", chain, "check_critical", CHAIN, "an unknown critical extension",
          lambda: styled(zone=replace(AUTHORITY, extensions=[("1.2.3.4", b"\x05\0", True)]))),
    Check("C8", chain, "check_authority", CHAIN, "an issuer that is no authority",
          lambda: styled(instance=replace(ROOT, ca=False))),
    Check("C8", chain, "check_authority", CHAIN, "an issuer that says nothing about it",
          lambda: styled(instance=replace(ROOT, ca=None))),
    Check("C8", chain, "check_authority", CHAIN, "an authority that may not sign certificates",
          lambda: styled(instance=replace(AUTHORITY, certifies=False))),
    Check("C9", chain, "check_path_length", CHAIN, "more authorities than allowed",
          lambda: styled(region=replace(AUTHORITY, path_length=1))),
    Check("C10", chain, "check_leaf", CHAIN, "a leaf that is an authority",
          lambda: styled(leaf=replace(LEAF, ca=True))),
    Check("C10", chain, "check_leaf", CHAIN, "a leaf that may not sign",
          lambda: styled(leaf=replace(LEAF, signs=False))),
    Check("C11", chain, "check_encoding", CHAIN, "a signature with an unused bit",
          open_certificate),
    Check("R1", revocation, "check_crl_signature", COLLATERAL, "a list by another key",
          lambda: with_crl(key=rsa_key("thief"))),
    Check("R2", revocation, "check_crl_current", COLLATERAL, "a list that ended",
          lambda: with_crl(last=SOON)),
    Check("R2", revocation, "check_crl_current", COLLATERAL, "a list of the future",
          lambda: with_crl(first=LATE)),
    Check("R3", revocation, "check_crl_scope", COLLATERAL, "a partial list",
          lambda: with_crl(partial=True)),
    Check("R4", revocation, "check_revoked", "evidence.revoked", "the issuer is revoked",
          lambda: snp_found(GENOA.produce(crl=GENOA.crl(GENOA.ask)))),
    Check("R5", revocation, "check_crl_encoding", COLLATERAL, "a signature with an unused bit",
          open_list),
)  # fmt: skip

NITRO_CHECKS = (
    Check("N1", nitro, "check_endorsements", MALFORMED, "an endorsement",
          lambda: nitro_found(replace(NITRO.produce(), endorsements={"vcek": b""}))),
    Check("N2", nitro, "check_algorithm", SIGNATURE, "the header says ES256",
          lambda: nitro_found(NITRO.produce(protected=b"\xa1\x01\x26"))),
    Check("N2", nitro, "check_algorithm", SIGNATURE, "no header",
          lambda: nitro_found(NITRO.produce(protected=b""))),
    Check("N3", nitro, "check_unprotected", MALFORMED, "an unprotected header",
          lambda: nitro_found(NITRO.produce(unprotected={4: b"key"}))),
    Check("N4", nitro, "check_digest", MALFORMED, "SHA512",
          lambda: nitro_found(NITRO.produce(digest="SHA512"))),
    Check("N5", nitro, "check_module", MALFORMED, "no module",
          lambda: nitro_found(NITRO.produce(module_id=""))),
    Check("N6", nitro, "check_registers", MALFORMED, "register 32",
          lambda: pcrs({32: bytes(48)})),
    Check("N6", nitro, "check_registers", MALFORMED, "register -1",
          lambda: pcrs({-1: bytes(48)})),
    Check("N6", nitro, "check_registers", MALFORMED, "a register of 32 bytes",
          lambda: pcrs({8: bytes(32)})),
    Check("N7", nitro, "check_lengths", MALFORMED, "a long user_data",
          lambda: nitro_found(NITRO.produce(bytes(513)))),
    Check("N7", nitro, "check_lengths", MALFORMED, "a long nonce",
          lambda: nitro_found(NITRO.produce(nonce=bytes(513)))),
    Check("N7", nitro, "check_lengths", MALFORMED, "a long public_key",
          lambda: nitro_found(NITRO.produce(public_key=bytes(1025)))),
    Check("N8", nitro, "check_not_ahead", "evidence.stale", "a document of the future",
          of_tomorrow),
    Check("N9", nitro, "check_debug", DEBUG, "debug mode",
          lambda: pcrs({0: bytes(48), 1: bytes(48), 2: bytes(48)})),
    Check("N9", nitro, "check_debug", DEBUG, "one register of code is zero",
          lambda: pcrs({2: bytes(48)})),
    Check("N9", nitro, "check_debug", DEBUG, "no register of code",
          lambda: nitro_found(NITRO.produce(pcrs={4: b"\x04" * 48}))),
    Check("N10", nitro, "check_leaf_key", CHAIN, "a key of another curve", other_curve),
    Check("N11", nitro, "check_signature", SIGNATURE, "a changed document", changed_document),
    Check("N12", nitro, "check_dated", CHAIN, "dated before its certificate",
          lambda: nitro_found(NITRO.produce(at=NOW - 3600))),
    Check("N12", nitro, "check_dated", CHAIN, "dated after its certificate",
          lambda: nitro_found(NITRO.produce(at=NOW + 3 * 3600 + 100), now=NOW + 3 * 3600)),
    Check("N13", nitro, "check_bound", "evidence.stale", "another nonce", lambda: bound("nonce")),
    Check("N13", nitro, "check_bound", "evidence.binding", "another key",
          lambda: bound("public_key")),
)  # fmt: skip

SNP_CHECKS = (
    Check("S1", snp, "check_endorsements", MALFORMED, "an unknown endorsement",
          lambda: snp_found(GENOA.produce(collateral=b""))),
    Check("S1", snp, "check_endorsements", MALFORMED, "two leaves",
          lambda: snp_found(GENOA.produce(vlek=GENOA.leaf.der))),
    Check("S2", snp, "check_version", MALFORMED, "version 6", lambda: patched(0x00, b"\x06")),
    Check("S3", snp, "check_algorithm", SIGNATURE, "algorithm 2", lambda: patched(0x34, b"\x02")),
    Check("S4", snp, "check_padding", SIGNATURE, "a byte after the signature",
          lambda: snp_found(GENOA.produce(padding=bytes(367) + b"\x01"))),
    Check("S5", snp, "check_policy", MALFORMED, "policy without bit 17",
          lambda: patched(0x08, b"\0\0\x01")),
    Check("S6", snp, "check_debug", DEBUG, "debugging allowed",
          lambda: patched(0x08, b"\0\0\x0b")),
    Check("S7", snp, "check_migration", DEBUG, "migration allowed",
          lambda: patched(0x08, b"\0\0\x07")),
    Check("S8", snp, "check_level", "evidence.measurement", "VMPL 1",
          lambda: patched(0x30, b"\x01")),
    Check("S8", snp, "check_level", "evidence.measurement", "asked for by the host",
          lambda: patched(0x30, b"\xff" * 4, None)),
    Check("S9", snp, "check_protection", "evidence.platform", "no alias check",
          lambda: patched(0x40, b"\x14")),
    Check("S9", snp, "check_protection", "evidence.platform", "SMT",
          lambda: patched(0x40, b"\x35")),
    Check("S9", snp, "check_protection", "evidence.platform", "no ECC",
          lambda: patched(0x40, b"\x30")),
    Check("S9", snp, "check_protection", "evidence.platform", "no ciphertext hiding",
          lambda: patched(0x40, b"\x24")),
    Check("S10", snp, "check_leaf_key", CHAIN, "a key of P-256",
          lambda: snp_by(SnpRig(curve=ec.SECP256R1))),
    Check("S11", snp, "check_signature", SIGNATURE, "a changed report",
          lambda: snp_found(flipped(GENOA.produce(), 0x50))),
    Check("S12", snp, "check_signer", SIGNATURE, "a VLEK with a VCEK certificate",
          lambda: patched(0x48, b"\x04")),
    Check("S12", snp, "check_signer", SIGNATURE, "a masked key", lambda: patched(0x48, b"\x02")),
    Check("S12", snp, "check_signer", SIGNATURE, "no key", lambda: patched(0x48, b"\x1c")),
    Check("S13", snp, "check_product", CHAIN, "another product",
          lambda: snp_by(SnpRig(product="Milan-B0"))),
    Check("S14", snp, "check_certified_versions", CHAIN, "certified for newer firmware",
          lambda: snp_by(SnpRig(certified={"snp": VERSIONS["snp"] + 1}))),
    Check("S14", snp, "check_certified_versions", CHAIN, "certified for older firmware",
          lambda: snp_by(SnpRig(certified={"microcode": VERSIONS["microcode"] - 1}))),
    Check("S15", snp, "check_chip", CHAIN, "another chip",
          lambda: snp_by(SnpRig(chip=bytes(range(64))))),
    Check("S15", snp, "check_chip", CHAIN, "a masked chip",
          lambda: patched(0x1A0, bytes(64))),
    Check("S15", snp, "check_chip", CHAIN, "a short id", lambda: snp_by(SnpRig(chip=b"\x01"))),
    Check("S16", snp, "check_generation", TCB, "CPUID of Milan",
          lambda: patched(0x188, b"\x19\x01\x01")),
    Check("S16", snp, "check_generation", TCB, "CPUID in version 2",
          lambda: patched(0x00, b"\x02")),
    Check("S17", snp, "check_order", TCB, "reported above current",
          lambda: patched(0x38, GENOA.tcb(snp=VERSIONS["snp"] - 1))),
    Check("S17", snp, "check_order", TCB, "committed above current",
          lambda: patched(0x1E0, GENOA.tcb(microcode=VERSIONS["microcode"] + 1))),
    Check("S18", snp, "check_named", TCB, "a generation not named",
          lambda: snp_found(GENOA.produce(), terms=terms(generations=()))),
    Check("S19", snp, "check_floor", TCB, "reported below the floor",
          lambda: snp_found(GENOA.produce(), terms=floor(snp=VERSIONS["snp"] + 1))),
    Check("S19", snp, "check_floor", TCB, "launched below the floor",
          lambda: patched(0x1F0, GENOA.tcb(bootloader=VERSIONS["bootloader"] - 1))),
    Check("S19", snp, "check_floor", TCB, "can go back below the floor",
          lambda: patched(0x1E0, GENOA.tcb(tee=VERSIONS["tee"] - 1))),
    Check("S20", snp, "check_crl_there", COLLATERAL, "no revocation list",
          lambda: snp_found(GENOA.produce(), terms=terms(crl=True))),
    Check("S21", snp, "check_size", MALFORMED, "a byte after the report",
          lambda: snp_found(GENOA.produce(padding=bytes(369)))),
)  # fmt: skip

CHECKS = CHAIN_CHECKS + NITRO_CHECKS + SNP_CHECKS
