"""TPM evidence: accepted as "tpm" under an authority, refused in every other way; credentials."""

import base64
import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocol import shape
from protocol.attestation import appraise as appraisals
from protocol.attestation import possession, tpm, tpm_credential
from protocol.attestation import tpm_structures as structures
from protocol.attestation.evidence import VERSION, Binding, Claims, EvidenceBundle, binding_preimage
from protocol.attestation.findings import Findings
from protocol.errors import Misuse, Refused
from protocol.kinds.attestation import Attestation, TpmTerms
from protocol.kinds.host import EnclaveKeys
from tests.attestation_rig import Produced
from tests.attestation_rig_tpm import (
    SOFTWARE,
    VALUES,
    TpmRig,
    decode,
    encode,
    number,
    open_identity,
    registers,
    style,
)
from tests.attestation_x509 import LAST, NOW, Style, ec_key, rsa_key

RIG = TpmRig()
SWTPM = TpmRig(certificate=style(SOFTWARE), endorsement=rsa_key("software endorsement"))
CURVED = TpmRig(endorsement=ec_key("tpm endorsement", ec.SECP256R1))
SECRET, SEED = hashlib.sha256(b"secret").digest(), hashlib.sha256(b"seed").digest()
CREDENTIALS = json.loads((Path(__file__).parents[1] / "vectors/tpm-credential.json").read_text())


def binding(technology: str = "tpm") -> Binding:
    parts = {
        name: hashlib.sha256(name.encode()).digest()
        for name in ("host", "requester", "agreement", "nonce", "software")
    }
    return Binding(
        technology=technology, keys=EnclaveKeys(signing=bytes(32), sealing=bytes(1216)),
        term=1, **parts,
    )  # fmt: skip


def examined(made: Produced, terms: TpmTerms | None = None) -> tuple[Claims | None, list[str]]:
    found = Findings()
    claims = tpm.examine(made.evidence, made.endorsements, terms, NOW, found)
    return claims, list(found.codes)


def bundled(made: Produced, technology: str = "tpm") -> bytes:
    return shape.encode(
        EvidenceBundle(
            version=VERSION,
            technology=technology,
            evidence=made.evidence,
            endorsements=made.endorsements,
            binding=binding(technology),
        )
    )


def appraised(
    rig: TpmRig, technology: str = "tpm", *, activated: bool = True, asked: str | None = None
) -> list[str]:
    """Reasons against evidence of `technology` under a policy that asks for `asked`."""
    bound = binding(technology)
    raw = bundled(rig.produce(binding_preimage(bound)), technology)
    policy = Attestation(max_age=3600, **{asked or technology: rig.terms()})
    found = appraisals.appraise(raw, policy, bound, NOW, activated=activated)
    assert found.accepted == (not found.reasons)
    return list(found.reasons)


# --- the whole appraisal -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rig",
    [
        RIG,
        CURVED,
        TpmRig(attestation=rsa_key("tpm attestation")),
        TpmRig(attestation=ec_key("tpm attestation", ec.SECP384R1)),
    ],
)
def test_a_certified_tpm_is_accepted(rig: TpmRig) -> None:
    assert appraised(rig) == []


def test_without_an_opened_credential_it_is_refused() -> None:
    assert appraised(RIG, activated=False) == ["evidence.binding"]
    assert appraised(SWTPM, "swtpm", activated=False) == ["evidence.binding"]


def test_a_software_tpm_passes_only_as_what_it_is() -> None:
    assert appraised(SWTPM, "swtpm") == []
    assert appraised(SWTPM, "tpm") == ["evidence.technology"]
    assert appraised(SWTPM, "swtpm", asked="tpm") == ["evidence.technology"]
    assert appraised(SWTPM, "tpm", asked="swtpm") == ["evidence.technology"]


