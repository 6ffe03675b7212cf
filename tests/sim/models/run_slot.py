"""Every schedule of one run number over several terms, with the product's own code as the voters.

A state is what each honest party knows and in which term it is, and all that was said. A step lets
a party go to the next term, hear everything or no more than the enclave's words, and say one thing
that `protocol.machines.runs.Runs` lets it say; or an enclave start on any quorum of statements, or
propose, or say that it lacks the lineage. Hosts die between any two steps: nothing has to go on. A
liar states and votes whatever helps, but cannot forge an enclave's signature.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations, product
from typing import Any

from protocol import kinds, record
from protocol.decision import Rule, quorum, tolerated
from protocol.effects import Publish
from protocol.kinds.common import Vote
from protocol.kinds.host import Appointment, Candidacy
from protocol.kinds.run import (
    Lost,
    Missing,
    Order,
    OutputDigest,
    Run,
    Started,
    Statement,
    Summons,
)
from protocol.machines.election import Elected
from protocol.machines.runs import Runs, essence, slot
from protocol.record import Place, Record
from protocol.shape import write
from tests.agreements import AT, DOCUMENT, seed
from tests.in_force import AGREED, Enclave

TOPIC = seed("the agreement")
ZERO = bytes(32)
ATTEMPTS = 2

Said = tuple[Any, ...]
"""A word: ("state", who, term, shown, attempts), ("vote", who, run), ("missing", who, run),
("lost", term), ("start", term, statements), ("run", term, value, adopts, statements, withheld)."""

Known = frozenset[Said]
State = tuple[tuple[tuple[int, Known], ...], Known]
"""(term, what it knows) of each honest party; and everything that was said."""


def party(number: int) -> bytes:
    """A party and its voting key: keys play no part here."""
    return bytes([number + 1]) * 32


def appointed(term: int) -> Elected:
    """The enclave of a term: another boot in each."""
    keys = Enclave(f"term {term}").keys
    candidacy = Candidacy(
        enclave=keys, technology="simulated", software=ZERO, tier="A", region="NL", operator="h",
        memory=1, addresses=(),
    )  # fmt: skip
    appointment = Appointment(
        agreement=TOPIC, term=term, host=seed(f"host {term}"), candidacy=seed(f"offer {term}"),
        enclave=ZERO, standbys=(),
    )  # fmt: skip
    return Elected(term, appointment, candidacy, seed(f"appointment {term}"))


@dataclass
class Terms:
    """What a party sees of elections: the term it is in, and all before."""

    term: int
    agreement_id: bytes = TOPIC
    lapses: dict[int, set[bytes]] = field(default_factory=dict)

    def elected(self, term: int | None = None) -> Elected | None:
        """Every term has its enclave."""
        wanted = self.term if term is None else term
        return appointed(wanted) if wanted <= self.term else None

    def fit(self, me: bytes, term: int) -> list[bytes]:
        """No other candidate has the lineage."""
        return []

    def doubt(self, me: bytes, candidacy: bytes, wall: int) -> str | None:
        """Nobody doubts."""
        return None


def word(kind: str, author: bytes, body: object, name: object) -> Record:
    """A record without a signature: the gate is tested elsewhere."""
    id_ = seed(repr(name))
    return Record(
        id=id_, topic=TOPIC, kind=kind, author=author, key=author, seq=0, prev=None, at=AT,
        body=write(body), raw=id_,
    )  # fmt: skip


ORDER = word("order", party(0), Order(entry="fit", parameters=AGREED), "order")


@cache
def spoken(said: Said) -> Record:
    """The record of a word."""
    match said:
        case ("summons", term):
            body = Summons(number=1, term=term, order=ORDER.id, nonce=seed(f"nonce {term}"))
            return word("summons", Enclave(f"term {term}").did, body, said)
        case ("state", who, term, shown, attempts):
            raw = None if shown is None else spoken(shown).raw
            statement = Statement(
                number=1, term=term, nonce=seed(f"nonce {term}"), stops=(), suspended=False,
                attempts=attempts, accepted=raw, at=AT,
            )  # fmt: skip
            return word("statement", party(who), statement, said)
        case ("start", term, _):
            counts = ("shares", "organizations", "people", "consents", "signatures", "digests")
            started = Started(number=1, term=term, **dict.fromkeys(counts, 0))
            return word("started", Enclave(f"term {term}").did, started, said)
        case ("vote", who, run):
            vote = Vote(slot=slot(1, run[1]), subject=spoken(run).id, choice="yes", identity=ZERO)
            return word("vote", party(who), vote, said)
        case ("lost", term):
            return word("lost", Enclave(f"term {term}").did, Lost(term=term, above=0), said)
        case ("missing", who, run):
            return word("missing", party(who), Missing(number=1, run=spoken(run).id), said)
        case _:
            return proposed(said)


def proposed(said: Said) -> Record:
    """A run record, truly signed: statements show it."""
    _, term, value, adopts, statements, withheld = said
    void = value == "void"
    body = Run(
        number=1, term=term, order=ORDER.id, entry="fit", parameters=AGREED,
        appointment=appointed(term).subject, stops=(), shares=(),
        statements=tuple(spoken(one).id for one in statements), inputs=seed(f"inputs {value}"),
        consents=ZERO, leaves=ZERO, leaf_count=0, bundle=DOCUMENT.algorithm.bundle,
        environment=DOCUMENT.algorithm.environment, evidence=ZERO, technology="simulated",
        rules=DOCUMENT.rules, gate=(), rows=0, contributors=0, at=AT,
        outputs=() if void else (OutputDigest(name="o", to=party(0), digest=ZERO, size=1),),
        outcome="void" if void else "released",
        lineage=None if void else seed(f"lineage {adopts if withheld else said}"),
        adopts=None if adopts is None else spoken(adopts).id,
        withheld="run.adopted" if withheld else None,
    )  # fmt: skip
    enclave = Enclave(f"term {term}")
    return record.sign(
        enclave.signing, topic=TOPIC, author=enclave.did, kind="run", body=body, place=Place(),
        at=AT, salt=bytes(16),
    )  # fmt: skip


@dataclass(frozen=True)
class Model:
    """`n` parties, of whom the last `liars` lie, over `terms` terms; `losing`: enclaves may say
    that they lack the lineage; `needed` replaces the quorum, `adopting` false leaves out what keeps
    the slot safe.
    """

    n: int
    liars: int
    terms: int
    needed: int = 0
    adopting: bool = True
    losing: bool = False

    @property
    def rule(self) -> Rule:
        """Who votes, and how many it takes."""
        voters = {party(one): frozenset((party(one),)) for one in range(self.n)}
        return Rule(voters, self.needed or quorum(self.n))

    @property
    def honest(self) -> range:
        """Who keeps the rules."""
        return range(self.n - self.liars)

    def start(self) -> State:
        """Everybody is in the first term."""
        begun = frozenset(("summons", term) for term in range(1, self.terms + 1))
        return tuple((1, frozenset[Said]()) for _ in self.honest), begun

    def steps(self, state: State) -> Iterator[State]:
        """All states after one step."""
        parties, sent = state
        for who in self.honest:
            term, known = parties[who]
            if term < self.terms:
                yield self._after(state, who, (term + 1, known), ())
            if sent != known:
                yield self._after(state, who, (term, sent), ())
            for heard in (known, known | self._enclave(sent, term)):
                said = _duty(self, who, term, heard)
                if said is not None and said not in sent:
                    yield self._after(state, who, (term, heard | {said}), (said,))
        for said in self._enclaves(sent):
            yield parties, sent | {said}

    def _after(
        self, state: State, who: int, mine: tuple[int, Known], said: tuple[Said, ...]
    ) -> State:
        parties, sent = state
        return (*parties[:who], mine, *parties[who + 1 :]), sent | frozenset(said)

    def _enclave(self, sent: Known, term: int) -> Known:
        """What the enclave of a term said, and what that cites: no party can act without."""
        own = {
            one for one in sent if one[0] in ("summons", "start", "run", "lost") and one[1] == term
        }
        cited = {one for run in own if run[0] == "run" for one in run[4]}
        return frozenset(own | cited)

    def _enclaves(self, sent: Known) -> Iterator[Said]:
        """What enclaves can say next: each starts once, and proposes once."""
        for term in range(1, self.terms + 1):
            if self.losing and ("lost", term) not in sent and _any_before(sent, term):
                yield ("lost", term)
            mine = [one for one in sent if one[0] in ("start", "run") and one[1] == term]
            if any(one[0] == "run" for one in mine):
                continue
            for one in mine:
                yield from self._proposals(term, one[2])
            if not mine:
                yield from self._starts(term, sent)

    def _starts(self, term: int, sent: Known) -> Iterator[Said]:
        answers = self._statements(term, sent)
        for some in combinations(sorted(answers), self.rule.needed):
            for statements in product(*(answers[who] for who in some)):
                if self._spent(statements) and not _shown(statements):
                    yield ("run", term, "void", None, statements, False)
                else:
                    yield ("start", term, statements)

    def _statements(self, term: int, sent: Known) -> dict[int, list[Said]]:
        """Who answers the summons of a term, and how; a liar as it likes."""
        found: dict[int, list[Said]] = {}
        for one in sorted(sent, key=repr):
            if one[0] == "state" and one[2] == term:
                found.setdefault(one[1], []).append(one)
        runs = [one for one in sorted(sent, key=repr) if one[0] == "run" and one[1] < term]
        for liar in range(self.n - self.liars, self.n):
            lies = [("state", liar, term, shown, 0) for shown in (None, *runs)]
            found[liar] = [*lies, ("state", liar, term, None, ATTEMPTS)]
        return found

    def _spent(self, statements: tuple[Said, ...]) -> bool:
        told = sorted((one[4] for one in statements), reverse=True)
        return bool(told[tolerated(self.n)] >= ATTEMPTS)

    def _proposals(self, term: int, statements: tuple[Said, ...]) -> Iterator[Said]:
        adopted = _shown(statements) if self.adopting else None
        if adopted is None:
            yield ("run", term, term, None, statements, False)
            return
        for withheld in {adopted[5], adopted[2] != "void"}:
            yield ("run", term, adopted[2], adopted, statements, withheld)


def _any_before(sent: Known, term: int) -> bool:
    return any(one[0] == "run" and one[1] < term for one in sent)


def _shown(statements: tuple[Said, ...]) -> Said | None:
    """The record of the newest earlier term, as enclave_host.statements.hear takes it."""
    shown = [one[3] for one in statements if one[3] is not None]
    return max(shown, key=lambda run: run[1], default=None)


@cache
def machine(model: Model, term: int, known: Known) -> Runs:
    """The product's machine in a party that is in `term` and knows this."""
    document = replace(DOCUMENT, runs=replace(DOCUMENT.runs, by=(party(0),), attempts=ATTEMPTS))
    runs = Runs(document, Terms(term), model.rule)  # type: ignore[arg-type]
    runs.take(ORDER)
    for said in sorted(known, key=repr):
        (runs.heritage if said[0] == "lost" else runs).take(spoken(said))
    return runs


