"""Every schedule of the two-step change, with the product's own code as the transition function.

A state is what each honest voter knows: its own votes, and those of others that reached it. A step
lets one voter receive any of the votes that were sent, and then say one thing that
`protocol.machines.epochs.Rounds` lets it say. Votes that never arrive are lost ones; any order and
any repetition is covered, because what a voter knows is a set. A liar says everything: each of its
votes for each subject in each round is there from the start, for whomever it wants to reach.

A voter may always learn more before it acts, and never less. So of all sets of votes that let it
say something only the smallest need to be followed: what is possible after a larger one is possible
after the smaller one too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, permutations

from protocol.decision import Rule, quorum
from protocol.machines.epochs import Lie, Rounds, Step, step_slot
from protocol.record import Record

EPOCH = bytes(32)
SUBJECTS = (b"X" * 32, b"Y" * 32)

Said = tuple[int, Step, int, int]
"""A vote: who, which step, in which round, for which subject."""

Known = frozenset[Said]
State = tuple[Known, ...]


def voter(number: int) -> bytes:
    """The participant and the key with this number: keys play no part here."""
    return bytes([number + 1]) * 32


@cache
def spoken(said: Said) -> Record:
    """The record of a vote. No signature: the gate is tested elsewhere."""
    who, step, round_, subject = said
    name = repr(said).encode()
    body = {
        "slot": step_slot(step, EPOCH, round_), "subject": SUBJECTS[subject], "choice": "yes",
        "identity": EPOCH,
    }  # fmt: skip
    return Record(
        id=name, topic=EPOCH, kind="vote", author=voter(who), key=voter(who), seq=0, prev=None,
        at=0, body=body, raw=name,
    )  # fmt: skip


@dataclass(frozen=True)
class Model:
    """`n` voters, of whom the last `liars` lie; nobody honest goes beyond `rounds`."""

    n: int
    liars: int
    rounds: int = 2
    needed: int = 0
    names: tuple[bytes, ...] = field(init=False, default=())

    @property
    def rule(self) -> Rule:
        """The rule of the epoch; `needed` other than 0 takes a quorum of another size."""
        voters = {voter(one): frozenset((voter(one),)) for one in range(self.n)}
        return Rule(voters, self.needed or quorum(self.n))

    @property
    def honest(self) -> range:
        """Who keeps the rules."""
        return range(self.n - self.liars)

    def lies(self) -> Known:
        """Everything that the liars can say."""
        return frozenset(
            (who, step, round_, subject)
            for who in range(self.n - self.liars, self.n)
            for step in ("change", "confirm")
            for round_ in range(self.rounds)
            for subject in range(len(SUBJECTS))
        )

    def heard(self, known: Known) -> Rounds:
        """The product's machine after these votes."""
        rounds = Rounds(EPOCH, self.rule)
        for said in sorted(known):
            rounds.add(said[1], said[2], spoken(said))
        return rounds

    def options(self, who: int, known: Known) -> frozenset[Said]:
        """What an honest voter may say now: what it owes, and any vote of its own will."""
        return _options(self, who, known)

    def start(self) -> State:
        """Nobody knows anything."""
        return tuple(frozenset() for _ in self.honest)

    def sent(self, state: State) -> Known:
        """All votes that there are."""
        own = (said for who in self.honest for said in state[who] if said[0] == who)
        return self.lies().union(own)

    def steps(self, state: State) -> Iterator[State]:
        """All states after one voter heard something and spoke."""
        everything = self.sent(state)
        for who in self.honest:
            for heard, said in self._words(who, state[who], everything):
                after = frozenset({*state[who], *heard, said})
                yield (*state[:who], after, *state[who + 1 :])

    def _words(self, who: int, known: Known, sent: Known) -> Iterator[tuple[frozenset[Said], Said]]:
        """What a voter can say, each with the smallest sets of news that let it."""
        news = sorted(sent - known)
        smallest: dict[Said, list[frozenset[Said]]] = {}
        for size in range(self.rule.needed + 2):
            for some in combinations(news, size):
                heard = frozenset(some)
                for said in self.options(who, known | heard):
                    before = smallest.setdefault(said, [])
                    if not any(less <= heard for less in before):
                        before.append(heard)
                        yield heard, said


@cache
def _options(model: Model, who: int, known: Known) -> frozenset[Said]:
    rounds = model.heard(known)
    found: set[Said] = set()
    vote = rounds.due(voter(who), EPOCH)
    if vote is not None:
        step, _, number = vote.slot.split("/")
        found.add((who, "change" if step == "change" else "confirm", int(number),
                   SUBJECTS.index(vote.subject)))  # fmt: skip
    if not rounds.finals():
        round_ = rounds.round_for(voter(who))
        if round_ is not None:
            bound = rounds.bound(round_)
            mine = (one for one in range(len(SUBJECTS)) if bound in (None, SUBJECTS[one]))
            found |= {(who, "change", round_, one) for one in mine}
    return frozenset(said for said in found if said[2] < model.rounds)


def canonical(model: Model, state: State) -> tuple[tuple[Said, ...], ...]:
    """One for all states that differ only in the names of subjects and of honest voters."""

    def renamed(order: tuple[int, ...], swap: int) -> tuple[tuple[Said, ...], ...]:
        names = {who: order.index(who) for who in model.honest}
        return tuple(
            tuple(sorted((names.get(s[0], s[0]), s[1], s[2], s[3] ^ swap) for s in state[who]))
            for who in order
        )

    return min(renamed(order, swap) for order in permutations(model.honest) for swap in (0, 1))


@dataclass
class Explored:
    """What was found: how many states, and every state in which two changes are final."""

    states: int = 0
    final: int = 0
    double: list[State] = field(default_factory=list)


def finals(model: Model, votes: Known) -> set[tuple[int, int]]:
    """(round, subject) of each change that these votes make final."""
    found = set()
    for subject in range(len(SUBJECTS)):
        only = frozenset(said for said in votes if said[3] == subject)
        found |= {(round_, subject) for round_, _ in model.heard(only).finals()}
    return found


def explore(model: Model, most: int | None = None) -> Explored:
    """Walk through all states (at most `most`), and look at each."""
    found = Explored()
    todo, seen = [model.start()], {canonical(model, model.start())}
    while todo and (most is None or found.states < most):
        state = todo.pop()
        found.states += 1
        subjects = {subject for _, subject in finals(model, model.sent(state))}
        found.final += bool(subjects)
        if len(subjects) > 1:
            found.double.append(state)
            continue
        for after in model.steps(state):
            same = canonical(model, after)
            if same not in seen:
                seen.add(same)
                todo.append(after)
    return found


def accused(model: Model, votes: Known) -> set[int]:
    """Who the product's code proves to have lied, by all votes that there are."""
    lies: list[Lie] = list(model.heard(votes).lies())
    return {lie.voter[0] - 1 for lie in lies}
