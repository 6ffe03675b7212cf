"""Receipts: the tree's published answers, and that no proof proves what is not so."""

import dataclasses
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import keys, merkle, shape
from protocol.errors import Misuse, Refused
from protocol.merkle import Absence, Inclusion
from tests.strategies import hashes

leaf_sets = st.sets(hashes, max_size=20).map(lambda leaves: sorted(leaves))

# Test inputs of Certificate Transparency (RFC 6962); they happen to be sorted.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def verify(proof: Inclusion | Absence, leaf: bytes, root: bytes, count: int) -> None:
    match proof:
        case Inclusion():
            merkle.verify_inclusion(proof, leaf, root, count)
        case Absence():
            merkle.verify_absence(proof, leaf, root, count)


def refused(proof: Inclusion | Absence, leaf: bytes, root: bytes, count: int) -> None:
    with pytest.raises(Refused) as caught:
        verify(proof, leaf, root, count)
    assert caught.value.code == "run.proof"


@pytest.mark.parametrize("count", range(9))
def test_published_roots(count: int) -> None:
    assert merkle.root(CT_LEAVES[:count]).hex() == CT_ROOTS[count]


def test_published_path() -> None:
    proof = merkle.prove(CT_LEAVES, b"")
    assert isinstance(proof, Inclusion)
    assert [each.hex() for each in proof.path] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


@given(leaf_sets, hashes)
def test_every_leaf_has_a_proof_of_the_kind_that_is_true(leaves: list[bytes], other: bytes) -> None:
    root = merkle.root(leaves)
    for leaf in leaves:
        proof = merkle.prove(leaves, leaf)
        assert isinstance(proof, Inclusion)
        merkle.verify_inclusion(proof, leaf, root, len(leaves))
    if other not in leaves:
        absent = merkle.prove(leaves, other)
        assert isinstance(absent, Absence)
        merkle.verify_absence(absent, other, root, len(leaves))


@given(leaf_sets, hashes)
def test_proofs_are_documents(leaves: list[bytes], leaf: bytes) -> None:
    proof = merkle.prove(leaves, leaf)
    assert shape.decode(type(proof), shape.encode(proof)) == proof


def number(value: int) -> bytes:
    return value.to_bytes(32, "big")


LEAVES = [number(value) for value in (10, 20, 30, 40, 50)]
ROOT = merkle.root(LEAVES)


def included(value: int, leaves: list[bytes] = LEAVES) -> Inclusion:
    proof = merkle.prove(leaves, number(value))
    assert isinstance(proof, Inclusion)
    return proof


def absent(value: int, leaves: list[bytes] = LEAVES) -> Absence:
    proof = merkle.prove(leaves, number(value))
    assert isinstance(proof, Absence)
    return proof


@pytest.mark.parametrize("value", [10, 20, 30, 40, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9, 16, 2**40])
def test_inclusion_in_a_tree_of_another_size(value: int, count: int) -> None:
    refused(included(value), number(value), ROOT, count)


@pytest.mark.parametrize("change", [b"", bytes(32)])
def test_inclusion_with_another_path(change: bytes) -> None:
    for value in (10, 30, 50):
        proof = included(value)
        for at in range(len(proof.path)):
            path = (*proof.path[:at], *([change] if change else []), *proof.path[at + 1 :])
            refused(dataclasses.replace(proof, path=path), number(value), ROOT, 5)
        longer = dataclasses.replace(proof, path=(*proof.path, bytes(32)))
        refused(longer, number(value), ROOT, 5)


def test_inclusion_at_another_index() -> None:
    for index in (0, 1, 3, 4, 5, 2**40):
        refused(dataclasses.replace(included(30), index=index), number(30), ROOT, 5)


def test_inclusion_beyond_the_end() -> None:
    """With one leaf the path is empty, so nothing but the count bounds the index."""
    only = Inclusion(leaf=number(1), index=0, path=())
    root = merkle.root([number(1)])
    merkle.verify_inclusion(only, number(1), root, 1)
    refused(dataclasses.replace(only, index=1), number(1), root, 1)


def test_inclusion_of_another_leaf() -> None:
    refused(included(30), number(20), ROOT, 5)
    refused(dataclasses.replace(included(30), leaf=number(20)), number(20), ROOT, 5)


def test_inclusion_under_another_root() -> None:
    refused(included(30), number(30), merkle.root(LEAVES[:4]), 5)


@pytest.mark.parametrize("value", [5, 15, 45, 55])
def test_absence_of_another_leaf(value: int) -> None:
    merkle.verify_absence(absent(value), number(value), ROOT, 5)
    refused(absent(value), number(value + 1), ROOT, 5)
    refused(absent(value), number(value), merkle.root(LEAVES[1:]), 5)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (included(20), included(40)),  # the leaf itself skipped
        (included(10), included(40)),
        (None, included(40)),
        (included(20), None),
        (None, None),
        (included(40), included(20)),
        (included(40), included(50)),  # neighbours, but of something else
        (included(10), included(20)),
        (None, included(10)),
        (included(50), None),
        (included(30), included(40)),  # the leaf itself as a neighbour
        (included(20), included(30)),
    ],
)
def test_absence_of_a_leaf_that_is_there(before: Inclusion | None, after: Inclusion | None) -> None:
    refused(Absence(leaf=number(30), before=before, after=after), number(30), ROOT, 5)


def test_absence_by_a_neighbour_from_another_tree() -> None:
    others = [number(value) for value in (10, 20, 35, 40, 50)]
    proof = Absence(leaf=number(30), before=included(20), after=included(35, others))
    refused(proof, number(30), ROOT, 5)
    refused(absent(30, others), number(30), ROOT, 5)


def test_absence_from_a_tree_told_empty() -> None:
    refused(Absence(leaf=number(30)), number(30), ROOT, 0)
    merkle.verify_absence(Absence(leaf=number(30)), number(30), merkle.root([]), 0)


def test_unsorted_leaves() -> None:
    for leaves in ([number(2), number(1)], [number(1), number(1)]):
        with pytest.raises(Misuse):
            merkle.root(leaves)
        with pytest.raises(Misuse):
            merkle.prove(leaves, number(1))
        with pytest.raises(Refused):
            merkle.split(b"".join(leaves))


def test_split() -> None:
    assert merkle.split(b"".join(LEAVES)) == tuple(LEAVES)
    assert merkle.split(b"") == ()
    with pytest.raises(Refused) as caught:
        merkle.split(b"".join(LEAVES)[:-1])
    assert caught.value.code == "run.proof"


def test_person_leaf() -> None:
    message = keys.digest("leaf", b"a" * 32, (7).to_bytes(8, "big"))
    leaf = merkle.person_leaf(b"s" * 32, b"a" * 32, 7)
    assert leaf == hmac.digest(b"s" * 32, message, "sha256")
    others = [
        merkle.person_leaf(b"t" * 32, b"a" * 32, 7),
        merkle.person_leaf(b"s" * 32, b"b" * 32, 7),
        merkle.person_leaf(b"s" * 32, b"a" * 32, 8),
    ]
    assert len({leaf, *others}) == 4
