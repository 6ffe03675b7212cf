"""Vectors about identities: chains of a root, rotated, revoked, restored and forked keys, proofs.

Each `history` is CBOR {identities, record}: learn the identity records of one participant in this
order, then say whether the record may be signed. A key that came or went has a vector before and
one after.
"""

from collections.abc import Iterator

from protocol import codec, keys, record, shape
from protocol.equivocation import Equivocation
from protocol.identity import identity_topic
from protocol.kinds.common import Vote
from protocol.kinds.identity import Guardians, Identity, Pin, RecordKey, RetiredKey
from protocol.record import Place, Record
from tests.strategies import KEYS, SEEDS, vote

ROOT, OLD, NEW, OTHER, THIEF = SEEDS[:5]
DID = KEYS[0]
TOPIC, ELSEWHERE = b"\x33" * 32, b"\x44" * 32
UNTIL = 5_000

Named = tuple[str, str, str, bytes]
"""Name, expected outcome, comment, bytes."""


def _public(seed: bytes) -> bytes:
    return keys.public(seed)


def make_identity(
    revision: int,
    before: Record | None,
    *voting: bytes,
    others: tuple[bytes, ...] = (),
    retired: tuple[RetiredKey, ...] = (),
    root: bytes = ROOT,
    author: bytes = DID,
    place: Place | None = None,
    guardians: Guardians | None = None,
    name: str = "hospital",
) -> Record:
    body = Identity(
        revision=revision,
        name=name,
        nodes=(),
        records=(
            *(RecordKey(key=_public(one), vote=True, until=UNTIL) for one in voting),
            *(RecordKey(key=_public(one), vote=False, until=UNTIL) for one in others),
        ),
        sealing=bytes(1216),
        until=UNTIL,
        retired=retired,
        guardians=guardians,
    )
    return sign_identity(root, body, place or after(before, revision), author)


def after(before: Record | None, revision: int) -> Place:
    """Where a revision stands that follows another."""
    return Place(seq=revision, prev=before.id if before else None)


def sign_identity(root: bytes, body: Identity, place: Place, author: bytes | None = None) -> Record:
    """An identity record by a root; an author that is another is a fault."""
    did = author or keys.public(root)
    return record.sign(
        root,
        topic=identity_topic(did),
        author=did,
        kind="identity",
        body=body,
        place=place,
        at=1_000,
        salt=bytes(16),
    )


def written(
    key: bytes,
    before: Record | None = None,
    *,
    topic: bytes = TOPIC,
    at: int = 1_000,
    salt: int = 0,
) -> Record:
    """A vote of the participant by one of its keys, after `before` in its feed."""
    seq = before.seq + 1 if before else 0
    body = Vote(slot=f"run/{seq + 1}/1", subject=bytes(32), choice="yes", identity=bytes(32))
    return record.sign(
        key,
        topic=topic,
        author=DID,
        kind="vote",
        body=body,
        place=Place(seq=seq, prev=before.id if before else None),
        at=at,
        salt=bytes([salt]) * 16,
    )


FIRST = make_identity(0, None, OLD)
ONE = written(OLD)
TWO = written(OLD, ONE)
STOLEN = RetiredKey(key=_public(OLD), reason="stolen", pins=(Pin(topic=TOPIC, seq=0, head=ONE.id),))
LOST = RetiredKey(key=_public(OLD), reason="lost")
ROTATED = make_identity(1, FIRST, NEW, retired=(RetiredKey(key=_public(OLD), reason="rotated"),))
REVOKED = make_identity(1, FIRST, NEW, retired=(STOLEN,))
RESTORED = make_identity(1, FIRST, NEW, retired=(LOST,))
FORK = make_identity(1, FIRST, THIEF, name="other")
STRAY = make_identity(2, FORK, THIEF)


