"""Who has the lineage, who takes office for it, and what is computed again where nobody has it."""

import random
from dataclasses import replace

import pytest

from protocol import limits, shape
from protocol.attestation.evidence import enclave_id
from protocol.effects import Inherit, Summon
from protocol.kinds.host import Appointment
from protocol.kinds.run import Bequest, Lost
from protocol.kinds.share import Wrap
from protocol.record import Record
from tests.agreements import seed
from tests.in_force import QUORUM, VOTERS, Enclave, Telling, retold

LEASE = 4.0


def id_of(name: str) -> bytes:
    return enclave_id(Enclave(name).keys)


def lineage(number: int, term: int = 1) -> bytes:
    return seed(f"lineage {number} {term}")


def wrap(name: str, by: str = "") -> Wrap:
    return Wrap(enclave=id_of(name), sealed=seed(name + by).ljust(1168, b"\0"))


def bequest(found: Telling, by: str, term: int, lineage: bytes, *heirs: str) -> Record:
    wraps = tuple(wrap(name, by) for name in heirs)
    return found.say(by, "bequest", Bequest(term=term, lineage=lineage, wraps=wraps))


def ended(found: Telling, number: int, term: int = 1, by: str = "one", **changes: object) -> Record:
    """A number with a record and its votes; something left, unless `lineage` says otherwise."""
    order = next((r for r, _ in found.runs.orders.values() if r.seq == number - 1), None)
    order = order or found.order()
    changes = {
        "number": number,
        "term": term,
        "lineage": seed(f"lineage {number} {term}"),
        **changes,
    }
    made = found.say(by, "run", found.run(order, [], **changes))
    for name in QUORUM:
        found.vote_run(name, made, number, term)
    return made


def released(
    me: str = "hospital-a", numbers: int = 1, heirs: tuple[str, ...] = ("one",)
) -> Telling:
    """Host-1 with enclave `one` held term 1, in which these numbers were released."""
    found = Telling(me)
    found.elect()
    for number in range(1, numbers + 1):
        bequest(found, "one", 1, lineage(number), *heirs)
        ended(found, number)
    return found


def next_term(found: Telling, enclave: str, term: int = 2, host: str = "host-1") -> Record:
    found.lapse(term - 1)
    return found.elect(host, enclave, term)


def lost(found: Telling, by: str, term: int, above: int = 0) -> Record:
    return found.say(by, "lost", Lost(term=term, above=above))


def owes_inherit(found: Telling) -> list[Inherit]:
    return [one for one in found.owed() if isinstance(one, Inherit)]


def summoned(found: Telling) -> list[int]:
    return [one.number for one in found.owed() if isinstance(one, Summon)]


# --- who may say so ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("bequest", Bequest(term=2, lineage=seed("l"), wraps=())),
        ("lost", Lost(term=2, above=0)),
    ],
)
def test_only_the_enclave_of_a_term_speaks_of_its_lineage(kind: str, body: object) -> None:
    found = released()
    next_term(found, "two")
    found.refused("election.certificate", "one", kind, body)
    found.refused("record.policy", "hospital-a", kind, body)
    found.refused("record.policy", "host-1", kind, body)
    found.say("two", kind, body)


def test_a_bequest_has_so_many_wraps_and_no_more() -> None:
    found = released()
    names = [str(n) for n in range(limits.HEIRS + 1)]
    body = Bequest(term=1, lineage=lineage(1), wraps=tuple(wrap(name) for name in names))
    found.refused("shape.mismatch", "one", "bequest", body)


# --- the host ------------------------------------------------------------------------------------


def test_a_host_shows_its_enclave_the_lineage_before_anything_else() -> None:
    found = released("host-1")
    found.order()
    next_term(found, "two")
    assert owes_inherit(found) == [Inherit(2, lineage(1))]
    assert summoned(found) == []
    lost(found, "two", 2)
    assert owes_inherit(found) == []
    assert summoned(found) == [1]


def test_an_heir_goes_on_at_once_and_hands_on_to_its_standbys_meanwhile() -> None:
    found = released("host-1", heirs=("one", "two"))
    found.order()
    found.lapse(1)
    waiting, taking = found.offer("host-2", "three"), found.offer("host-1", "two")
    appointment = found.appointment(taking, 2)
    named = replace(appointment, standbys=(waiting.id,))
    for name in QUORUM:
        found.vote_host(name, named)
    assert owes_inherit(found) == [Inherit(2, lineage(1))]
    assert summoned(found) == [2]
    bequest(found, "two", 2, lineage(1), "two", "three")
    assert owes_inherit(found) == []


def test_nothing_is_owed_where_nothing_left() -> None:
    found = Telling("host-1")
    found.elect()
    ended(found, 1, lineage=None, outcome="held")
    next_term(found, "two")
    assert owes_inherit(found) == []


def test_wraps_are_for_one_enclave_the_newest_term_first() -> None:
    found = released(heirs=("one", "two"))
    next_term(found, "two")
    bequest(found, "two", 2, lineage(1), "two")
    heritage = found.runs.heritage
    assert heritage.wraps(lineage(1), id_of("two")) == (
        wrap("two", "two").sealed, wrap("two", "one").sealed,
    )  # fmt: skip
    assert heritage.wraps(lineage(2), id_of("two")) == heritage.wraps(lineage(1), id_of("x")) == ()


# --- computed again ------------------------------------------------------------------------------


def test_what_is_lost_is_computed_again_in_order_before_any_new_order() -> None:
    found = released("host-1", numbers=3)
    found.order()
    next_term(found, "two")
    lost(found, "two", 2, above=1)
    assert found.runs.rebuilding() == [2, 3]
    for number in (2, 3):
        assert summoned(found) == [number]
        bequest(found, "two", 2, lineage(number, 2), "two")
        adopted = found.runs.committed()[number][0].id
        ended(found, number, 2, "two", adopts=adopted)
    assert found.runs.rebuilding() == []
    assert summoned(found) == [4]