@cache
def _duty(model: Model, who: int, term: int, known: Known) -> Said | None:
    """The one thing that an honest party says next."""
    for owed in machine(model, term, known).party_duties(party(who), ZERO, AT + 1000):
        match owed:
            case Publish("statement", Statement() as body):
                shown = next((one for one in known if one[0] == "run"
                              and spoken(one).raw == body.accepted), None)  # fmt: skip
                return ("state", who, body.term, shown, min(body.attempts, ATTEMPTS))
            case Publish("vote", Vote(choice="yes") as body):
                runs = (one for one in known if one[0] == "run")
                return ("vote", who, next(o for o in runs if spoken(o).id == body.subject))
            case Publish("missing", Missing() as body):
                runs = (one for one in known if one[0] == "run")
                return ("missing", who, next(o for o in runs if spoken(o).id == body.run))
            case _:
                continue
    return None


def decided(model: Model, sent: Known) -> list[Said]:
    """The run records that have a quorum; liars vote for each."""
    votes: dict[Said, int] = {}
    for one in sent:
        if one[0] == "vote":
            votes[one[2]] = votes.get(one[2], 0) + 1
    return [run for run, count in votes.items() if count + model.liars >= model.rule.needed]


@dataclass
class Explored:
    """What was found. `again`: states in which a later term ended the number again, as it was."""

    states: int = 0
    void: int = 0
    again: int = 0
    double: list[State] = field(default_factory=list)


def explore(model: Model, most: int | None = None) -> Explored:
    """Walk through all states (at most `most`), and look at each."""
    found = Explored()
    todo, seen = [model.start()], {model.start()}
    while todo and (most is None or found.states < most):
        state = todo.pop()
        found.states += 1
        look(model, state, found)
        if found.double:
            return found
        for after in model.steps(state):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return found


def look(model: Model, state: State, found: Explored) -> None:
    """Whether one number has one end in this state."""
    ended = decided(model, state[1])
    bodies = [kinds.read(Run, spoken(one)) for one in ended]
    found.void += any(one.outcome == "void" for one in bodies)
    found.again += len(bodies) > 1
    if len({essence(one) for one in bodies}) > 1:
        found.double.append(state)
