"""How a lineage goes from enclave to enclave: its key is wrapped to the standbys of each term; what
no enclave can open any more is made anew, run by run (docs/adr/0017).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from enclave_host import history, lineage
from enclave_host.lineage import Lineage
from enclave_host.session import Session
from enclave_host.tenure import Tenure
from protocol import limits
from protocol.enclave_wire import Inherit
from protocol.errors import Refused
from protocol.kinds.run import Bequest, Lost, Run


@dataclass(slots=True)
class Inheritance:
    """What one enclave has of the lineage of one agreement. Called under the enclave's lock.

    `handed` are the bequests that it signed, by term and digest; `losses` what it lacked, by term.
    """

    session: Session
    handed: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    losses: dict[int, tuple[Lost, bytes]] = field(default_factory=dict)

    def inherit(self, request: Inherit) -> tuple[bytes, ...]:
        """A bequest to the standbys of the term in office, or the word that the lineage is lost;
        the same again when asked again. Raises Refused (run.slot, run.votes, term.fenced).
        """
        tenure = self.session.in_office()
        runs = history.read_history(self.session.parties, request.runs, len(request.runs) + 1)
        newest = history.newest_pinned(runs)
        if newest is None:
            return ()
        found = self._find(runs, request)
        if found is not None and found[0] == newest.number:
            return (self.hand_on(newest.lineage or b"", found[1], tenure),)
        return (self._lack(tenure.term, found[0] if found is not None else 0),)

    def read(self, runs: Sequence[Run], blob: bytes | None, wraps: Sequence[bytes]) -> Lineage:
        """All results of these runs, the certified records of all numbers before. Raises Refused
        (gate.lineage).
        """
        newest = history.newest_pinned(runs)
        if newest is None:
            return Lineage()
        found, _ = self._open(newest, blob, wraps)
        kept = [run.number for run in runs if run.lineage is not None]
        if [result.number for result in found.results] != kept:
            raise Refused("gate.lineage", "it is not about all runs from which something left")
        return found

    def seal(self, grown: Lineage, tenure: Tenure) -> tuple[bytes, bytes]:
        """The sealed lineage after a run, and the raw bequest of its key. Raises Refused
        (gate.lineage) if it is too large.
        """
        sealed, key = lineage.seal(grown, self.session.parties.id)
        return sealed, self.hand_on(lineage.digest(sealed), key, tenure)

    def hand_on(self, pinned: bytes, key: bytes, tenure: Tenure) -> bytes:
        """The raw record that wraps the key of a lineage to this enclave and its standbys."""
        place = (tenure.term, pinned)
        if place not in self.handed:
            enclaves = (tenure.keys, *tenure.standbys)[: limits.HEIRS]
            wraps = lineage.wraps(key, pinned, self.session.parties.id, enclaves)
            said = Bequest(term=tenure.term, lineage=pinned, wraps=wraps)
            self.handed[place] = self.session.feed.sign("bequest", said).raw
        return self.handed[place]

    def must_rebuild(self, term: int, run: Run) -> bool:
        """Whether this enclave needs the lineage of an ended number, and said that it lacks it."""
        loss = self.losses.get(term)
        return loss is not None and run.lineage is not None and run.number > loss[0].above

    def gap(self, term: int, runs: Sequence[Run]) -> Run | None:
        """The first run whose lineage this enclave could not make anew in its term: nothing behind
        it can be held against what left before.
        """
        own = {pinned for when, pinned in self.handed if when == term}
        for run in runs:
            if run.term == term and self.must_rebuild(term, run) and run.lineage not in own:
                return run
        return None

    def _find(self, runs: Sequence[Run], request: Inherit) -> tuple[int, bytes] | None:
        """The newest run whose lineage was shown and opens, and the key."""
        if request.lineage is None:
            return None
        shown = lineage.digest(request.lineage)
        run = next((one for one in reversed(runs) if one.lineage == shown), None)
        if run is None:
            return None
        try:
            return run.number, self._open(run, request.lineage, request.wraps)[1]
        except Refused:
            return None

    def _open(self, run: Run, blob: bytes | None, wraps: Sequence[bytes]) -> tuple[Lineage, bytes]:
        vault, agreement = self.session.vault, self.session.parties.id
        return lineage.open_(blob, run.lineage or b"", wraps, agreement, vault.seed, vault.id)

    def _lack(self, term: int, above: int) -> bytes:
        if term not in self.losses:
            said = Lost(term=term, above=above)
            self.losses[term] = said, self.session.feed.sign("lost", said).raw
        return self.losses[term][1]
