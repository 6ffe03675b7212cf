"""The parties' answers to a summons: who lets run N go on, what was withdrawn, and what time it is.

Each answer is a promise: its signer never again answers a lower term. With answers of a quorum, at
least one honest party that saw any committed record, withdrawal or suspension is among them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from enclave_host.parties import Parties
from enclave_host.people import Consents
from enclave_host.tenure import Tenure
from protocol import kinds, record
from protocol.errors import Refused
from protocol.kinds.run import Run, Statement
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Asked:
    """What the enclave asked for."""

    number: int
    term: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """The answers of a quorum. `shares` are what each author says of its own; `now` is a time that
    at most f liars cannot move forward, for what ends; `earliest` one that they cannot move forward
    either, for what begins; `attempts` as `now`; `accepted` the record of the newest earlier term
    that was shown.
    """

    shares: Mapping[bytes, frozenset[bytes]]
    ids: tuple[bytes, ...]
    stops: frozenset[bytes]
    now: int
    earliest: int
    attempts: int
    accepted: tuple[Record, Run] | None


@dataclass(frozen=True, slots=True)
class _Answer:
    record: Record
    said: Statement
    accepted: tuple[Record, Run] | None


def hear(
    parties: Parties,
    consents: Consents,
    raws: Iterable[bytes],
    asked: Asked,
    terms: Mapping[int, Tenure],
) -> Heard:
    """Check statements and their withdrawals. Raises Refused (run.statements,
    agreement.ended, agreement.certificate).

    A statement that is off does not count, whoever made it so: a liar cannot block a run, and a
    host that hides the certificate of an earlier term only loses statements that it needs.
    """
    parties.check_signed()
    answers: dict[bytes, _Answer] = {}
    stops: set[bytes] = set()
    faults = []
    for raw in raws:
        try:
            answer = _answer(parties, raw, asked, terms)
            if answer.record.author not in answers:
                stops |= consents.hear(answer.said.stops)
                answers[answer.record.author] = answer
        except Refused as refused:
            faults.append(str(refused))
    if len(answers) < parties.rule.needed:
        why = f"; {faults[0]:.200}" if faults else ""
        raise Refused("run.statements", f"{len(answers)} of {parties.rule.needed}{why}")
    for author, answer in answers.items():
        if answer.said.suspended:
            name = parties.name(author)
            raise Refused("agreement.ended", f"suspended, as {name} states", set_by=name)
    return _summary(parties, list(answers.values()), frozenset(stops))


def _answer(parties: Parties, raw: bytes, asked: Asked, terms: Mapping[int, Tenure]) -> _Answer:
    found = parties.of_party(raw, "statement")
    said = kinds.read(Statement, found)
    if Asked(said.number, said.term, said.nonce) != asked:
        raise Refused("run.statements", "an answer to another summons")
    if not parties.knows(said.identities):
        # The host may hide that a key was taken back: whoever knows of it says so.
        raise Refused("run.statements", "an identity that it names is not shown")
    if said.accepted is None:
        return _Answer(found, said, None)
    return _Answer(found, said, _accepted(parties, said.accepted, asked, terms))


def _accepted(
    parties: Parties, raw: bytes, asked: Asked, terms: Mapping[int, Tenure]
) -> tuple[Record, Run]:
    """The run record that a party voted for in an earlier term, by the enclave of that term."""
    found = record.parse(raw)
    if found.topic != parties.id or found.kind != "run":
        raise Refused("run.statements", "what was accepted is no run record of this agreement")
    run = kinds.read(Run, found)
    tenure = terms.get(run.term)
    if tenure is None:
        raise Refused("run.statements", f"the election certificate of term {run.term} is not shown")
    elected = (tenure.keys.signing, tenure.id)
    if (found.key, run.appointment) != elected or found.author != found.key:
        raise Refused("run.statements", "what was accepted is not by the enclave of its term")
    if run.number != asked.number or run.term >= asked.term:
        raise Refused("run.statements", "what was accepted is of another number or a later term")
    return found, run


def _summary(parties: Parties, answers: list[_Answer], stops: frozenset[bytes]) -> Heard:
    f = parties.tolerated
    times = sorted((answer.said.at for answer in answers), reverse=True)
    attempts = sorted((answer.said.attempts for answer in answers), reverse=True)
    shown = [answer.accepted for answer in answers if answer.accepted is not None]
    return Heard(
        shares={answer.record.author: frozenset(answer.said.shares) for answer in answers},
        ids=tuple(sorted(answer.record.id for answer in answers)),
        stops=stops,
        now=times[f],
        earliest=times[-1 - f],
        attempts=attempts[f],
        accepted=max(shown, key=lambda pair: pair[1].term, default=None),
    )
