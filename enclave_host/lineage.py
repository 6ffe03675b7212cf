"""The lineage: which people each result that left rests on, so that no two differ by too few, and
the states that later runs read.

It is kept by the host, sealed once under a fresh key, which is wrapped to this enclave and to each
standby that the election names (enclave_host/inheritance.py). The record of the newest run from
which something left pins it: no run rests on an old copy, or on none.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

from enclave_host import contributors
from enclave_host.contributors import Contributor, Contributors
from protocol import limits, shape
from protocol.attestation.evidence import enclave_id
from protocol.errors import Refused
from protocol.kinds.host import EnclaveKeys
from protocol.kinds.share import Wrap
from protocol.sealing import box, wrap
from protocol.shape import Count, Hash, Key, Max, Name, Text

Bytes = Annotated[bytes, Max(limits.BLOB)]

_HALF = 16
_ONE_CONSENT: Final = 64
_SMALLEST: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """People with the same sources: of each 16 bytes of tag, 16 of content and, where there are
    several sources, 16 of what each says; all in a row.
    """

    organizations: tuple[Key, ...]
    own: bool
    vouched: tuple[Key, ...]
    people: Bytes

    def contributors(self) -> Contributors:
        """Each of them."""
        organizations, vouched = frozenset(self.organizations), frozenset(self.vouched)
        sources = len(organizations) + self.own
        width = _HALF * (2 + (sources if sources > 1 else 0))
        found = {}
        for at in range(0, len(self.people), width):
            tag, content, *parts = (
                self.people[part : part + _HALF] for part in range(at, at + width, _HALF)
            )
            found[tag] = Contributor(organizations, self.own, vouched, content, tuple(parts))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run from which something left: `groups` are the people in its rows; `rests` the earlier
    runs whose people it rests on too, through the states that it read.
    """

    number: Count
    entry: Name
    parameters: Text
    groups: tuple[Group, ...]
    rests: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What run `number` wrote for later runs. `salt` is that of the digest in its record;
    `consents` are id and key (64 bytes) of each consent that it rests on, in a row.
    """

    name: Name
    number: Count
    salt: Hash
    content: Bytes
    consents: Bytes

    def rests_on(self, consents: frozenset[bytes]) -> bool:
        """Whether one of these consents (id and key) is among its own."""
        own = range(0, len(self.consents), _ONE_CONSENT)
        return any(self.consents[at : at + _ONE_CONSENT] in consents for at in own)


@dataclass(frozen=True, slots=True)
class Lineage:
    """All runs of one agreement from which something left, and the states in force."""

    results: tuple[Result, ...] = ()
    states: tuple[State, ...] = ()

    def grown(self, result: Result, states: Iterable[State]) -> "Lineage":
        """The lineage after one more run, with the states that are in force from then on."""
        kept = tuple(sorted(states, key=lambda state: state.name))
        return Lineage(results=(*self.results, result), states=kept)

    def people(self, numbers: Iterable[int]) -> Contributors:
        """All people in the rows of these runs."""
        wanted = set(numbers)
        found = [
            group.contributors()
            for result in self.results
            if result.number in wanted
            for group in result.groups
        ]
        return contributors.united(found)

    def bodies(self, result: Result) -> list[Contributors]:
        """All people that a result rests on, and those of its own rows where that is not all."""
        numbers = ((result.number, *result.rests), (result.number,))
        return [self.people(one) for one in numbers[: 2 if result.rests else 1]]

    def behind(self, states: Iterable[State]) -> tuple[int, ...]:
        """The runs whose people these states rest on."""
        rests = {result.number: result.rests for result in self.results}
        found = {number for one in states for number in (one.number, *rests.get(one.number, ()))}
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A result whose groups are places in the list of all that differ: the same thousands of people
    in every run are written once.
    """

    number: Count
    entry: Name
    parameters: Text
    groups: Annotated[tuple[Count, ...], Max(limits.FEED)]
    rests: tuple[Count, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What is sealed of a lineage. `padding` hides from the host how large the states are."""

    groups: Annotated[tuple[Group, ...], Max(limits.FEED)]
    results: tuple[_Kept, ...]
    states: tuple[State, ...]
    padding: Bytes


def result(
    number: int, entry: str, parameters: str, people: Contributors, rests: Sequence[int] = ()
) -> Result:
    """What the lineage keeps of a run: `people` are those in its own rows."""
    groups: dict[Contributor, list[bytes]] = {}
    for person, contributor in people.items():
        sources = replace(contributor, content=b"", parts=())
        says = contributor.content + b"".join(contributor.parts)
        groups.setdefault(sources, []).append(person + says)
    written = [
        Group(
            organizations=tuple(sorted(contributor.organizations)),
            own=contributor.own,
            vouched=tuple(sorted(contributor.vouched)),
            people=b"".join(sorted(members)),
        )
        for contributor, members in groups.items()
    ]
    written.sort(key=lambda group: (group.organizations, group.own, group.vouched))
    return Result(
        number=number,
        entry=entry,
        parameters=parameters,
        groups=tuple(written),
        rests=tuple(rests),
    )


def seal(lineage: Lineage, agreement: bytes) -> tuple[bytes, bytes]:
    """The sealed lineage, and the key under which it lies. Raises Refused (gate.lineage) if it grew
    too large to store.
    """
    key = os.urandom(wrap.KEY_BYTES)
    sealed = box.seal(_written(lineage), key, "lineage", agreement)
    if len(sealed) > limits.BLOB:
        raise Refused("gate.lineage", "too many people in too many results")
    return sealed, key


def digest(sealed: bytes) -> bytes:
    """What a run record pins: the sealed bytes alone, so that wraps of their key can be added."""
    return hashlib.sha256(sealed).digest()


def wraps(
    key: bytes, pinned: bytes, agreement: bytes, enclaves: Iterable[EnclaveKeys]
) -> tuple[Wrap, ...]:
    """The key of the lineage with digest `pinned`, for each of these enclaves."""
    names = {enclave_id(keys): keys.sealing for keys in enclaves}
    return tuple(
        Wrap(enclave=name, sealed=wrap.seal(key, to, "lineage-key", agreement, name, pinned))
        for name, to in names.items()
    )


def open_(
    sealed: bytes | None,
    pinned: bytes,
    keys: Iterable[bytes],
    agreement: bytes,
    seed: bytes,
    enclave: bytes,
) -> tuple[Lineage, bytes]:
    """The lineage with digest `pinned`, and its key, which one of the wraps `keys` holds. Raises
    Refused (gate.lineage).

    AES-GCM does not commit to its key, but these very bytes are pinned, and their key was fresh
    when an enclave sealed them: a wrap of any other key opens nothing.
    """
    if sealed is None or digest(sealed) != pinned:
        raise Refused("gate.lineage", "not the one that the newest such run names")
    for wrapped in keys:
        try:
            key = wrap.open_(wrapped, seed, "lineage-key", agreement, enclave, pinned)
            plain = box.open_(sealed, key, "lineage", agreement)
        except Refused:
            continue  # anybody can wrap something; one that holds is enough
        return _read(plain), key
    raise Refused("gate.lineage", "its key was not wrapped to this enclave")


def _written(lineage: Lineage) -> bytes:
    """The plain bytes of a lineage."""
    places: dict[Group, int] = {}
    results = tuple(
        _Kept(
            number=one.number,
            entry=one.entry,
            parameters=one.parameters,
            groups=tuple(places.setdefault(group, len(places)) for group in one.groups),
            rests=one.rests,
        )
        for one in lineage.results
    )
    padding = _padding(lineage.states)
    stored = _Stored(groups=tuple(places), results=results, states=lineage.states, padding=padding)
    return shape.encode(stored)


def _read(plain: bytes) -> Lineage:
    stored = shape.decode(_Stored, plain, limits.BLOB)
    results = tuple(
        Result(
            number=one.number,
            entry=one.entry,
            parameters=one.parameters,
            groups=tuple(stored.groups[place] for place in one.groups),
            rests=one.rests,
        )
        for one in stored.results
    )
    return Lineage(results, stored.states)


def _padding(states: Iterable[State]) -> bytes:
    """Up to the next power of two over all states: the size tells a few bits at most, where an
    algorithm chose how much it writes.
    """
    size = sum(len(state.content) for state in states)
    room = _SMALLEST
    while room < size:
        room *= 2
    return bytes(room - size if size else 0)
