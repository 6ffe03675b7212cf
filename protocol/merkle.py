"""Receipts for people: a Merkle tree (RFC 6962 section 2.1) over the sorted leaves of a run.

A leaf is an HMAC by the person's receipt secret, so only its holder can ask, neighbours are opaque
and runs unlinkable. Inclusion proves use; absence is shown between two neighbours. That the leaves
are sorted rests on the enclave that built the tree.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from protocol import keys
from protocol.errors import Misuse, Refused
from protocol.shape import Count, Hash, Max

LEAF_BYTES = 32
"""One leaf: HMAC-SHA256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """`leaf` is at `index` (from 0); `path` are the sibling hashes from the bottom up."""

    leaf: Hash
    index: Count
    path: Annotated[tuple[Hash, ...], Max(64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """`leaf` is not there: `before` and `after` are neighbours, and it would stand between them.

    At either end of the leaves one neighbour is missing; without any leaf both are.
    """

    leaf: Hash
    before: Inclusion | None = None
    after: Inclusion | None = None


def person_leaf(secret: bytes, agreement: bytes, number: int) -> bytes:
    """The leaf of the holder of receipt secret `secret` in run `number` of an agreement."""
    message = keys.digest("leaf", agreement, number.to_bytes(8, "big"))
    return hmac.digest(secret, message, "sha256")


def split(leaves: bytes) -> tuple[bytes, ...]:
    """The leaves in a concatenation. Raises Refused (run.proof) if cut off or not sorted."""
    found = tuple(leaves[start : start + LEAF_BYTES] for start in range(0, len(leaves), LEAF_BYTES))
    if len(leaves) % LEAF_BYTES or not _ascending(found):
        raise Refused("run.proof", "the leaves are cut off, repeated or not sorted")
    return found


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over strictly ascending leaves; of none it is the SHA-256 of nothing."""
    if not _ascending(leaves):
        raise Misuse("leaves must be sorted and differ")
    return _subtree([_leaf_hash(leaf) for leaf in leaves])


def prove(leaves: Sequence[bytes], leaf: bytes) -> Inclusion | Absence:
    """The proof that `leaf` is among the strictly ascending `leaves`, or that it is not."""
    if not _ascending(leaves):
        raise Misuse("leaves must be sorted and differ")
    hashes = [_leaf_hash(each) for each in leaves]
    at = sum(each < leaf for each in leaves)
    if at < len(leaves) and leaves[at] == leaf:
        return Inclusion(leaf=leaf, index=at, path=_path(hashes, at))
    return Absence(
        leaf=leaf,
        before=_neighbour(leaves, hashes, at - 1),
        after=_neighbour(leaves, hashes, at),
    )


def verify_inclusion(proof: Inclusion, leaf: bytes, expected: bytes, count: int) -> None:
    """Check that `leaf` is among the `count` leaves under root `expected`.

    Raises Refused (run.proof). The steps are those of RFC 9162 section 2.1.3.2.
    """
    if proof.leaf != leaf or proof.index >= count:
        raise Refused("run.proof", "the proof is about another leaf")
    index, last, found = proof.index, count - 1, _leaf_hash(leaf)
    for sibling in proof.path:
        if last == 0:
            raise Refused("run.proof", "the path is too long")
        if index % 2 or index == last:
            found = _node_hash(sibling, found)
            while index and index % 2 == 0:
                index, last = index // 2, last // 2
        else:
            found = _node_hash(found, sibling)
        index, last = index // 2, last // 2
    if last or found != expected:
        raise Refused("run.proof", "the path does not end at the root")


def verify_absence(proof: Absence, leaf: bytes, expected: bytes, count: int) -> None:
    """Check that `leaf` is not among the `count` sorted leaves under root `expected`.

    Raises Refused (run.proof). Both neighbours must be there, unless `leaf` is beyond an end.
    """
    before, after = proof.before, proof.after
    if proof.leaf != leaf:
        raise Refused("run.proof", "the proof is about another leaf")
    if (before and before.leaf >= leaf) or (after and after.leaf <= leaf):
        raise Refused("run.proof", "the leaf is not between the neighbours")
    if (after.index if after else count) != (before.index + 1 if before else 0):
        raise Refused("run.proof", "the neighbours are not next to each other")
    if count == 0 and expected != root([]):
        raise Refused("run.proof", "the tree is not empty")
    for neighbour in (before, after):
        if neighbour:
            verify_inclusion(neighbour, neighbour.leaf, expected, count)


def _ascending(leaves: Sequence[bytes]) -> bool:
    return all(one < following for one, following in pairwise(leaves))


def _neighbour(leaves: Sequence[bytes], hashes: list[bytes], at: int) -> Inclusion | None:
    if not 0 <= at < len(leaves):
        return None
    return Inclusion(leaf=leaves[at], index=at, path=_path(hashes, at))


def _subtree(hashes: list[bytes]) -> bytes:
    if len(hashes) <= 1:
        return hashes[0] if hashes else hashlib.sha256().digest()
    middle = _middle(len(hashes))
    return _node_hash(_subtree(hashes[:middle]), _subtree(hashes[middle:]))


def _path(hashes: list[bytes], at: int) -> tuple[bytes, ...]:
    if len(hashes) <= 1:
        return ()
    middle = _middle(len(hashes))
    if at < middle:
        return (*_path(hashes[:middle], at), _subtree(hashes[middle:]))
    return (*_path(hashes[middle:], at - middle), _subtree(hashes[:middle]))


def _middle(count: int) -> int:
    """The largest power of two below `count`: where RFC 6962 splits."""
    return 1 << (count - 1).bit_length() - 1


def _leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
