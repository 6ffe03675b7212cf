"""Topics: what opens one, the order of the gate, gaps, and what bars a key for ever."""

import contextlib
import hashlib
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec, keys, limits, record, shape, topic
from protocol.errors import Refused
from protocol.identity import identity_topic, open_identity
from protocol.kinds.agreement import (
    Agreement,
    AgreementOpening,
    Algorithm,
    Candidate,
    Hosts,
    NegotiationOpening,
    Party,
    Purpose,
    Rules,
    Runs,
)
from protocol.kinds.attestation import Attestation
from protocol.kinds.host import Lapse
from protocol.kinds.identity import Identity, RecordKey
from protocol.kinds.space import Charter, Terms
from protocol.record import Place, Record
from protocol.topic import Feeds, read_opening
from tests.strategies import KEYS, SEEDS, vote

TOPIC = b"\x0f" * 32
NOW = 10_000


@dataclass
class Sentry:
    """An authority that says yes to known keys and remembers whom it was asked about."""

    allowed: list[bytes] = field(default_factory=lambda: list(KEYS))
    asked: list[bytes] = field(default_factory=list)

    def authorise(self, record: Record) -> None:
        self.asked.append(record.key)
        if record.key not in self.allowed:
            raise Refused("record.author")


def feed(
    length: int, seed: bytes = SEEDS[0], text: str = "x", start: Record | None = None
) -> list[Record]:
    """A feed of `length` records, going on after `start`."""
    made: list[Record] = []
    head = start
    for term in range(length):
        place = Place() if head is None else Place(seq=head.seq + 1, prev=head.id)
        head = record.sign(
            seed,
            topic=TOPIC,
            author=keys.public(seed),
            kind="lapse",
            body=Lapse(term=term, reason=text),
            place=place,
            at=NOW,
            salt=bytes(16),
        )
        made.append(head)
    return made


def feeds(*records: Record) -> Feeds:
    made = Feeds(TOPIC, "agreement")
    for each in records:
        take(made, each)
    return made


def take(gate: Feeds, each: Record, sentry: Sentry | None = None, now: int = NOW) -> bool:
    """What a node does with a record: check, and add what is new."""
    new = gate.check(each, sentry or Sentry(), now)
    if new:
        gate.add(each)
    return new


def refused(gate: Feeds, each: Record, sentry: Sentry | None = None, now: int = NOW) -> str:
    heads = dict(gate.heads)
    with pytest.raises(Refused) as caught:
        gate.check(each, sentry or Sentry(), now)
    assert gate.heads == heads
    return caught.value.code


# --- the gate ------------------------------------------------------------------------------------


def test_a_feed_grows_in_order() -> None:
    gate = feeds()
    for each in feed(3):
        assert gate.place(KEYS[0]) == Place(seq=each.seq, prev=each.prev)
        assert take(gate, each)
    assert gate.place(KEYS[1]) == Place()


def test_known_records_are_known() -> None:
    records = feed(3)
    gate = feeds(*records)
    for each in records:
        assert not take(gate, each)
        assert not take(gate, record.parse(record.redact(each.raw)))
    assert gate.heads[KEYS[0]].id == records[-1].id


def test_checks_stand_in_their_order() -> None:
    """A record with every fault at once loses them one by one; the first is always named."""
    stranger = b"\x7f" * 32
    everything = record.sign(
        stranger,
        topic=bytes(32),
        author=bytes(32),
        kind="invite",
        body=Lapse(term=1, reason="x"),
        place=Place(seq=7, prev=bytes(32)),
        at=NOW + limits.CLOCK_SKEW + 1,
        salt=bytes(16),
    )
    gate = feeds()
    sentry = Sentry()
    assert refused(gate, everything, sentry) == "topic.unknown"
    everything = replace(everything, topic=TOPIC)
    assert refused(gate, everything, sentry) == "record.kind"
    everything = replace(everything, kind="verdict")
    assert refused(gate, everything, sentry) == "shape.mismatch"
    everything = replace(everything, kind="lapse")
    assert refused(gate, everything, sentry) == "record.clock"
    everything = replace(everything, at=NOW + limits.CLOCK_SKEW)
    assert sentry.asked == []
    assert refused(gate, everything, sentry) == "record.author"
    sentry.allowed.append(everything.key)
    assert refused(gate, everything, sentry) == "record.gap"
    everything = replace(everything, seq=0, prev=None)
    assert gate.check(everything, sentry, NOW)


