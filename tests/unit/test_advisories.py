"""Advisories: what they hit, who may give them, and what a voter does when its host is hit."""

import itertools
from dataclasses import replace

import pytest

from protocol.attestation.advisories import hit, hits, lint
from protocol.effects import Challenge, Publish
from protocol.errors import Refused
from protocol.events import Appraised, HeartbeatHeard
from protocol.kinds.advisory import Advisory, AdvisoryWithdrawal, Measured
from protocol.kinds.attestation import Floors
from protocol.kinds.run import Statement
from protocol.machines.advisories import Advisories, Ground
from tests.agreements import AT, DOCUMENT, MEASURED, A, B, Pen, seed
from tests.in_force import QUORUM, Telling, verdict

SOFTWARE = Advisory(
    technology="simulated", registers=MEASURED.registers, reason="leaks", reference="CVE-2026-1"
)
EPYC = Measured(
    technology="sev-snp",
    registers={"measurement": b"\x01" * 48, "host_data": b"\x02" * 32},
    platform="ab" * 64,
    family="genoa",
    tcb={"snp": 23, "microcode": 72},
)


def advisory(**parts: object) -> Advisory:
    return Advisory(technology="sev-snp", reason="known bad", **parts)


# --- what they hit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "good"),
    [
        (advisory(registers={"measurement": b"\x01" * 48}), True),
        (advisory(registers={"measurement": b"\x01" * 48, "host_data": b"\x02" * 32}), True),
        (advisory(registers={"measurement": b"\x01" * 48, "host_data": b"\x03" * 32}), False),
        (advisory(registers={"id_key_digest": b"\x01" * 48}), False),
        (advisory(platform="ab" * 64), True),
        (advisory(platform="cd" * 64), False),
        (advisory(tcb_below={"snp": 23}), False),
        (advisory(tcb_below={"snp": 24}), True),
        (advisory(tcb_below={"snp": 23, "microcode": 73}), True),
        (advisory(tcb_below={"fmc": 1}), True),
        (advisory(tcb_below={"snp": 24}, family="genoa"), True),
        (advisory(tcb_below={"snp": 24}, family="milan"), False),
        (replace(advisory(platform="ab" * 64), technology="tdx"), False),
    ],
)
def test_what_an_advisory_hits(found: Advisory, good: bool) -> None:
    assert lint(replace(found, technology="sev-snp")) == []
    assert hits(found, EPYC) == good
    assert hit((advisory(platform="00"), found), EPYC) == (found if good else None)


@pytest.mark.parametrize(
    "found",
    [
        advisory(),
        advisory(registers={}),
        advisory(platform=""),
        advisory(tcb_below={}),
        advisory(tcb_below={"snp": 0}),
        advisory(platform="ab", tcb_below={"snp": 1}),
        advisory(registers={"pcr0": b"\x01" * 48}),
        advisory(platform="ab", family="genoa"),
        replace(advisory(platform="ab"), technology="abacus"),
        replace(advisory(platform="ab"), reason=""),
    ],
)
def test_an_advisory_must_say_one_thing(found: Advisory) -> None:
    assert lint(found)
    with pytest.raises(Refused) as refused:
        Advisories().check(Pen(A).write("advisory", found))
    assert refused.value.code == "advisory.malformed"


# --- the set of a space --------------------------------------------------------------------------


def test_in_force_whatever_the_order() -> None:
    pens = Pen(A), Pen(B)
    first, second = (pen.write("advisory", SOFTWARE) for pen in pens)
    mine = pens[0].write(
        "advisory-withdrawal", AdvisoryWithdrawal(advisory=first.id, reason="wrong")
    )
    others = pens[1].write(
        "advisory-withdrawal", AdvisoryWithdrawal(advisory=first.id, reason="no")
    )
    advisors = (A.did, B.did)
    for order in itertools.permutations((first, second, others, mine)):
        known = Advisories()
        for record in order[:-1]:
            known.take(record)
        known.take(order[-1])
        assert [one.record for one in known.in_force(advisors)] == [second]
        assert known.in_force((A.did,)) == known.in_force(()) == ()
    known = Advisories()
    known.take(first)
    known.take(others)  # void: only its author withdraws it
    assert [one.record for one in known.in_force(advisors)] == [first]
    with pytest.raises(Refused) as refused:
        known.check(others)
    assert refused.value.code == "advisory.author"
    known.check(mine)


# --- a voter -------------------------------------------------------------------------------------


def asked(found: Telling, now: float = 0.0, wall: int = AT) -> list[bytes]:
    return [e.candidacy for e in found.owed(now, wall) if isinstance(e, Challenge)]


def in_office(found: Telling) -> object:
    """A host that I found eligible is elected, and asks for my statement on a run."""
    first = found.elect()
    found.judge("hospital-a", first.id)
    found.summon(found.order())
    return first


def test_no_vote_for_a_host_that_is_hit() -> None:
    found = Telling()
    first = found.offer("host-1")
    for name in QUORUM:
        found.judge(name, first.id)
    assert found.published("vote") == [], "the other host may still come"
    assert found.published("vote", 5.0)
    found.election.heed(Ground(advisories=(SOFTWARE,)))
    assert found.published("vote", 5.0) == []
    assert asked(found) == [first.id], "the verdict says no more what would be found"
    found.election.heed(Ground())
    assert found.published("vote", 5.0)


