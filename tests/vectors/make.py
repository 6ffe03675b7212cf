"""Writes the vectors: `python -m tests.vectors.make`. Fixed seeds, so always the same bytes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from protocol import codec, keys, record, shape
from protocol.record import Header, Record
from tests.strategies import KEYS, SEEDS, vote
from tests.vectors import gates, identities, openings, receipts, spaces
from tests.vectors.gates import ORDER, other_nonce, other_salt

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Vector:
    """One file: its name without ending, the expected outcome, a comment, the bytes."""

    name: str
    expect: str
    comment: str
    data: bytes

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    def encode(self) -> bytes:
        header = f"expect: {self.expect}\nkind: {self.kind}\ncomment: {self.comment}\n\n"
        return header.encode() + self.data


def read(path: Path) -> Vector:
    """The vector in a file."""
    header, _, data = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().split("\n"))
    return Vector(path.stem, fields["expect"], fields["comment"], data)


def vectors() -> Iterator[Vector]:
    """All of them."""
    for name, expect, comment, text in CODEC:
        yield Vector(f"codec-{name}", expect, comment, bytes.fromhex(text))
    yield from _records()
    yield from _certificates()
    for kind, found in (
        ("identity", identities.identities()),
        ("history", identities.histories()),
        ("certificate", identities.certificates()),
        ("proof", identities.proofs()),
        ("proof", gates.proofs()),
        ("feed", gates.feeds()),
        ("token", gates.tokens()),
        ("stop", gates.stops()),
        ("presentation", gates.presentations()),
        ("space", spaces.spaces()),
        ("opening", openings.openings()),
        ("receipt", receipts.receipts()),
    ):
        for name, expect, comment, data in found:
            yield Vector(f"{kind}-{name}", expect, comment, data)


MALFORMED, OTHER_FORM = "codec.malformed", "codec.not-deterministic"
CODEC = [
    ("null", "ok", "null", "f6"),
    ("true", "ok", "true", "f5"),
    ("largest", "ok", "2^64 - 1", "1bffffffffffffffff"),
    ("smallest", "ok", "-2^63", "3b7fffffffffffffff"),
    ("text", "ok", "text of two characters, three bytes", "63c3a961"),
    ("map", "ok", "map with keys b, aa: the shorter first", "a261620162616102"),
    ("cose-header", "ok", "map with small integer keys", "a201320440"),
    ("deep", "ok", "a list in depth 12", "818181818181818181818181f6"),
    ("too-deep", MALFORMED, "one list more", "81818181818181818181818181f6"),
    ("empty", MALFORMED, "no bytes", ""),
    ("cut-off", MALFORMED, "a text shorter than its head says", "6361"),
    ("float", MALFORMED, "1.5 as half precision", "f93e00"),
    ("undefined", MALFORMED, "undefined", "f7"),
    ("simple", MALFORMED, "simple value 32", "f820"),
    ("tag", MALFORMED, "tag 0 around text", "c0613a"),
    ("bignum", MALFORMED, "tag 2 around bytes", "c24101"),
    ("shared", MALFORMED, "a shared reference, tag 28", "d81c80"),
    ("indefinite", MALFORMED, "a list of indefinite length", "9fff"),
    ("indefinite-text", MALFORMED, "text in pieces", "7f6161ff"),
    ("duplicate", MALFORMED, "a key twice", "a2616101616102"),
    ("mixed-keys", MALFORMED, "a text key and an integer key", "a201016161f6"),
    ("large-key", MALFORMED, "the integer key 24", "a1181801"),
    ("negative-key", MALFORMED, "the integer key -1", "a12001"),
    ("too-small", MALFORMED, "-2^63 - 1", "3b8000000000000000"),
    ("bad-text", MALFORMED, "text that is not UTF-8", "61ff"),
    ("trailing", OTHER_FORM, "a byte after the value", "f600"),
    ("long-integer", OTHER_FORM, "1 in two bytes", "1801"),
    ("long-length", OTHER_FORM, "a list of one with its length in two bytes", "9801f6"),
    ("unsorted", OTHER_FORM, "keys b, a", "a2616201616102"),
    ("longer-first", OTHER_FORM, "keys aa, b: the longer first", "a262616102616201"),
]


def _records() -> Iterator[Vector]:
    good = vote(SEEDS[0], bytes(32))
    (protected, unprotected, payload, signature), body = codec.decode(good.raw)

    def changed(
        name: str, expect: str, comment: str, envelope: list[object], its: object
    ) -> Vector:
        return Vector(f"record-{name}", expect, comment, codec.encode([envelope, its]))

    yield Vector("record-vote", "ok", "a vote, first of its feed", good.raw)
    yield Vector("record-redacted", "ok", "the same without body", record.redact(good.raw))
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    envelope = [protected, unprotected, payload, flipped]
    yield changed("signature", "record.signature", "one bit of the signature", envelope, body)
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    malleable = signature[:32] + scalar.to_bytes(32, "little")
    envelope = [protected, unprotected, payload, malleable]
    yield changed("malleable", "record.signature", "S + L in place of S", envelope, body)
    small = codec.encode({1: keys.EDDSA, 4: b"\x01" + bytes(31)})
    envelope = [small, unprotected, payload, b"\x01" + bytes(63)]
    yield changed(
        "small-order", "record.signature", "the key is the neutral element", envelope, body
    )
    older = codec.encode({1: -8, 4: KEYS[0]})
    yield changed(
        "algorithm", "record.algorithm", "EdDSA (-8) in place of Ed25519 (-19)",
        [older, unprotected, payload, signature], body,
    )  # fmt: skip
    yield changed(
        "unprotected", "record.algorithm", "an unprotected header that is not empty",
        [protected, {1: keys.EDDSA}, payload, signature], body,
    )  # fmt: skip
    yield changed(
        "body", "record.body", "a body of other bytes", list(_envelope(good)), body + b"\0"
    )
    yield Vector(
        "record-token", "record.signature", "signed for another context",
        codec.encode([keys.sign1(SEEDS[0], "token/vote", payload), body]),
    )  # fmt: skip
    yield _with_header(good, "version", "record.version", "format version 2", {"v": 2})
    yield _with_header(good, "gap", "record.gap", "number 1 without predecessor", {"seq": 1})
    yield _with_header(good, "unknown-field", "shape.mismatch", "a field more", {"extra": 1})
    yield Vector("record-shape", "shape.mismatch", "a map", codec.encode({}))
    yield Vector("record-nonce", "ok", "signed by another nonce", other_nonce(SEEDS[0], good.raw))
    torsion = other_nonce(SEEDS[0], good.raw, torsion=True)
    yield Vector("record-torsion", "record.signature", "it holds times the cofactor alone", torsion)
    yield from _headers(good)
    yield from _bodies(good)
    yield from _envelopes(good)


def _envelope(good: Record) -> Iterator[object]:
    yield from codec.decode(good.raw)[0]


def _with_header(
    good: Record, name: str, expect: str, comment: str, change: dict[str, object]
) -> Vector:
    envelope, body = codec.decode(good.raw)
    header = shape.write(shape.decode(Header, envelope[2]))
    signed = keys.sign1(SEEDS[0], "record", codec.encode({**header, **change}))
    return Vector(f"record-{name}", expect, comment, codec.encode([signed, body]))


def _headers(good: Record) -> Iterator[Vector]:
    shape_, deterministic = "shape.mismatch", "codec.not-deterministic"
    yield _with_header(good, "null", shape_, "a field without value that is there", {"prev": None})
    yield _with_header(good, "early", shape_, "dated before 1970", {"at": -1})
    yield _with_header(good, "far", shape_, "a place above 2^53", {"seq": 2**53 + 1})
    yield _with_header(good, "long-kind", shape_, "a kind of 129 bytes", {"kind": "x" * 129})
    yield _with_header(good, "topic-size", shape_, "a topic of 31 bytes", {"topic": bytes(31)})
    yield _with_header(
        good, "first", "record.gap", "a first one with predecessor", {"prev": bytes(32)}
    )
    header = codec.encode(shape.write(shape.decode(Header, codec.decode(good.raw)[0][2])))
    body = codec.decode(good.raw)[1]
    payloads = (
        ("missing", shape_, "a field less", codec.encode({"v": 1})),
        ("payload", "codec.malformed", "a payload that is no CBOR", b"\xff"),
        ("payload-tail", deterministic, "a byte after the header", header + b"\0"),
        ("payload-list", shape_, "a header that is a list", codec.encode([1])),
    )
    for name, expect, comment, payload in payloads:
        signed = keys.sign1(SEEDS[0], "record", payload)
        yield Vector(f"record-{name}", expect, comment, codec.encode([signed, body]))


def _bodies(good: Record) -> Iterator[Vector]:
    header = shape.write(shape.decode(Header, codec.decode(good.raw)[0][2]))
    for name, expect, comment, body in (
        ("short-body", "record.body", "a body shorter than its salt", bytes(15)),
        ("empty-body", "codec.malformed", "a salt and nothing more", bytes(16)),
        ("list-body", "shape.mismatch", "a body that is a list", bytes(16) + codec.encode([])),
        ("text-body", "codec.malformed", "a body that is no CBOR", bytes(16) + b"\xff"),
    ):
        digest = hashlib.sha256(body).digest()
        signed = keys.sign1(SEEDS[0], "record", codec.encode({**header, "body": digest}))
        yield Vector(f"record-{name}", expect, comment, codec.encode([signed, body]))
    yield Vector("record-salt", "record.body", "its body with another salt", other_salt(good.raw))
    large = bytes(2**16)
    yield Vector("record-large", "codec.too-large", "65,541 bytes", codec.encode([large, b""]))


def _envelopes(good: Record) -> Iterator[Vector]:
    (protected, unprotected, payload, signature), body = codec.decode(good.raw)
    shape_, algorithm, wrong = "shape.mismatch", "record.algorithm", "record.signature"
    short = codec.encode({1: keys.EDDSA, 4: KEYS[0][:31]})
    more = codec.encode({1: keys.EDDSA, 3: 0, 4: KEYS[0]})
    for name, expect, comment, envelope in (
        ("three", shape_, "no signature", [protected, unprotected, payload]),
        ("header-map", shape_, "the protected header as a map", [{}, {}, payload, signature]),
        ("no-map", shape_, "a list as unprotected header", [protected, [], payload, signature]),
        ("short-key", algorithm, "a key of 31 bytes", [short, {}, payload, signature]),
        ("more-headers", algorithm, "one protected field more", [more, {}, payload, signature]),
        ("long-signature", wrong, "65 bytes", [protected, {}, payload, signature + b"\0"]),
        ("empty-signature", wrong, "no bytes", [protected, {}, payload, b""]),
    ):
        yield Vector(f"record-{name}", expect, comment, codec.encode([envelope, body]))
    tagged = b"\x82\xd2" + good.raw[1:]
    yield Vector("record-tagged", "codec.malformed", "the COSE tag 18", tagged)
    three = codec.encode([[protected, {}, payload, signature], body, None])
    yield Vector("record-triple", shape_, "an item more", three)
    text = codec.encode([[protected, {}, payload, signature], "body"])
    yield Vector("record-text", shape_, "a text as body", text)


def _certificates() -> Iterator[Vector]:
    subject, other, topic = b"\x11" * 32, b"\x22" * 32, bytes(32)
    yes = [vote(seed, subject).raw for seed in SEEDS[:5]]

    def judged(name: str, expect: str, comment: str, votes: list[bytes]) -> Vector:
        value = {
            "topic": topic,
            "subject": subject,
            "slot": "run/1/1",
            "needed": 4,
            "voters": [[key, key] for key in KEYS[:5]],
            "votes": votes,
        }
        return Vector(f"certificate-{name}", expect, comment, codec.encode(value))

    quorum, three = "decision.quorum", yes[:3]
    yield judged("quorum", "ok", "four of five", yes[:4])
    yield judged("all", "ok", "five of five, in another order", yes[::-1])
    yield judged("few", quorum, "three of five", three)
    yield judged("none", quorum, "no vote", [])
    yield judged("twice", quorum, "one voter twice", [*three, three[0]])
    no = vote(SEEDS[3], subject, choice="no").raw
    yield judged("no", quorum, "the fourth says no", [*three, no])
    another = vote(SEEDS[3], other).raw
    yield judged("subject", quorum, "the fourth votes for another subject", [*three, another])
    both = vote(SEEDS[3], other, at=1_001).raw
    yield judged("both", quorum, "the fourth votes for two subjects", [*yes[:4], both])
    stranger = vote(SEEDS[6], subject).raw
    yield judged("stranger", "decision.voter", "a sixth votes", [*three, stranger])
    borrowed = vote(SEEDS[6], subject, author=KEYS[3]).raw
    yield judged("key", "decision.voter", "the fourth votes with another key", [*three, borrowed])
    slot = vote(SEEDS[3], subject, slot="run/1/2").raw
    yield judged("slot", "decision.subject", "the fourth votes in another slot", [*three, slot])
    moved = vote(SEEDS[3], subject, topic=other).raw
    yield judged("topic", "decision.subject", "the fourth votes in another topic", [*three, moved])
    yield from _recovery(topic, subject)


def _recovery(topic: bytes, subject: bytes) -> Iterator[Vector]:
    """A lost root: two guardians must say that the seat passes to a new one."""
    slot = f"recover/{subject.hex()}"
    votes = [vote(seed, subject, slot=slot, topic=topic).raw for seed in SEEDS[:2]]
    value = {
        "topic": topic,
        "subject": subject,
        "slot": slot,
        "needed": 2,
        "voters": [[key, key] for key in KEYS[:3]],
    }
    for name, expect, comment, count in (
        ("recovered-before", "decision.quorum", "one guardian of the two that are needed", 1),
        ("recovered-after", "ok", "two guardians: the seat passes to the new root", 2),
    ):
        data = codec.encode({**value, "votes": votes[:count]})
        yield Vector(f"certificate-{name}", expect, comment, data)


def main() -> None:
    """Write every file, and take away those that are no more."""
    for path in HERE.glob("*.vector"):
        path.unlink()
    for vector in vectors():
        (HERE / f"{vector.name}.vector").write_bytes(vector.encode())


if __name__ == "__main__":
    main()
