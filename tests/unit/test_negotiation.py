import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits, shape
from protocol.effects import OpenAgreement, Publish, Tell
from protocol.errors import Refused
from protocol.events import Received, Ticked
from protocol.identity import History
from protocol.kinds.agreement import Proposal, Rejection
from protocol.kinds.common import Vote
from protocol.kinds.identity import Claims, Credential
from protocol.machines.negotiation import SLOT, Negotiation, State
from protocol.topic import Feeds, Opening, read_opening
from tests.agreements import (
    AT,
    CAST,
    DOCUMENT,
    HOST_1,
    LAB,
    NEGOTIATION,
    PARTIES,
    SPONSOR,
    UNTIL,
    A,
    B,
    C,
    Pen,
    identities,
    renewed,
    seed,
    with_rules,
)

COUNTERED = with_rules(DOCUMENT, B, min_contributors=10, min_change=5)


def digest(document):
    return hashlib.sha256(shape.encode(document)).digest()


class Table:
    """All parties' machines and feeds, and a network that delivers at once."""

    def __init__(self):
        known = {one.did: History.of(one.participant) for one in CAST.values()}
        self.machines = {one.name: Negotiation(NEGOTIATION, one.did, known) for one in PARTIES}
        self.pens = {one.name: Pen(one) for one in PARTIES}
        self.feeds = {one.name: Feeds(NEGOTIATION.topic, "negotiation") for one in PARTIES}
        self.records = []

    def __getitem__(self, who):
        return self.machines[who.name]

    def act(self, who, effects):
        return [self.send(record) for record in self.pens[who.name].publish(effects)]

    def send(self, record):
        self.records.append(record)
        effects = {}
        for name, machine in self.machines.items():
            assert self.feeds[name].check(record, machine, AT)
            self.feeds[name].add(record)
            effects[name] = machine.handle(Received(record), 0)
        return effects


def agree(table, document=DOCUMENT, who=PARTIES):
    return [table.act(one, table[one].accept(digest(document))) for one in who][-1]


# --- the story ------------------------------------------------------------------------------


def test_sponsor_proposes_hospital_b_counters_all_sign():
    table = Table()
    assert table[A].state is State.DRAFT
    assert not table[A].pending()
    (told,) = table.act(SPONSOR, table[SPONSOR].propose(DOCUMENT))
    assert told["hospital-a"] == [Tell("agreement.proposed", table[A].newest.record)]
    assert table[A].state is State.PROPOSED
    assert table[A].pending()
    assert table[SPONSOR].pending()  # to propose is not to sign

    agree(table, who=(A, C))
    table.act(B, table[B].propose(COUNTERED, ("at least 10 people",)))
    assert {machine.state for machine in table.machines.values()} == {State.COUNTERED}
    assert table[A].newest.changes == ("at least 10 people",)
    assert table[A].newest.depth == 1
    assert table[A].pending()  # signed the old version only

    with pytest.raises(Refused, match=r"agreement\.version"):
        table[LAB].accept(digest(DOCUMENT))
    (told,) = agree(table, COUNTERED)
    assert table[A].state is State.AGREED
    assert not table[A].pending()
    for effects in told.values():
        (opening,) = [effect for effect in effects if isinstance(effect, OpenAgreement)]
        opened = read_opening(opening.opening)
        assert opened.document == COUNTERED
        assert opened.topic == digest(COUNTERED)


def test_opening_is_asked_for_until_done():
    table = Table()
    table.act(SPONSOR, table[SPONSOR].propose(DOCUMENT))
    agree(table)
    (again,) = table[A].handle(Ticked(), 1)
    assert isinstance(again, OpenAgreement)
    table[A].opened = True
    assert table[A].handle(Ticked(), 2) == []


def test_over_is_over():
    table = Table()
    table.act(SPONSOR, table[SPONSOR].propose(DOCUMENT))
    agree(table)
    assert table[A].accept(digest(DOCUMENT)) == []
    for act in (
        lambda: table[B].propose(COUNTERED),
        lambda: table[B].reject(digest(DOCUMENT), ("late",)),
    ):
        with pytest.raises(Refused, match=r"agreement\.closed"):
            act()