def test_no_bytes_of_a_software_tpm_pass_as_hardware() -> None:
    """Its certificate is signed: whatever is altered in it is no certificate any more."""
    made, chance = SWTPM.produce(), random.Random(5)  # noqa: S311 a seeded choice
    parts = decode(made.evidence)
    for _ in range(300):
        name = chance.choice(sorted(parts))
        part = bytearray(parts[name])
        part[chance.randrange(len(part))] ^= 1 << chance.randrange(8)
        bent = replace(made, evidence=encode(parts | {name: bytes(part)}))
        assert examined(bent, SWTPM.terms())[1]


def test_the_claims() -> None:
    claims, codes = examined(RIG.produce(b"preimage"), RIG.terms())
    assert (codes, claims is not None) == ([], True)
    assert claims.report_data == hashlib.sha256(b"preimage").digest()
    assert claims.registers == {f"pcr{place}": value for place, value in enumerate(VALUES)}
    spki = RIG.endorsement.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert claims.platform == hashlib.sha256(spki).hexdigest()
    assert (claims.issued, claims.valid_until) == (None, int(LAST.timestamp()))
    assert claims.facts["hardware"] == "as certified"
    assert claims.facts["clock"] == "1000 ms, safe"


def test_the_baseline_asks_no_authority_and_says_so() -> None:
    claims, codes = examined(RIG.produce(endorsements={}))
    assert (codes, claims.facts["authority"]) == ([], "none asked")
    claims, codes = examined(SWTPM.produce(endorsements={}))
    assert (codes, claims.facts["hardware"]) == ([], "no: a software TPM")
    assert examined(SWTPM.produce())[1] == []


def test_fewer_registers() -> None:
    made = RIG.produce(values=VALUES[:3], selection=b"\x01\x08\x80")
    claims, codes = examined(made, RIG.terms())
    assert codes == []
    assert sorted(claims.registers) == ["pcr0", "pcr11", "pcr23"]
    assert claims.registers["pcr23"] == VALUES[2]


# --- chains --------------------------------------------------------------------------------------


def test_a_chain_to_another_authority_is_refused() -> None:
    terms = replace(RIG.terms(), authorities=(bytes(32),))
    assert examined(RIG.produce(), terms)[1] == ["evidence.chain"]
    thief = TpmRig(endorsement=rsa_key("thief"))
    swapped = RIG.produce(parts={"ek_certificate": thief.path[-1].der})
    assert examined(swapped, RIG.terms())[1] == ["evidence.signature"]


@pytest.mark.parametrize(
    "bent",
    [
        lambda pem: pem + b"more",
        lambda pem: pem[:-10],
        lambda pem: b"",
        lambda pem: pem * 5,
        lambda pem: pem.replace(b"M", b"N"),
        lambda pem: b"-----END CERTIFICATE-----" * 3,
    ],
)
def test_a_bent_chain_is_refused(bent) -> None:
    made = RIG.produce(endorsements={"ek_chain": bent(RIG.chain)})
    assert examined(made, RIG.terms())[1] == ["evidence.chain"]


def test_an_issuer_that_is_no_authority_is_refused() -> None:
    rig = TpmRig(issuer=Style(ca=False, signs=True))
    assert examined(rig.produce(), rig.terms())[1] == ["evidence.chain"]


# --- what cannot be read -------------------------------------------------------------------------

MESSAGE = decode(RIG.produce().evidence)["message"]


