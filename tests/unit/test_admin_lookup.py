"""Short ids mean one thing or are refused; petnames cannot be taken over."""

from types import SimpleNamespace

import pytest

from node import judgement
from node.admin.failure import Failure
from node.admin.lookup import one_of
from tests.agreements import CAST, actor, seed

IDS = [bytes.fromhex(text.ljust(64, "0")) for text in ("abcd1", "abcd2", "beef")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("beef", IDS[2]), ("BEEF", IDS[2]), ("abcd1", IDS[0]), (IDS[1].hex(), IDS[1])],
)
def test_a_short_id_is_found(text, expected):
    assert one_of(IDS, text, "record") == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("abcd", "id.ambiguous"),
        ("dead", "id.unknown"),
        ("bee", "id.short"),
        ("", "id.short"),
        ("be ef", "id.short"),
        ("beef\n", "id.short"),
        ("beeg", "id.short"),
        ("a" * 65, "id.short"),
    ],
)
def test_what_is_not_one_id_is_refused(text, code):
    with pytest.raises(Failure) as refused:
        one_of(IDS, text, "record")
    assert refused.value.code == code


def node_of(me, members, guests=()):
    space = SimpleNamespace(
        members=lambda: {m.did: SimpleNamespace(participant=m) for m in members},
    )
    known = {one.did: one for one in (*members, *guests, me)}
    world = SimpleNamespace(me=me, spaces=lambda: [space], participants=lambda: known)
    return SimpleNamespace(world=world)


A, B = CAST["hospital-a"].participant, CAST["hospital-b"].participant
SPONSOR = CAST["sponsor"].participant


def impostor(name):
    return actor(name, seed("another")).participant


def test_a_name_means_its_member():
    found = judgement.petnames(node_of(A, [A, B], [SPONSOR]))
    assert (found["hospital-b"].did, found["sponsor"].did) == (B.did, SPONSOR.did)


def test_a_guest_cannot_take_the_name_of_a_member():
    other = SimpleNamespace(did=seed("guest"), name="hospital-b")
    assert judgement.petnames(node_of(A, [A, B], [other]))["hospital-b"].did == B.did


def test_a_name_that_two_have_means_nobody_but_myself():
    other = SimpleNamespace(did=seed("other"), name="hospital-b")
    assert "hospital-b" not in judgement.petnames(node_of(A, [A, B, other]))
    assert judgement.petnames(node_of(B, [A, B, other]))["hospital-b"].did == B.did
    third = SimpleNamespace(did=seed("third"), name="sponsor")
    assert "sponsor" not in judgement.petnames(node_of(A, [A, B], [SPONSOR, third]))
