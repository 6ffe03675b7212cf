"""Sealed shares in the enclave: whose they are, and how they open, chunk by chunk.

A share opens only here, under its agreement, for its owner's signature; it is usable after its
final frame and the contract check, or, after a fail-over, when the host has stored all of it.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from enclave_host.checking import Checking
from enclave_host.confidential import CodeIntake
from enclave_host.inputs import KEPT, Checked
from enclave_host.parties import Parties
from enclave_host.people import Consents, Person, read_envelope
from protocol import kinds, limits, shape
from protocol.attestation.evidence import enclave_id
from protocol.errors import Refused
from protocol.keys import digest
from protocol.kinds.agreement import provision
from protocol.kinds.host import EnclaveKeys
from protocol.kinds.share import Rewrap, Share, ShareHeader, Wrap
from protocol.sealing import stream, wrap


@dataclass(frozen=True, slots=True)
class Vault:
    """The enclave's own sealing key: `seed` never leaves this process."""

    keys: EnclaveKeys
    seed: bytes

    @property
    def id(self) -> bytes:
        """The enclave's short name."""
        return enclave_id(self.keys)


@dataclass(frozen=True, slots=True)
class OpenedShare:
    """A share whose signature, binding and key were verified. `order` says which of two shares of
    an owner is the newer; `person` is set for a person's.
    """

    id: bytes
    owner: bytes
    dataset: str
    header: bytes
    key: bytes
    replaces: bytes | None
    order: tuple[bytes, int]
    person: Person | None

    @property
    def slot(self) -> tuple[bytes, str]:
        """An owner has one share in a dataset."""
        return self.owner, self.dataset


def open_party_share(
    parties: Parties, vault: Vault, raw: bytes, rewraps: tuple[bytes, ...]
) -> OpenedShare:
    """A party's share record. Raises Refused (share.*, record.*)."""
    found = parties.of_party(raw, "share")
    share = kinds.read(Share, found)
    wraps = [*share.wraps]
    for other in rewraps:
        rewrap = parties.of_party(other, "rewrap")
        said = kinds.read(Rewrap, rewrap)
        if rewrap.author != found.author or said.share != found.id:
            raise Refused("share.binding", "a rewrap of another share")
        wraps += said.wraps
    header = _header(parties, share, found.author, provider=found.author)
    return OpenedShare(
        id=found.id,
        owner=found.author,
        dataset=header.dataset,
        header=share.header,
        key=_share_key(vault, share.header, header, wraps),
        replaces=share.replaces,
        order=(found.key, found.seq),
        person=None,
    )


def open_person_share(parties: Parties, vault: Vault, sealed: bytes) -> OpenedShare:
    """A person's envelope. Raises Refused (share.*, consent.*, credential.*)."""
    person, token = read_envelope(parties, sealed, vault.seed, vault.id)
    share = token.body
    header = _header(parties, share, person.key, provider=None)
    return OpenedShare(
        id=token.id,
        owner=person.key,
        dataset=header.dataset,
        header=share.header,
        key=_share_key(vault, share.header, header, list(share.wraps)),
        replaces=share.replaces,
        order=(person.key, person.consent.body.ordinal),
        person=person,
    )


def _header(parties: Parties, share: Share, owner: bytes, *, provider: bytes | None) -> ShareHeader:
    header = shape.decode(ShareHeader, share.header)
    if (header.agreement, header.owner) != (parties.id, owner):
        raise Refused("share.binding")
    agreed = provision(parties.document, header.dataset)
    if agreed is None or header.contract != agreed[0]:
        raise Refused("share.binding", "of another dataset or data contract")
    if provider not in agreed[1]:
        raise Refused("share.provider", header.dataset)
    return header


def _share_key(vault: Vault, raw: bytes, header: ShareHeader, wraps: list[Wrap]) -> bytes:
    mine = [one.sealed for one in wraps if one.enclave == vault.id]
    if not mine:
        raise Refused("share.wrap", "no wrap is for this enclave")
    key = wrap.open_(mine[-1], vault.seed, "share-key", stream.header_digest(raw), vault.id)
    if len(key) != wrap.KEY_BYTES or wrap.commitment(key) != header.commitment:
        raise Refused("share.commitment")
    return key


Sink = Callable[[memoryview], None]
"""Takes plain bytes; the view is good only until it returns."""

Slot = tuple[bytes, str]
"""An owner and a dataset: they have one share."""

_OWNERS: Final = {False: "organizations", True: "people"}