def test_a_host_in_office_that_is_hit_gets_no_statement_and_its_term_ends() -> None:
    found = Telling()
    first = in_office(found)
    assert [type(body) for body in found.published("statement")] == [Statement]
    found.election.heed(Ground(advisories=(SOFTWARE,)))
    assert found.published("statement") == []
    (lapse,) = found.published("lapse")
    assert lapse.reason.startswith("evidence.withdrawn")
    assert found.election.doubt(found.machine.me.did, first.id, AT) == "evidence.withdrawn"


def test_a_later_verdict_that_measured_nothing_hides_no_hit() -> None:
    found = Telling()
    first = in_office(found)
    found.say("hospital-a", "verdict", verdict(first.id, why="host.unreachable"))
    found.election.heed(Ground(advisories=(SOFTWARE,)))
    assert found.published("lapse")[0].reason.startswith("evidence.withdrawn")


def test_an_advisory_that_is_taken_back_is_asked_about_again() -> None:
    found = Telling()
    first = found.offer("host-1")
    refused = replace(verdict(first.id, why="evidence.withdrawn"), measured=MEASURED)
    found.election.heed(Ground(advisories=(SOFTWARE,)))
    found.say("hospital-a", "verdict", refused)
    assert asked(found) == []
    found.election.heed(Ground())
    assert asked(found) == [first.id]


# --- verdicts end --------------------------------------------------------------------------------


def test_a_verdict_that_ended_is_asked_for_again_and_gives_nothing_meanwhile() -> None:
    found = Telling()
    first = in_office(found)
    ends = AT + DOCUMENT.attestation.max_age
    assert asked(found, wall=ends - 1) == []
    assert found.published("statement", wall=ends - 1)
    assert asked(found, wall=ends) == [first.id]
    assert found.published("statement", wall=ends) == []
    assert found.published("lapse", wall=ends) == [], "it is asked again, not given up"
    again = replace(verdict(first.id), at=ends, until=ends + 60)
    assert found.machine.handle(Appraised(again), 0.0) == [Publish("verdict", again)]
    found.say("hospital-a", "verdict", again)
    assert asked(found, wall=ends + 1) == []
    assert found.published("statement", wall=ends + 1)
    assert found.machine.handle(Appraised(replace(again, at=ends + 1)), 0.0) == []


def test_an_enclave_that_no_longer_passes_ends_its_term() -> None:
    found = Telling()
    first = in_office(found)
    found.say("hospital-a", "verdict", verdict(first.id, why="evidence.collateral"))
    assert found.published("statement") == []
    assert found.published("lapse")[0].reason.startswith("evidence.collateral")


def test_new_floors_ask_for_new_verdicts() -> None:
    found = Telling()
    first = in_office(found)
    found.election.heed(Ground(floors=Floors(max_age=60)))
    assert found.election.policy.max_age == 60
    assert asked(found) == [first.id]
    assert found.election.doubt(found.machine.me.did, first.id, AT) == "evidence.stale"
    again = replace(verdict(first.id), policy=found.election.policy_digest, until=AT + 60)
    assert found.machine.handle(Appraised(again), 0.0) == [Publish("verdict", again)]
    found.say("hospital-a", "verdict", again)
    assert asked(found) == []
    refused = replace(again, eligible=False, reasons=("evidence.technology",), policy=seed("old"))
    found.say("hospital-a", "verdict", refused)
    assert asked(found) == [first.id], "a no under other floors is asked again too"


def test_silence_renews_no_verdict() -> None:
    """Who does not answer when it is asked again gets nothing, and after a while no term."""
    found = Telling()
    first = in_office(found)
    found.say("hospital-a", "verdict", verdict(first.id, why="host.unreachable"))
    assert found.published("statement") == []
    assert found.published("lapse") == []
    lease = found.election.lease
    found.machine.handle(HeartbeatHeard(1, found.appointment(first).enclave), 6 * lease)
    assert found.published("lapse", 6 * lease) == [], "it may be asked twice"
    found.machine.handle(HeartbeatHeard(1, found.appointment(first).enclave), 6 * lease + 1)
    assert found.published("lapse", 6 * lease + 1)[0].reason.startswith("host.unreachable")
    found.judge("hospital-a", first.id)
    assert found.published("lapse", 6 * lease + 1) == []
    assert found.published("statement")


def test_an_answer_that_cannot_be_read_is_no_silence() -> None:
    found = Telling()
    first = in_office(found)
    found.say("hospital-a", "verdict", verdict(first.id, why="codec.malformed"))
    assert found.published("statement") == []
    assert found.published("lapse")[0].reason.startswith("codec.malformed")


def test_the_last_word_of_a_voter_counts_whatever_order_its_records_come_in() -> None:
    """Two keys of one voter are two feeds: nothing orders them but what they say."""
    words = [
        (AT + 2, verdict(b"\x01" * 32, why="evidence.tcb")),
        (AT + 1, verdict(b"\x01" * 32)),
        (AT, verdict(b"\x01" * 32, why="host.unreachable")),
    ]
    pens = [Pen(A), Pen(A), Pen(A)]
    records = [pen.write("verdict", body, at) for pen, (at, body) in zip(pens, words, strict=True)]
    for order in itertools.permutations(records):
        election = Telling().election
        for record in order:
            election.take(record)
        assert election.verdicts[1, b"\x01" * 32][A.did].reasons == ("evidence.tcb",)
        assert election.measured[b"\x01" * 32, A.did] == MEASURED
