"""What a registrar keeps of people: letters, who used them, and one admission for each agreement.

Codes stand here as digests only. Each step is one transaction: a crash, or two requests at once,
never leaves a code half used or a person admitted twice.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from node import codes
from node import people_wire as pw
from node.store.journal import Journal
from protocol import keys, shape
from protocol.errors import Refused
from protocol.shape import Count, Hash, Key, Name, Time

AGREEMENTS: Final = 256
"""Agreements to which one person may be admitted: bounds what one person makes us keep."""

DAY: Final = 86_400

TRIES: Final = 1000
"""Refused uses of one letter that are counted."""

_CODE: Final = "registrar/code/"
_PERSON: Final = "registrar/person/"
_KEY: Final = "registrar/key/"
_ADMITTED: Final = "registrar/admitted/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A one-time code given out: for whom, until when; `key` is the base key that used it, `tries`
    how often it was refused after it was used, expired or cancelled.
    """

    person: Name
    category: Name
    until: Time
    key: Key | None = None
    cancelled: Time | None = None
    tries: Count | None = None

    def state(self, now: int) -> str:
        """waiting, used, cancelled or expired."""
        if self.key is not None:
            return "used"
        if self.cancelled is not None:
            return "cancelled"
        return "expired" if self.until <= now else "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A person with a vault. A newer vault of the same person takes the place of `key`."""

    person: Name
    category: Name
    key: Key
    until: Time
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedTo:
    """The one key of a person under one agreement."""

    agreement: Hash
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admissions:
    to: tuple[AdmittedTo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """Where the person of a base key is kept."""

    person: Hash


class Enrolments:
    """Letters, people and admissions in the journal of a registrar's node."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        # Whoever reads before it writes holds this: the operator's methods run in threads.
        self._lock = threading.Lock()
        self._ends: Counter[tuple[str, str, int]] | None = None

    def _keep(self, changed: Mapping[str, bytes]) -> None:
        self.journal.commit([], changed)
        self._ends = None

    # --- letters ------------------------------------------------------------------------------

    def write(
        self, wanted: Sequence[tuple[str, str]], until: int, chance: Iterable[bytes], now: int
    ) -> list[str | None]:
        """A new code for each (person, category); None for who has a letter that waits, or a vault.

        All are kept in one transaction. `chance` gives 16 random bytes for each. Raises Refused
        (shape.mismatch).
        """
        with self._lock:
            busy = self._busy(now)
            made: list[str | None] = []
            kept: dict[str, bytes] = {}
            for (person, category), drawn in zip(wanted, chance, strict=True):
                if person in busy:
                    made.append(None)
                    continue
                busy.add(person)
                made.append(codes.make(drawn))
                kept |= _written(made[-1] or "", person, category, until)
            self._keep(kept)
        return made

    def write_one(self, person: str, category: str, until: int, chance: bytes) -> str:
        """A new code for a person, whatever the person has: a lost letter, or a new vault."""
        code = codes.make(chance)
        self._keep(_written(code, person, category, until))
        return code

    def letters(self) -> list[Letter]:
        """Every letter, by person."""
        found = [shape.decode(Letter, raw) for raw in self.journal.states(_CODE).values()]
        return sorted(found, key=lambda one: (one.person, one.until))

    def people(self) -> list[Enrolled]:
        """Everybody who has used a letter."""
        return [shape.decode(Enrolled, raw) for raw in self.journal.states(_PERSON).values()]

    def counts(self, now: int) -> dict[str, int]:
        """How many letters there are in each state, and how many uses were refused."""
        letters = self.letters()
        states = Counter(one.state(now) for one in letters)
        return {
            "created": len(letters),
            **{name: states[name] for name in ("waiting", "used", "expired", "cancelled")},
            "refused": sum(one.tries or 0 for one in letters),
            "revoked": sum(one.revoked for one in self.people()),
        }

    def ends(self, now: int) -> dict[tuple[str, str, int], int]:
        """(letters or people, category, begin of the day on which they end) -> how many."""
        if self._ends is None:
            waiting = [one for one in self.letters() if one.state(now) == "waiting"]
            people = [one for one in self.people() if not one.revoked]
            self._ends = Counter(("letters", one.category, _day(one.until)) for one in waiting)
            self._ends.update(("people", one.category, _day(one.until)) for one in people)
        return dict(self._ends)

    def cancel(self, people: frozenset[str] | None, now: int) -> int:
        """Make letters that wait worthless: of these people, or all. Return how many."""
        with self._lock:
            changed = {
                name: shape.encode(replace(letter, cancelled=now))
                for name, letter in self._letters()
                if letter.state(now) == "waiting" and (people is None or letter.person in people)
            }
            self._keep(changed)
        return len(changed)

    def _letters(self) -> list[tuple[str, Letter]]:
        found = self.journal.states(_CODE)
        return [(name, shape.decode(Letter, raw)) for name, raw in found.items()]

    def _busy(self, now: int) -> set[str]:
        waiting = {one.person for one in self.letters() if one.state(now) == "waiting"}
        return waiting | {one.person for one in self.people()}

    # --- the door's side ----------------------------------------------------------------------

    def use(self, digest: bytes, key: bytes, credential_until: int, now: int) -> Enrolled:
        """Use up the code of a digest for a vault's base key. The same vault may ask again.

        Raises Refused (enrolment.code, credential.*).
        """
        with self._lock:
            name = _CODE + digest.hex()
            raw = self.journal.state(name)
            if raw is None:
                raise Refused("enrolment.code")
            letter = shape.decode(Letter, raw)
            if letter.key == key and letter.until > now:
                return self.person(key, now)
            if letter.state(now) != "waiting":
                tried = replace(letter, tries=min((letter.tries or 0) + 1, TRIES))
                if tried != letter:
                    self.journal.put_state(name, shape.encode(tried))
                raise Refused("enrolment.code")
            enrolled = Enrolled(
                person=letter.person,
                category=letter.category,
                key=key,
                until=credential_until,
                revoked=False,
            )
            person = _person_id(letter.person)
            self._keep(
                {
                    name: shape.encode(replace(letter, key=key)),
                    _PERSON + person.hex(): shape.encode(enrolled),
                    _KEY + key.hex(): shape.encode(_Index(person=person)),
                }
            )
            return enrolled

    def person(self, key: bytes, now: int) -> Enrolled:
        """Who has this base key. Raises Refused (credential.*)."""
        index = self.journal.state(_KEY + key.hex())
        if index is None:
            raise Refused("credential.subject", "the key is not enrolled here")
        person = shape.decode(_Index, index).person
        raw = self.journal.state(_PERSON + person.hex())
        enrolled = shape.decode(Enrolled, raw) if raw is not None else None
        if enrolled is None or enrolled.key != key:
            raise Refused("credential.subject", "a newer vault of this person took its place")
        if enrolled.revoked or enrolled.until <= now:
            raise Refused("credential.expired")
        return enrolled

    def admit(self, person: str, agreement: bytes, key: bytes) -> None:
        """Note the one key of a person under an agreement; the same again changes nothing.

        Raises Refused (person.duplicate, door.busy).
        """
        with self._lock:
            known = self.admitted(person)
            for one in known:
                if one.agreement == agreement and one.key != key:
                    raise Refused("person.duplicate", "another key of this person is admitted")
                if one.agreement == agreement:
                    return
            if len(known) >= AGREEMENTS:
                raise Refused("door.busy", f"{AGREEMENTS} agreements of one person")
            all_ = _Admissions(to=(*known, AdmittedTo(agreement=agreement, key=key)))
            self.journal.put_state(_admitted(person), shape.encode(all_))

    def admitted(self, person: str) -> tuple[AdmittedTo, ...]:
        """Every agreement to which a person was admitted."""
        raw = self.journal.state(_admitted(person))
        return shape.decode(_Admissions, raw).to if raw is not None else ()

    def revoke(self, person: str, now: int) -> Enrolled | None:
        """Admit this person to nothing more, and cancel its letters. None if it has no vault."""
        self.cancel(frozenset({person}), now)
        with self._lock:
            name = _PERSON + _person_id(person).hex()
            raw = self.journal.state(name)
            if raw is None:
                return None
            enrolled = replace(shape.decode(Enrolled, raw), revoked=True)
            self._keep({name: shape.encode(enrolled)})
        return enrolled


def _written(code: str, person: str, category: str, until: int) -> Mapping[str, bytes]:
    letter = Letter(person=person, category=category, until=until)
    # The same reading as of foreign bytes: a name that is too long fails here, not later.
    checked = shape.read(Letter, shape.write(letter))
    return {_CODE + pw.code_digest(code).hex(): shape.encode(checked)}


def _person_id(person: str) -> bytes:
    return keys.digest("person", person.encode())


def _admitted(person: str) -> str:
    return _ADMITTED + _person_id(person).hex()


def _day(at: int) -> int:
    """The begin of the day (UTC) of a time."""
    return at // DAY * DAY
