"""Any well-formed records by anybody, in any order: the gate lets through what machines can bear.

What `check` passes is in the journal for good, so `handle` and `duties` must take it, in this life
and after every restart. And the same set of records makes the same state in any order.
"""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import kinds
from protocol.errors import Refused
from protocol.events import Appraised, HeartbeatHeard, StopHeard
from protocol.kinds.host import Verdict
from tests.agreements import AT, CAST
from tests.documents import documents
from tests.in_force import QUORUM, VOTERS, ZERO, Enclave, Telling, retold
from tests.unit import test_space as spaces
from tests.unit.test_agreement_machine import share_of

ENCLAVES = ("one", "two", "never elected")
AUTHORS = (*VOTERS, "host-1", "host-2", "registrar", *ENCLAVES)
IN_AGREEMENT = sorted(name for name, kind in kinds.KINDS.items() if "agreement" in kind.topics)
IN_SPACE = sorted(name for name, kind in kinds.KINDS.items() if "space" in kind.topics)


def begun(stage: int) -> Telling:
    """An agreement on its way: nothing, elected, summoned, proposed, ended, in the next term."""
    found = Telling()
    if stage > 0:
        found.elect()
    if stage > 1:
        found.say("hospital-a", "share", share_of(found))
        found.summon(found.order())
    if stage > 2:
        order = next(iter(found.runs.orders.values()))[0]
        told = [found.state(name) for name in QUORUM]
        found.start()
        made = found.say("one", "run", found.run(order, told))
    if stage > 3:
        for name in QUORUM:
            found.vote_run(name, made)
    if stage > 4:
        found.lapse(1)
        found.elect("host-2", "two", 2)
    return found


def known(found: Telling) -> list[bytes]:
    """What a hostile document may refer to."""
    enclaves = [part for name in ENCLAVES for part in (Enclave(name).did, bytes(1216))]
    ids = [made.id for made in found.told]
    raws = [made.raw for made in found.told[-3:]]
    appointed = list(found.election.ballots.values())
    subjects = [subject for ballot in appointed for subject in ballot.subjects()]
    dids = [CAST[name].did for name in AUTHORS if name in CAST]
    headers = [share.header for _, share, _ in found.machine.shares.values()]
    return [*ids, *subjects, *enclaves, *dids, *headers, *raws, found.topic]


def state(found: Telling) -> list[Any]:
    """Everything that decides, in a form to compare."""
    runs, election, machine = found.runs, found.election, found.machine
    return [
        election.term,
        {term: election.elected(term) for term in election.ballots},
        election.latest(),
        election.verdicts,
        runs.committed(),
        runs.promised,
        runs.suspensions,
        {place: set(given) for place, given in runs.statements.items()},
        machine.receipts,
        {share: machine.wrapped_to(share) for share in machine.shares},
        {place: kept.record.id for place, kept in machine.current_shares().items()},
    ]


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_an_agreement_bears_whatever_passes_its_gate(data: st.DataObject) -> None:
    found = begun(data.draw(st.integers(0, 5)))
    pool = known(found)
    for _ in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from(IN_AGREEMENT))
        body = data.draw(documents(kinds.KINDS[kind].document, pool))
        pen = found.pen(data.draw(st.sampled_from(AUTHORS)))
        place = pen.place
        try:
            made = pen.write(kind, body)
            passed = found.feeds.check(made, found.machine, AT)
        except Refused:
            pen.place = place
            continue
        assert passed
        found.tell(made)
        found.owed(data.draw(st.sampled_from([0.0, 3.0, 100.0])), AT)
    shuffled = list(found.told)
    data.draw(st.randoms(use_true_random=False)).shuffle(shuffled)
    assert state(retold(shuffled)) == state(found)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_an_agreement_bears_any_event(data: st.DataObject) -> None:
    found = begun(data.draw(st.integers(0, 5)))
    machine, pool = found.machine, known(found)
    for _ in range(5):
        now = data.draw(st.floats(0, 1e6))
        machine.handle(Appraised(data.draw(documents(Verdict, pool))), now)
        machine.handle(HeartbeatHeard(data.draw(st.integers(0, 3)), ZERO), now)
        stop = data.draw(st.binary(min_size=32, max_size=32))
        machine.handle(StopHeard(stop, ZERO, data.draw(st.binary(max_size=8))), now)
        machine.duties(now, data.draw(st.integers(0, 2**40)))


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_space_bears_whatever_passes_its_gate(data: st.DataObject) -> None:
    told = spaces.Telling()
    if data.draw(st.booleans()):
        told.found()
        told.say(spaces.GUEST, "join", spaces.Join(invite=told.invite().id))
    for _ in range(data.draw(st.integers(1, 10))):
        ids = [made.id for made in told.told]
        raws = [CAST[name].participant.raw for name in CAST]
        dids = [CAST[name].did for name in CAST]
        pool = [*ids, *raws, *dids, told.space.id]
        kind = data.draw(st.sampled_from(IN_SPACE))
        body = data.draw(documents(kinds.KINDS[kind].document, pool))
        who = CAST[data.draw(st.sampled_from(sorted(CAST)))]
        place = told.pens[who.signing.hex()].place if who.signing.hex() in told.pens else None
        made = told.write(who, kind, body)
        try:
            told.feeds.check(made, told.space, AT)
        except Refused:
            told.pens[who.signing.hex()].place = place or spaces.Place()
            continue
        told.tell(made)
        told.space.members()
        told.space.waiting_joins(CAST["hospital-a"].did)
    shuffled = list(told.told)
    data.draw(st.randoms(use_true_random=False)).shuffle(shuffled)
    other = spaces.retold(shuffled).space
    assert other.members() == told.space.members()
    assert other.participants() == told.space.participants()
    assert other.revocations == told.space.revocations