@pytest.mark.parametrize(
    ("name", "bent"),
    [
        ("message", RIG.quote(b"", kind=0x8017)),
        ("message", MESSAGE[:-1]),
        ("message", MESSAGE + b"\0"),
        ("message", b""),
        ("message", MESSAGE.replace(b"\0\0\0\x01\0\x0b\x03", b"\0\0\0\x02\0\x0b\x03")),
        ("message", MESSAGE.replace(b"\0\0\0\x01\0\x0b\x03", b"\0\0\0\x01\0\x0b\x04")),
        ("message", MESSAGE.replace(b"\0\0\0\0\x01", b"\0\0\0\0\x02")),
        ("signature", b"\0\x16" + RIG.sign(b"")[2:]),
        ("signature", RIG.sign(b"") + b"\0"),
        ("pcrs", registers(VALUES)[:-1]),
        ("pcrs", registers(VALUES[:-1])),
        ("pcrs", registers(VALUES) + bytes(532)),
        ("pcrs", b"\2" + registers(VALUES)[1:]),
        ("pcrs", registers(VALUES)[:132] + b"\4" + registers(VALUES)[133:]),
        ("pcrs", registers((b"", *VALUES[1:]))[:140] + b"\1" + registers(VALUES)[141:]),
        ("pcrs", registers((*VALUES[:8], b"x" * 65))),
        ("ak_public", RIG.public[:-1]),
        ("ak_public", RIG.public + b"\0"),
        ("ak_public", b"\0\x08" + RIG.public[2:]),
        ("ak_public", RIG.public[:2] + b"\0\x0c" + RIG.public[4:]),
        ("ak_public", RIG.public[:-1] + bytes([RIG.public[-1] ^ 1])),
        ("ak_public", TpmRig(attestation=rsa_key("small", 1024)).public),
    ],
)
def test_a_malformed_part_is_refused(name: str, bent: bytes) -> None:
    assert examined(RIG.produce(parts={name: bent}), RIG.terms()) == (None, ["evidence.malformed"])


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        (b"", "evidence.chain"),
        (RIG.path[-1].der[:-1], "evidence.chain"),
        (TpmRig(endorsement=ec_key("tpm endorsement")).path[-1].der, "evidence.malformed"),
        (TpmRig(endorsement=rsa_key("tpm small", 3072)).path[-1].der, "evidence.malformed"),
    ],
)
def test_a_certificate_of_no_endorsement_key_is_refused(certificate: bytes, code: str) -> None:
    made = RIG.produce(parts={"ek_certificate": certificate})
    assert examined(made, RIG.terms()) == (None, [code])


@pytest.mark.parametrize(
    "evidence",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"{" * 1000,
        b'{"message": "", "message": ""}',
        json.dumps(dict.fromkeys(tpm.PARTS, 1)).encode(),
        json.dumps(dict.fromkeys(tpm.PARTS, "=")).encode(),
        json.dumps(dict.fromkeys(tpm.PARTS, "QUI")).encode(),
        json.dumps(dict.fromkeys(tpm.PARTS, "QUJ=")).encode(),  # not the one text of its bytes
        json.dumps(dict.fromkeys(tpm.PARTS[1:], "")).encode(),
        json.dumps(dict.fromkeys((*tpm.PARTS, "more"), "")).encode(),
        RIG.produce().evidence + b" " * 300_000,
    ],
)
def test_what_is_no_evidence_is_refused(evidence: bytes) -> None:
    assert examined(Produced(evidence)) == (None, ["evidence.malformed"])


# --- credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rig", [RIG, CURVED])
def test_a_credential_opens_where_both_keys_are(rig: TpmRig) -> None:
    made = tpm.credential(rig.produce().evidence, SECRET, SEED)
    assert rig.activate(made) == SECRET
    assert rig.activate(made, name=b"\0\x0b" + bytes(32)) is None
    assert rig.activate(made[:60] + bytes([made[60] ^ 1]) + made[61:]) is None


@pytest.mark.parametrize("vector", CREDENTIALS, ids=lambda vector: vector["about"])
def test_credentials_of_tpm2_makecredential_open_the_same_way(vector) -> None:
    """What opens ours opens theirs: files of tpm2-tools, made without a TPM."""
    key = serialization.load_der_private_key(base64.b64decode(vector["endorsement"]), None)
    theirs, name = base64.b64decode(vector["credential"]), bytes.fromhex(vector["name"])
    secret, rig = bytes.fromhex(vector["secret"]), TpmRig(endorsement=key)
    assert rig.activate(theirs, name) == secret
    ours = tpm_credential.make(key.public_key(), name, secret, SEED)
    assert (rig.activate(ours, name), len(ours)) == (secret, len(theirs))
    assert ours[:12] == theirs[:12]