def test_known_records_need_no_right_any_more() -> None:
    records = feed(1)
    gate = feeds(*records)
    sentry = Sentry(allowed=[])
    assert not gate.check(records[0], sentry, NOW)
    assert sentry.asked == []


@pytest.mark.parametrize("missing", [0, 1])
def test_gap(missing: int) -> None:
    records = feed(3)
    gate = feeds(*records[:missing])
    assert refused(gate, records[missing + 1]) == "record.gap"
    assert gate.barred == {}
    for each in records[missing:]:
        assert take(gate, each)


def test_next_place_on_another_predecessor() -> None:
    ours, theirs = feed(3), feed(3, text="y")
    assert refused(feeds(*ours[:2]), theirs[2]) == "record.gap"


def test_feeds_of_others_are_apart() -> None:
    gate = feeds(*feed(2), *feed(2, SEEDS[1]))
    assert gate.place(KEYS[0]).seq == gate.place(KEYS[1]).seq == 2


# --- equivocation --------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 2])
def test_two_records_at_one_place_bar_the_key(at: int) -> None:
    ours = feed(3)
    other = feed(1, text="y", start=ours[at - 1] if at else None)[0]
    gate = feeds(*ours)
    assert refused(gate, other) == "record.equivocation"
    assert gate.barred == {KEYS[0]: at}


def test_a_barred_key_stays_barred() -> None:
    ours = feed(3)
    gate = feeds(*ours[:2])
    refused(gate, feed(1, text="y")[0])
    proof = dict(gate.barred)
    assert refused(gate, ours[2]) == "record.equivocation"
    assert refused(gate, feed(1, text="z")[0]) == "record.equivocation"
    assert gate.barred == proof
    assert not take(gate, ours[0])  # what was taken stays known
    assert take(gate, feed(1, SEEDS[1])[0])  # and others are not barred


def test_the_lowest_fork_bars() -> None:
    ours = feed(4)
    gate = feeds(*ours)
    refused(gate, feed(1, text="y", start=ours[2])[0])
    assert not gate.overrun(KEYS[1])
    assert gate.overrun(KEYS[0])
    refused(gate, feed(1, text="y", start=ours[0])[0])
    assert gate.barred == {KEYS[0]: 1}
    gate.cut(KEYS[0], 1)
    assert gate.place(KEYS[0]) == Place(seq=1, prev=ours[0].id)


def test_what_stands_before_the_fork_is_still_taken() -> None:
    """A node that hears of the fork first ends with the records of one that hears of it last."""
    gate = feeds()
    gate.bar(KEYS[0], 2)
    ours = feed(3)
    assert take(gate, ours[0])
    assert take(gate, ours[1])
    assert refused(gate, ours[2]) == "record.equivocation"


def test_a_feed_that_ended_takes_nothing_more() -> None:
    ours = feed(3)
    gate = feeds(*ours)
    assert gate.void(KEYS[0], 1)
    assert not gate.void(KEYS[1], 0)
    gate.cut(KEYS[0], 1)
    assert refused(gate, ours[1]) == "identity.retired"
    assert refused(gate, feed(1, text="y", start=ours[0])[0]) == "record.equivocation"


@given(st.permutations([*feed(3), *feed(2, SEEDS[1]), *feed(1, text="y")]))
def test_order_of_arrival_changes_nothing(records: list[Record]) -> None:
    """Whatever comes first, after enough rounds of sync the liar is barred and others complete."""
    gate = feeds()
    for _ in range(len(records)):
        for each in records:
            with contextlib.suppress(Refused):
                take(gate, each)
    assert set(gate.barred) == {KEYS[0]}
    assert gate.heads[KEYS[1]].id == feed(2, SEEDS[1])[-1].id


