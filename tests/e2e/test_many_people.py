"""Thousands of small shares in one agreement and in one run, through the real sandbox."""

import json

import pytest

from enclave_host import environment
from enclave_host.conduct import PAGE
from protocol import limits, merkle, record, shape
from protocol.errors import Refused
from tests.crowd_rig import (
    PEOPLE_RULES,
    carried,
    compare,
    gauge,
    person,
    push_all,
    run_for_all,
    share_of,
    show_all,
)
from tests.enclave_drive import Host, enclaves, open_delivery
from tests.enclave_rig import SCIENTIFIC, Rig

pytestmark = pytest.mark.e2e

PUSHED = 16
"""People whose shares come in one by one; those of the others are stored already."""

HEIRS = 60
"""People whose shares are sealed to the standby too."""


@pytest.fixture
def start():
    if not SCIENTIFIC.is_dir():
        pytest.fail("the environment is missing: make setup")
    with enclaves(SCIENTIFIC, "any") as boot:
        yield boot


@pytest.mark.parametrize("people", [1100, pytest.param(limits.PEOPLE, marks=pytest.mark.soak)])
def test_the_shares_of_thousands_of_people(start, people):
    rig = Rig(environment.digest(SCIENTIFIC), **PEOPLE_RULES)
    booted = start(), start()
    office, heir = (
        Host(rig, who, gauge(one)).join()
        for who, one in zip((rig.host_1, rig.host_2), booted, strict=True)
    )
    office.take_office(1, (heir.candidacy,))
    shares = [share_of(rig, n, office.keys) for n in range(people - HEIRS)]
    shares += [share_of(rig, n, office.keys, heir.keys) for n in range(people - HEIRS, people)]

    assert push_all(office, shares[-PUSHED:]) == {"kept": PUSHED}
    assert show_all(office, shares) == people - PUSHED
    assert show_all(office, shares) == 0

    body = run_for_all(office)
    assert (body.outcome, body.rows, body.leaf_count) == ("released", people, people)
    assert office.door.asked["Load"] < people / 20
    assert booted[0].room.used == 0
    check_proof(office, body, person(people // 2).secret)
    check_release(office, people)
    assert office.door.largest < len(office.concluded.lineage or b"") + limits.FRAME * 3
    check_take_over(heir, shares)


def check_proof(office, body, secret):
    """A proof of use stays small, however many people there are."""
    leaves = merkle.split(office.concluded.leaves)
    assert merkle.root(leaves) == body.leaves
    proof = merkle.prove(leaves, merkle.person_leaf(secret, office.rig.id, 1))
    assert isinstance(proof, merkle.Inclusion)
    assert len(shape.encode(proof)) < 1024


def check_release(office, people):
    """All outputs come, page by page, each once, and the same when asked again."""
    certificate = office.rig.run_certificate(office.concluded.run)
    pages = []
    after, more = 0, True
    while more:
        page = office.release_page(certificate, after)
        assert 0 < sum(one.size for one in page.deliveries) <= PAGE
        pages.append(page)
        after, more = after + len(page.deliveries), page.more
    assert 1 < len(pages) < people / 100
    found = [one for page in pages for one in page.deliveries]
    assert len({(one.name, one.to) for one in found}) == len(found) == people + 2
    assert office.release_page(certificate, len(pages[0].deliveries)) == pages[1]
    assert office.release_page(certificate, people + 2).deliveries == ()
    who = person(3)
    (own,) = (one for one in found if one.to == who.key)
    assert set(json.loads(open_delivery(own, who.sealing).content)) == {"relative_risk"}
    carried(office, record.parse(office.concluded.run).id)
    assert office.release(certificate) == ()


def check_take_over(heir, shares):
    """After a take-over the shares sealed to the new host are used; of those that were not, their
    owners are away, nothing can be opened, and a run goes on without them.
    """
    heir.take_office(2)
    assert compare(heir, tuple(one.id for one in shares)) == [one.id for one in shares]
    with pytest.raises(Refused, match=r"share\.wrap"):
        heir.keep(shares[0])
    assert show_all(heir, shares[-HEIRS:]) == HEIRS
    heir.attest(2)
    prepared = heir.prepare(1, heir.rig.statements(heir.summon(1)))
    assert set(prepared.shares) == {one.id for one in shares[-HEIRS:]}
