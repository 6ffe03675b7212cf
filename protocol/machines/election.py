"""Election of the enclave host, term by term (docs/protocol.md section 6).

Each voter appraises each candidate by its own nonce and publishes a verdict. Its one vote of a term
goes to the first candidate, in the agreement's order, that a quorum found eligible. A term ends
when n-q+1 voters say that its lease lapsed. Leases are timers for liveness; no safety rests on
them: an old host is fenced because votes, statements and sealed keys name the term and the enclave.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from protocol import kinds, limits, shape
from protocol.attestation import advisories
from protocol.attestation import policy as policies
from protocol.attestation.evidence import enclave_id
from protocol.decision import Ballot, Rule, quorum
from protocol.effects import Challenge, Effect, Publish
from protocol.errors import RULES, Refused
from protocol.kinds.advisory import Measured
from protocol.kinds.agreement import Agreement
from protocol.kinds.attestation import Attestation
from protocol.kinds.common import Vote
from protocol.kinds.host import Appointment, Candidacy, ElectionCertificate, Lapse, Verdict
from protocol.machines.advisories import Ground
from protocol.record import Record

PATIENCE = 3
"""Leases that an unfinished election, or a silent new host, is given before the term lapses."""


@dataclass(frozen=True, slots=True)
class Elected:
    """The outcome of a term: appointment and the candidacy of the host."""

    term: int
    appointment: Appointment
    candidacy: Candidacy
    subject: bytes


@dataclass(slots=True)
class Election:
    """All terms of one agreement, as one participant sees them."""

    agreement_id: bytes
    document: Agreement
    rule: Rule
    candidacies: dict[bytes, tuple[Record, Candidacy]] = field(default_factory=dict)
    verdicts: dict[tuple[int, bytes], dict[bytes, Verdict]] = field(default_factory=dict)
    ballots: dict[int, Ballot] = field(default_factory=dict)
    appointments: dict[bytes, Appointment] = field(default_factory=dict)
    lapses: dict[int, set[bytes]] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)
    opened: dict[int, float] = field(default_factory=dict)
    ripe: dict[int, float] = field(default_factory=dict)
    retried: dict[tuple[int, bytes], float] = field(default_factory=dict)
    away: dict[tuple[int, bytes], float] = field(default_factory=dict)
    heirs: Callable[[], frozenset[bytes]] = frozenset
    ground: Ground = field(default_factory=Ground, init=False)
    policy: Attestation = field(init=False)
    policy_digest: bytes = field(init=False)
    measured: dict[tuple[bytes, bytes], Measured] = field(default_factory=dict, init=False)
    _term: int = field(default=1, init=False)
    _newest: dict[bytes, Record] = field(default_factory=dict, init=False)
    _judged: dict[tuple[object, ...], Record] = field(default_factory=dict, init=False)
    _offers: dict[bytes, int] = field(default_factory=dict, init=False)
    _certificates: dict[bytes, bytes] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Begin with the agreement's own policy; `heed` tells what the space adds."""
        self._settle()

    def heed(self, ground: Ground) -> None:
        """Take what the space says now: verdicts under other floors are asked for again."""
        if ground != self.ground:
            self.ground = ground
            self._settle()

    def _settle(self) -> None:
        self.policy = policies.merge(self.document.attestation, self.ground.floors)
        self.policy_digest = policies.digest(self.policy)

    @property
    def lease(self) -> float:
        """Seconds that a host may be silent."""
        return self.document.hosts.lease / 1000

    @property
    def term(self) -> int:
        """The current term: the first that has neither lapsed nor been overtaken."""
        return self._term

    def elected(self, term: int | None = None) -> Elected | None:
        """Who holds `term` (default: the current one)."""
        wanted = self.term if term is None else term
        ballot = self.ballots.get(wanted)
        subject = ballot.decided() if ballot else None
        appointment = self.appointments.get(subject) if subject else None
        if subject is None or appointment is None or appointment.candidacy not in self.candidacies:
            return None
        return Elected(wanted, appointment, self.candidacies[appointment.candidacy][1], subject)

    def certificate(self, term: int | None = None) -> bytes | None:
        """The raw election certificate of a decided term: of the first votes that were enough."""
        elected = self.elected(term)
        if elected is None:
            return None
        known = self._certificates.get(elected.subject)
        if known is None:
            votes = self.ballots[elected.term].certificate(elected.subject)
            appointment = shape.encode(elected.appointment)
            known = shape.encode(ElectionCertificate(appointment=appointment, votes=votes))
            self._certificates[elected.subject] = known
        return known

    def latest(self) -> dict[bytes, bytes]:
        """The newest candidacy of each host: did -> id of the record."""
        return {did: record.id for did, record in self._newest.items()}

    def eligible(self, term: int, candidacy: bytes) -> int:
        """How many voters found this candidate eligible in this term."""
        return sum(v.eligible for v in self.verdicts.get((term, candidacy), {}).values())

    def take(self, record: Record) -> None:
        """Take a record of a kind that concerns elections."""
        match record.kind:
            case "candidacy":
                self._take_candidacy(record)
            case "verdict":
                self._take_verdict(record)
            case "lapse":
                self.lapses.setdefault(kinds.read(Lapse, record).term, set()).add(record.author)
                self._advance(self._term)
            case "vote":
                self._take_vote(record)
            case _:
                return

    def check_candidacy(self, author: bytes) -> None:
        """Refuse one more candidacy of a host that never stops (record.policy)."""
        if self._offers.get(author, 0) >= limits.CANDIDACIES:
            raise Refused("record.policy", f"more than {limits.CANDIDACIES} candidacies")

    def check_vote(self, vote: Vote) -> None:
        """Refuse a vote whose appointment is not what its slot decides (decision.subject)."""
        if vote.document is None or hashlib.sha256(vote.document).digest() != vote.subject:
            raise Refused("decision.subject", "the appointment is missing or altered")
        appointment = shape.decode(Appointment, vote.document)
        if appointment.agreement != self.agreement_id or vote.slot != slot(appointment.term):
            raise Refused("decision.subject", "the appointment is for another agreement or term")

    def hear(self, term: int, enclave: bytes, now: float) -> None:
        """Take a heartbeat; only the enclave that holds the term renews its lease."""
        elected = self.elected(term)
        if elected is not None and elected.appointment.enclave == enclave:
            self.heard[term] = now

    def withdrawn(self, me: bytes, candidacy: bytes) -> bool:
        """Whether an advisory withdraws what `me` itself measured of a candidate."""
        measured = self.measured.get((candidacy, me))
        return measured is not None and advisories.hit(self.ground.advisories, measured) is not None

    def doubt(self, me: bytes, candidacy: bytes, wall: int) -> str | None:
        """Why `me` gives nothing to a candidate in this term, as a code; None if it may.

        Who never had an answer of it has no doubt of its own: a quorum of others elected it. Who
        had one doubts an enclave that stays away when it is asked again: silence renews nothing.
        """
        mine = self.verdicts.get((self.term, candidacy), {}).get(me)
        if self.withdrawn(me, candidacy):
            return "evidence.withdrawn"
        if mine is None:
            return None
        if mine.eligible:
            return "evidence.stale" if self._is_stale(mine, wall) else None
        if "host.unreachable" in mine.reasons:
            return "host.unreachable" if (candidacy, me) in self.measured else None
        return next((code for code in mine.reasons if code in RULES), "evidence.policy")

    def _is_stale(self, verdict: Verdict, wall: int) -> bool:
        """Whether a verdict has ended, or was given under floors that hold no more."""
        return wall >= verdict.until or verdict.policy != self.policy_digest

    def duties(self, me: bytes, identity: bytes, now: float, wall: int) -> list[Effect]:
        """What the voter `me` owes now: challenges, its vote, or the word that the term lapsed."""
        if me not in self.rule.voters:
            return []
        term = self.term
        self.opened.setdefault(term, now)
        elected = self.elected(term)
        # Also after the election: who seals to an enclave verifies it for itself first.
        asked = self.latest().values() if elected is None else _appointed(elected.appointment)
        challenges = [
            Challenge(candidacy, term)
            for candidacy in asked
            if candidacy in self.candidacies and self._owes_verdict(me, candidacy, now, wall)
        ]
        if elected is not None:
            return [*challenges, *self._watch(me, elected, now, wall)]
        return [*challenges, *self._vote(me, identity, term, now)]

    def reasons(self) -> dict[bytes, list[str]]:
        """Why each candidate is not eligible for somebody in the current term: did -> codes."""
        found: dict[bytes, list[str]] = {}
        for did, candidacy in self.latest().items():
            verdicts = self.verdicts.get((self.term, candidacy), {}).values()
            found[did] = sorted({code for verdict in verdicts for code in verdict.reasons})
        return found

    def _owes_verdict(self, me: bytes, candidacy: bytes, now: float, wall: int) -> bool:
        """No verdict yet, or one that says no more what would be found now: ask again."""
        verdict = self.verdicts.get((self.term, candidacy), {}).get(me)
        if verdict is None:
            return True
        if "host.unreachable" in verdict.reasons:
            return self._is_due(candidacy, now)
        withdrawn = self.withdrawn(me, candidacy)
        if verdict.eligible:
            return withdrawn or self._is_stale(verdict, wall)
        lifted = verdict.measured is not None and not withdrawn
        return lifted or verdict.policy != self.policy_digest

    def _is_due(self, candidacy: bytes, now: float) -> bool:
        """Whether a candidate that could not be reached is asked again."""
        last = self.retried.setdefault((self.term, candidacy), now)
        if now - last < PATIENCE * self.lease:
            return False
        self.retried[self.term, candidacy] = now
        return True

    def _take_candidacy(self, record: Record) -> None:
        self.candidacies[record.id] = (record, kinds.read(Candidacy, record))
        self._offers[record.author] = self._offers.get(record.author, 0) + 1
        known = self._newest.setdefault(record.author, record)
        self._newest[record.author] = max(known, record, key=lambda one: one.said)

    def _take_verdict(self, record: Record) -> None:
        verdict = kinds.read(Verdict, record)
        place = (verdict.term, verdict.candidacy)
        if self._is_last(record, *place):
            self.verdicts.setdefault(place, {})[record.author] = verdict
        if verdict.measured is not None and self._is_last(record, verdict.candidacy):
            # Kept when a later verdict measured nothing: an advisory still finds the machine.
            self.measured[verdict.candidacy, record.author] = verdict.measured

    def _is_last(self, record: Record, *about: object) -> bool:
        """Whether this is its author's last word on something, in whatever order they come."""
        last = self._judged.setdefault((record.author, *about), record)
        self._judged[record.author, *about] = max(last, record, key=lambda one: one.said)
        return record.said >= last.said

    def _take_vote(self, record: Record) -> None:
        vote = kinds.read(Vote, record)
        term = int(vote.slot.partition("/")[2])
        ballot = self.ballots.setdefault(term, Ballot(self.rule, vote.slot))
        ballot.add(record)
        if vote.document is not None:
            self.appointments[vote.subject] = shape.decode(Appointment, vote.document)
        if ballot.decided() is not None:
            self._advance(term)

    def _advance(self, term: int) -> None:
        """Go to a decided term, and past those that lapsed; votes and lapses are never undone."""
        self._term = max(self._term, term)
        needed = len(self.rule.voters) - self.rule.needed + 1
        while len(self.lapses.get(self._term, ())) >= needed:
            self._term += 1

    def _watch(self, me: bytes, elected: Elected, now: float, wall: int) -> list[Effect]:
        """Say that the term lapsed: with its lease, or because its enclave is no longer accepted.
        A new host gets time for its first beat.
        """
        term, candidacy = elected.term, elected.appointment.candidacy
        since = self.heard.get(term)
        if since is None:
            since = self.heard[term] = now + (PATIENCE - 1) * self.lease
        if me in self.lapses.get(term, ()):
            return []
        doubt = self._given_up(me, term, candidacy, now, wall)
        if doubt is not None:
            return [Publish("lapse", Lapse(term=term, reason=f"{doubt}: {RULES[doubt].sentence}"))]
        if now - since <= self.lease:
            return []
        return [Publish("lapse", Lapse(term=term, reason="no heartbeat within the lease"))]

    def _given_up(
        self, me: bytes, term: int, candidacy: bytes, now: float, wall: int
    ) -> str | None:
        """The doubt that ends a term. A stale verdict is asked for again, and who was out of reach
        gets the time to be asked twice.
        """
        doubt = self.doubt(me, candidacy, wall)
        if doubt != "host.unreachable":
            self.away.pop((term, candidacy), None)
            return None if doubt == "evidence.stale" else doubt
        since = self.away.setdefault((term, candidacy), now)
        return doubt if now - since > 2 * PATIENCE * self.lease else None

    def _vote(self, me: bytes, identity: bytes, term: int, now: float) -> list[Effect]:
        ballot = self.ballots.get(term)
        if ballot is not None and me in ballot.votes:
            return self._give_up(me, term, now)
        choice = self._choose(me, term, now)
        if choice is None:
            return []
        document = shape.encode(choice)
        vote = Vote(
            slot=slot(term),
            subject=hashlib.sha256(document).digest(),
            choice="yes",
            identity=identity,
            document=document,
        )
        return [Publish("vote", vote)]

    def _give_up(self, me: bytes, term: int, now: float) -> list[Effect]:
        """A split vote must end: after patience, or when no subject can reach the quorum."""
        ballot = self.ballots[term]
        best = max((len(ballot.yes(subject)) for subject in ballot.subjects()), default=0)
        uncast = len(self.rule.voters) - len(ballot.votes)
        stuck = best + uncast < self.rule.needed
        late = now - self.opened[term] > PATIENCE * self.lease
        if not (stuck or late) or me in self.lapses.get(term, ()):
            return []
        return [Publish("lapse", Lapse(term=term, reason="no host reached the quorum"))]

    def _choose(self, me: bytes, term: int, now: float) -> Appointment | None:
        """The first candidate with a quorum of verdicts that has the lineage, or else the first;
        once all are decided, or one lease after: waiting makes all voters see the same.
        """
        latest = self.latest()
        fit = self.fit(me, term)
        if not fit:
            return None
        ripe = self.ripe.setdefault(term, now)
        order = [c.did for c in self.document.hosts.candidates]
        if any(self._is_open(term, latest.get(did)) for did in order) and now - ripe < self.lease:
            return None
        heirs, enclaves = self.heirs(), {one: self.enclave_of(one) for one in fit}
        host = next((one for one in fit if enclaves[one] in heirs), fit[0])
        others = [one for one in fit if one != host]
        return Appointment(
            agreement=self.agreement_id,
            term=term,
            host=self.candidacies[host][0].author,
            candidacy=host,
            enclave=enclaves[host],
            standbys=tuple(others[: self.document.hosts.standbys]),
        )

    def fit(self, me: bytes, term: int) -> list[bytes]:
        """The newest candidacies that a quorum found eligible in a term, in the agreement's order;
        none that `me` knows to be withdrawn.
        """
        latest = self.latest()
        order = [c.did for c in self.document.hosts.candidates if c.did in latest]
        return [latest[did] for did in order if self._is_fit(me, term, latest[did])]

    def enclave_of(self, candidacy: bytes) -> bytes:
        """The short name of a candidate's enclave."""
        return enclave_id(self.candidacies[candidacy][1].enclave)

    def _is_fit(self, me: bytes, term: int, candidacy: bytes) -> bool:
        if self.withdrawn(me, candidacy):
            return False
        return self.eligible(term, candidacy) >= self.rule.needed

    def _is_open(self, term: int, candidacy: bytes | None) -> bool:
        """Whether a candidate may still gain or lack a quorum of verdicts."""
        if candidacy is None:
            return True
        verdicts = self.verdicts.get((term, candidacy), {})
        unknown = len(self.rule.voters) - len(verdicts)
        yes = self.eligible(term, candidacy)
        return yes < self.rule.needed <= yes + unknown


def _appointed(appointment: Appointment) -> tuple[bytes, ...]:
    """The candidacies of the host and its standbys."""
    return (appointment.candidacy, *appointment.standbys)


def slot(term: int) -> str:
    """The exclusive slot of a term's election."""
    return f"host/{term}"


def voting_rule(voters: Mapping[bytes, Collection[bytes]]) -> Rule:
    """A quorum of the agreement's parties, one vote per legal entity."""
    return Rule(voters, quorum(len(voters)))
