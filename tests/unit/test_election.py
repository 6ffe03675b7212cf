"""Terms: who is elected, when a term ends, and what a liar cannot do to either."""

import hashlib
import random
from dataclasses import replace

import pytest

from protocol import limits, shape
from protocol.effects import Appoint, Challenge
from protocol.events import Appraised, HeartbeatHeard
from protocol.kinds.common import Vote
from protocol.kinds.host import ElectionCertificate
from tests.in_force import QUORUM, VOTERS, ZERO, Telling, retold, verdict

LEASE = 4.0


def challenged(found: Telling, now: float = 0.0) -> list[bytes]:
    return [e.candidacy for e in found.owed(now) if isinstance(e, Challenge)]


def test_every_newest_candidacy_is_challenged_once_answered_no_more() -> None:
    found = Telling()
    found.offer("host-1")
    newest = found.offer("host-1", "two")
    other = found.offer("host-2", "three")
    assert challenged(found) == [newest.id, other.id]
    found.judge("hospital-a", newest.id)
    assert challenged(found) == [other.id]


def test_the_first_candidate_with_a_quorum_of_verdicts_gets_the_vote() -> None:
    found = Telling()
    second = found.offer("host-2", "two")
    for name in QUORUM:
        found.judge(name, second.id)
    assert found.published("vote") == [], "the first in order may still come"
    assert found.published("vote", LEASE + 1)[0].document is not None
    first = found.offer("host-1")
    for name in QUORUM:
        found.judge(name, first.id)
    (vote,) = found.published("vote", LEASE + 1)
    assert found.election.candidacies[first.id][0].author == found.appointment(first).host
    assert first.id in vote.document


def test_no_quorum_of_verdicts_is_no_vote_but_reasons() -> None:
    found = Telling()
    first = found.offer("host-1")
    for name in VOTERS:
        found.judge(name, first.id, why="evidence.stale")
    assert found.published("vote", 100.0) == found.published("lapse", 100.0) == []
    assert found.election.reasons()[first.author] == ["evidence.stale"]


def test_a_host_out_of_reach_is_asked_again_and_the_same_answer_is_not_published_again() -> None:
    found = Telling()
    first = found.offer("host-1")
    away = verdict(first.id, why="host.unreachable")
    assert found.machine.handle(Appraised(away), 0.0), "the first time it is said"
    found.say("hospital-a", "verdict", away)
    assert challenged(found) == []
    assert challenged(found, 3 * LEASE + 1) == [first.id]
    assert challenged(found, 3 * LEASE + 2) == []
    assert found.machine.handle(Appraised(away), 0.0) == []
    assert found.machine.handle(Appraised(verdict(first.id)), 0.0), "but news is said"


def test_a_certificate_of_votes_appoints_and_never_changes() -> None:
    found = Telling(me="host-1")
    first = found.elect()
    assert found.election.elected().appointment.candidacy == first.id
    before = [e for e in found.owed() if isinstance(e, Appoint)]
    assert len(shape.decode(ElectionCertificate, before[0].certificate, 10**6).votes) == 4
    found.vote_host(VOTERS[4], found.appointment(first))
    assert [e for e in found.owed() if isinstance(e, Appoint)] == before


def test_a_voter_that_contradicts_itself_undoes_no_election() -> None:
    found = Telling()
    first = found.elect()
    other = found.offer("host-2", "two")
    found.vote_host(QUORUM[0], found.appointment(other))
    assert found.election.elected().appointment.candidacy == first.id
    assert found.election.term == 1
    assert set(found.election.ballots[1].conflicts) == {found.pen(QUORUM[0]).who.did}


def test_a_term_ends_by_one_honest_word_more_than_may_lie() -> None:
    found = Telling()
    found.elect()
    found.lapse(1, VOTERS[:1])
    found.lapse(1, VOTERS[:1])
    assert found.election.term == 1, "one voter counts once"
    found.lapse(2, VOTERS[:2])
    assert found.election.term == 1, "a later term does not open an earlier one"
    found.lapse(1, VOTERS[1:2])
    assert found.election.term == 3


def test_a_liar_votes_and_lapses_in_invented_terms_for_nothing() -> None:
    found = Telling()
    first = found.elect()
    for term in range(2, 200):
        found.lapse(term, VOTERS[:1])
        found.vote_host(VOTERS[0], found.appointment(first, term))
        found.judge(VOTERS[0], ZERO, term)
    assert found.election.term == 1
    assert found.election.elected().subject


def test_silence_lapses_and_a_heartbeat_of_the_right_enclave_keeps_the_term() -> None:
    found = Telling()
    found.elect()
    assert found.published("lapse", 1.0) == [], "a new host gets time for its first beat"
    enclave = found.election.elected().appointment.enclave
    found.machine.handle(HeartbeatHeard(1, enclave), 20.0)
    assert found.published("lapse", 20.0 + LEASE) == []
    found.machine.handle(HeartbeatHeard(1, ZERO), 24.5)
    assert [lapse.term for lapse in found.published("lapse", 20.1 + LEASE)] == [1]


def test_a_split_vote_ends_the_term() -> None:
    found = Telling()
    one, two = found.offer("host-1"), found.offer("host-2", "two")
    for name, candidacy in zip(VOTERS, (one, one, one, two, two), strict=True):
        found.vote_host(name, found.appointment(candidacy))
    assert len(found.published("lapse")) == 1


def test_an_election_that_waits_for_the_absent_ends_after_patience() -> None:
    found = Telling()
    one = found.offer("host-1")
    for name in VOTERS[:3]:
        found.vote_host(name, found.appointment(one))
    assert found.published("lapse") == []
    assert len(found.published("lapse", 3 * LEASE + 1)) == 1


@pytest.mark.parametrize("change", ["term", "agreement", "subject", "missing"])
def test_a_vote_names_what_its_slot_decides(change: str) -> None:
    found = Telling()
    appointment = found.appointment(found.offer("host-1"))
    body = Vote(slot="host/1", subject=ZERO, choice="yes", identity=ZERO)
    if change in ("term", "agreement"):
        wrong = {"term": 2, "agreement": ZERO}[change]
        raw = shape.encode(replace(appointment, **{change: wrong}))
        body = replace(body, document=raw, subject=hashlib.sha256(raw).digest())
    elif change == "subject":
        body = replace(body, document=shape.encode(appointment))
    found.refused("decision.subject", "hospital-a", "vote", body)


def test_a_host_offers_so_many_enclaves_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CANDIDACIES", 3)
    found = Telling()
    for number in range(3):
        found.offer("host-1", f"boot {number}")
    offer = found.election.candidacies[found.offer("host-2").id][1]
    found.refused("record.policy", "host-1", "candidacy", offer)
    found.refused("record.policy", "hospital-a", "candidacy", offer)  # no candidate
    assert len(found.election.latest()) == 2


def test_order_of_arrival_changes_nothing() -> None:
    found = Telling()
    first = found.elect()
    found.offer("host-2", "two")
    found.lapse(1)
    second = found.elect("host-2", "three", 2)
    found.vote_host(QUORUM[0], found.appointment(first, 2))
    found.lapse(2, VOTERS[3:])
    chance = random.Random(3)  # noqa: S311 (a simulation)
    for _ in range(10):
        chance.shuffle(found.told)
        other = retold(found.told)
        assert other.election.term == found.election.term == 3
        assert other.election.latest() == found.election.latest()
        for term in (1, 2):
            assert other.election.elected(term) == found.election.elected(term)
    assert found.election.elected(2).appointment.candidacy == second.id
