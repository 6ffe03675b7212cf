"""Identity chains: rotated, revoked, forked; any order of arrival gives the same answers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import keys, limits, record
from protocol.errors import Refused
from protocol.identity import History, Participant, ends, expiries, identity_topic, open_identity
from protocol.kinds.common import Vote
from protocol.kinds.identity import Guardians, Identity, Keys, Pin, RecordKey, RetiredKey
from protocol.record import Place, Record

TOPIC, OTHER = b"\x07" * 32, b"\x08" * 32
UNTIL = 10_000


def seed(name: str) -> bytes:
    return keys.digest("test", name.encode())


def public(name: str) -> bytes:
    return keys.public(seed(name))


ROOT = public("root")


def revision(
    number: int,
    prev: Participant | None,
    voting: str,
    *others: str,
    retired: tuple[RetiredKey, ...] = (),
    root: str = "root",
    name: str = "hospital",
    until: int = UNTIL,
    guardians: Guardians | None = None,
    place: Place | None = None,
) -> bytes:
    """The raw identity record of one revision."""
    did = keys.public(seed(root))
    body = Identity(
        revision=number,
        name=name,
        nodes=(),
        records=(
            RecordKey(key=public(voting), vote=True, until=until),
            *(RecordKey(key=public(one), vote=False, until=until) for one in others),
        ),
        sealing=bytes(1216),
        until=until,
        retired=retired,
        guardians=guardians,
    )
    return record.sign(
        seed(root),
        topic=identity_topic(did),
        author=did,
        kind="identity",
        body=body,
        place=place or Place(seq=number, prev=prev.id if prev else None),
        at=number,
        salt=bytes(16),
    ).raw


def written(
    key: str, seq: int, prev: Record | None, *, topic: bytes = TOPIC, at: int = 5
) -> Record:
    """A record of the participant by one of its keys."""
    vote = Vote(slot=f"run/{seq}/1", subject=bytes(32), choice="yes", identity=bytes(32))
    return record.sign(
        seed(key),
        topic=topic,
        author=ROOT,
        kind="vote",
        body=vote,
        place=Place(seq=seq, prev=prev.id if prev else None),
        at=at,
        salt=bytes(16),
    )


FIRST = open_identity(revision(0, None, "a", "node-2"))
FEED = [written("a", 0, None)]
FEED += [written("a", 1, FEED[0])]
FEED += [written("a", 2, FEED[1])]
PINNED = RetiredKey(
    key=public("a"), reason="stolen", pins=(Pin(topic=TOPIC, seq=1, head=FEED[1].id),)
)
ROTATED = open_identity(
    revision(1, FIRST, "b", retired=(RetiredKey(key=public("a"), reason="rotated"),))
)
REVOKED = open_identity(revision(1, FIRST, "b", retired=(PINNED,)))
SECOND = open_identity(revision(2, REVOKED, "c", retired=(PINNED,)))


def refused(history: History, found: Record) -> str:
    with pytest.raises(Refused) as caught:
        history.may_sign(found)
    return caught.value.code


def test_a_rotated_key_keeps_what_it_signed_and_both_may_vote() -> None:
    history = History.of(FIRST, ROTATED)
    assert history.participant == ROTATED == history.newest
    assert history.voting_keys == {public("a"), public("b")}
    for one in (*FEED, written("b", 0, None)):
        history.may_sign(one)


def test_a_revoked_key_keeps_its_records_up_to_the_pins_and_nothing_else() -> None:
    history = History.of(FIRST, REVOKED)
    for one in (*FEED[:2], written("b", 0, None)):
        history.may_sign(one)
    assert refused(history, FEED[2]) == "identity.retired"
    # A backdated record in a topic that the owner did not pin, and another one in the pinned place.
    assert refused(history, written("a", 0, None, topic=OTHER, at=0)) == "identity.retired"
    assert refused(history, written("a", 1, FEED[0], at=1)) == "identity.retired"


def test_a_pinned_key_ends_at_its_pin_and_a_feed_that_differs_there_before_it() -> None:
    known = {ROOT: History.of(FIRST, REVOKED)}
    ids = {(one.key, one.seq): one.id for one in FEED}
    assert ends(TOPIC, known, lambda key, seq: ids.get((key, seq))) == {public("a"): 2}
    assert ends(TOPIC, known, lambda key, seq: None) == {public("a"): 2}
    assert ends(TOPIC, known, lambda key, seq: bytes(32)) == {public("a"): 1}
    assert ends(OTHER, known, lambda key, seq: None) == {public("a"): 0}
    assert ends(TOPIC, {ROOT: History.of(FIRST, ROTATED)}, lambda key, seq: None) == {}


def test_later_pins_bring_nothing_back_and_may_be_added() -> None:
    wider = RetiredKey(
        key=public("a"), reason="stolen", pins=(Pin(topic=TOPIC, seq=2, head=FEED[2].id),)
    )
    later = open_identity(revision(2, REVOKED, "c", retired=(wider,)))
    assert not History.of(FIRST, REVOKED, later).stands(FEED[2])
    after = open_identity(revision(2, ROTATED, "c", retired=(PINNED,)))
    assert not History.of(FIRST, ROTATED, after).stands(FEED[2])


def test_a_stranger_and_an_expired_key_may_not_sign() -> None:
    history = History.of(FIRST)
    assert refused(history, written("x", 0, None)) == "record.author"
    assert refused(history, written("a", 0, None, at=UNTIL + 1)) == "identity.expired"
    renewed = open_identity(revision(1, FIRST, "a", until=UNTIL + 9))
    history.learn(renewed)
    history.may_sign(written("a", 0, None, at=UNTIL + 1))
    assert expiries(history) == [("identity", UNTIL + 9), (f"key {public('a').hex()}", UNTIL + 9)]


FORK = open_identity(revision(1, FIRST, "evil", name="other"))
STRAY = open_identity(revision(2, FORK, "evil-2"))


def test_two_identities_of_one_revision_prove_the_fork_and_count_for_nothing() -> None:
    history = History.of(FIRST, REVOKED, FORK, SECOND)
    assert history.fork is not None
    assert {open_identity(raw).id for raw in history.fork} == {REVOKED.id, FORK.id}
    assert history.participant == FIRST
    assert history.voting_keys == {public("a")}
    assert history.nodes == ()
    known = ends(TOPIC, {ROOT: history}, lambda key, seq: None)
    assert known == {public("a"): 2, public("b"): 0, public("c"): 0, public("evil"): 0}
    assert refused(history, written("evil", 0, None)) == "identity.chain"
    assert refused(history, written("b", 0, None)) == "identity.chain"
    history.may_sign(FEED[1])
    assert refused(history, FEED[2]) == "identity.retired"  # what it took back stays taken back


def test_an_identity_that_follows_another_than_the_known_one_proves_a_fork() -> None:
    history = History.of(FIRST, REVOKED, STRAY)
    assert history.fork == (REVOKED.raw, STRAY.raw)
    assert history.participant == REVOKED


def test_a_gap_is_no_fork() -> None:
    history = History.of(FIRST, SECOND)
    assert history.fork is None
    assert history.participant == SECOND


def test_a_root_that_forks_from_the_start_has_no_key() -> None:
    history = History.of(FIRST, open_identity(revision(0, None, "x")))
    assert history.participant.revision == 0
    assert refused(history, FEED[0]) == "identity.chain"


@given(st.data())
def test_no_order_of_arrival_changes_an_answer(data: st.DataObject) -> None:
    third = open_identity(revision(1, FIRST, "third"))
    everything = [FIRST, ROTATED, REVOKED, SECOND, FORK, STRAY, third]
    told = data.draw(st.lists(st.sampled_from(everything), min_size=1, unique_by=lambda o: o.id))
    ways = [History(ROOT) for _ in range(2)]
    for one in told:
        ways[0].learn(one)
    for one in data.draw(st.permutations(told)):
        ways[1].learn(one)
        assert not ways[1].learn(one)
    answers = [
        (
            way.participant if way.fork is None else way.participant.revision,
            way.fork is None,
            way.voting_keys,
            way.record_keys,
            [way.stands(one) for one in FEED],
        )
        for way in ways
    ]
    assert answers[0] == answers[1]


def test_merging_is_the_same_as_learning() -> None:
    one, other = History.of(FIRST, REVOKED), History.of(SECOND)
    assert other.merge(one)
    assert not other.merge(one)
    assert other.participant == SECOND
    assert not other.stands(FEED[2])
    with pytest.raises(Refused) as caught:
        one.add(revision(0, None, "a", root="elsewhere"))
    assert caught.value.code == "identity.root"


def test_a_thief_of_the_root_who_signs_twice_first_hides_no_revocation() -> None:
    """The owner's revocation is the third variant of its revision: not kept, but heeded."""
    thief = [open_identity(revision(1, FIRST, name)) for name in ("thief", "another")]
    owner = History.of(FIRST, *thief, REVOKED)
    assert not owner.stands(FEED[2])
    late = History.of(FIRST, *thief)
    assert late.stands(FEED[2])
    assert not late.covers(owner)
    assert late.merge(owner)
    assert not late.stands(FEED[2])
    assert not late.merge(owner)
    assert not owner.copy().stands(FEED[2])


