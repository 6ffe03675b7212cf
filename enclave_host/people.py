"""People under one agreement: their consents, their withdrawals, and that each counts once.

The host sees none of this: tokens come inside an envelope sealed to this enclave, and stay here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from enclave_host import outputs
from enclave_host.parties import Parties
from protocol import limits, shape, token
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement, People, recipients_of
from protocol.kinds.consent import Consent, PersonEnvelope, Stop, sealing_digest
from protocol.kinds.identity import Admission
from protocol.kinds.share import Share
from protocol.sealing import wrap
from protocol.stops import open_stop
from protocol.token import Token


@dataclass(frozen=True, slots=True)
class Person:
    """An admitted person with one consent; `tag` is the same whatever key the person has, own
    results are sealed to `sealing`.
    """

    key: bytes
    tag: bytes
    value: str
    until: int
    sealing: bytes
    consent: Token[Consent]

    def is_older_than(self, other: "Person") -> bool:
        """Whether this consent came before another one of the same person."""
        mine, theirs = self.consent, other.consent
        return mine.id != theirs.id and mine.body.ordinal <= theirs.body.ordinal


def read_envelope(
    parties: Parties, sealed: bytes, seed: bytes, enclave: bytes
) -> tuple[Person, Token[Share]]:
    """Open a person's envelope and check every signature in it.

    Raises Refused (share.wrap, share.provider, share.signature, credential.*, consent.*).
    """
    people = parties.document.people
    if people is None:
        raise Refused("share.provider", "the agreement has no people")
    plain = wrap.open_(sealed, seed, "person-envelope", parties.id, enclave)
    envelope = shape.decode(PersonEnvelope, plain, limits.DOCUMENT)
    admission = _admission(parties, people, envelope.admission)
    consent = _consent(parties, people, admission.body.key, envelope)
    outputs.check_recipient(envelope.sealing)
    share = token.open_(envelope.share, "share", Share)
    if share.key != admission.body.key:
        raise Refused("share.signature", "not by the person who consented")
    person = Person(
        key=admission.body.key,
        tag=admission.body.tag,
        value=admission.body.person,
        until=min(admission.body.until, consent.body.until),
        sealing=envelope.sealing,
        consent=consent,
    )
    return person, share


def registrar_keys(document: Agreement) -> tuple[bytes, ...]:
    """The keys that admit people to an agreement; none if it has no people."""
    return document.people.registrar_keys if document.people is not None else ()


def _admission(parties: Parties, people: People, raw: bytes) -> Token[Admission]:
    admission = token.open_(raw, "admission", Admission)
    if admission.key not in people.registrar_keys:
        raise Refused("credential.issuer")
    said = (admission.body.agreement, admission.body.category)
    if said != (parties.id, people.category):
        raise Refused("credential.subject", "for another agreement or category of people")
    return admission


def _consent(
    parties: Parties, people: People, key: bytes, envelope: PersonEnvelope
) -> Token[Consent]:
    if not envelope.consent:
        raise Refused("consent.missing")
    consent = token.open_(envelope.consent, "consent", Consent)
    if consent.key != key:
        raise Refused("consent.signature")
    said, document = consent.body, parties.document
    recipients = recipients_of(document)
    scope = (
        said.agreement == parties.id
        and said.notice == people.notice
        and said.purpose == document.purpose.term
        and recipients <= set(said.recipients)
        and 0 <= said.last - said.first < people.window
    )
    if not scope:
        raise Refused("consent.scope")
    if said.sealing != sealing_digest(envelope.sealing):
        raise Refused("consent.scope", "the consent names another sealing key")
    return consent


@dataclass(slots=True)
class Consents:
    """Who consents now, and which consents ended for ever. A stop counts here only by a key that a
    registrar of the agreement admitted: `registrar_keys`.
    """

    agreement: bytes
    registrar_keys: tuple[bytes, ...]
    current: dict[bytes, Person] = field(default_factory=dict)
    stops: dict[bytes, Token[Stop]] = field(default_factory=dict)
    _keys: dict[bytes, set[bytes]] = field(default_factory=dict, init=False)
    _ended: set[tuple[bytes, bytes]] = field(default_factory=set, init=False)

    def tell(self, raws: Sequence[bytes]) -> None:
        """Learn withdrawals from the host. Raises Refused (codec.too-large, as `open_stop`)."""
        found = [open_stop(raw, self.agreement, self.registrar_keys) for raw in raws]
        stops = self.stops | {stop.id: stop for stop in found}
        if len(stops) > limits.STOPS:
            raise Refused("codec.too-large", f"more than {limits.STOPS} withdrawals")
        self.stops = stops
        self._ended = {(stop.body.consent, stop.key) for stop in stops.values()}

    def hear(self, stated: Iterable[bytes]) -> set[bytes]:
        """The ids of a statement, all of which the host must have shown: else the statement does
        not count (run.statements). So a host that hides a stop has no quorum, as if it hid the
        statement; and a liar that invents one silences itself.
        """
        ids = set(stated)
        if not ids <= self.stops.keys():
            raise Refused("run.statements", "the host does not show a withdrawal that it names")
        return ids

    def withdrawn(self, person: Person) -> bool:
        """Whether this person ended this consent."""
        return (person.consent.id, person.consent.key) in self._ended

    def admit(self, person: Person) -> None:
        """Refuse a person who cannot take part now (consent.withdrawn, consent.scope,
        person.duplicate). Nothing changes: `renew` makes the person current.
        """
        if self.withdrawn(person):
            raise Refused("consent.withdrawn")
        known = self.current.get(person.key)
        if known is not None and person.is_older_than(known):
            raise Refused("consent.scope", "a newer consent of this person is here")
        for key in self._keys.get(person.tag, set()) - {person.key}:
            if not self.withdrawn(self.current[key]):
                raise Refused("person.duplicate")

    def renew(self, person: Person) -> None:
        """Make this person's consent the current one, in place of any earlier."""
        self.admit(person)
        before = self.current.get(person.key)
        if before is not None:
            self._keys[before.tag].discard(person.key)
        self.current[person.key] = person
        self._keys.setdefault(person.tag, set()).add(person.key)

    def covers(self, person: Person, number: int, not_after: int) -> bool:
        """Whether the consent allows run `number`; `not_after` is the time by the statements."""
        window = person.consent.body
        return (
            self.current.get(person.key) == person
            and window.first <= number <= window.last
            and person.until >= not_after
            and not self.withdrawn(person)
        )
