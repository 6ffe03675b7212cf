"""Vectors about feeds and tokens: what the gate of a topic takes, and what stands outside feeds.

A `feed` is CBOR {type, topic, now, proofs, records}: know the proofs, then give the records to the
gate one by one. An honest author never looks like a liar: `again`, `nonce`, `redacted`, `restored`.
"""

import hashlib
from collections.abc import Iterator

from nacl.bindings import crypto_core_ed25519_add, crypto_scalarmult_ed25519_base_noclamp

from protocol import codec, keys, record, shape, token
from protocol.equivocation import prove
from protocol.kinds.consent import Consent, Stop, StopReceipt, StopRight
from protocol.kinds.host import Heartbeat
from protocol.kinds.identity import (
    Admission,
    Claims,
    Credential,
    PersonCredential,
    Presentation,
)
from protocol.kinds.space import Join
from protocol.record import Place, Record
from tests.strategies import KEYS, SEEDS
from tests.vectors.identities import (
    DID,
    FIRST,
    NEW,
    OLD,
    ONE,
    OTHER,
    THIEF,
    TOPIC,
    TWO,
    Named,
    make_identity,
    written,
)

ORDER = 2**252 + 27742317777372353535851937790883648493
"""The order of the prime subgroup of edwards25519 (RFC 8032)."""

NOW = 1_000
THREE = written(OLD, TWO)
AGREEMENT, OTHER_AGREEMENT = b"\x55" * 32, b"\x66" * 32


TORSION = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
"""A point of order 8. Added to R it makes a signature that holds only times the cofactor."""


def signed_again(seed: bytes, message: bytes, *, torsion: bool = False) -> bytes:
    """Another signature, by another nonce than RFC 8032 says: anybody with the key can."""
    expanded = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(expanded[:32], "little") & (2**254 - 8) | 2**254
    nonce = int.from_bytes(hashlib.sha512(b"another nonce" + message).digest(), "little") % ORDER
    point = crypto_scalarmult_ed25519_base_noclamp(nonce.to_bytes(32, "little"))
    if torsion:
        point = crypto_core_ed25519_add(point, TORSION)
    hashed = hashlib.sha512(point + keys.public(seed) + message).digest()
    total = (nonce + int.from_bytes(hashed, "little") * scalar) % ORDER
    return point + total.to_bytes(32, "little")


def other_nonce(seed: bytes, raw: bytes, *, torsion: bool = False) -> bytes:
    """The same record with another signature, valid but for `torsion`."""
    (protected, unprotected, payload, _), body = codec.decode(raw)
    message = keys.signed_bytes("record", protected, payload)
    signature = signed_again(seed, message, torsion=torsion)
    return codec.encode([[protected, unprotected, payload, signature], body])


def other_salt(raw: bytes) -> bytes:
    """The same signed header beside a body with another salt."""
    envelope, body = codec.decode(raw)
    return codec.encode([envelope, bytes([body[0] ^ 1]) + body[1:]])


def unprotected(raw: bytes) -> bytes:
    """The same record with something in its unprotected header."""
    envelope, body = codec.decode(raw)
    envelope[1] = {1: keys.EDDSA}
    return codec.encode([envelope, body])


def _made(kind: str, body: object, at: int = NOW) -> Record:
    return record.sign(
        OLD, topic=TOPIC, author=DID, kind=kind, body=body, place=Place(), at=at, salt=bytes(16)
    )


