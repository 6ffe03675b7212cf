"""Acceptance policy: what a node says yes to by itself. No rule, no yes.

`judge` compares a document with every allow rule. What a rule cannot tolerate (a purpose, a
recipient, a technology) is a reason; what could be stricter (a floor, a budget, a duration) is a
change that a counter-offer makes. A counter-offer only ever makes the document stricter.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from protocol import terms, vocabulary
from protocol.attestation import policy as attestation
from protocol.attestation.policy import TECHNOLOGIES
from protocol.identity import Participant
from protocol.keys import did_parse, did_text
from protocol.kinds.agreement import Agreement, Candidate, Party, recipients_of
from protocol.kinds.identity import Role
from protocol.terms import Merged, Value

SUBJECT: Final = "data-subject"
"""The recipient that stands for a person who gets the own result."""

TEST_ONLY: Final = frozenset(name for name, test_only in TECHNOLOGIES.items() if test_only)
"""Technologies that protect nothing: never hardware, accepted only under `test_only`."""

LOGS: Final = ("none", "errors", "all")
"""What may leave of a log, the least first."""

START: Final = 7 * 86_400
"""Seconds from now until the start of an agreement, at most."""

COUNTERS: Final = 3
"""Counter-offers by policy in one negotiation; then a person is asked, so that two never duel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partners:
    """Who the other parties may be: vouched for by registrar `credential`, in role `role`."""

    credential: str
    role: Role | Literal["any"] = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """The reviews that a bundle needs; an author's own never counts."""

    reviews_at_least: int
    reviewers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Technologies:
    """Acceptable technologies: real ones, or (for tests and demos) such that protect nothing."""

    hardware: tuple[str, ...] = ()
    test_only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """One thing that this node agrees to. Participants are "@petname" or a did:key.

    `logs` is the most that may leave of the algorithm's log, to recipients and its provider.

    `purpose` are DPV terms, narrower ones included; `ends_within` and `retention` are seconds;
    `jurisdiction` is of the enclave hosts; then eight are output rules that must hold at least, and
    three are bounds of runs as in the agreement (None: whatever others set). `then` is what follows
    if all fits: accept; counter (accept, and offer the smallest change where a change suffices); or
    ask a person.
    """

    name: str
    purpose: tuple[str, ...]
    legal_basis: tuple[str, ...]
    datasets: tuple[str, ...]
    partners: Partners
    recipients: tuple[str, ...]
    algorithm: Reviewed
    runs_max: int
    ends_within: int
    retention: int
    jurisdiction: tuple[str, ...]
    attestation: Technologies
    then: Literal["accept", "counter", "ask"]
    min_contributors: int | None = None
    min_change: int | None = None
    precision: int | None = None
    small_cells: Literal["suppress", "refuse"] | None = None
    output_rows: int | None = None
    noise: Literal["gaussian", "laplace"] | None = None
    epsilon_total: int | None = None
    delta: int | None = None
    attempts_max: int | None = None
    order_deadline: int | None = None
    run_within: int | None = None
    logs: Literal["none", "errors", "all"] = "none"