def test_the_gate_of_a_keys_record_knows_what_a_third_variant_takes_back() -> None:
    thief = [open_identity(revision(1, FIRST, name)) for name in ("thief", "another")]
    made = record.sign(
        seed("a"),
        topic=TOPIC,
        author=ROOT,
        kind="keys",
        body=Keys(identity=FIRST.raw),
        place=Place(seq=2, prev=FEED[1].id),
        at=5,
        salt=bytes(16),
    )
    known = History.of(FIRST, *thief)
    assert known.check_keys(made) == FIRST
    known.learn(REVOKED)
    with pytest.raises(Refused) as caught:
        known.check_keys(made)
    assert caught.value.code == "identity.retired"


def test_an_introduced_identity_adds_keys_and_takes_nothing_back() -> None:
    history = History.of(FIRST)
    assert history.introduce(REVOKED)
    assert not history.introduce(REVOKED)
    assert history.participant == REVOKED
    assert history.stands(FEED[2])
    assert not history.heeds(REVOKED)
    assert History.of(FIRST).merge(history)
    assert history.covers(history.copy())
    assert history.copy().covers(history)
    assert history.introduce(FORK)  # contradicts REVOKED, if both were its own words
    assert history.fork is None
    assert history.learn(REVOKED)
    assert history.heeds(REVOKED)
    assert not history.stands(FEED[2])
    assert not history.introduce(REVOKED)


