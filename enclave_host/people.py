"""People under one agreement: their consents, their withdrawals, and that each counts once.

The host sees none of this: tokens come inside an envelope sealed to this enclave, and stay here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from enclave_host import outputs
from enclave_host.parties import Parties
from protocol import limits, shape, token
from protocol.errors import Refused
from protocol.kinds.agreement import People
from protocol.kinds.consent import Consent, PersonEnvelope, Stop, sealing_digest
from protocol.kinds.identity import Admission
from protocol.kinds.share import Share
from protocol.sealing import wrap
from protocol.token import Token

STOPS: Final = 512
"""Withdrawals kept that the host passes on; those in statements are kept always."""


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
    recipients = {did for output in document.outputs for did in output.to}
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
    """Who consents now, and which consents ended for ever."""

    agreement: bytes
    current: dict[bytes, Person] = field(default_factory=dict)
    stops: dict[bytes, Token[Stop]] = field(default_factory=dict)
    told: set[bytes] = field(default_factory=set)

    def tell(self, raws: Sequence[bytes]) -> None:
        """Learn withdrawals from the host. Raises Refused (codec.too-large, as `stop`)."""
        known = self.told | {token.open_(raw, "stop", Stop).id for raw in raws}
        if len(known) > STOPS:
            raise Refused("codec.too-large", f"more than {STOPS} withdrawals")
        self.stop(raws)
        self.told = known

    def begin_hearing(self) -> None:
        """Forget what earlier statements said of consents that are not here: whoever holds a stop
        states it again, and what a liar invents must not pile up until no record has room for it.
        """
        here = {(person.consent.id, person.key) for person in self.current.values()}
        self.stops = {
            id_: stop
            for id_, stop in self.stops.items()
            if id_ in self.told or (stop.body.consent, stop.key) in here
        }

    def stop(self, raws: Iterable[bytes]) -> set[bytes]:
        """Learn withdrawals; return their ids. Raises Refused (consent.scope, record.*).

        Whoever signs with another key than the consent's ends nothing: see `withdrawn`.
        """
        found = [token.open_(raw, "stop", Stop) for raw in raws]
        for stop in found:
            if stop.body.agreement != self.agreement:
                raise Refused("consent.scope", "a withdrawal under another agreement")
        self.stops |= {stop.id: stop for stop in found}
        return {stop.id for stop in found}

    def withdrawn(self, person: Person) -> bool:
        """Whether this person ended this consent."""
        consent = person.consent
        return any(
            (stop.body.consent, stop.key) == (consent.id, consent.key)
            for stop in self.stops.values()
        )

    def admit(self, person: Person) -> None:
        """Refuse a person who cannot take part now (consent.withdrawn, consent.scope,
        person.duplicate). Nothing changes: `renew` makes the person current.
        """
        if self.withdrawn(person):
            raise Refused("consent.withdrawn")
        known = self.current.get(person.key)
        if known is not None and person.is_older_than(known):
            raise Refused("consent.scope", "a newer consent of this person is here")
        for other in self.current.values():
            if other.tag == person.tag and other.key != person.key and not self.withdrawn(other):
                raise Refused("person.duplicate")

    def renew(self, person: Person) -> None:
        """Make this person's consent the current one, in place of any earlier."""
        self.admit(person)
        self.current[person.key] = person

    def covers(self, person: Person, number: int, not_after: int) -> bool:
        """Whether the consent allows run `number`; `not_after` is the time by the statements."""
        window = person.consent.body
        return (
            self.current.get(person.key) == person
            and window.first <= number <= window.last
            and person.until >= not_after
            and not self.withdrawn(person)
        )