def test_numbers_from_which_nothing_left_are_not_computed_again() -> None:
    found = released("host-1")
    ended(found, 2, lineage=None, outcome="held")
    next_term(found, "two")
    lost(found, "two", 2)
    assert found.runs.rebuilding() == [1]


def test_behind_a_gap_nothing_is_computed_again_and_orders_are_served() -> None:
    """The record of the gap pins the old lineage again: no bequest of this term names it."""
    found = released("host-1", numbers=3)
    found.order()
    next_term(found, "two")
    lost(found, "two", 2)
    adopted = found.runs.committed()[1][0].id
    ended(found, 1, 2, "two", lineage=lineage(1), adopts=adopted, withheld="consent.withdrawn")
    assert found.runs.rebuilding() == []
    assert summoned(found) == [4]
    assert owes_inherit(found) == []


def test_parties_answer_for_a_number_that_is_computed_again_and_for_no_other_ended_one() -> None:
    found = released()
    order = next(iter(found.runs.orders.values()))[0]
    next_term(found, "two")
    found.summon(order, 1, 2, "two")
    assert found.published("statement") == []
    lost(found, "two", 2)
    (said,) = found.published("statement")
    assert (said.number, said.term) == (1, 2)


def test_a_loss_of_an_earlier_term_moves_nothing() -> None:
    found = released(numbers=2)
    next_term(found, "two")
    lost(found, "two", 2)
    next_term(found, "three", 3)
    assert found.runs.rebuilding() == []


# --- who takes office ----------------------------------------------------------------------------


def judged(found: Telling, term: int, *offers: Record) -> None:
    for one in offers:
        for name in VOTERS:
            found.judge(name, one.id, term)


def chosen(found: Telling) -> Appointment:
    (vote,) = found.published("vote", LEASE + 1)
    return shape.decode(Appointment, vote.document)


def test_the_vote_goes_to_the_first_candidate_that_has_the_lineage() -> None:
    found = released(heirs=("one", "two"))
    found.lapse(1)
    fresh, heir = found.offer("host-1", "new"), found.offer("host-2", "two")
    judged(found, 2, fresh, heir)
    vote = chosen(found)
    assert (vote.candidacy, vote.host, vote.enclave) == (heir.id, heir.author, id_of("two"))
    assert vote.standbys == (fresh.id,)


def test_without_an_heir_that_is_fit_the_agreement_says_who_is_first() -> None:
    found = released(heirs=("one", "two"))
    found.lapse(1)
    fresh, heir = found.offer("host-1", "new"), found.offer("host-2", "two")
    judged(found, 2, fresh)
    for name in VOTERS:
        found.judge(name, heir.id, 2, "host.unreachable")
    assert chosen(found).candidacy == fresh.id


def doubted(me: str = "hospital-a") -> Telling:
    """Enclave `new` in office of term 2 lacks what the standby `two` has."""
    found = released(me, heirs=("one", "two"))
    heir = found.offer("host-2", "two")
    next_term(found, "new")
    judged(found, 2, heir)
    return found


def test_a_term_whose_enclave_lacks_what_another_has_ends() -> None:
    found = doubted()
    assert found.published("lapse") == []
    lost(found, "new", 2)
    (said,) = found.published("lapse")
    assert (said.term, said.reason.partition(":")[0]) == (2, "gate.lineage")
    found.say("hospital-a", "lapse", said)
    assert found.published("lapse") == []
    order = next(iter(found.runs.orders.values()))[0]
    found.summon(order, 1, 2, "new")
    assert found.published("statement") == [], "nothing is opened for it"


def test_who_lacks_it_twice_is_believed() -> None:
    found = doubted()
    lost(found, "new", 2)
    found.lapse(2)
    offers = {one.author: one for one, _ in found.election.candidacies.values()}
    again = next(one for one in offers.values() if found.appointment(one).enclave == id_of("new"))
    for name in QUORUM:
        found.vote_host(name, found.appointment(again, 3))
    judged(found, 3, *offers.values())
    lost(found, "new", 3)
    assert found.published("lapse") == []
    order = next(iter(found.runs.orders.values()))[0]
    found.summon(order, 1, 3, "new")
    assert len(found.published("statement")) == 1


def test_an_heir_that_says_it_lacks_it_is_no_heir_any_more() -> None:
    found = released(heirs=("one", "two"))
    next_term(found, "two")
    assert found.runs.heritage.heirs(found.runs.committed()) == {id_of("one"), id_of("two")}
    lost(found, "two", 2)
    assert found.runs.heritage.heirs(found.runs.committed()) == {id_of("one")}
    bequest(found, "two", 2, lineage(1, 2), "two")
    ended(found, 1, 2, "two", adopts=found.runs.committed()[1][0].id)
    assert found.runs.heritage.heirs(found.runs.committed()) == {id_of("two")}


def test_order_of_arrival_changes_nothing() -> None:
    found = released(numbers=2, heirs=("one", "two"))
    next_term(found, "new")
    lost(found, "new", 2, above=1)
    bequest(found, "new", 2, lineage(2, 2), "new")
    for chance in range(8):
        records = list(found.told)
        random.Random(chance).shuffle(records)  # noqa: S311
        other = retold(records)
        assert other.runs.rebuilding() == found.runs.rebuilding() == [2]
        ended_ = other.runs.committed()
        assert other.runs.heritage.heirs(ended_) == {id_of("one"), id_of("two")}
        assert other.runs.heritage.wraps(lineage(2, 2), id_of("new")) != ()