EARLIER: Final = 8
"""Replaced shares of one owner and dataset that are held, for results to be computed again."""

PUSHES: Final = 64
"""Shares that one person may push for one dataset in a term: each costs a sandbox and a receipt."""


@dataclass(slots=True)
class Intake:
    """The frames of one share on their way in: each is verified, opened, and handed to `sink`.

    `lock` guards it: a sink may wait, and only this share may wait for it.
    """

    opener: stream.Opener
    sink: Sink
    most: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def begin(cls, share: OpenedShare, sink: Sink) -> "Intake":
        """Nothing has arrived yet."""
        most = limits.SHARE if share.person is None else limits.PERSON_SHARE
        return cls(stream.Opener(share.key, share.header), sink, most)

    def feed(self, frame: stream.Bytes) -> None:
        """Take the next frame. Raises Refused (share.chunk, share.unfinished, enclave.full)."""
        with self.lock:
            plain = self.opener.feed(frame)
            if self.opener.size > self.most:
                raise Refused("share.chunk", f"the share is larger than {self.most} bytes")
            self.sink(plain)


@dataclass(slots=True)
class Arrival:
    """A share that is being received: its frames, and the check that reads what they hold."""

    intake: Intake
    checking: Checking | CodeIntake


@dataclass(slots=True)
class Held:
    """A share in the enclave's hands. `digest` is its stream's, once it was seen to the end."""

    share: OpenedShare
    stored: bool
    arrival: Arrival | None = None
    digest: bytes | None = None
    checked: Checked | None = None
    checking: bool = False
    receipt: bytes | None = None

    @property
    def usable(self) -> bool:
        """Whether a run may use it."""
        return self.stored or (self.checked is not None and self.checked.verdict == KEPT)

    @property
    def unfinished(self) -> bool:
        """Whether its frames are on their way, or must come again."""
        return self.digest is None and not self.stored and not self.checking


