"""Random lives of an agreement: no two released results tell a few people apart, for anybody.

People join, leave, withdraw and correct their data; enclaves take over from each other; runs are
asked for. The gate, the counting of people and the lineage are the real ones. What they must come
to is said by an oracle that knows nothing of digests, groups or seals: it compares all rows.
"""

import os
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest

from enclave_host import contributors, lineage
from enclave_host.contributors import Contributor, Contributors
from enclave_host.gate import Gate
from enclave_host.lineage import Lineage
from protocol import keys
from protocol.attestation.evidence import enclave_id
from protocol.errors import Refused
from protocol.kinds.host import EnclaveKeys
from protocol.kinds.share import Wrap
from protocol.sealing import wrap
from tests.enclave_rig import seed
from tests.unit.test_gate import rig_parties

pytestmark = pytest.mark.hostile

SEEDS, SOAK_SEEDS, STEPS = 40, 1000, 40
MIN_CHANGE, MIN_CONTRIBUTORS = 3, 4
OWN = b"own"
EVENTS = {"join": 12, "leave": 3, "withdraw": 3, "correct": 4, "move": 2, "fail over": 3, "run": 13}

RIG, PARTIES = rig_parties(min_change=MIN_CHANGE, min_contributors=MIN_CONTRIBUTORS)
ORGANIZATIONS = (RIG.a.did, RIG.b.did, RIG.c.did)
RECIPIENTS = (RIG.sponsor.did, RIG.b.did)  # of the output `model`

Rows = Mapping[tuple[bytes, str], int]
"""(who supplied it, person) -> what the row says."""


# --- the oracle: all rows of all runs that a result rests on -------------------------------------


class Body:
    """What may be looked at together: the rows of one run, or of several by way of states."""

    def __init__(self, runs: Iterable[Rows]) -> None:
        self.by_source: dict[str, dict[bytes, set[int]]] = {}
        self.by_all: dict[str, set[tuple[int, ...]]] = {}
        for rows in runs:
            together: dict[str, list[int]] = {}
            for (source, person), value in rows.items():
                self.by_source.setdefault(person, {}).setdefault(source, set()).add(value)
                together.setdefault(person, []).append(value)
            for person, values in together.items():
                self.by_all.setdefault(person, set()).add(tuple(sorted(values)))

    def changes(self, other: "Body") -> dict[str, set[bytes]]:
        """Who differs, and whose rows of each say something else."""
        found = {}
        for person in self.by_all.keys() | other.by_all.keys():
            if self.by_all.get(person) != other.by_all.get(person):
                mine, theirs = (one.by_source.get(person, {}) for one in (self, other))
                sources = mine.keys() | theirs.keys()
                found[person] = {one for one in sources if mine.get(one) != theirs.get(one)}
        return {person: sources for person, sources in found.items() if sources}


def fewest(before: Body, now: Body) -> int:
    """The smallest number above 0 of people that anybody sees appear, disappear or change: a
    stranger, an organization that knows its own rows, a person that knows its own.
    """
    changes = before.changes(now)
    seen = [len(changes)]
    seen += [sum(sources != {one} for sources in changes.values()) for one in ORGANIZATIONS]
    seen += [len(changes) - (sources == {OWN}) for sources in changes.values()]
    return min((count for count in seen if count), default=0)


def crowd(body: Body, recipient: bytes) -> int:
    """How many people a recipient did not supply."""
    return sum(recipient not in sources for sources in body.by_source.values())


def bodies(runs: list[Rows]) -> list[Body]:
    """All that code can look at which may read these runs: each alone, or all together."""
    return [Body(runs), *(Body([rows]) for rows in runs)]


# --- the real thing ------------------------------------------------------------------------------


@dataclass
class Enclave:
    """What an enclave has: keys. All else comes from the host, sealed."""

    seed: bytes = field(default_factory=lambda: os.urandom(32))

    @property
    def keys(self) -> EnclaveKeys:
        return EnclaveKeys(signing=keys.public(self.seed), sealing=wrap.public_key(self.seed))

    def open(self, blob: bytes | None, pinned: bytes, wraps: list[Wrap]) -> tuple[Lineage, bytes]:
        name = enclave_id(self.keys)
        mine = [one.sealed for one in wraps if one.enclave == name]
        return lineage.open_(blob, pinned, mine, PARTIES.id, self.seed, name)


