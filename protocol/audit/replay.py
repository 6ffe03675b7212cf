"""The history told again to the machines that the nodes run (checks 5 to 8).

A machine's own gate rule judges each record. Order of arrival never changes a machine's state, so a
record that comes before what entitles its author is tried again after the others.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from protocol import consistency
from protocol.audit.feeds import Topic
from protocol.audit.findings import Check, Entry, Ledger
from protocol.errors import ProtocolError, Refused
from protocol.events import Event, Received
from protocol.identity import Participant
from protocol.machines.agreement import HOST_KINDS, PARTY_KINDS, Collaboration, Self
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


def replay_space(found: Topic, now: int, ledger: Ledger) -> Space | None:
    """The space that the records of its topic make, and what is wrong with them."""
    try:
        space = Space(found.opening)
    except Refused as error:
        ledger.find(Check.CHARTER, error.code, f"the charter is refused: {error}")
        return None
    _replay(found.entries, space, Check.ADMISSIONS, ledger)
    ledger.look(Check.CHARTER, len(space.founders))
    signed = len(space.charter_ballot.yes(space.id))
    if not space.founded:
        sentence = f"the charter is signed by {signed} of its {len(space.founders)} founders"
        ledger.find(Check.CHARTER, "decision.quorum", sentence)
        return space
    ledger.prove(f"The charter of {space.charter.name!r} is signed by all {signed} founders.")
    guests = {did: one for did, one in space.members().items() if did not in space.founders}
    ledger.look(Check.ADMISSIONS, len(guests))
    if guests:
        names = ", ".join(sorted(one.participant.name for one in guests.values()))
        ledger.prove(f"{len(guests)} more members were admitted by vote: {names}.")
    for did, one in space.members().items():
        if did not in space.charter.registrars and space.credential(did, now) is None:
            name = one.participant.name
            ledger.limit(f"No valid credential of {name} by a trusted registrar is in the file.")
    return space


def replay_negotiation(found: Topic, space: Space, ledger: Ledger) -> Negotiation:
    """The negotiation that the records of its topic make, and what is wrong with them."""
    negotiation = Negotiation(found.opening, b"", space.participants())
    _replay(found.entries, negotiation, Check.AGREEMENT, ledger)
    return negotiation


def replay_agreement(found: Topic, ledger: Ledger) -> Collaboration | None:
    """The collaboration that the records of its topic make, and what is wrong with them."""
    try:
        machine = Collaboration(found.opening, Self(did=b"", identity=b""))
    except Refused as error:
        ledger.find(Check.AGREEMENT, error.code, f"the agreement is refused: {error}")
        return None
    _replay(found.entries, machine, Check.AUTHORS, ledger)
    for entry in found.entries:
        if entry.record.body is None and not _may_sign(entry.record, machine.audience(), machine):
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
            if party.did not in space.members():
                sentence = f"{party.name} signed the agreement and is no member of its space"
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


def _replay(entries: Iterable[Entry], machine: Machine, check: Check, ledger: Ledger) -> None:
    waiting = [entry for entry in entries if entry.record.body is not None]
    ledger.look(check, len(waiting))
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
    for entry in waiting:
        refusal = refusals.get(entry.number)
        if refusal is not None:
            sentence = f"record {entry.number} ({entry.record.kind}) is refused: {refusal}"
            ledger.find(_check_of(refusal, check), refusal.code, sentence, entry)


def _check_of(error: ProtocolError, check: Check) -> Check:
    """An enclave that speaks outside its term has a check of its own."""
    return Check.TERMS if error.code == "election.certificate" else check


def _may_sign(record: Record, audience: dict[bytes, Participant], machine: Collaboration) -> bool:
    """What can be said of a record without body: its author may sign records of this kind."""
    if record.author == record.key:
        return record.key in {c.enclave.signing for _, c in machine.election.candidacies.values()}
    participant = audience.get(record.author)
    allowed = (PARTY_KINDS if record.author in machine.parties else frozenset()) | (
        HOST_KINDS if record.author in machine.candidates else frozenset()
    )
    return (
        participant is not None and record.key in participant.record_keys and record.kind in allowed
    )