@dataclass(slots=True)
class Shares:
    """All shares of one agreement. `current` names the one that counts for owner and dataset;
    `slots` all that are here of these two; `pushed` how often a person began one; `earlier` are
    those of parties that were replaced, the oldest first.
    """

    consents: Consents
    held: dict[bytes, Held] = field(default_factory=dict)
    current: dict[Slot, bytes] = field(default_factory=dict)
    slots: dict[Slot, set[bytes]] = field(default_factory=dict)
    earlier: dict[Slot, dict[bytes, Held]] = field(default_factory=dict)
    replaced: set[bytes] = field(default_factory=set)
    broken: set[bytes] = field(default_factory=set)
    pushed: Counter[Slot] = field(default_factory=Counter)
    _taken: Counter[bool] = field(default_factory=Counter, init=False)
    _pushes: int = field(default=0, init=False)

    def begin(self, share: OpenedShare, *, stored: bool) -> Held:
        """Take up a share, or go on with it. Raises Refused (share.*, consent.*, person.*)."""
        if share.id in self.broken:
            raise Refused("share.contract")
        if share.person is not None:
            self.consents.admit(share.person)
        if not self._is_newest(share):
            return self._begin_earlier(share, stored=stored)
        if share.id not in self.held:
            self._require_place(share)
            if share.person is not None and not stored:
                self._count_push(share.slot)
            self._make_room(share)
            self._hold(Held(share, stored))
        held = self.held[share.id]
        if stored and held.arrival is None:
            held.stored = True
            self.count(held)
        return held

    def find(self, share: bytes) -> Held:
        """The share with this id. Raises Refused (enclave.sequence)."""
        if share not in self.held:
            raise Refused("enclave.sequence", "ShareBegin comes first")
        return self.held[share]

    def count(self, held: Held) -> None:
        """From now on runs use this share, and no earlier one of the same owner and dataset."""
        share = held.share
        if share.person is not None:
            self.consents.renew(share.person)
        before = self.current.get(share.slot)
        self.current[share.slot] = share.id
        if before is not None and before != share.id:
            self.replaced.add(before)
            earlier = self.held.get(before)
            self._let_go(before)
            if earlier is not None and share.person is None:
                self._set_aside(earlier)

    def drop(self, held: Held) -> None:
        """Forget a share that broke its contract, and its key."""
        self.broken.add(held.share.id)
        self._let_go(held.share.id)

    def forget(self, shares: Iterable[bytes]) -> None:
        """Drop keys of shares that are erased, and what is arriving of them."""
        for share in shares:
            self._let_go(share)
            for earlier in self.earlier.values():
                earlier.pop(share, None)

    def lacking(self, shares: Iterable[bytes]) -> tuple[bytes, ...]:
        """Those of which nothing is here, and for which something better is not here either."""
        return tuple(share for share in shares if self._is_lacking(share))

    def _is_lacking(self, share: bytes) -> bool:
        earlier = any(share in slot for slot in self.earlier.values())
        if earlier or share in self.replaced or share in self.broken:
            return False
        held = self.held.get(share)
        return held is None or (held.unfinished and held.arrival is None)

    def emptied(self) -> "Shares":
        """Wipe what is open; a fenced enclave keeps no rows and no share key."""
        for held in self.held.values():
            if held.arrival is not None:
                held.arrival.checking.abandon()
        return Shares(self.consents)

    def usable(self) -> list[Held]:
        """The shares that count, in an order that does not depend on arrival."""
        found = [self.held[share] for share in self.current.values() if share in self.held]
        people_last = [(one.share.person is not None, one.share.id, one) for one in found]
        return [one for _, _, one in sorted(people_last, key=lambda item: item[:2])]

    def of_parties(self) -> dict[bytes, Held]:
        """The shares of parties by id: those that count, and earlier ones that are still here."""
        earlier = {id_: held for slot in self.earlier.values() for id_, held in slot.items()}
        now = {one.share.id: one for one in self.usable() if one.share.person is None}
        return earlier | now

    def _require_place(self, share: OpenedShare) -> None:
        """People and organizations have places of their own: neither keeps the other out."""
        of_person = share.person is not None
        most = limits.PEOPLE if of_person else limits.ITEMS
        if share.slot not in self.slots and self._taken[of_person] >= most:
            raise Refused("enclave.full", f"{most} shares of {_OWNERS[of_person]}")

    def _count_push(self, slot: Slot) -> None:
        """A person does not push without end, nor do all together: each push costs a receipt, and
        the runs' records need room in the enclave's feed. Who pushed none yet is heard longest.
        """
        most = limits.PEOPLE_PUSHES + (0 if self.pushed[slot] else limits.PEOPLE)
        if self.pushed[slot] >= PUSHES:
            raise Refused("share.busy", f"{PUSHES} shares of one person in one term")
        if self._pushes >= most:
            raise Refused("share.busy", f"{most} shares of people in one term")
        self.pushed[slot] += 1
        self._pushes += 1

    def _make_room(self, share: OpenedShare) -> None:
        """An owner has one upload at a time in a dataset."""
        for other in list(self.slots.get(share.slot, ())):
            if self.held[other].unfinished:
                self._let_go(other)

    def _hold(self, held: Held) -> None:
        share = held.share
        self.held[share.id] = held
        if share.slot not in self.slots:
            self.slots[share.slot] = set()
            self._taken[share.person is not None] += 1
        self.slots[share.slot].add(share.id)

    def _let_go(self, id_: bytes) -> None:
        held = self.held.pop(id_, None)
        if held is None:
            return
        if held.arrival is not None:
            held.arrival.checking.abandon()
        share = held.share
        self.slots[share.slot].discard(id_)
        if not self.slots[share.slot]:
            del self.slots[share.slot]
            self._taken[share.person is not None] -= 1

    def _is_newest(self, share: OpenedShare) -> bool:
        """Whether this is the share that counts, or takes its place."""
        if share.id in self.replaced:
            return False
        before = self.held.get(self.current.get(share.slot, b""))
        if before is None or before.share.id == share.id or share.replaces == before.share.id:
            return True
        return share.order[0] == before.share.order[0] and share.order[1] > before.share.order[1]

    def _begin_earlier(self, share: OpenedShare, *, stored: bool) -> Held:
        """A share that a newer one replaced: it never counts again, and is there only for a result
        that was computed from it. Raises Refused (share.binding).
        """
        if not stored or share.person is not None:
            raise Refused("share.binding", "a newer share of this owner is here")
        return self._set_aside(Held(share, stored=True))

    def _set_aside(self, held: Held) -> Held:
        known = self.earlier.setdefault(held.share.slot, {})
        if len(known) < EARLIER:
            known.setdefault(held.share.id, held)
        return known.get(held.share.id, held)


def inputs_root(agreement: bytes, used: list[Held]) -> bytes:
    """What a run record says about its inputs: a digest over all shares and what was in them."""
    pairs = sorted((one.share.id, one.digest or b"") for one in used)
    state = hashlib.sha256(b"".join(share + chain for share, chain in pairs))
    return digest("inputs", agreement, state.digest())