def feeds() -> Iterator[Named]:
    """Records on their way through the gate of one topic."""
    gap, fork, kind = "record.gap", "record.equivocation", "record.kind"
    other, late = written(OLD, salt=1), written(OLD, ONE, salt=1)

    def given(
        name: str,
        expect: str,
        comment: str,
        *records: Record | bytes,
        proofs: tuple[bytes, ...] = (),
        topic: bytes = TOPIC,
    ) -> Named:
        raws = [one.raw if isinstance(one, Record) else one for one in records]
        value = {
            "type": "negotiation", "topic": topic, "now": NOW,
            "proofs": list(proofs), "records": raws,
        }  # fmt: skip
        return name, expect, comment, codec.encode(value)

    yield given("three", "ok", "three records in order", ONE, TWO, THREE)
    yield given("again", "ok", "the first once more", ONE, TWO, ONE)
    yield given("two-keys", "ok", "two keys of one author: two feeds", ONE, written(NEW))
    yield given("gap", gap, "the second is lacking", ONE, THREE)
    yield given("begun", gap, "the first is lacking", TWO)
    yield given("prev", gap, "it names another predecessor", ONE, written(OLD, other))
    yield given("fork", fork, "another record at place 0", ONE, other)
    yield given("late-fork", fork, "another one at place 1, of three", ONE, TWO, THREE, late)
    proof = (prove(TWO.raw, late.raw).raw,)
    yield given("barred", fork, "at the proven place", ONE, TWO, proofs=proof)
    yield given("before-bar", "ok", "before the proven place", ONE, proofs=proof)
    mine = (prove(written(OTHER).raw, written(OTHER, salt=1).raw).raw,)
    yield given("other-bar", "ok", "the proof is against another key", ONE, TWO, proofs=mine)
    yield given("topic", "topic.unknown", "a record of another topic", ONE, topic=bytes(32))
    yield given("kind", kind, "a join in a negotiation", _made("join", Join(invite=bytes(32))))
    yield given("unknown-kind", kind, "a kind that nobody knows", _made("poem", Join(invite=DID)))
    wrong = _made("vote", Join(invite=bytes(32)))
    yield given("body", "shape.mismatch", "a vote with the body of a join", wrong)
    yield given("future", "record.clock", "301 s ahead", written(OLD, at=NOW + 301))
    yield given("near-future", "ok", "300 s ahead", written(OLD, at=NOW + 300))
    bare = record.redact(ONE.raw)
    yield given("redacted", "record.body", "a record without its body", bare)
    yield given("redacted-again", "ok", "the same, once it is known", ONE, bare)
    yield given("nonce", "ok", "by another nonce", ONE, other_nonce(OLD, ONE.raw))
    yield given("salt", "record.body", "its body with another salt", ONE, other_salt(ONE.raw))
    altered = unprotected(ONE.raw)
    yield given("unprotected", "record.algorithm", "an unprotected header", ONE, altered)
    yield given(
        "restored", "ok", "a restored node writes by a new key, from place 0 on", ONE, TWO,
        written(NEW),
    )  # fmt: skip


def proofs() -> Iterator[Named]:
    """Pairs that prove nothing, because they are one record."""
    bare = record.redact(ONE.raw)
    again = record.redact(other_nonce(OLD, ONE.raw))
    value = {"first": bare, "second": again}
    yield "nonce", "record.proof", "one record, signed by two nonces", codec.encode(value)
    value = {"first": bare, "second": ONE.raw}
    yield "redacted", "record.proof", "one record, with and without body", codec.encode(value)
    value = {"first": bare, "second": bare, "extra": bare}
    yield "field", "shape.mismatch", "a field more", codec.encode(value)


