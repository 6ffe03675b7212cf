"""The lineage: which people each released result rests on, so that no two differ by too few.

It is kept by the host, sealed by HPKE to this enclave and to each standby that the election names;
the run record of the newest released result pins it, so an old copy, or none, stops further runs.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from enclave_host.contributors import Contributor, Contributors
from protocol import limits, shape
from protocol.attestation.evidence import enclave_id
from protocol.errors import Refused
from protocol.kinds.host import EnclaveKeys
from protocol.sealing import wrap
from protocol.shape import Count, Hash, Key, Max, Name, Text

_HALF = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """People with the same sources: of each 16 bytes of tag and 16 of content, all in a row."""

    organizations: tuple[Key, ...]
    own: bool
    vouched: tuple[Key, ...]
    people: Annotated[bytes, Max(limits.BLOB)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One released result."""

    number: Count
    entry: Name
    parameters: Text
    groups: tuple[Group, ...]

    def contributors(self) -> Contributors:
        """The people it rests on."""
        return {
            group.people[at : at + _HALF]: Contributor(
                frozenset(group.organizations),
                group.own,
                frozenset(group.vouched),
                group.people[at + _HALF : at + 2 * _HALF],
            )
            for group in self.groups
            for at in range(0, len(group.people), 2 * _HALF)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """All released results of one agreement."""

    results: tuple[Result, ...] = ()

    def with_result(self, result: Result) -> "Lineage":
        """The lineage after one more release."""
        return Lineage(results=(*self.results, result))


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The lineage sealed to one enclave."""

    enclave: Hash
    sealed: Annotated[bytes, Max(limits.BLOB)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedLineage:
    """The blob that the host stores; its digest stands in the run record."""

    copies: tuple[Copy, ...]


def result(number: int, entry: str, parameters: str, people: Contributors) -> Result:
    """What the lineage keeps of a released result."""
    groups: dict[Contributor, list[bytes]] = {}
    for person, contributor in people.items():
        sources = replace(contributor, content=b"")
        groups.setdefault(sources, []).append(person + contributor.content)
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
    return Result(number=number, entry=entry, parameters=parameters, groups=tuple(written))


def seal(lineage: Lineage, agreement: bytes, enclaves: Iterable[EnclaveKeys]) -> bytes:
    """The blob for these enclaves. Raises Refused (gate.lineage) if it grew too large to store."""
    plain = shape.encode(lineage)
    copies = []
    for keys in enclaves:
        name = enclave_id(keys)
        sealed = wrap.seal(plain, keys.sealing, "lineage", agreement, name)
        copies.append(Copy(enclave=name, sealed=sealed))
    blob = shape.encode(SealedLineage(copies=tuple(copies)))
    if len(blob) > limits.BLOB:
        raise Refused("gate.lineage", "too many people in too many results")
    return blob


def open_(
    blob: bytes | None, pinned: bytes, agreement: bytes, seed: bytes, enclave: bytes
) -> Lineage:
    """The lineage in the blob with digest `pinned`. Raises Refused (gate.lineage)."""
    if blob is None or hashlib.sha256(blob).digest() != pinned:
        raise Refused("gate.lineage", "not the one that the newest released run names")
    copies = shape.decode(SealedLineage, blob, limits.BLOB).copies
    sealed = next((copy.sealed for copy in copies if copy.enclave == enclave), None)
    if sealed is None:
        raise Refused("gate.lineage", "it was not sealed to this enclave")
    plain = wrap.open_(sealed, seed, "lineage", agreement, enclave)
    return shape.decode(Lineage, plain, limits.BLOB)