def identities() -> Iterator[Named]:
    """Single identity records."""
    keys_, root, chain = "identity.keys", "identity.root", "identity.chain"
    yield "first", "ok", "revision 0, one voting key", FIRST.raw
    yield "rotated", "ok", "revision 1, the old key retired without pins", ROTATED.raw
    yield "revoked", "ok", "revision 1, the old key retired with one pin", REVOKED.raw
    two = make_identity(0, None, OLD, others=(NEW,))
    yield "two-nodes", "ok", "two record keys, one of which votes", two.raw
    named = Guardians(dids=(KEYS[5], KEYS[6]), needed=2)
    yield (
        "guardians",
        "ok",
        "two guardians, both needed",
        make_identity(0, None, OLD, guardians=named).raw,
    )
    yield "two-votes", keys_, "two voting keys", make_identity(0, None, OLD, NEW).raw
    yield "no-vote", keys_, "no voting key", make_identity(0, None, others=(OLD,)).raw
    yield "root-signs", keys_, "the root as record key", make_identity(0, None, ROOT).raw
    yield "twice", keys_, "a key twice", make_identity(0, None, OLD, others=(OLD,)).raw
    back = make_identity(1, FIRST, OLD, retired=(LOST,))
    yield "back", keys_, "a retired key comes back", back.raw
    few = Guardians(dids=(KEYS[5],), needed=2)
    yield (
        "few-guardians",
        keys_,
        "more needed than named",
        make_identity(0, None, OLD, guardians=few).raw,
    )
    own = Guardians(dids=(DID,), needed=1)
    yield "own-guardian", keys_, "its own guardian", make_identity(0, None, OLD, guardians=own).raw
    yield "signer", root, "signed by another root", make_identity(0, None, OLD, root=OTHER).raw
    yield "kind", "record.kind", "a vote", ONE.raw
    place = make_identity(1, FIRST, OLD, place=Place())
    yield "place", chain, "revision 1 at place 0", place.raw


def histories() -> Iterator[Named]:
    """A participant's identities, then a record that one of its keys signed."""
    void, fork = "identity.retired", "identity.chain"

    def judged(
        name: str, expect: str, comment: str, known: tuple[Record, ...], one: Record
    ) -> Named:
        value = {"identities": [each.raw for each in known], "record": one.raw}
        return name, expect, comment, codec.encode(value)

    new = written(NEW)
    yield judged("new-before", "record.author", "a key before it is known", (FIRST,), new)
    yield judged("new-after", "ok", "and after", (FIRST, ROTATED), new)
    yield judged("rotated-before", "ok", "a key before its rotation", (FIRST,), TWO)
    yield judged("rotated-after", "ok", "and after: all of it stands", (FIRST, ROTATED), TWO)
    yield judged("revoked-before", "ok", "a stolen key before its revocation", (FIRST,), TWO)
    yield judged("revoked-after", void, "and after, beyond the pin", (FIRST, REVOKED), TWO)
    yield judged("revoked-reversed", void, "in the other order", (REVOKED, FIRST), TWO)
    yield judged("revoked-pinned", "ok", "the pinned record", (FIRST, REVOKED), ONE)
    backdated = written(OLD, topic=ELSEWHERE, at=0)
    yield judged("revoked-elsewhere", void, "a topic without pin", (FIRST, REVOKED), backdated)
    another = written(OLD, salt=1)
    yield judged("revoked-other", void, "another at the pinned place", (FIRST, REVOKED), another)
    yield judged("restored-before", "ok", "after the backup, by the lost key", (FIRST,), TWO)
    yield judged(
        "restored-after", "ok", "the restored node takes it for true", (FIRST, RESTORED), TWO
    )
    again = written(NEW)
    yield judged("restored-again", "ok", "and says it by its own key", (FIRST, RESTORED), again)
    known = (FIRST, REVOKED, FORK)
    yield judged("fork-thief", fork, "the root signed two revisions", known, written(THIEF))
    yield judged("fork-owner", fork, "neither counts", known, new)
    yield judged("fork-older", "ok", "the one before does, within the pins", known, ONE)
    yield judged(
        "fork-stray", fork, "it follows none that is known", (FIRST, ROTATED, STRAY), written(THIEF)
    )
    yield judged("fork-kept", "ok", "the one before the stray counts", (FIRST, ROTATED, STRAY), new)
    late = written(OLD, at=UNTIL + 1)
    yield judged("expired", "identity.expired", "dated after the delegation", (FIRST,), late)