def tokens() -> Iterator[Named]:
    """Signed statements outside any feed, each in the context of its kind."""
    consent = Consent(
        agreement=AGREEMENT, ordinal=1, notice=bytes(32), purpose="dpv:AcademicResearch",
        categories=("dpv:Health",), recipients=(KEYS[1],), first=1, last=3, until=5_000,
        told=True, sealing=bytes(32), secret=b"\x77" * 32, gateway=KEYS[2],
    )  # fmt: skip
    admission = Admission(
        agreement=AGREEMENT, key=KEYS[3], tag=b"\x88" * 32, person="p-17", category="patient",
        until=5_000,
    )  # fmt: skip
    right = token.sign(NEW, "stop-right", StopRight(agreement=AGREEMENT, key=KEYS[3]))
    stop = Stop(agreement=AGREEMENT, what="withdrawal", consent=bytes(32), right=right)
    receipt = StopReceipt(stop=bytes(32), agreement=AGREEMENT, not_voted=2, at=NOW)
    person = PersonCredential(key=KEYS[3], category="patient", until=5_000)
    beat = Heartbeat(agreement=AGREEMENT, term=1, beat=7)
    good = {
        "consent": consent, "admission": admission, "stop": stop, "stop-receipt": receipt,
        "person": person, "heartbeat": beat,
    }  # fmt: skip

    def said(name: str, expect: str, comment: str, kind: str, raw: bytes) -> Named:
        return name, expect, comment, codec.encode({"kind": kind, "token": raw})

    for kind, body in good.items():
        yield said(kind, "ok", f"a sound {kind}", kind, token.sign(THIEF, kind, body))
    stopped = token.sign(THIEF, "stop", stop)
    context, shape_ = "record.signature", "shape.mismatch"
    yield said("context", context, "a stop shown as a consent", "consent", stopped)
    as_record = codec.encode(keys.sign1(THIEF, "record", shape.encode(stop)))
    yield said("record", context, "signed as a record", "stop", as_record)
    other = token.sign(THIEF, "consent", stop)
    yield said("document", shape_, "the document of a stop, signed as a consent", "consent", other)

    def changed(name: str, comment: str, kind: str, **fields: object) -> Named:
        value = {**shape.write(good[kind]), **fields}
        raw = codec.encode(keys.sign1(THIEF, f"token/{kind}", codec.encode(value)))
        return said(name, shape_, comment, kind, raw)

    yield changed("field", "a field more", "heartbeat", extra=1)
    yield changed("null", "a field without value that is there", "consent", gateway=None)
    yield changed("short", "a digest of 31 bytes", "admission", tag=bytes(31))
    yield changed("word", "a word that is none of the choices", "stop", what="all")
    yield changed("negative", "a number below zero", "stop-receipt", not_voted=-1)
    envelope = codec.decode(stopped)
    envelope[1] = {4: KEYS[0]}
    yield said(
        "unprotected", "record.algorithm", "an unprotected header", "stop", codec.encode(envelope)
    )
    yield said("pair", shape_, "a record where a token stands", "stop", ONE.raw)


def stops() -> Iterator[Named]:
    """CBOR {agreement, registrars, stop}: registrars are the keys that admit people there."""
    person, registrar = SEEDS[3], SEEDS[2]

    def judged(
        name: str,
        expect: str,
        comment: str,
        *,
        by: bytes = person,
        giver: bytes = registrar,
        right: StopRight = StopRight(agreement=AGREEMENT, key=KEYS[3]),  # noqa: B008 (frozen)
        agreement: bytes = AGREEMENT,
    ) -> Named:
        given = token.sign(giver, "stop-right", right)
        body = Stop(agreement=agreement, what="withdrawal", consent=bytes(32), right=given)
        value = {
            "agreement": AGREEMENT, "registrars": [KEYS[2]], "stop": token.sign(by, "stop", body)
        }  # fmt: skip
        return name, expect, comment, codec.encode(value)

    yield judged("right", "ok", "by the key that the right names")
    scope, issuer, subject = "consent.scope", "credential.issuer", "credential.subject"
    yield judged("agreement", scope, "under another agreement", agreement=OTHER_AGREEMENT)
    yield judged("giver", issuer, "nobody of the registrars gave the right", giver=SEEDS[1])
    yield judged("key", subject, "by another key than the right names", by=SEEDS[1])
    moved = StopRight(agreement=OTHER_AGREEMENT, key=KEYS[3])
    yield judged("moved", subject, "the right is of another agreement", right=moved)


def presentations() -> Iterator[Named]:
    """An organization shows its credential to somebody outside the space."""
    registrar = make_identity(0, None, NEW, root=OTHER, author=KEYS[3])
    claims = Claims(legal_name="Hospital A", country="NL")

    def shown(
        name: str,
        expect: str,
        comment: str,
        *,
        by: bytes = OLD,
        issuer: bytes = NEW,
        subject: bytes = DID,
        kind: str = "credential",
    ) -> Named:
        made = record.sign(
            issuer, topic=TOPIC, author=KEYS[3], kind=kind,
            body=Credential(subject=subject, claims=claims, until=5_000),
            place=Place(), at=NOW, salt=bytes(16),
        )  # fmt: skip
        body = Presentation(
            credential=made.raw, registrar=registrar.raw, subject=FIRST.raw, to="bank", at=NOW
        )
        return name, expect, comment, token.sign(by, "presentation", body)

    yield shown("own", "ok", "its own credential, by its voting key")
    yield shown("issuer", "credential.issuer", "by no key of the registrar", issuer=THIEF)
    other, thief = "credential.subject", SEEDS[5]
    yield shown("subject", other, "about another organization", subject=KEYS[6])
    yield shown("thief", other, "shown by another key", by=thief)
    yield shown("kind", "record.kind", "no credential but a review", kind="review")