class Life:
    """One agreement. The host keeps every blob and every wrap; the records pin the newest blob."""

    def __init__(self, number: int) -> None:
        self.chance = random.Random(number)  # noqa: S311 (seeded, to be repeated)
        self.rows: dict[tuple[bytes, str], int] = {}
        self.office, self.standby = Enclave(), Enclave()
        self.blobs: list[bytes] = []
        self.wraps: list[Wrap] = []
        self.released: list[tuple[int, list[Rows]]] = []
        self.number = 0
        self.outcomes: Counter[str] = Counter()

    def live(self) -> None:
        names, weights = list(EVENTS), list(EVENTS.values())
        for event in self.chance.choices(names, weights, k=STEPS):
            getattr(self, event.replace(" ", "_"))()

    def join(self) -> None:
        source = self.chance.choice([*ORGANIZATIONS, OWN])
        for _ in range(self.chance.randint(1, 4)):
            person = f"row-{self.chance.randint(0, 15)}"
            self.rows.setdefault((source, person), self.chance.randint(0, 2))

    def leave(self) -> None:
        """An organization takes back some of its rows."""
        theirs = [one for one in self.rows if one[0] != OWN]
        for one in self.chance.sample(theirs, min(len(theirs), self.chance.randint(1, 3))):
            del self.rows[one]

    def withdraw(self) -> None:
        own = [one for one in self.rows if one[0] == OWN]
        if own:
            del self.rows[self.chance.choice(own)]

    def correct(self) -> None:
        for _ in range(self.chance.randint(1, 3)):
            if self.rows:
                self.rows[self.chance.choice(list(self.rows))] += 1

    def move(self) -> None:
        """The same rows from another hand."""
        if self.rows:
            source, person = self.chance.choice(list(self.rows))
            value = self.rows.pop((source, person))
            self.rows.setdefault((self.chance.choice([*ORGANIZATIONS, OWN]), person), value)

    def fail_over(self) -> None:
        """The standby takes office; a host that shows it an older lineage, or none, gets no run.
        The next standby gets a wrap at once: not only with the next release.
        """
        self.office, self.standby = self.standby, Enclave()
        for stale in (None, *self.blobs[:-1]):
            with pytest.raises(Refused, match=r"gate\.lineage"):
                self.office.open(stale, self.pinned, self.wraps)
        if self.blobs:
            self._hand_on(self.office.open(self.blobs[-1], self.pinned, self.wraps)[1])

    def _hand_on(self, key: bytes) -> None:
        enclaves = (self.office.keys, self.standby.keys)
        self.wraps += lineage.wraps(key, self.pinned, PARTIES.id, enclaves)

    @property
    def pinned(self) -> bytes:
        return lineage.digest(self.blobs[-1]) if self.blobs else bytes(32)

    def run(self) -> None:
        """A run; one in four reads the state that an earlier one left."""
        if not self.rows:
            return
        self.number += 1
        known = Lineage()
        if self.blobs:
            known, _ = self.office.open(self.blobs[-1], self.pinned, self.wraps)
        rests, runs = self._state(known)
        fresh = people_of(self.rows)
        earlier = [known.people([number]) for number in rests]
        people = contributors.united([fresh, *earlier])
        parts = (fresh, *earlier) if rests else ()
        gate = Gate(PARTIES, {}, ("model",), people, len(self.rows), parts=parts)
        runs = [dict(self.rows), *runs]
        stopped = gate.judge_people(known)
        self._compare(runs, stopped.code if stopped else None)
        if stopped is None:
            if self.chance.random() < 0.5:
                self.standby = Enclave()  # another one was named, or it started anew
            found = lineage.result(self.number, "fit", "{}", fresh, rests)
            sealed, key = lineage.seal(known.grown(found, ()), PARTIES.id)
            self.blobs.append(sealed)
            self._hand_on(key)
            self.released.append((self.number, runs))

    def _state(self, known: Lineage) -> tuple[tuple[int, ...], list[Rows]]:
        if not known.results or self.chance.random() > 0.25:
            return (), []
        earlier = self.chance.choice(known.results)
        return (earlier.number, *earlier.rests), dict(self.released)[earlier.number]

    def _compare(self, runs: list[Rows], code: str | None) -> None:
        """The gate says what the oracle says: neither less nor more."""
        mine = bodies(runs)
        crowds = [crowd(body, recipient) for body in mine for recipient in RECIPIENTS]
        earlier = [body for _, runs in self.released for body in bodies(runs)]
        changes = [fewest(was, now) for was in (*earlier, *mine) for now in mine]
        few = min(crowds) < MIN_CONTRIBUTORS
        close = any(0 < change < MIN_CHANGE for change in changes)
        expected = "gate.min-contributors" if few else "gate.min-change" if close else None
        assert code == expected, (changes, runs, self.released)
        self.outcomes[code or "released"] += 1


def people_of(rows: Rows) -> Contributors:
    """As enclave_host/computation.py counts them."""
    found = []
    for (source, person), value in rows.items():
        own = source == OWN
        supplier = Contributor(
            organizations=frozenset(() if own else {source}),
            own=own,
            vouched=frozenset({RIG.registrar.did} if own else ()),
        )
        content = seed(f"value {value}")[:16]
        found.append((seed(person)[:16], supplier, content))
    return contributors.gather(found)


def lives(numbers: Iterable[int]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for number in numbers:
        life = Life(number)
        life.live()
        outcomes += life.outcomes
    return outcomes


def test_no_two_results_tell_a_few_people_apart():
    outcomes = lives(range(SEEDS))
    assert outcomes.keys() == {"released", "gate.min-contributors", "gate.min-change"}
    assert min(outcomes.values()) >= SEEDS // 2


@pytest.mark.soak
def test_no_two_results_tell_a_few_people_apart_in_a_thousand_lives():
    print(f"\n{SOAK_SEEDS} lives of {STEPS} steps: {dict(lives(range(SOAK_SEEDS)))}")


def test_the_oracle_notices_a_gate_that_looks_away(monkeypatch):
    """The control of this test: without `min_change` it must fail."""
    monkeypatch.setattr(contributors, "smallest_change", lambda before, now: 0)
    with pytest.raises(AssertionError):
        lives(range(SEEDS))
