"""Who a result rests on: the distinct people in the rows, counted by the runtime itself.

The count is over the person column, which the algorithm never sees. People whose rows a recipient
supplied, or whom it vouched for as registrar, are no crowd to hide in: they do not count for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from protocol.keys import digest

OWN: Final = b""
"""Among sources, the person itself; all others are organizations."""
NOBODY: Final = b"nobody"


@dataclass(frozen=True, slots=True)
class Contributor:
    """One person: `organizations` that supplied rows of it, whether the person itself did (`own`),
    and who vouched for it. `content` is a digest of what its rows say: 16 bytes; `parts` are one
    for each source, where there are several: organizations in order, then the person itself.
    """

    organizations: frozenset[bytes] = frozenset()
    own: bool = False
    vouched: frozenset[bytes] = frozenset()
    content: bytes = bytes(16)
    parts: tuple[bytes, ...] = ()

    def joined(self, other: "Contributor") -> "Contributor":
        """The same person, with what another share says."""
        return Contributor(
            self.organizations | other.organizations,
            self.own or other.own,
            self.vouched | other.vouched,
        )

    @property
    def sources(self) -> list[bytes]:
        """Who supplied rows of it, in the order of `parts`."""
        return sorted(self.organizations) + [OWN] * self.own

    @property
    def said(self) -> dict[bytes, bytes]:
        """What the rows of each source say; of none, if nobody supplied any."""
        return dict(zip(self.sources or [NOBODY], self.parts or [self.content], strict=True))

    def without(self, source: bytes) -> dict[bytes, bytes]:
        """What the rows of all other sources say."""
        return {who: part for who, part in self.said.items() if who not in (source, NOBODY)}

    def known_to(self, recipient: bytes) -> bool:
        """Whether the recipient supplied or vouched for this person."""
        return recipient in self.organizations or recipient in self.vouched


Contributors = Mapping[bytes, Contributor]
"""Tag of a person -> what is known of it."""


def key(agreement: bytes) -> bytes:
    """The key of what stands for a person in the lineage, which is sealed: runners/prepare.py:tag.

    No secret: who has the lineage could try names. It keeps agreements apart.
    """
    return digest("contributor", agreement)


def gather(rows: Iterable[tuple[bytes, Contributor, bytes]]) -> dict[bytes, Contributor]:
    """Join what all rows (person, supplier, digest of the row) say about each person."""
    said: dict[bytes, list[tuple[Contributor, bytes]]] = {}
    for person, contributor, content in rows:
        said.setdefault(person, []).append((contributor, content))
    return {person: _whole(one, _rows) for person, one in said.items()}


def known(
    contributors: Contributors, left_out: Iterable[tuple[bytes, bytes]]
) -> dict[bytes, Contributor]:
    """The same, and who else (person, organization) had rows that were left out: they say nothing
    here, and their owner still knows who this is.
    """
    found = dict(contributors)
    for person, did in left_out:
        one = found[person]
        found[person] = replace(one, vouched=one.vouched | {did})
    return found


def united(sets: Iterable[Contributors]) -> dict[bytes, Contributor]:
    """Everybody in any of these sets, with all that is known of each. Which set comes first, or
    twice, changes nothing; of who says one thing in all of them, the content stays what it is.
    """
    found: dict[bytes, Contributor] = {}
    several: dict[bytes, list[Contributor]] = {}
    for people in sets:
        for person, contributor in people.items():
            known = found.setdefault(person, contributor)
            if known is not contributor:
                several.setdefault(person, [known]).append(contributor)
    for person, ones in several.items():
        found[person] = _whole([(one, one.content) for one in ones], _distinct)
    return found


def _whole(
    said: list[tuple[Contributor, bytes]], together: Callable[[Sequence[bytes]], bytes]
) -> Contributor:
    """One person of whom all this is said; `together` makes one digest of several."""
    whole = said[0][0]
    for contributor, _ in said[1:]:
        whole = whole.joined(contributor)
    parts = []
    for source in whole.sources if len(whole.sources) > 1 else ():
        theirs = [
            one.said[source] if one.parts else content
            for one, content in said
            if source in one.sources
        ]
        parts.append(together(theirs))
    return replace(whole, content=together([content for _, content in said]), parts=tuple(parts))


def _rows(contents: Sequence[bytes]) -> bytes:
    return digest("rows", *sorted(contents))[:16]


def _distinct(contents: Sequence[bytes]) -> bytes:
    return contents[0] if len(set(contents)) == 1 else _rows(list(set(contents)))


def count_for(contributors: Contributors, recipient: bytes) -> int:
    """How many people count for this recipient."""
    return sum(not one.known_to(recipient) for one in contributors.values())


def count_for_subjects(contributors: Contributors) -> int:
    """How many people count for a person that gets its own part: all others."""
    return len(contributors) - 1


def smallest_change(before: Contributors, now: Contributors) -> int:
    """By how few people two results differ for whoever knows most: 0 for nobody at all.

    A person whose rows were corrected differs too: the second result would tell the correction.
    Whoever supplied rows (an organization, a person its own) can take out of the difference the
    people of whom nobody else's rows changed; the answer is the smallest number above 0 that this
    can leave.
    """
    nobody = Contributor(content=b"")
    changed = [
        (was, is_now)
        for person in before.keys() | now.keys()
        if (was := before.get(person, nobody)).content
        != (is_now := now.get(person, nobody)).content
        and was.said != is_now.said
    ]
    taken_out = Counter(
        source
        for was, is_now in changed
        for source in {*was.sources, *is_now.sources}
        if was.without(source) == is_now.without(source)
    )
    if taken_out[OWN]:
        taken_out[OWN] = 1  # each of them knows itself alone
    left = {len(changed), *(len(changed) - known for known in taken_out.values())}
    return min((size for size in left if size), default=0)
