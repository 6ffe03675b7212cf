"""Participants: what a root key says about itself, revision by revision, in any order of arrival.

The identity records of a participant are one feed, signed by its root: the revision is the place,
`prev` the record before. A `History` folds those that are known. Its answers depend on the set of
records alone: a key that was taken back, or a root that contradicted itself, counts for records
that came before the news as well.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from protocol import kinds, limits, record
from protocol.errors import Refused
from protocol.keys import Did, digest
from protocol.kinds.identity import Guardians, Identity, Keys, RetiredKey
from protocol.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A participant as one revision of its identity describes it. Only `open_identity` makes one.

    `vote_key` is the one record key that may vote; `record_keys` all that may sign records, `ends`
    until when each of them may; `nodes` the Ed25519 keys of its nodes; `sealing` the HPKE key for
    results; `id` the identity record's id, `prev` that of the revision before.
    """

    did: Did
    name: str
    revision: int
    nodes: tuple[bytes, ...]
    record_keys: frozenset[bytes]
    vote_key: bytes
    sealing: bytes
    until: int
    id: bytes
    raw: bytes
    prev: bytes | None
    ends: Mapping[bytes, int] = field(hash=False)
    retired: tuple[RetiredKey, ...]
    guardians: Guardians | None


def identity_topic(did: bytes) -> bytes:
    """The topic of a participant's identity records."""
    return digest("identity", did)


def open_identity(raw: bytes) -> Participant:
    """Verify an identity record. Raises Refused (record.*, identity.root, identity.keys,
    identity.chain).

    It must be signed by the root key that it is about, and delegate exactly one voting key: two
    would let one participant vote twice.
    """
    found = record.parse(raw)
    if found.kind != "identity":
        raise Refused("record.kind", f"{found.kind} is no identity")
    kinds.check(found, "identity")
    if found.key != found.author or found.topic != identity_topic(found.author):
        raise Refused("identity.root")
    body = kinds.read(Identity, found)
    _check_chain(found, body, len(raw))
    return Participant(
        did=Did(found.author),
        name=body.name,
        revision=body.revision,
        nodes=body.nodes,
        record_keys=frozenset(key.key for key in body.records),
        vote_key=_voting_key(found.author, body),
        sealing=body.sealing,
        until=body.until,
        id=found.id,
        raw=raw,
        prev=found.prev,
        ends={key.key: min(key.until, body.until) for key in body.records},
        retired=body.retired,
        guardians=_guardians(found.author, body),
    )


def _check_chain(found: Record, body: Identity, size: int) -> None:
    if found.seq != body.revision:
        raise Refused("identity.chain", f"revision {body.revision} stands at place {found.seq}")
    if body.revision >= limits.REVISIONS or size > limits.IDENTITY:
        raise Refused("identity.chain", "more revisions, or a larger record, than anybody needs")


def _voting_key(root: bytes, body: Identity) -> bytes:
    voting = [key.key for key in body.records if key.vote]
    if len(voting) != 1:
        raise Refused("identity.keys", f"{len(voting)} voting keys")
    delegated = {key.key for key in body.records}
    if root in delegated or len(delegated) < len(body.records):
        raise Refused("identity.keys", "the root signs no records, and no key stands there twice")
    taken_back = [one.key for one in body.retired]
    if not delegated.isdisjoint(taken_back) or len(set(taken_back)) < len(taken_back):
        raise Refused("identity.keys", "a key taken back comes back, or stands there twice")
    if sum(len(one.pins or ()) for one in body.retired) > limits.PINS:
        raise Refused("identity.keys", f"more than {limits.PINS} pins")
    return voting[0]


def _guardians(root: bytes, body: Identity) -> Guardians | None:
    named = body.guardians
    if named is not None and (
        root in named.dids
        or len(set(named.dids)) < len(named.dids)
        or not 0 < named.needed <= len(named.dids)
    ):
        raise Refused("identity.keys", "guardians are others, once each, and as many as are needed")
    return named


def open_keys(found: Record) -> Participant:
    """The identity that a `keys` record brings, which authorises the key that signed the record.

    Raises Refused (record.author, identity.*, record.*).
    """
    brought = open_identity(kinds.read(Keys, found).identity)
    if brought.did != found.author:
        raise Refused("record.author", "an identity of another participant")
    return brought