ODD = {
    "place": ("identity.chain", revision(1, FIRST, "a", place=Place())),
    "too-many": ("identity.chain", revision(limits.REVISIONS, FIRST, "a")),
    "root-signs": ("identity.keys", revision(0, None, "root")),
    "twice": ("identity.keys", revision(0, None, "a", "a")),
    "back": ("identity.keys", revision(0, None, "a", retired=(PINNED,))),
    "retired-twice": ("identity.keys", revision(0, None, "b", retired=(PINNED, PINNED))),
    "pins": (
        "identity.keys",
        revision(
            0, None, "b",
            retired=tuple(
                RetiredKey(
                    key=public(f"k{number}"), reason="stolen",
                    pins=tuple(Pin(topic=bytes(32), seq=n, head=bytes(32)) for n in range(60)),
                )
                for number in range(2)
            ),
        ),
    ),
    "own-guardian": (
        "identity.keys", revision(0, None, "a", guardians=Guardians(dids=(ROOT,), needed=1)),
    ),
    "guardian-twice": (
        "identity.keys",
        revision(0, None, "a", guardians=Guardians(dids=(bytes(32), bytes(32)), needed=1)),
    ),
    "few-guardians": (
        "identity.keys", revision(0, None, "a", guardians=Guardians(dids=(bytes(32),), needed=2)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_identity_is_refused(name: str) -> None:
    code, raw = ODD[name]
    with pytest.raises(Refused) as caught:
        open_identity(raw)
    assert caught.value.code == code


def test_every_pair_of_a_forked_set_agrees_on_the_place() -> None:
    for order in itertools.permutations((FIRST, REVOKED, FORK)):
        assert History.of(*order).participant == FIRST
