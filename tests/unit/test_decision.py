"""Decisions: who counts, once, for what; and certificates that stand alone."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import record
from protocol.decision import Ballot, Rule, quorum, tolerated, verify
from protocol.errors import Refused
from protocol.record import Place, Record
from tests.strategies import KEYS, SEEDS, vote

A, B = b"\x0a" * 32, b"\x0b" * 32
TOPIC = bytes(32)
SLOT = "run/1/1"
RULE = Rule(voters={key: frozenset((key,)) for key in KEYS[:6]}, needed=5)


def ballot(*votes: Record, rule: Rule = RULE) -> Ballot:
    found = Ballot(rule, SLOT)
    for each in votes:
        found.add(each)
    return found


def yes(count: int, subject: bytes = A, start: int = 0) -> list[Record]:
    return [vote(seed, subject) for seed in SEEDS[start : start + count]]


def certified(votes: list[Record], rule: Rule = RULE, **parts: object) -> list[Record]:
    wanted = {"topic": TOPIC, "subject": A, "slot": SLOT, **parts}
    return verify([each.raw for each in votes], rule=rule, **wanted)  # type: ignore[arg-type]


def code(votes: list[Record], rule: Rule = RULE, **parts: object) -> str:
    with pytest.raises(Refused) as caught:
        certified(votes, rule, **parts)
    return caught.value.code


def test_quorums_of_the_design() -> None:
    assert [quorum(n) for n in range(1, 10)] == [1, 2, 3, 3, 4, 5, 5, 6, 7]
    assert [tolerated(n) for n in range(1, 10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@given(st.integers(1, 64))
def test_two_quorums_share_more_voters_than_may_lie(n: int) -> None:
    q = quorum(n)
    liars = 2 * q - n - 1
    assert q <= n
    assert 2 * q - n > liars >= tolerated(n) >= 0


# --- ballots -------------------------------------------------------------------------------------


def test_decided_when_enough_said_yes() -> None:
    assert ballot(*yes(4)).decided() is None
    assert ballot(*yes(5)).decided() == A


def test_a_vote_counts_once() -> None:
    assert ballot(*yes(4), *yes(4)).decided() is None
    again = vote(SEEDS[0], A, at=2_000)
    assert ballot(*yes(4), again).decided() is None


def test_no_counts_for_nothing() -> None:
    against = [vote(seed, A, choice="no") for seed in SEEDS[:6]]
    assert ballot(*yes(4), *against[4:]).decided() is None
    assert ballot(*against).subjects() == []


def test_a_liar_cannot_undo_what_is_decided() -> None:
    found = ballot(*yes(5), vote(SEEDS[0], B))
    assert found.decided() == A
    assert found.yes(B) == [vote(SEEDS[0], B)]
    assert set(found.conflicts) == {KEYS[0]}
    first, second = found.conflicts[KEYS[0]]
    assert {first.id, second.id} == {vote(SEEDS[0], A).id, vote(SEEDS[0], B).id}


@given(st.permutations([*yes(5), vote(SEEDS[0], B), vote(SEEDS[5], B), *yes(2)]))
def test_order_of_arrival_changes_nothing(votes: list[Record]) -> None:
    found = ballot(*votes)
    assert found.decided() == A
    assert found.subjects() == [A, B]
    assert [each.author for each in found.yes(A)] == sorted(KEYS[:5])
    assert set(found.conflicts) == {KEYS[0]}


def test_subjects_by_votes_then_by_id() -> None:
    assert ballot(*yes(1, B), *yes(2, A, 1)).subjects() == [A, B]
    assert ballot(*yes(2, B), *yes(1, A, 2)).subjects() == [B, A]
    assert ballot(*yes(1, B), *yes(1, A, 1)).subjects() == [A, B]


@pytest.mark.parametrize(
    ("bad", "wanted"),
    [
        (vote(SEEDS[6], A), "decision.voter"),
        (vote(SEEDS[6], A, author=KEYS[0]), "decision.voter"),  # another key of a voter
        (vote(SEEDS[0], A, author=KEYS[1]), "decision.voter"),  # in another voter's name
        (vote(SEEDS[0], A, slot="run/1/2"), "decision.subject"),
        (record.parse(record.redact(vote(SEEDS[0], A).raw)), "decision.subject"),
    ],
)
def test_votes_that_do_not_count(bad: Record, wanted: str) -> None:
    found = ballot(*yes(4))
    with pytest.raises(Refused) as caught:
        found.add(bad)
    assert caught.value.code == wanted
    assert found.decided() is None


# --- certificates --------------------------------------------------------------------------------


def test_certificate_round_trip() -> None:
    found = ballot(*yes(6)).certificate(A)
    votes = verify(found, topic=TOPIC, subject=A, slot=SLOT, rule=RULE)
    assert [each.author for each in votes] == sorted(KEYS[:6])


def test_no_certificate_of_too_few() -> None:
    with pytest.raises(Refused) as caught:
        ballot(*yes(4)).certificate(A)
    assert caught.value.code == "decision.quorum"


def test_certificate_of_too_few() -> None:
    assert code(yes(4)) == "decision.quorum"
    assert code([*yes(4), *yes(4)]) == "decision.quorum"
    assert code([]) == "decision.quorum"


def test_every_quorum_is_a_certificate() -> None:
    for votes in itertools.combinations(yes(6), 5):
        assert len(certified(list(votes))) == 5


def test_certificate_for_another_subject_slot_or_topic() -> None:
    assert code(yes(5), subject=B) == "decision.quorum"
    assert code(yes(5), slot="run/2/1") == "decision.subject"
    assert code(yes(5), topic=b"\x01" * 32) == "decision.subject"
    elsewhere = vote(SEEDS[4], A, topic=b"\x01" * 32)
    assert code([*yes(4), elsewhere]) == "decision.subject"


def test_certificate_with_a_stranger() -> None:
    assert code([*yes(4), vote(SEEDS[6], A)]) == "decision.voter"


def test_certificate_with_an_equivocation() -> None:
    assert code([*yes(5), vote(SEEDS[0], B, place=Place(seq=1, prev=A))]) == "decision.quorum"


def test_certificate_with_an_altered_vote() -> None:
    raw = bytearray(vote(SEEDS[4], A).raw)
    raw[-1] ^= 1
    with pytest.raises(Refused):
        verify(
            [*(each.raw for each in yes(4)), bytes(raw)],
            topic=TOPIC,
            subject=A,
            slot=SLOT,
            rule=RULE,
        )