@dataclass(slots=True)
class History:
    """All known identity records of one participant; the order of `add` never matters.

    Where its root signed two records for one revision, or one whose predecessor is another than the
    known one, that revision and all later ones count for nothing: `fork` is the proof, two records.

    What somebody else showed is only introduced: its keys count, but it takes nothing back and
    contradicts nothing. So nobody can void a record by showing an identity.
    """

    did: bytes
    _revisions: dict[int, dict[bytes, Participant]] = field(default_factory=dict)
    _introduced: dict[bytes, Participant] = field(default_factory=dict, init=False)
    _good: tuple[Participant, ...] = field(default=(), init=False)
    _pinned: dict[bytes, set[RetiredKey]] = field(default_factory=dict, init=False)
    fork: tuple[bytes, bytes] | None = field(default=None, init=False)

    @classmethod
    def of(cls, *known: Participant) -> "History":
        """The history of one participant from at least one opened record."""
        made = cls(known[0].did)
        for one in known:
            made.learn(one)
        return made

    def add(self, raw: bytes) -> bool:
        """Open and take an identity record; True if it was new. Raises Refused as open_identity."""
        return self.learn(open_identity(raw))

    def learn(self, known: Participant) -> bool:
        """Take an opened identity; True if it was new. Raises Refused (identity.root)."""
        if known.did != self.did:
            raise Refused("identity.root", "an identity of another participant")
        variants = self._revisions.setdefault(known.revision, {})
        if known.id in variants:
            return False
        new = self._learn_pins(known)
        # Two variants prove the fork; a root that signs a thousand fills no memory.
        if len(variants) > 1:
            return new
        variants[known.id] = known
        self._introduced.pop(known.id, None)
        self._fold()
        return True

    def introduce(self, known: Participant) -> bool:
        """Take an identity that somebody else showed; True if it was new. Raises Refused
        (identity.root).
        """
        if known.did != self.did:
            raise Refused("identity.root", "an identity of another participant")
        if known.id in self._introduced or self._said(known):
            return False
        self._introduced[known.id] = known
        self._fold()
        return True

    def _learn_pins(self, known: Participant) -> bool:
        """Whoever contradicts itself takes back what it took back all the same."""
        new = False
        for retired in known.retired:
            if retired.pins is not None:
                words = self._pinned.setdefault(retired.key, set())
                new |= retired not in words
                words.add(retired)
        return new

    def merge(self, other: "History") -> bool:
        """Take all that another history of the participant knows; True if anything was new."""
        if self.covers(other):
            return False
        before = self.extent
        for one in other.revisions():
            take = self.introduce if one.id in other.introduced else self.learn
            take(one)
        # A third variant of a revision is not kept, but what it takes back is.
        for key, words in other.taken_back.items():
            self._pinned.setdefault(key, set()).update(words)
        return self.extent != before

    def covers(self, other: "History") -> bool:
        """Whether all that another history of the participant knows is known here."""
        return all(
            self._said(one) or (one.id in other.introduced and one.id in self._introduced)
            for one in other.revisions()
        ) and all(words <= self._pinned.get(key, set()) for key, words in other.taken_back.items())

    def _said(self, one: Participant) -> bool:
        return one.id in self._revisions.get(one.revision, {})

    def copy(self) -> "History":
        """Another history that knows the same."""
        made = History(self.did)
        made.merge(self)
        return made

    @property
    def taken_back(self) -> Mapping[bytes, AbstractSet[RetiredKey]]:
        """Key -> every word by which it was taken back with pins."""
        return self._pinned

    @property
    def introduced(self) -> frozenset[bytes]:
        """The ids of what only others showed."""
        return frozenset(self._introduced)

    @property
    def extent(self) -> tuple[int, int, int]:
        """How much is known: own words, introductions, words on keys taken back."""
        words = sum(map(len, self._revisions.values()))
        return words, len(self._introduced), sum(map(len, self._pinned.values()))

    def heeds(self, one: Participant) -> bool:
        """Whether an identity is known, and all that it takes back counts."""
        if self._said(one):
            return True
        taken = [retired for retired in one.retired if retired.pins is not None]
        return one.id in self._introduced and all(
            retired in self._pinned.get(retired.key, ()) for retired in taken
        )

    def revisions(self) -> Iterator[Participant]:
        """Every known revision, contradicted ones too, lowest first."""
        words = (one for variants in self._revisions.values() for one in variants.values())
        known = (*words, *self._introduced.values())
        yield from sorted(known, key=lambda one: (one.revision, one.id))

    @property
    def participant(self) -> Participant:
        """The newest revision that counts; of a root that contradicted itself from the start, the
        first of what it said: for its name, as no key of it counts.
        """
        return self._good[-1] if self._good else next(self.revisions())

    newest = participant

    @property
    def voting_keys(self) -> frozenset[bytes]:
        """The voting key of every revision: a vote stands on the revision whose key signed it."""
        return frozenset(one.vote_key for one in self._good)

    @property
    def record_keys(self) -> frozenset[bytes]:
        """Every key that may sign, or did so before it was taken back."""
        return frozenset(key for one in self._good for key in one.record_keys)

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """The node keys of the newest revision; none, once the root contradicted itself."""
        return self.participant.nodes if self.fork is None else ()

    def until(self, key: bytes) -> int:
        """Until when a key may sign: the latest that any revision said; 0 of an unknown key."""
        return max((one.ends.get(key, 0) for one in self._good), default=0)

    def all_keys(self) -> frozenset[bytes]:
        """Every record key of every known revision, contradicted ones too."""
        return frozenset(key for one in self.revisions() for key in one.record_keys)

    def end(
        self, topic: bytes, key: bytes, id_at: Callable[[bytes, int], bytes | None]
    ) -> int | None:
        """The place from which on records of `key` in `topic` are void; None if all may stand."""
        return 0 if key not in self.record_keys else self.pinned(topic, key, id_at)

    def pinned(
        self, topic: bytes, key: bytes, id_at: Callable[[bytes, int], bytes | None]
    ) -> int | None:
        """The place from which on a key that was taken back is void; None if it was not."""
        # The strictest word counts: none brings void records back, in any order of arrival.
        return min((_end(one, topic, id_at) for one in self._pinned.get(key, ())), default=None)

    @property
    def live_keys(self) -> frozenset[bytes]:
        """The keys that may speak outside any feed: known ones that were not taken back."""
        return frozenset(key for key in self.record_keys if key not in self._pinned)

    def stands(self, found: Record) -> bool:
        """Whether a record of this author counts: its key does, and it is within the pins."""
        end = self.end(
            found.topic, found.key, lambda _, seq: found.id if seq == found.seq else None
        )
        return end is None or found.seq < end

    def may_sign(self, found: Record) -> None:
        """Refuse a record that its key may not sign. Raises Refused (record.author,
        identity.chain, identity.retired, identity.expired).
        """
        if found.key not in self.record_keys:
            raise Refused("record.author" if self.fork is None else "identity.chain")
        if not self.stands(found):
            raise Refused("identity.retired")
        if found.at > self.until(found.key):
            raise Refused("identity.expired")

    def check_keys(self, found: Record) -> Participant:
        """The identity in a `keys` record, if with it the record may be signed by its key.

        Raises Refused (record.author, identity.*, record.*).
        """
        brought = open_keys(found)
        then = self.copy()
        then.learn(brought)
        then.may_sign(found)
        return brought

    def _fold(self) -> None:
        """Find out what counts, from nothing but the set of records."""
        conflict = self._conflict()
        self.fork = None if conflict is None else conflict[1]
        self._good = tuple(
            one for one in self.revisions() if conflict is None or one.revision < conflict[0]
        )

    def _conflict(self) -> tuple[int, tuple[bytes, bytes]] | None:
        """The lowest revision with which the root contradicted itself, and the two records."""
        before: Participant | None = None
        for revision, variants in sorted(self._revisions.items()):
            first, *others = (one for _, one in sorted(variants.items()))
            if others:
                return revision, (first.raw, others[0].raw)
            follows = before is not None and before.revision == revision - 1
            if before is not None and follows and first.prev != before.id:
                return revision, (before.raw, first.raw)
            before = first
        return None


