"""The sealed lineage of one agreement as its records show it: which enclaves can open it, and which
numbers are computed again because the one in office cannot (docs/adr/0017).

Nothing here keeps the rules of the gate: an enclave goes on from no other lineage than the one that
the certified records pin. This is about liveness: who takes office, and what is run next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol import kinds, limits
from protocol.attestation.evidence import enclave_id
from protocol.effects import Effect, Inherit, Publish
from protocol.errors import RULES
from protocol.kinds.host import Lapse
from protocol.kinds.run import Bequest, Lost, Run
from protocol.machines.election import Elected, Election
from protocol.record import Record

Ended = Mapping[int, tuple[Record, Run]]
"""The run record of each ended number."""


@dataclass(slots=True)
class Heritage:
    """Bequests and losses. Order of arrival never changes what is said of them."""

    election: Election
    given: dict[bytes, dict[bytes, Bequest]] = field(default_factory=dict)
    losses: dict[int, tuple[Record, Lost]] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Take a record of kind `bequest` or `lost`, by the enclave of the term that it names."""
        if record.kind == "bequest":
            bequest = kinds.read(Bequest, record)
            self.given.setdefault(bequest.lineage, {})[record.id] = bequest
            return
        said = (record, kinds.read(Lost, record))
        known = self.losses.setdefault(said[1].term, said)
        self.losses[said[1].term] = max(known, said, key=lambda one: one[0].said)

    def wraps(self, lineage: bytes, enclave: bytes) -> tuple[bytes, ...]:
        """The key of a lineage, wrapped to an enclave: by the newest term first."""
        found = [
            (-bequest.term, id_, wrap.sealed)
            for id_, bequest in self.given.get(lineage, {}).items()
            for wrap in bequest.wraps
            if wrap.enclave == enclave
        ]
        return tuple(sealed for _, _, sealed in sorted(found)[: limits.HEIRS])

    def lost(self, term: int) -> Lost | None:
        """What the enclave of a term said that it lacks."""
        said = self.losses.get(term)
        return said[1] if said is not None else None

    def heirs(self, ended: Ended) -> frozenset[bytes]:
        """The enclaves that can open the newest lineage, but for those that said they cannot."""
        newest = newest_pinned(ended)
        since: dict[bytes, int] = {}
        for bequest in self.given.get(newest or b"", {}).values():
            for wrap in bequest.wraps:
                since[wrap.enclave] = max(bequest.term, since.get(wrap.enclave, 0))
        said = {self._enclave(term): term for term in sorted(self.losses)}
        return frozenset(one for one, term in since.items() if said.get(one, 0) <= term)

    def rebuilding(self, ended: Ended) -> list[int]:
        """The ended numbers that the enclave in office computes again to have their lineage, the
        next first. Behind one that it could not compute again, none can be.
        """
        elected = self.election.elected()
        loss = self.lost(elected.term) if elected is not None else None
        if loss is None:
            return []
        found = []
        for number, (_, run) in sorted(ended.items()):
            if number <= loss.above or run.lineage is None:
                continue
            if run.term < loss.term:
                found.append(number)
            elif not self._is_own(loss.term, run.lineage):
                break
        return found

    def inherits(self, ended: Ended) -> Inherit | None:
        """What the host of the present term owes: the newest lineage, until its enclave and all
        standbys can open it, or the enclave said that it cannot.
        """
        elected, newest = self.election.elected(), newest_pinned(ended)
        if elected is None or newest is None or self.lost(elected.term) is not None:
            return None
        wanted = {elected.appointment.enclave, *self._standbys(elected)}
        return None if wanted <= self._covered(newest) else Inherit(elected.term, newest)

    def may_go_on(self, ended: Ended) -> bool:
        """Whether the host need not show its enclave the lineage before anything else."""
        elected, newest = self.election.elected(), newest_pinned(ended)
        if elected is None or newest is None or self.lost(elected.term) is not None:
            return True
        return elected.appointment.enclave in self._covered(newest)

    def gives_way(self, ended: Ended, me: bytes) -> list[Effect] | None:
        """The word that ends a term whose enclave lacks the lineage where another candidate has
        it, once said nothing; None if the term goes on. Who lacks it twice is believed: the other
        one does not take office.
        """
        elected = self.election.elected()
        if elected is None or self.lost(elected.term) is None:
            return None
        mine = elected.appointment.enclave
        if sum(self._enclave(term) == mine for term in self.losses) > 1:
            return None
        others = self.heirs(ended) - {mine}
        if others.isdisjoint(map(self._offered, self.election.fit(me, elected.term))):
            return None
        if me in self.election.lapses.get(elected.term, ()):
            return []
        reason = f"gate.lineage: {RULES['gate.lineage'].sentence}"
        return [Publish("lapse", Lapse(term=elected.term, reason=reason))]

    def _is_own(self, term: int, lineage: bytes) -> bool:
        """Whether the enclave of this term made, or opened, a lineage: it handed on the key."""
        return any(one.term == term for one in self.given.get(lineage, {}).values())

    def _covered(self, lineage: bytes) -> set[bytes]:
        given = self.given.get(lineage, {}).values()
        return {wrap.enclave for bequest in given for wrap in bequest.wraps}

    def _enclave(self, term: int) -> bytes | None:
        elected = self.election.elected(term)
        return elected.appointment.enclave if elected is not None else None

    def _standbys(self, elected: Elected) -> list[bytes]:
        known = [c for c in elected.appointment.standbys if c in self.election.candidacies]
        return [self._offered(one) for one in known[: limits.HEIRS - 1]]

    def _offered(self, candidacy: bytes) -> bytes:
        return enclave_id(self.election.candidacies[candidacy][1].enclave)


def newest_pinned(ended: Ended) -> bytes | None:
    """The digest of the lineage after the newest number from which something left."""
    found = [run.lineage for _, (_, run) in sorted(ended.items()) if run.lineage is not None]
    return found[-1] if found else None