def test_a_credential_is_a_function_of_its_arguments_but_for_the_padding_of_rsa() -> None:
    arguments = (CURVED.endorsement.public_key(), CURVED.name, SECRET)
    assert tpm_credential.make(*arguments, SEED) == tpm_credential.make(*arguments, SEED)
    assert tpm_credential.make(*arguments, SEED) != tpm_credential.make(*arguments, SECRET)


def test_keys_and_sizes_that_no_template_has() -> None:
    for key in (ec_key("large").public_key(), rsa_key("tpm small", 3072).public_key()):
        with pytest.raises(Refused, match="neither RSA 2048 nor on P-256"):
            tpm_credential.make(key, RIG.name, SECRET, SEED)
    with pytest.raises(Misuse):
        tpm_credential.make(RIG.endorsement.public_key(), RIG.name, b"short", SEED)


def test_kdfa_by_its_definition() -> None:
    """One block of HMAC: counter, label and its end, context, bits (part 1, 11.4.10.2)."""
    message = number(1, 4) + b"STORAGE\0" + b"name" + number(128, 4)
    inner = hashlib.sha256(bytes(0x36 ^ one for one in SEED.ljust(64, b"\0")) + message).digest()
    outer = hashlib.sha256(bytes(0x5C ^ one for one in SEED.ljust(64, b"\0")) + inner).digest()
    assert tpm_credential.kdfa(SEED, b"STORAGE", b"name", 16) == outer[:16]
    assert open_identity(bytes(66), SEED, b"name") is None


# --- proof of possession -------------------------------------------------------------------------


def test_only_the_same_keys_solve_a_riddle() -> None:
    riddle = possession.pose(bundled(RIG.produce(b"first")), SECRET, SEED)
    answer = RIG.activate(riddle.credential)
    again = bundled(RIG.produce(b"second"))
    assert possession.solved(riddle, again, answer)
    assert not possession.solved(riddle, again, None)
    assert not possession.solved(riddle, again, bytes(32))
    other = TpmRig(attestation=ec_key("another attestation key", ec.SECP256R1))
    assert not possession.solved(riddle, bundled(other.produce()), answer)
    assert not possession.solved(riddle, bundled(CURVED.produce()), answer)
    assert not possession.solved(riddle, b"no bundle", answer)


def test_a_key_outside_the_tpm_gets_no_secret() -> None:
    """The attack: a genuine certificate, an attestation key in a file. The TPM does not know it."""
    forged = TpmRig(attestation=ec_key("a key in a file", ec.SECP256R1))
    assert examined(forged.produce(), RIG.terms())[1] == []  # evidence alone cannot tell
    riddle = possession.pose(bundled(forged.produce()), SECRET, SEED)
    assert RIG.activate(riddle.credential) is None


def test_what_is_no_evidence_poses_no_riddle() -> None:
    for raw in (b"", bundled(Produced(b"{}")), bundled(RIG.produce(parts={"message": b""}))):
        with pytest.raises(Refused):
            possession.pose(raw, SECRET, SEED)


def test_which_technologies_need_a_proof() -> None:
    named = ("nitro", "sev-snp", "tdx", "sgx", "tpm", "swtpm", "simulated")
    assert [name for name in named if possession.needed(name)] == ["tpm", "swtpm"]


def test_a_qualified_name_is_of_both_keys() -> None:
    names = {
        structures.qualified_name(rig.endorsement.public_key(), name)
        for rig in (RIG, CURVED, SWTPM)
        for name in (RIG.name, b"other")
    }
    assert len(names) == 6