# --- openings ------------------------------------------------------------------------------------


def code(raw: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read_opening(raw)
    return caught.value.code


def root_seed(number: int) -> bytes:
    return bytes([0x40 + number]) * 32


def identity(number: int, votes: int = 1) -> bytes:
    """The identity record of party `number`: its voting key is SEEDS[number]."""
    did = keys.public(root_seed(number))
    body = Identity(
        revision=0,
        name=f"party {number}",
        nodes=(),
        records=tuple(
            RecordKey(key=KEYS[number + at], vote=True, until=2**40) for at in range(votes)
        ),
        sealing=bytes(1216),
        until=2**40,
    )
    return record.sign(
        root_seed(number),
        topic=identity_topic(did),
        author=did,
        kind="identity",
        body=body,
        place=Place(),
        at=1,
        salt=bytes(16),
    ).raw


def party(number: int, identity_: bytes | None = None) -> Party:
    return Party(
        did=keys.public(root_seed(number)),
        name=f"party {number}",
        vote_key=KEYS[number],
        identity=record.parse(identity_ or identity(number)).id,
        roles=("data-provider",),
        gdpr="controller",
    )


NEGOTIATION = b"\x0e" * 32
IDENTITIES = tuple(identity(number) for number in range(3))
DOCUMENT = Agreement(
    name="agreement",
    space=bytes(32),
    negotiation=NEGOTIATION,
    start=1,
    purpose=Purpose(
        text="", term="", processing=(), approvals=(), jurisdiction="", duration=1
    ),
    parties=(party(0), party(1), party(2)),
    datasets=(),
    algorithm=Algorithm(
        bundle=bytes(32),
        environment=bytes(32),
        provider=bytes(32),
        entries=(),
        reviews_needed=0,
        reviewers=(),
    ),
    outputs=(),
    rules=Rules(
        min_contributors=1, min_change=1, small_cells="refuse", precision=1, output_bytes=1
    ),
    rule_sources=(),
    runs=Runs(by=(), at_most=1, attempts=1),
    attestation=Attestation(max_age=1),
    hosts=Hosts(candidates=(), lease=1, standbys=0),
    retention=1,
    salt=bytes(32),
)  # fmt: skip


def opening(
    document: Agreement = DOCUMENT,
    signers: tuple[int, ...] = (0, 1, 2),
    identities: tuple[bytes, ...] = IDENTITIES,
    **parts: object,
) -> bytes:
    raw = shape.encode(document)
    wanted = {"slot": "agreement", "topic": NEGOTIATION, **parts}
    votes = tuple(
        vote(
            SEEDS[number],
            hashlib.sha256(raw).digest(),
            author=keys.public(root_seed(number)),
            **wanted,  # type: ignore[arg-type]
        ).raw
        for number in signers
    )
    return shape.encode(AgreementOpening(document=raw, votes=votes, identities=identities))


def test_self_named_openings() -> None:
    charter = Charter(
        name="n",
        purpose="p",
        founders=(),
        terms=Terms(registrars=(), advisors=(), recovery_delay=0),
        salt=bytes(32),
    )
    negotiation = NegotiationOpening(space=bytes(32), name="n", members=(), salt=bytes(32))
    for document, type_ in ((charter, "space"), (negotiation, "negotiation")):
        raw = shape.encode(document)
        found = read_opening(raw)
        assert (found.type, found.document, found.raw) == (type_, document, raw)
        assert found.topic == hashlib.sha256(raw).digest()


def test_agreement_signed_by_all() -> None:
    found = read_opening(opening())
    assert (found.type, found.document) == ("agreement", DOCUMENT)
    assert found.topic == hashlib.sha256(shape.encode(DOCUMENT)).digest()
    assert found.participants == {
        one.did: open_identity(raw) for one, raw in zip(DOCUMENT.parties, IDENTITIES, strict=True)
    }


@pytest.mark.parametrize(
    "raw",
    [
        opening(signers=(0, 1)),
        opening(signers=(0, 1, 1)),
        opening(signers=()),
        opening(signers=(0, 1, 2, 3)),
        opening(slot="run/1/1"),
        opening(topic=bytes(32)),
        opening(choice="no"),
    ],
)
def test_agreement_not_signed_by_all(raw: bytes) -> None:
    assert code(raw) == "agreement.certificate"


def test_agreement_other_than_the_one_signed() -> None:
    value = codec.decode(opening(), limits.FRAME)
    value["document"] = shape.encode(replace(DOCUMENT, retention=2))
    assert code(codec.encode(value)) == "agreement.certificate"


@pytest.mark.parametrize(
    ("parties", "wanted"),
    [
        ((), "0 parties"),
        ((party(0), party(1), party(1)), "stands there twice"),
        ((party(0), party(1), replace(party(2), vote_key=KEYS[1])), "stands there twice"),
    ],
)
def test_agreement_that_names_one_twice(parties: tuple[Party, ...], wanted: str) -> None:
    raw = opening(replace(DOCUMENT, parties=parties), signers=(0, 1, 2)[: len(parties)])
    with pytest.raises(Refused) as caught:
        read_opening(raw)
    assert caught.value.code == "agreement.certificate"
    assert wanted in caught.value.detail


TWO, NONE, OTHER = identity(2, votes=2), identity(2, votes=0), feed(1)[0].raw


@pytest.mark.parametrize(
    ("third", "identities", "wanted"),
    [
        (party(2), IDENTITIES[:2], "agreement.document"),
        (party(2), (*IDENTITIES, identity(3)), "agreement.document"),
        (party(2), (IDENTITIES[0], IDENTITIES[2], IDENTITIES[1]), "agreement.document"),
        (party(2), (*IDENTITIES[:2], record.redact(IDENTITIES[2])), "record.body"),
        (party(2, identity(3)), IDENTITIES, "agreement.document"),
        (party(2, identity(3)), (*IDENTITIES[:2], identity(3)), "agreement.document"),
        (replace(party(2), did=party(3).did), IDENTITIES, "agreement.document"),
        (replace(party(2), vote_key=KEYS[4]), IDENTITIES, "agreement.document"),
        (party(2, TWO), (*IDENTITIES[:2], TWO), "identity.keys"),
        (party(2, NONE), (*IDENTITIES[:2], NONE), "identity.keys"),
        (party(2, OTHER), (*IDENTITIES[:2], OTHER), "record.kind"),
    ],
)
def test_identities_other_than_those_named(
    third: Party, identities: tuple[bytes, ...], wanted: str
) -> None:
    document = replace(DOCUMENT, parties=(*DOCUMENT.parties[:2], third))
    with pytest.raises(Refused) as caught:
        topic.open_participants(document, identities)
    assert caught.value.code == wanted


def test_the_opening_is_refused_with_its_identities() -> None:
    swapped = (IDENTITIES[1], IDENTITIES[0], IDENTITIES[2])
    assert code(opening(identities=swapped)) == "agreement.document"
    host = Candidate(
        did=party(0).did, name="host", vote_key=KEYS[0], identity=party(0).identity, region=""
    )
    both = replace(DOCUMENT, hosts=replace(DOCUMENT.hosts, candidates=(host,)))
    assert code(opening(both, identities=(*IDENTITIES, IDENTITIES[0]))) == "agreement.document"


@pytest.mark.parametrize("value", [None, 1, [], {}, {"type": 1}, {"type": "other"}, {1: "space"}])
def test_other_values_open_nothing(value: object) -> None:
    assert code(codec.encode(value)) == "topic.opening"


def test_openings_with_more_or_less() -> None:
    assert code(codec.encode({"type": "space"})) == "shape.mismatch"
    value = codec.decode(opening(), limits.FRAME)
    assert code(codec.encode({**value, "more": 1})) == "shape.mismatch"
    assert code(opening() + b"\x00") == "codec.not-deterministic"
    assert code(bytes(limits.FRAME + 1)) == "codec.too-large"