def _end(retired: RetiredKey, topic: bytes, id_at: Callable[[bytes, int], bytes | None]) -> int:
    pin = next((one for one in retired.pins or () if one.topic == topic), None)
    if pin is None:
        return 0
    return pin.seq if id_at(retired.key, pin.seq) not in (None, pin.head) else pin.seq + 1


def learn(known: dict[bytes, History], one: Participant) -> bool:
    """Take an opened identity into a table of histories; True if it was new."""
    return known.setdefault(one.did, History(one.did)).learn(one)


def ends(
    topic: bytes,
    histories: Mapping[bytes, History],
    id_at: Callable[[bytes, int], bytes | None],
) -> dict[bytes, int]:
    """Key -> the first place in its feed of `topic` from which on its records are void, of every
    key that was taken back with pins, or whose root contradicted itself.

    `id_at` has the id of the record that is known for (key, place), if one is.
    """
    found: dict[bytes, int] = {}
    for history in histories.values():
        for key in history.all_keys() - found.keys():
            end = history.end(topic, key, id_at)
            if end is not None:
                found[key] = end
    return found


def expiries(history: History) -> list[tuple[str, int]]:
    """What of the newest identity ends when, earliest first: "identity" or "key HEX", unix time."""
    newest = history.participant
    found = [(f"key {key.hex()}", until) for key, until in newest.ends.items()]
    return sorted([("identity", newest.until), *found], key=lambda pair: (pair[1], pair[0]))
