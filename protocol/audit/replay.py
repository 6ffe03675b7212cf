"""The history told again to the machines that the nodes run (checks 5 to 8).

A machine's own gate rule judges each record. Order of arrival never changes a machine's state, so a
record that comes before what entitles its author is tried again after the others.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol, TypeVar

from protocol import consistency, limits
from protocol.audit.feeds import Topic
from protocol.audit.findings import Check, Entry, Ledger
from protocol.errors import ProtocolError, Refused
from protocol.events import Event, Received
from protocol.keys import digest
from protocol.machines.agreement import Collaboration, Self
from protocol.machines.negotiation import Negotiation
from protocol.machines.space import Space
from protocol.record import Record

PASSES: Final = 64
"""How often the records that are not entitled yet are tried again: the deepest chain of invites
that a file may tell in the worst order."""


class Machine(Protocol):
    """What the machines of all topics have in common."""

    def authorise(self, record: Record) -> None:
        """Raise Refused if the author may not publish this."""

    def handle(self, event: Event, now: int, /) -> object:
        """Take a record."""

    def ends(self, id_at: Callable[[bytes, int], bytes | None], /) -> Mapping[bytes, int]:
        """Key -> first void place of its feed."""


M = TypeVar("M", bound=Machine)


def replay_space(found: Topic, now: int, ledger: Ledger) -> Space | None:
    """The space that the records of its topic make, and what is wrong with them."""
    try:
        space = _replay(found, lambda: Space(found.opening), Check.ADMISSIONS, ledger)
    except Refused as error:
        ledger.find(Check.CHARTER, error.code, f"the charter is refused: {error}")
        return None
    _report_idle(found, space, ledger)
    ledger.look(Check.CHARTER, len(space.founders))
    signed = len(space.charter_ballot.yes(space.id))
    if not space.founded:
        sentence = f"the charter is signed by {signed} of its {len(space.founders)} founders"
        ledger.find(Check.CHARTER, "decision.quorum", sentence)
        return space
    ledger.prove(f"The charter of {space.charter.name!r} is signed by all {signed} founders.")
    _check_epochs(space, ledger)
    guests = {did: one for did, one in space.members().items() if did not in space.founders}
    ledger.look(Check.ADMISSIONS, len(guests))
    if guests:
        names = ", ".join(sorted(one.participant.name for one in guests.values()))
        ledger.prove(f"{len(guests)} more members were admitted by vote: {names}.")
    for did, one in space.members().items():
        if did not in space.terms.registrars and space.credential(did, now) is None:
            name = one.participant.name
            ledger.limit(f"No valid credential of {name} by a trusted registrar is in the file.")
    return space


def _report_idle(found: Topic, space: Space, ledger: Ledger) -> None:
    """What was said by who was no member: no honest node says it, and it counts for nothing."""
    for entry in found.entries:
        try:
            if entry.record.body is not None and entry.record.author in space.histories:
                space.check_counts(entry.record)
        except Refused as refusal:
            if refusal.code == "space.member":
                sentence = f"record {entry.number} ({entry.record.kind}) counts not: {refusal}"
                ledger.find(Check.ADMISSIONS, refusal.code, sentence, entry)
            else:
                ledger.limit(f"Record {entry.number} is void: its author was gone by then.")


def check_commitments(machine: Collaboration, space: Topic, ledger: Ledger) -> None:
    """Whether each party told the space that the agreement exists (P21). One that did not is no
    fault: it may have been about to.
    """
    said = {
        (entry.record.author, entry.record.body["digest"])
        for entry in space.entries
        if entry.record.kind == "commitment" and entry.record.body is not None
    }
    silent = [
        party.did
        for party in machine.document.parties
        if (party.did, digest("commitment", machine.id, party.did)) not in said
    ]
    if not silent:
        ledger.prove("Each party told the space that the agreement exists, by a commitment.")
        return
    names = ", ".join(map(ledger.name, silent))
    ledger.limit(f"No commitment in the space by {names}: it may not know of the agreement.")


def _check_epochs(space: Space, ledger: Ledger) -> None:
    """Every change of the space went through both steps; who lied in its votes is named."""
    for epoch in space.chain.epochs:
        rounds = space.chain.rounds[epoch.id]
        for lie in rounds.lies():
            sentence = f"{ledger.name(lie.voter)} {lie.why} on what ends epoch {epoch.number}"
            ledger.find(Check.ADMISSIONS, "decision.exclusive", sentence)
        if epoch is not space.epoch:
            round_, change = rounds.finals()[0]
            rounds.proof(round_, change)
            q, n = rounds.rule.needed, len(rounds.rule.voters)
            ledger.prove(
                f"Epoch {epoch.number + 1} of the space: decided and confirmed by {q} of {n} "
                f"voters at least, in round {round_}."
            )
    gone = sorted({did for did in space.membership.grants() if did not in space.members()})
    if gone:
        names = ", ".join(map(ledger.name, gone))
        ledger.prove(f"{names} left the space or was removed; what was signed before stands.")


def replay_negotiation(found: Topic, space: Space, ledger: Ledger) -> Negotiation:
    """The negotiation that the records of its topic make, and what is wrong with them."""
    return _replay(
        found, lambda: Negotiation(found.opening, b"", space.histories), Check.AGREEMENT, ledger
    )


def replay_agreement(found: Topic, ledger: Ledger) -> Collaboration | None:
    """The collaboration that the records of its topic make, and what is wrong with them."""
    nobody = Self(did=b"", identity=b"")
    try:
        machine = _replay(
            found, lambda: Collaboration(found.opening, nobody), Check.AUTHORS, ledger
        )
    except Refused as error:
        ledger.find(Check.AGREEMENT, error.code, f"the agreement is refused: {error}")
        return None
    for entry in found.entries:
        if entry.record.body is None and not _may_sign(entry.record, machine):
            sentence = f"record {entry.number}: nobody entitled signed this {entry.record.kind}"
            ledger.find(Check.AUTHORS, "record.author", sentence, entry)
    return machine


def check_signatures(
    machine: Collaboration,
    space: Space | None,
    negotiation: Negotiation | None,
    ledger: Ledger,
) -> None:
    """The agreement is sound, its parties are members, and it is what was negotiated.

    That all parties signed is known already: no opening is read without their signatures.
    """
    document = machine.document
    ledger.look(Check.AGREEMENT, len(document.parties))
    for fault in consistency.faults(document):
        ledger.find(Check.AGREEMENT, "agreement.document", fault)
    if space is None or space.id != document.space:
        ledger.limit(
            "The space is not in the file: that the parties are its members is not proven."
        )
    else:
        for party in document.parties:
            if not space.was_member(party.did):
                sentence = f"{party.name} signed the agreement and was no member of its space"
                ledger.find(Check.AGREEMENT, "space.member", sentence)
    if negotiation is None:
        ledger.limit(
            "The negotiation is not in the file: how the agreement came about is not shown."
        )
    else:
        _check_negotiated(machine, negotiation, ledger)
    count = len(document.parties)
    ledger.prove(f"The agreement {document.name!r} is signed by all {count} parties.")


def _check_negotiated(machine: Collaboration, negotiation: Negotiation, ledger: Ledger) -> None:
    versions = [v for v in negotiation.versions.values() if v.digest == machine.id]
    if not versions:
        sentence = "the negotiation in the file has no proposal with this document"
        ledger.find(Check.AGREEMENT, "agreement.version", sentence)
        return
    agreed = negotiation.agreed
    if agreed is None:
        missing = ", ".join(map(ledger.name, negotiation.unsigned(versions[0])))
        sentence = f"the negotiation lacks the vote of {missing} that the certificate holds"
        ledger.find(Check.AGREEMENT, "audit.incomplete", sentence)
    elif agreed.digest != machine.id:
        sentence = "all parties signed a newer version than this one"
        ledger.find(Check.AGREEMENT, "agreement.version", sentence)


def _replay(found: Topic, make: Callable[[], M], check: Check, ledger: Ledger) -> M:
    """The machine of a topic; what a key signed that was taken back before is not told to it, and
    leaves the topic's entries. Raises Refused if the opening makes no machine.
    """
    ledger.look(check, sum(entry.record.body is not None for entry in found.entries))
    while True:
        machine = make()
        refusals = _tell(found.entries, machine)
        void = _void(found.entries, machine)
        if not void:
            break
        _report_void(void, ledger)
        found.entries = [entry for entry in found.entries if entry not in void]
    for entry, refusal in refusals:
        if refusal.code == "space.removed":
            # Nodes keep what they took before they knew: it counts for nothing, and harms nobody.
            ledger.limit(f"Record {entry.number} is void: its author was gone by then.")
            continue
        sentence = f"record {entry.number} ({entry.record.kind}) is refused: {refusal}"
        ledger.find(_check_of(refusal, check), refusal.code, sentence, entry)
    return machine


def _void(entries: list[Entry], machine: Machine) -> list[Entry]:
    ids = {(entry.record.key, entry.record.seq): entry.record.id for entry in entries}
    ends = machine.ends(lambda key, seq: ids.get((key, seq)))
    return [e for e in entries if e.record.seq >= ends.get(e.record.key, limits.FEED)]


def _report_void(void: list[Entry], ledger: Ledger) -> None:
    for did in sorted({entry.record.author for entry in void}):
        count = sum(entry.record.author == did for entry in void)
        ledger.limit(
            f"{count} records by a key that {ledger.name(did)} took back are void: they stand "
            "beyond the pinned head, and count for nothing."
        )


def _tell(entries: Iterable[Entry], machine: Machine) -> list[tuple[Entry, ProtocolError]]:
    """Tell a machine every record with a body; those that it refuses in every order."""
    waiting = [entry for entry in entries if entry.record.body is not None]
    refusals: dict[int, ProtocolError] = {}
    for _ in range(PASSES):
        refusals = {}
        for entry in waiting:
            try:
                machine.authorise(entry.record)
                machine.handle(Received(entry.record), 0)
            except ProtocolError as error:
                refusals[entry.number] = error
        rest = [entry for entry in waiting if entry.number in refusals]
        if len(rest) in (0, len(waiting)):
            break
        waiting = rest
    return [(entry, refusals[entry.number]) for entry in waiting if entry.number in refusals]


def _check_of(error: ProtocolError, check: Check) -> Check:
    """An enclave that speaks outside its term has a check of its own."""
    return Check.TERMS if error.code == "election.certificate" else check


def _may_sign(record: Record, machine: Collaboration) -> bool:
    """What can be said of a record without body: its author may sign records of this kind."""
    if record.author == record.key:
        return record.key in {c.enclave.signing for _, c in machine.election.candidacies.values()}
    history = machine.histories.get(record.author)
    if history is None or not history.stands(record):
        return False
    return record.kind in machine.allowed(record.author, record.key)
