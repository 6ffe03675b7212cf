"""Who a result rests on: the distinct people in the rows, counted by the runtime itself.

The count is over the person column, which the algorithm never sees. People whose rows a recipient
supplied, or whom it vouched for as registrar, are no crowd to hide in: they do not count for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from protocol.keys import digest


@dataclass(frozen=True, slots=True)
class Contributor:
    """One person: `organizations` that supplied rows of it, whether the person itself did (`own`),
    and who vouched for it. `content` is a digest of what its rows say: 16 bytes.
    """

    organizations: frozenset[bytes] = frozenset()
    own: bool = False
    vouched: frozenset[bytes] = frozenset()
    content: bytes = bytes(16)

    def joined(self, other: "Contributor") -> "Contributor":
        """The same person, with what another share says."""
        return Contributor(
            self.organizations | other.organizations,
            self.own or other.own,
            self.vouched | other.vouched,
        )

    def known_to(self, recipient: bytes) -> bool:
        """Whether the recipient supplied or vouched for this person."""
        return recipient in self.organizations or recipient in self.vouched


Contributors = Mapping[bytes, Contributor]
"""Tag of a person -> what is known of it."""


def tag(agreement: bytes, person: str) -> bytes:
    """What stands for a person in the lineage, which is sealed: 16 bytes."""
    return digest("contributor", agreement, person.encode())[:16]


def gather(rows: Iterable[tuple[bytes, Contributor, bytes]]) -> dict[bytes, Contributor]:
    """Join what all rows (person, supplier, digest of the row) say about each person."""
    found: dict[bytes, Contributor] = {}
    contents: dict[bytes, list[bytes]] = {}
    for person, contributor, content in rows:
        known = found.get(person)
        found[person] = contributor if known is None else known.joined(contributor)
        contents.setdefault(person, []).append(content)
    return {
        person: replace(one, content=digest("rows", *sorted(contents[person]))[:16])
        for person, one in found.items()
    }


def count_for(contributors: Contributors, recipient: bytes) -> int:
    """How many people count for this recipient."""
    return sum(not one.known_to(recipient) for one in contributors.values())


def count_for_subjects(contributors: Contributors) -> int:
    """How many people count for a person that gets its own part: all others."""
    return len(contributors) - 1


def smallest_change(before: Contributors, now: Contributors) -> int:
    """By how few people two results differ for whoever knows most: 0 for nobody at all.

    A person whose rows were corrected differs too: the second result would tell the correction.
    Whoever controls some of the people (an organization its own, a person itself) can take them out
    of the difference; the answer is the smallest number above 0 that this can leave.
    """
    nobody = Contributor(content=b"")
    who = [
        was.joined(is_now)
        for person in before.keys() | now.keys()
        if (was := before.get(person, nobody)).content
        != (is_now := now.get(person, nobody)).content
    ]
    controllers = {did for one in who for did in one.organizations}
    left = {len(who)}
    left |= {sum(did not in one.organizations for one in who) for did in controllers}
    if any(one.own for one in who):
        left.add(len(who) - 1)
    return min((size for size in left if size), default=0)