def test_a_rejection_stands_until_someone_counters():
    table = Table()
    table.act(SPONSOR, table[SPONSOR].propose(DOCUMENT))
    table.act(B, table[B].reject(digest(DOCUMENT), ("rules.min_contributors: wanted 10",)))
    assert table[A].state is State.REJECTED
    assert not table[B].pending()
    assert table[A].pending()
    newest = table[A].newest
    assert table[A].rejecting(newest) == {B.did: ("rules.min_contributors: wanted 10",)}
    assert table[B].reject(digest(DOCUMENT), ("again",)) == []
    table.act(A, table[A].propose(with_rules(DOCUMENT, A, min_contributors=10)))
    assert table[B].state is State.COUNTERED
    assert table[B].pending()


def test_an_unsigned_version_is_not_agreed():
    table = Table()
    table.act(SPONSOR, table[SPONSOR].propose(DOCUMENT))
    for number, one in enumerate(PARTIES, 1):
        assert table[A].state is State.PROPOSED
        agree(table, who=(one,))
        assert len(table[A].unsigned(table[A].newest)) == len(PARTIES) - number
    assert table[A].state is State.AGREED


# --- order of arrival -----------------------------------------------------------------------


def history():
    """Records of a negotiation with crossing counter-offers, a rejection and all signatures."""
    table = Table()
    table.act(SPONSOR, table[SPONSOR].propose(DOCUMENT))
    agree(table, who=(A, C))
    crossing = with_rules(DOCUMENT, A, precision=3)
    effects = table[A].propose(crossing)  # before A saw B's
    table.act(B, table[B].propose(COUNTERED))
    table.act(A, effects)
    table.act(C, table[C].reject(table[C].newest.digest, ("too strict",)))
    newest = table[B].newest.document
    final = with_rules(newest, LAB, small_cells="refuse")
    table.act(LAB, table[LAB].propose(final))
    agree(table, final)
    return table.records


HISTORY = history()


def summary(machine):
    return (
        machine.state,
        machine.newest,
        machine.agreed,
        dict(sorted(machine.versions.items())),
        {id_: machine.signatures(v) for id_, v in machine.versions.items()},
        {id_: machine.rejecting(v) for id_, v in machine.versions.items()},
        machine.pending(),
    )


def machine_of(records):
    known = {one.did: History.of(one.participant) for one in CAST.values()}
    machine = Negotiation(NEGOTIATION, C.did, known)
    effects = [machine.handle(Received(record), 0) for record in records]
    return machine, effects


@st.composite
def interleavings(draw):
    """HISTORY (or the beginning of each feed) in an order that keeps each feed's own order."""
    feeds = {}
    for record in HISTORY:
        feeds.setdefault(record.key, []).append(record)
    kept = {key: feed[: draw(st.integers(0, len(feed)))] for key, feed in feeds.items()}
    tickets = [key for key, feed in kept.items() for _ in feed]

    def order():
        rest = {key: list(feed) for key, feed in kept.items()}
        return [rest[key].pop(0) for key in draw(st.permutations(tickets))]

    return order(), order()


@settings(max_examples=60)
@given(interleavings())
def test_order_across_feeds_never_changes_the_state(orders):
    first, second = (machine_of(records)[0] for records in orders)
    assert summary(first) == summary(second)
    assert first.handle(Ticked(), 0) == second.handle(Ticked(), 0)


def test_votes_may_come_before_what_they_are_for():
    machine, effects = machine_of(reversed(HISTORY))
    assert machine.state is State.AGREED
    assert any(isinstance(effect, OpenAgreement) for effect in effects[-1])


def test_a_record_that_comes_twice_changes_nothing():
    once, _ = machine_of(HISTORY)
    twice, _ = machine_of(HISTORY + HISTORY)
    assert once.proposals == twice.proposals
    assert summary(once) == summary(twice)


# --- the gate -------------------------------------------------------------------------------


def refused(record, machine=None):
    with pytest.raises(Refused) as refusal:
        (machine or Table()[C]).authorise(record)
    return refusal.value.code


def proposal(document=DOCUMENT, parent=None):
    return Proposal(
        document=shape.encode(document),
        identities=identities(document),
        parent=parent,
        changes=(),
    )