def proofs() -> Iterator[Named]:
    """Two headers: a proof of equivocation, or none. An honest author never gives one."""
    none = "record.proof"

    def pair(name: str, expect: str, comment: str, one: Record, other: Record) -> Named:
        first, second = sorted((one, other), key=lambda each: each.id)
        proof = Equivocation(first=record.redact(first.raw), second=record.redact(second.raw))
        return name, expect, comment, shape.encode(proof)

    other = written(OLD, salt=1)
    yield pair("fork", "ok", "two records at one place", ONE, other)
    yield pair("same", none, "one record twice", ONE, ONE)
    yield pair("restored", none, "the lost key and the new one, place 0 of each", ONE, written(NEW))
    yield pair("topics", none, "one key in two topics", ONE, written(OLD, topic=ELSEWHERE))
    yield pair("places", none, "two places of one feed", ONE, TWO)
    envelope, body = codec.decode(ONE.raw)
    envelope[1] = {1: keys.EDDSA}
    altered = codec.encode([envelope, None])
    mixed = Equivocation(first=record.redact(ONE.raw), second=altered)
    yield "unprotected", "record.algorithm", "an unprotected header was added", shape.encode(mixed)
    first, second = sorted((ONE, other), key=lambda each: each.id)
    whole = Equivocation(first=first.raw, second=record.redact(second.raw))
    yield "body", none, "a body travels along", shape.encode(whole)
    turned = Equivocation(first=record.redact(second.raw), second=record.redact(first.raw))
    yield "order", none, "the higher id first", shape.encode(turned)
    del body


def certificates() -> Iterator[Named]:
    """Decisions whose first voter has several keys; the three others have one each."""
    few, yes, slot = "decision.quorum", b"\x11" * 32, "run/1/1"
    others = [vote(seed, yes, topic=TOPIC).raw for seed in SEEDS[5:8]]

    def mine(key: bytes, before: Record | None = None, subject: bytes = yes) -> Record:
        return vote(
            key, subject, topic=TOPIC, author=DID,
            place=Place(seq=before.seq + 1, prev=before.id) if before else None,
        )  # fmt: skip

    def judged(
        name: str,
        expect: str,
        comment: str,
        known: tuple[Record, ...],
        *votes: Record,
        count: int = 3,
    ) -> Named:
        value = {
            "topic": TOPIC,
            "subject": yes,
            "slot": slot,
            "needed": 4,
            "voters": [[DID, _public(OLD)], *([key, key] for key in KEYS[5:8])],
            "votes": [*others[:count], *(one.raw for one in votes)],
            "identities": [one.raw for one in known],
        }
        return name, expect, comment, codec.encode(value)

    old, new = mine(OLD), mine(NEW)
    yield judged("rotated-old", "ok", "by the key before its rotation", (FIRST, ROTATED), old)
    yield judged("rotated-new", "ok", "and by the one after", (FIRST, ROTATED), new)
    yield judged("rotated-unknown", few, "by a key that no identity names", (FIRST,), new)
    both = (FIRST, ROTATED)
    yield judged("rotated-both", few, "one voter, two keys: once", both, old, new, count=2)
    head = RetiredKey(
        key=_public(OLD), reason="stolen", pins=(Pin(topic=TOPIC, seq=0, head=old.id),)
    )
    taken = make_identity(1, FIRST, NEW, retired=(head,))
    yield judged("pinned", "ok", "at the pin of a stolen key", (FIRST, taken), old)
    beyond = mine(OLD, old)
    yield judged("beyond", few, "beyond the pin", (FIRST, taken), beyond)
    elsewhere = RetiredKey(
        key=_public(OLD), reason="stolen", pins=(Pin(topic=ELSEWHERE, seq=0, head=old.id),)
    )
    gone = make_identity(1, FIRST, NEW, retired=(elsewhere,))
    yield judged("retired", few, "the key has no pin in this topic", (FIRST, gone), old)
    yield judged("lost", "ok", "a key retired without pins", (FIRST, RESTORED), old)
    yield judged("forked", few, "a root that signed two revisions", (*both, FORK), new)
    yield judged("forked-before", "ok", "the key of the revision before", (*both, FORK), old)