News = Literal["new recipient", "new code", "logs leave", "run by cron"]
"""What a document may bring that a person should see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskWhen:
    """News that a person must see before a yes, and after how many seconds to remind."""

    when: tuple[News, ...]
    remind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The acceptance policy of one node."""

    allow: tuple[Allow, ...]
    ask: tuple[AskWhen, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What this node knows and a document cannot say about itself.

    `me`: own did. `now`: unix seconds. `names`: petname without @ -> did. `participants`: the
    newest identities known, by did. `contracts`: digest -> id of the data contracts known here.
    `software`: measurements of enclaves that this node trusts. `vouched`: did -> registrars with a
    valid credential for it. `reviews`: bundle -> dids that approved it. `used_code` and
    `used_recipients`: bundles and dids of agreements that this node signed. `faults`: what else the
    node found, for example by protocol.consistency.manifest_faults. `countered`: own counter-offers
    so far in this negotiation.
    """

    me: bytes
    now: int
    names: Mapping[str, bytes]
    participants: Mapping[bytes, Participant]
    contracts: Mapping[bytes, str]
    software: frozenset[bytes]
    vouched: Mapping[bytes, frozenset[bytes]]
    reviews: Mapping[bytes, frozenset[bytes]]
    used_code: frozenset[bytes] = frozenset()
    used_recipients: frozenset[bytes] = frozenset()
    faults: tuple[str, ...] = ()
    countered: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not: the field of the document, what the policy wants there, and what stands there."""

    field: str
    wanted: str
    found: str

    @property
    def words(self) -> str:
        """One sentence."""
        return f"{self.field}: wanted {self.wanted}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Accept:
    """Yes, by allow rule `rule`."""

    rule: str


@dataclass(frozen=True, slots=True)
class Counter:
    """Yes to `document`, which is the judged one made stricter; `changes` in words."""

    rule: str
    document: Agreement
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A person decides: the rule fits, and `why` says what the person should look at."""

    rule: str
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """No, with the reasons of the rule that came closest."""

    rule: str
    reasons: tuple[Reason, ...]


Verdict = Accept | Counter | Ask | Refuse


def judge(policy: Policy, document: Agreement, facts: Facts, salt: bytes) -> Verdict:
    """What `policy` says to `document`, which protocol.consistency found sound.

    `salt`: 32 fresh random bytes for the document of a counter-offer. The best answer of all allow
    rules counts: accept, then counter (fewest changes), then ask, then refuse (fewest reasons).
    """
    if not policy.allow:
        return Refuse("", (Reason("policy", "an allow rule", "none"),))
    if facts.faults:
        found = (Reason("document", "no fault", fault) for fault in facts.faults)
        return Refuse("", tuple(found))
    verdicts = (_judge(rule, policy, document, facts, salt) for rule in policy.allow)
    return min(verdicts, key=_order)


def _order(verdict: Verdict) -> tuple[int, int]:
    match verdict:
        case Accept():
            return 0, 0
        case Counter(changes=changes):
            return 1, len(changes)
        case Ask(why=why):
            return 2, len(why)
        case Refuse(reasons=reasons):
            return 3, len(reasons)


def _judge(rule: Allow, policy: Policy, document: Agreement, facts: Facts, salt: bytes) -> Verdict:
    reasons = tuple(_Case(rule, document, facts).reasons())
    if reasons:
        return Refuse(rule.name, reasons)
    stricter, changes = _tightened(rule, document, facts.me)
    if not changes:
        why = tuple(_news(policy, document, facts))
        if why or rule.then == "ask":
            return Ask(rule.name, why or (f"rule {rule.name!r} leaves it to a person",))
        return Accept(rule.name)
    if rule.then == "counter" and facts.countered < COUNTERS:
        return Counter(rule.name, replace(stricter, salt=salt), tuple(map(_change_words, changes)))
    if rule.then == "accept":
        return Refuse(rule.name, changes)
    return Ask(rule.name, tuple(change.words for change in changes))


def _change_words(change: Reason) -> str:
    return f"{change.field}: {change.wanted} (was {change.found})"


# --- what only a person or another document can change -------------------------------------------


@dataclass(frozen=True, slots=True)
class _Case:
    """One allow rule held against one document."""

    rule: Allow
    document: Agreement
    facts: Facts

    def reasons(self) -> Iterator[Reason]:
        """Everything that this rule cannot tolerate."""
        yield from self._purpose()
        yield from self._data()
        yield from self._partners()
        yield from self._identities()
        yield from self._registrar()
        yield from self._recipients()
        yield from self._logs()
        yield from self._noise()
        yield from self._reviews()
        yield from self._hosts()
        yield from self._attestation()

    def _purpose(self) -> Iterator[Reason]:
        term = self.document.purpose.term
        if not vocabulary.narrower(term, self.rule.purpose):
            yield Reason("purpose.term", _one_of(self.rule.purpose), term)
        # `ends_within` counts from the start, so a late start would stretch it.
        ahead = self.document.start - self.facts.now
        if ahead > START:
            yield Reason("start", f"at most {START} s from now", f"{ahead} s")

    def _data(self) -> Iterator[Reason]:
        for dataset in self.document.datasets:
            if dataset.id not in self.rule.datasets:
                yield Reason("datasets", _one_of(self.rule.datasets), dataset.id)
            elif self.facts.contracts.get(dataset.contract) != dataset.id:
                wanted = f"the data contract {dataset.id} known here"
                yield Reason(f"datasets.{dataset.id}.contract", wanted, dataset.contract.hex()[:8])
            bases = {source.legal_basis for source in dataset.sources}
            for basis in sorted(bases - set(self.rule.legal_basis)):
                yield Reason(f"datasets.{dataset.id}", _one_of(self.rule.legal_basis), basis)

    def _partners(self) -> Iterator[Reason]:
        wanted, me = self.rule.partners, self.facts.me
        for where, one in self._organizations():
            registrars = self.facts.vouched.get(one.did, frozenset())
            if one.did != me and self._trusted() not in registrars:
                yield Reason(where, f"a valid credential by {wanted.credential}", "none")
        for party in self.document.parties:
            if party.did != me and wanted.role not in ("any", *party.roles):
                yield Reason(f"parties.{party.name}", f"role {wanted.role}", _list(party.roles))

    def _identities(self) -> Iterator[Reason]:
        """An older identity could hold a key that its owner took back."""
        for where, one in self._organizations():
            known = self.facts.participants.get(one.did)
            if known is None or (known.id, known.vote_key) != (one.identity, one.vote_key):
                found = "nobody known here" if known is None else "another one"
                yield Reason(f"{where}.identity", "the newest identity known here", found)

    def _registrar(self) -> Iterator[Reason]:
        """Who admits people decides how many there are: it must be the trusted registrar."""
        people = self.document.people
        if people is None:
            return
        registrar = self.facts.participants.get(people.registrar)
        if people.registrar != self._trusted() or registrar is None:
            wanted = self.rule.partners.credential
            yield Reason("people.registrar", wanted, did_text(people.registrar))
        elif not registrar.record_keys.issuperset(people.registrar_keys):
            yield Reason("people.registrar_keys", f"keys of {registrar.name}", "others")

    def _organizations(self) -> Iterator[tuple[str, Party | Candidate]]:
        for party in self.document.parties:
            yield f"parties.{party.name}", party
        for host in self.document.hosts.candidates:
            yield f"hosts.candidates.{host.name}", host

    def _trusted(self) -> bytes | None:
        """The registrar that the policy trusts."""
        return self._did("@" + self.rule.partners.credential.removeprefix("registrar:"))

    def _recipients(self) -> Iterator[Reason]:
        allowed = {self._did(name) for name in self.rule.recipients} | {self.facts.me}
        called = {party.did: f"@{party.name}" for party in self.document.parties}
        for output in self.document.outputs:
            where, wanted = f"outputs.{output.name}.to", _one_of(self.rule.recipients)
            for did in output.to:
                if did not in allowed:
                    yield Reason(where, wanted, called.get(did, did_text(did)))
            if output.subject and SUBJECT not in self.rule.recipients:
                yield Reason(where, wanted, SUBJECT)

    def _noise(self) -> Iterator[Reason]:
        """Noise rests on marks in the output models: no counter-offer can add it."""
        found = self.document.rules.noise
        if self.rule.noise is not None and terms.stricter("noise", self.rule.noise, found):
            yield Reason("rules.noise", self.rule.noise, found or "none")

    def _logs(self) -> Iterator[Reason]:
        logs = self.document.logs
        if logs is None:
            return
        if LOGS.index(logs.what) > LOGS.index(self.rule.logs):
            yield Reason("logs.what", f"at most {self.rule.logs}", logs.what)
        allowed = {self._did(name) for name in self.rule.recipients}
        allowed |= {self.facts.me, self.document.algorithm.provider}
        called = {party.did: f"@{party.name}" for party in self.document.parties}
        for did in logs.to:
            if did not in allowed:
                wanted = _one_of((*self.rule.recipients, "the code's provider"))
                yield Reason("logs.to", wanted, called.get(did, did_text(did)))

    def _reviews(self) -> Iterator[Reason]:
        algorithm, wanted = self.document.algorithm, self.rule.algorithm
        counting = {self._did(name) for name in wanted.reviewers} - {algorithm.provider}
        approved = self.facts.reviews.get(algorithm.bundle, frozenset()) & counting
        if len(approved) < wanted.reviews_at_least:
            by = f"{wanted.reviews_at_least} approving reviews by {_one_of(wanted.reviewers)}"
            yield Reason("algorithm.bundle", by, str(len(approved)))

    def _hosts(self) -> Iterator[Reason]:
        for host in self.document.hosts.candidates:
            if not vocabulary.lies_in(host.region, self.rule.jurisdiction):
                wanted = _one_of(self.rule.jurisdiction)
                yield Reason(f"hosts.candidates.{host.name}", wanted, host.region or "nowhere")

    def _attestation(self) -> Iterator[Reason]:
        rule = self.rule.attestation
        named = attestation.named(self.document.attestation)
        found = set(named)
        # Hardware and test-only never mix: the weaker one would decide what "attested" means.
        allowed = set(rule.test_only) if found & TEST_ONLY else set(rule.hardware) - TEST_ONLY
        for technology in sorted(found - allowed):
            test_only = tuple(f"{name} (test only)" for name in rule.test_only)
            wanted = _one_of((*rule.hardware, *test_only))
            yield Reason("attestation", wanted, technology)
        for technology, accepted in named.items():
            for registers in accepted.accept:
                if not self.facts.software.issuperset(registers.values()):
                    yield self._untrusted(technology, registers)

    def _untrusted(self, technology: str, registers: Mapping[str, bytes]) -> Reason:
        values = ((n, v) for n, v in sorted(registers.items()) if v not in self.facts.software)
        found = ", ".join(f"{name} {value.hex()[:8]}" for name, value in values)
        return Reason(f"attestation.{technology}.accept", "enclave software trusted here", found)

    def _did(self, name: str) -> bytes | None:
        """The did that a policy's "@petname" or did:key means; None if nobody has the name."""
        if name.startswith("@"):
            return self.facts.names.get(name[1:])
        return did_parse(name) if name.startswith("did:key:") else None


# --- what a stricter document can change ----------------------------------------------------------


def _tightened(rule: Allow, document: Agreement, me: bytes) -> tuple[Agreement, tuple[Reason, ...]]:
    """`document` made just strict enough for `rule`, and each change to it."""
    wishes = _wishes(rule, document)
    before = Merged(document.rules, document.rule_sources)
    after = terms.tighten(before, me, wishes)
    changes = [
        _change(f"rules.{name}", bound.words, "no bound" if old is None else old, new)
        for name, bound in terms.DIRECTIONS.items()
        if (old := getattr(before.rules, name)) != (new := getattr(after.rules, name))
    ]
    bounds = {
        "at_most": rule.runs_max,
        "attempts": rule.attempts_max,
        "deadline": rule.order_deadline,
        "within": rule.run_within,
    }
    runs = terms.tighten_runs(document.runs, bounds)
    purpose, retention = document.purpose, document.retention
    changes += [
        _change(f"runs.{name}", bound.words, "no bound" if old is None else old, new)
        for name, bound in terms.RUN_BOUNDS.items()
        if (old := getattr(document.runs, name)) != (new := getattr(runs, name))
    ]
    if purpose.duration > rule.ends_within:
        change = _change("purpose.duration", _at_most(" s"), purpose.duration, rule.ends_within)
        changes.append(change)
        purpose = replace(purpose, duration=rule.ends_within)
    if retention > rule.retention:
        changes.append(_change("retention", _at_most(" s"), retention, rule.retention))
        retention = rule.retention
    tightened = replace(
        document,
        rules=after.rules,
        rule_sources=after.sources,
        runs=runs,
        purpose=purpose,
        retention=retention,
    )
    return tightened, tuple(changes)


def _wishes(rule: Allow, document: Agreement) -> dict[str, Value]:
    """The output rules that must hold at least; those of noise only where there is any."""
    floors = ["min_contributors", "min_change", "precision", "small_cells", "output_rows"]
    if document.rules.noise is not None:
        floors += ["epsilon_total", *(["delta"] if document.rules.noise == "gaussian" else [])]
    wishes = {name: value for name in floors if (value := getattr(rule, name)) is not None}
    if "epsilon_total" in wishes:  # one run takes no more than all
        wishes["epsilon"] = wishes["epsilon_total"]
    return wishes


def _at_most(unit: str) -> Callable[[Value], str]:
    return lambda value: f"at most {value}{unit}"


def _change(name: str, words: Callable[[Value], str], old: Value, new: Value) -> Reason:
    return Reason(name, words(new), str(old))


def _news(policy: Policy, document: Agreement, facts: Facts) -> Iterator[str]:
    """What the policy wants a person to see, and this document brings."""
    when = {news for ask in policy.ask for news in ask.when}
    timed = [f"{one.name} ({one.cron})" for one in document.runs.triggers if one.cron is not None]
    if "run by cron" in when and timed:
        yield f"run by cron: {', '.join(timed)}"
    if "new code" in when and document.algorithm.bundle not in facts.used_code:
        yield "new code: no earlier agreement ran this algorithm"
    names = {party.did: party.name for party in document.parties}
    logs = document.logs
    if "logs leave" in when and logs is not None:
        who = ", ".join(sorted(names.get(did, did_text(did)) for did in logs.to))
        yield f"logs leave: {'errors' if logs.what == 'errors' else 'all that is printed'} to {who}"
    recipients = recipients_of(document) - {facts.me}
    if "new recipient" in when and recipients - facts.used_recipients:
        new = (names.get(did, did_text(did)) for did in recipients - facts.used_recipients)
        yield f"new recipient: {', '.join(sorted(new))}"


def _list(items: tuple[str, ...]) -> str:
    return ", ".join(items) or "nothing"


def _one_of(items: tuple[str, ...]) -> str:
    return items[0] if len(items) == 1 else f"one of {_list(items)}"
