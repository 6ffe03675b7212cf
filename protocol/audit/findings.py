"""What an audit says: numbered checks, findings, what is proven and what cannot be."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from protocol import keys
from protocol.record import Record


class Check(IntEnum):
    """The checks of an audit, in the order in which an auditor ticks them."""

    FILE = 1
    RECORDS = 2
    FEEDS = 3
    HEADS = 4
    CHARTER = 5
    ADMISSIONS = 6
    AGREEMENT = 7
    AUTHORS = 8
    VERDICTS = 9
    ELECTIONS = 10
    TERMS = 11
    ORDERS = 12
    STATEMENTS = 13
    STOPS = 14
    AGREED = 15
    GATE = 16
    VOTES = 17
    NUMBERS = 18
    LEAVES = 19


TITLES: Final = {
    Check.FILE: "the file is complete, its manifest signed by a known participant",
    Check.RECORDS: "every record: signature, digest of the body, shape",
    Check.FEEDS: "every feed without gap; nobody wrote two records for one place",
    Check.HEADS: "the heads of all feeds are those of the manifest",
    Check.CHARTER: "the charter is signed by all founders",
    Check.ADMISSIONS: "members were admitted by vote, and only members wrote",
    Check.AGREEMENT: "the agreement is sound and signed by all parties",
    Check.AUTHORS: "only entitled authors wrote into the agreement",
    Check.VERDICTS: "every verdict says what its evidence says",
    Check.ELECTIONS: "every host was elected by a quorum, on a quorum of verdicts",
    Check.TERMS: "only the elected enclave spoke in its term",
    Check.ORDERS: "every run was ordered by an entitled party, each order used once",
    Check.STATEMENTS: "every run rests on a quorum of statements for its number, term and nonce",
    Check.STOPS: "every stop and suspension was honoured",
    Check.AGREED: "code, environment, rules, budget and time are the agreed ones",
    Check.GATE: "the gate's outcome, recipients and sizes are the agreed ones",
    Check.VOTES: "every run record was decided by a quorum; nobody voted twice",
    Check.NUMBERS: "run numbers have no gap, and one record each",
    Check.LEAVES: "the leaves lead to the root in the run record",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A verified record and its number in the file, counted from 1."""

    number: int
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault: `code` is a key of protocol.errors.RULES.

    `record` is the number in the file and `id` the record's, where one record is at fault; `author`
    is the name (or did) of who signed it.
    """

    check: Check
    code: str
    sentence: str
    record: int | None = None
    id: bytes | None = None
    author: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """A check that was done: how many things it looked at, and how many findings it has."""

    check: Check
    looked_at: int
    findings: int

    @property
    def title(self) -> str:
        """What was checked, in words."""
        return TITLES[self.check]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome. `kind` is "audit", "receipt" or "record"; `headline` says it in one line.

    `proofs` are sentences that the file proves, `limits` what it cannot prove.
    """

    kind: str
    headline: str
    findings: tuple[Finding, ...]
    proofs: tuple[str, ...]
    limits: tuple[str, ...]
    checks: tuple[Ticked, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(slots=True)
class Ledger:
    """Where the checks write down what they see."""

    names: dict[bytes, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)
    limits: dict[str, None] = field(default_factory=dict)
    looked: Counter[Check] = field(default_factory=Counter)

    def know(self, names: Iterable[tuple[bytes, str]]) -> None:
        """Learn what participants are called; the first name of a did stays."""
        for did, name in names:
            self.names.setdefault(did, name)

    def name(self, did: bytes) -> str:
        """What to call a participant; an unknown one by its did."""
        return self.names.get(did) or keys.did_text(did)

    def look(self, check: Check, count: int = 1) -> None:
        """Count what a check looked at."""
        self.looked[check] += count

    def find(self, check: Check, code: str, sentence: str, entry: Entry | None = None) -> None:
        """Write down a fault, of one record if `entry` is given."""
        if entry is None:
            self.findings.append(Finding(check=check, code=code, sentence=sentence))
            return
        self.findings.append(
            Finding(
                check=check,
                code=code,
                sentence=sentence,
                record=entry.number,
                id=entry.record.id,
                author=self.name(entry.record.author),
            )
        )

    def prove(self, sentence: str) -> None:
        """Write down what is proven."""
        self.proofs.append(sentence)

    def limit(self, sentence: str) -> None:
        """Write down, once, what is not proven."""
        self.limits[sentence] = None

    def report(self, headline: str) -> Report:
        """The outcome of an audit bundle's checks, findings in the order of the checks."""
        found = Counter(finding.check for finding in self.findings)
        return Report(
            kind="audit",
            headline=headline,
            findings=tuple(sorted(self.findings, key=lambda finding: finding.check)),
            proofs=tuple(self.proofs),
            limits=tuple(self.limits),
            checks=tuple(
                Ticked(check=check, looked_at=self.looked[check], findings=found[check])
                for check in Check
            ),
        )
