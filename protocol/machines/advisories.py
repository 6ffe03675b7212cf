"""Advisories of a space, and what the space says to each of its agreements.

A set of records, whatever their order: an advisory is in force while its author is an advisor of
the terms in force and did not withdraw it.
"""

from dataclasses import dataclass, field

from protocol import kinds
from protocol.attestation import advisories
from protocol.errors import Refused
from protocol.kinds.advisory import Advisory, AdvisoryWithdrawal
from protocol.kinds.attestation import Floors
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Ground:
    """What an agreement rests on outside its own document: floors and advisories of its space."""

    floors: Floors | None = None
    advisories: tuple[Advisory, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """An advisory with its record: who gave it, and when."""

    record: Record
    advisory: Advisory


@dataclass(slots=True)
class Advisories:
    """All advisories of one space."""

    given: dict[bytes, Given] = field(default_factory=dict)
    withdrawn: set[tuple[bytes, bytes]] = field(default_factory=set)

    def check(self, record: Record) -> None:
        """Refuse what nobody could apply (advisory.malformed, advisory.author).

        Whether the author is an advisor is not asked here: terms may arrive later than records.
        """
        if record.kind == "advisory":
            faults = advisories.lint(kinds.read(Advisory, record))
            if faults:
                raise Refused("advisory.malformed", " ".join(faults))
            return
        known = self.given.get(kinds.read(AdvisoryWithdrawal, record).advisory)
        if known is not None and known.record.author != record.author:
            raise Refused("advisory.author", "only its author can withdraw an advisory")

    def take(self, record: Record) -> None:
        """Take an advisory or a withdrawal; other records say nothing here."""
        match record.kind:
            case "advisory":
                self.given[record.id] = Given(record, kinds.read(Advisory, record))
            case "advisory-withdrawal":
                taken = kinds.read(AdvisoryWithdrawal, record).advisory
                self.withdrawn.add((record.author, taken))
            case _:
                return

    def in_force(self, advisors: tuple[bytes, ...]) -> tuple[Given, ...]:
        """What counts now, in an order that is the same everywhere."""
        found = (
            one
            for id_, one in sorted(self.given.items())
            if one.record.author in advisors and (one.record.author, id_) not in self.withdrawn
        )
        return tuple(found)