def vote(**changes):
    body = {
        "slot": SLOT,
        "subject": digest(DOCUMENT),
        "choice": "yes",
        "identity": B.participant.id,
    }
    return Vote(**{**body, **changes})


def test_who_may_write():
    assert refused(Pen(HOST_1).write("rejection", Rejection(subject=seed("x"), reasons=()))) == (
        "agreement.party"
    )
    impostor = replace(A, signing=seed("stolen"))
    assert refused(Pen(impostor).write("proposal", proposal())) == "record.author"
    assert refused(Pen(A).write("vote", vote(), at=UNTIL + 1)) == "identity.expired"
    machine = Table()[C]
    del machine.histories[A.did]
    assert refused(Pen(A).write("vote", vote()), machine) == "record.author"
    machine.authorise(Pen(B).write("vote", vote()))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"slot": "agreement/1"}, "decision.subject"),
        ({"document": b"x"}, "decision.subject"),
        ({"choice": "no"}, "record.policy"),
    ],
)
def test_which_votes(changes, code):
    assert refused(Pen(B).write("vote", vote(**changes))) == code


def test_only_the_voting_key_votes():
    machine = Table()[C]
    other = replace(B, signing=seed("second key"))
    machine.histories[B.did].learn(renewed(B, B.signing, others=(other.signing,)).participant)
    assert refused(Pen(other).write("vote", vote()), machine) == "decision.voter"
    machine.authorise(Pen(other).write("rejection", Rejection(subject=seed("x"), reasons=())))


def test_no_member_can_flood_a_negotiation():
    pen = Pen(A)
    body = Rejection(subject=seed("x"), reasons=())
    for _ in range(limits.NEGOTIATION):
        record = pen.write("rejection", body)
    Table()[C].authorise(record)
    assert refused(pen.write("rejection", body)) == "record.policy"


def test_other_kinds_do_not_stand_here():
    credential = Credential(subject=A.did, claims=Claims(legal_name="A", country="NL"), until=AT)
    record = Pen(A).write("credential", credential)
    with pytest.raises(Refused, match=r"record\.kind"):
        Feeds(NEGOTIATION.topic, "negotiation").check(record, Table()[C], AT)


def test_proposals_are_for_this_negotiation_and_its_members():
    assert refused(Pen(A).write("proposal", proposal(replace(DOCUMENT, space=seed("y"))))) == (
        "agreement.space"
    )
    elsewhere = replace(DOCUMENT, negotiation=seed("y"))
    assert refused(Pen(A).write("proposal", proposal(elsewhere))) == "agreement.space"
    without = replace(DOCUMENT, parties=DOCUMENT.parties[:2])
    assert refused(Pen(C).write("proposal", proposal(without))) == "agreement.party"
    stranger = replace(
        DOCUMENT.parties[0], did=HOST_1.did, name="x", vote_key=HOST_1.participant.vote_key
    )
    more = replace(DOCUMENT, parties=(*DOCUMENT.parties, stranger))
    assert refused(Pen(A).write("proposal", proposal(more))) == "agreement.space"
    garbage = Proposal(document=b"\xa0", identities=(), parent=None, changes=())
    assert refused(Pen(A).write("proposal", garbage)) == "shape.mismatch"


def test_my_own_acts_pass_the_same_rules():
    table = Table()
    for document, code in [
        (replace(DOCUMENT, space=seed("y")), "agreement.space"),
        (replace(DOCUMENT, outputs=()), "agreement.document"),
        (COUNTERED, "agreement.document"),  # names hospital B as source of two rules
    ]:
        with pytest.raises(Refused) as refusal:
            table[SPONSOR].propose(document)
        assert refusal.value.code == code
    with pytest.raises(Refused, match=r"agreement\.version"):
        table[A].accept(digest(DOCUMENT))
    smaller = replace(
        DOCUMENT,
        parties=tuple(party for party in DOCUMENT.parties if party.did != C.did),
    )
    table.act(SPONSOR, table[SPONSOR].propose(smaller))
    with pytest.raises(Refused, match=r"agreement\.party"):
        table[C].accept(digest(smaller))
    assert not table[C].pending()


def test_a_machine_is_for_negotiations_only():
    other = Opening(topic=seed("x"), type="agreement", document=DOCUMENT, raw=b"")
    with pytest.raises(Refused, match=r"topic\.opening"):
        Negotiation(other, A.did, {})


