"""The lineage: which people each result that left rests on, so that no two differ by too few, and
the states that later runs read.

It is kept by the host, sealed once under a fresh key that is wrapped to this enclave and to each
standby that the election names. The run record of the newest run from which something left pins it,
so an old copy, or none, stops further runs.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """All runs of one agreement from which something left, and the states in force. `padding` hides
    from the host how large the states are.
    """

    results: tuple[Result, ...] = ()
    states: tuple[State, ...] = ()
    padding: Bytes = b""

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
class SealedLineage:
    """The blob that the host stores; its digest stands in the run record. `wraps` hold the key of
    `sealed`, one for each enclave.
    """

    wraps: tuple[Wrap, ...]
    sealed: Bytes


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


def seal(lineage: Lineage, agreement: bytes, enclaves: Iterable[EnclaveKeys]) -> bytes:
    """The blob for these enclaves. Raises Refused (gate.lineage) if it grew too large to store."""
    key = os.urandom(wrap.KEY_BYTES)
    wraps = []
    for keys in enclaves:
        name = enclave_id(keys)
        sealed = wrap.seal(key, keys.sealing, "lineage-key", agreement, name)
        wraps.append(Wrap(enclave=name, sealed=sealed))
    plain = shape.encode(_padded(lineage))
    blob = shape.encode(
        SealedLineage(wraps=tuple(wraps), sealed=box.seal(plain, key, "lineage", agreement))
    )
    if len(blob) > limits.BLOB:
        raise Refused("gate.lineage", "too many people in too many results")
    return blob


def open_(
    blob: bytes | None, pinned: bytes, agreement: bytes, seed: bytes, enclave: bytes
) -> Lineage:
    """The lineage in the blob with digest `pinned`. Raises Refused (gate.lineage, share.wrap)."""
    if blob is None or hashlib.sha256(blob).digest() != pinned:
        raise Refused("gate.lineage", "not the one that the newest such run names")
    found = shape.decode(SealedLineage, blob, limits.BLOB)
    mine = next((one.sealed for one in found.wraps if one.enclave == enclave), None)
    if mine is None:
        raise Refused("gate.lineage", "it was not sealed to this enclave")
    key = wrap.open_(mine, seed, "lineage-key", agreement, enclave)
    plain = box.open_(found.sealed, key, "lineage", agreement)
    return replace(shape.decode(Lineage, plain, limits.BLOB), padding=b"")


def _padded(lineage: Lineage) -> Lineage:
    """With padding up to the next power of two over all states: the size tells a few bits at most,
    where an algorithm chose how much it writes.
    """
    size = sum(len(state.content) for state in lineage.states)
    room = _SMALLEST
    while room < size:
        room *= 2
    return replace(lineage, padding=bytes(room - size if size else 0))