# --- versions that do not count -------------------------------------------------------------


def test_an_orphan_waits_for_its_parent():
    machine, _ = machine_of(())
    first, second = Pen(SPONSOR), Pen(B)
    parent = first.write("proposal", proposal())
    child = second.write("proposal", proposal(COUNTERED, parent.id))
    machine.handle(Received(child), 0)
    assert machine.state is State.DRAFT
    machine.handle(Received(parent), 0)
    assert machine.newest.document == COUNTERED


def test_who_names_another_as_source_is_not_a_version():
    machine, _ = machine_of(())
    parent = Pen(SPONSOR).write("proposal", proposal())
    blaming = with_rules(DOCUMENT, B, precision=0)
    child = Pen(A).write("proposal", proposal(blaming, parent.id))
    for record in (parent, child):
        machine.authorise(record)
        machine.handle(Received(record), 0)
    assert machine.newest.document == DOCUMENT


def test_a_vote_counts_with_the_key_in_the_document_only():
    table = Table()
    document = renewed_document()
    for one in PARTIES:
        if one is not A:
            table[one].histories[A.did].learn(RENEWED)
    (proposed,) = table[SPONSOR].propose(document)
    record = table.pens["sponsor"].publish([proposed])[0]
    for machine in table.machines.values():
        machine.authorise(record)
        machine.handle(Received(record), 0)
    with pytest.raises(Refused, match=r"agreement\.document: the identity of hospital-a"):
        table[A].accept(digest(document))
    by_hand = {one: Pen(one).write("vote", vote(subject=digest(document))) for one in PARTIES}
    for one, signed in by_hand.items():  # A signs with its old key
        assert one is A or table[B].handle(Received(signed), 0)
    table[B].handle(Received(by_hand[A]), 0)
    assert table[B].unsigned(table[B].newest) == (A.did,)
    assert table[B].state is State.PROPOSED


RENEWED = renewed(A, seed("new")).participant


def renewed_document():
    party = replace(DOCUMENT.parties[0], vote_key=RENEWED.vote_key, identity=RENEWED.id)
    return replace(DOCUMENT, parties=(party, *DOCUMENT.parties[1:]))


def test_only_the_newest_identities_are_proposed_and_signed():
    table = Table()
    with pytest.raises(Refused, match=r"agreement\.document: the identity of hospital-a"):
        table[SPONSOR].propose(renewed_document())
    table.act(SPONSOR, table[SPONSOR].propose(DOCUMENT))
    table[B].histories[A.did].learn(RENEWED)  # learned after the proposal
    with pytest.raises(Refused, match=r"agreement\.document: the identity of hospital-a"):
        table[B].accept(digest(DOCUMENT))
    forged = replace(DOCUMENT.parties[0], vote_key=RENEWED.vote_key)
    document = replace(DOCUMENT, parties=(forged, *DOCUMENT.parties[1:]))
    with pytest.raises(Refused, match=r"agreement\.document"):
        table[C].propose(document)


def test_a_proposal_brings_the_identities_that_it_names():
    known = identities(DOCUMENT)
    for wrong in ((), known[1:], (known[1], known[0], *known[2:])):
        body = replace(proposal(), identities=wrong)
        assert refused(Pen(A).write("proposal", body)) == "agreement.document"


def test_ties_go_to_the_lowest_digest():
    table = Table()
    table.act(SPONSOR, table[SPONSOR].propose(DOCUMENT))
    offers = [with_rules(DOCUMENT, one, precision=3) for one in (A, B, C)]
    effects = [table[one].propose(offer) for one, offer in zip((A, B, C), offers, strict=True)]
    for one, effect in zip((A, B, C), effects, strict=True):
        table.act(one, effect)
    assert table[LAB].newest.digest == min(map(digest, offers))


def test_propose_publishes_what_was_given():
    (effect,) = Table()[SPONSOR].propose(DOCUMENT, ("first",))
    assert effect == Publish("proposal", replace(proposal(), changes=("first",)))


def test_an_unsound_proposal_is_refused_at_the_gate():
    without = replace(DOCUMENT, outputs=())
    assert refused(Pen(A).write("proposal", proposal(without))) == "agreement.document"
