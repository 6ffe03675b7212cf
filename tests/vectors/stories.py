"""Random lives of a space, well signed: what two readers must judge alike, whatever it means."""

import random
from dataclasses import dataclass, field, replace

from protocol import codec, keys, shape
from protocol.errors import Refused
from protocol.events import Received
from protocol.kinds.common import Vote
from protocol.kinds.identity import (
    Claims,
    Credential,
    CredentialRevocation,
    Guardians,
    Keys,
    Pin,
    RetiredKey,
)
from protocol.kinds.space import (
    Change,
    FeedPin,
    Invite,
    Join,
    Leave,
    Recovery,
    Removal,
    Review,
    Seat,
    Veto,
)
from protocol.machines.space import Space
from protocol.record import Record
from protocol.topic import Feeds, read_opening
from tests.strategies import KEYS
from tests.vectors.spaces import (
    CHARTER,
    FIRST,
    FOUNDERS,
    HEIR,
    NOW,
    TERMS,
    UNTIL,
    Told,
    identity,
    signing,
)

ROOTS = (*FOUNDERS, HEIR)
ZERO = bytes(32)


@dataclass
class Story:
    """A space on its way. What its gate refuses is forgotten, but for the last word."""

    chance: random.Random
    told: Told = field(default_factory=Told)
    over: bool = False
    said: dict[tuple[bytes, str], bytes] = field(default_factory=dict)
    newer_: dict[bytes, list[Record]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space = Space(read_opening(shape.encode(CHARTER)))
        self.feeds = Feeds(self.space.id, "space")
        self.kept: list[Record] = []
        for one in self.told.records:
            self._take(one)

    def _take(self, one: Record) -> None:
        assert self.feeds.check(one, self.space, NOW)
        self.feeds.add(one)
        self.space.handle(Received(one), 0.0)
        self.kept.append(one)

    def say(self, root: bytes, kind: str, body: object, key: bytes | None = None) -> None:
        """Say something, by the first or the second key; what is refused may end the story."""
        seed = key or self.chance.choice([signing(root), signing(root), signing(root, 1)])
        before = self.told.places.get(seed)
        made = self.told.say(root, kind, body, key=seed)
        try:
            self._take(made)
        except Refused:
            self.over = self.chance.random() < 0.004
            if not self.over:
                self.told.records.pop()
                self.told.places.pop(seed)
                if before is not None:
                    self.told.places[seed] = before

    def of(self, *kinds: str) -> list[Record]:
        return [one for one in self.kept if one.kind in kinds]

    def any_of(self, kind: str) -> bytes:
        return self.chance.choice([one.id for one in self.of(kind)] or [ZERO])

    def pins(self, root: bytes) -> tuple[FeedPin, ...]:
        """For each key that wrote, some place of its feed; now and then none."""
        found = []
        for seed in (signing(root), signing(root, 1)):
            mine = [one for one in self.kept if one.key == keys.public(seed)]
            if mine and self.chance.random() < 0.9:
                last = self.chance.choice([mine[-1], mine[-1], self.chance.choice(mine)])
                found.append(FeedPin(key=last.key, seq=last.seq, head=last.id))
        return tuple(found)

    def newer(self, root: bytes) -> Record:
        """A second identity of a root, one of two at most: who signs three is as much a liar."""
        made = self.newer_.setdefault(root, [])
        if len(made) < 2 and self.chance.random() < 0.7:
            made.append(self.make_newer(root))
        return self.chance.choice(made or [FIRST[root]])

    def make_newer(self, root: bytes) -> Record:
        """Another key, guardians, or a key taken back."""
        guardians, retired, key = None, (), signing(root, 1)
        if self.chance.random() < 0.5:
            guardians = Guardians(dids=(KEYS[0], KEYS[1]), needed=self.chance.choice([1, 2]))
        if self.chance.random() < 0.4:
            key = signing(root)
        else:
            pins = tuple(
                Pin(topic=self.told.id, seq=one.seq, head=one.head)
                for one in self.pins(root)
                if one.key == keys.public(signing(root))
            )
            reason = self.chance.choice(["rotated", "stolen"])
            taken = RetiredKey(
                key=keys.public(signing(root)),
                reason=reason,  # type: ignore[arg-type]
                pins=None if reason == "rotated" else pins,
            )
            retired = (taken,)
        return identity(
            root, FIRST[root], revision=1, retired=retired, guardians=guardians, key=key
        )

    def change(self) -> Change:
        gone = [root for root in FOUNDERS if self.chance.random() < 0.25]
        staying = [root for root in ROOTS if root not in gone]
        staying = [one for one in staying if one in FOUNDERS or self.chance.random() < 0.5]
        identities = {root: [FIRST[root].id] for root in ROOTS}
        for one in self.of("keys"):
            for root in ROOTS:
                if keys.public(root) == one.author:
                    identities[root] += [p.id for p in self.space.histories[one.author].revisions()]
        return Change(
            epoch=self.chance.choice([one.id for one in self.space.chain.epochs]),
            members=tuple(
                Seat(did=keys.public(one), identity=self.chance.choice(identities[one]), roles=())
                for one in staying
            ),
            removed=tuple(
                Removal(did=keys.public(one), reason="", pins=self.pins(one)) for one in gone
            ),
            terms=replace(TERMS, registrars=tuple(self.chance.sample(KEYS[:3], 2))),
            reason=str(self.chance.random()),
        )

    def ballot(self) -> None:
        """Most voters say yes to one thing in one slot."""
        family = self.chance.choice(["change", "change", "change", "admit", "admit", "recover"])
        kind = {"change": "change", "admit": "join"}.get(family, "recovery")
        subject = self.any_of(kind)
        if subject == ZERO:
            return
        epoch = self.chance.choice([one.id for one in self.space.chain.epochs]).hex()
        slots = {
            "change": [
                f"{step}/{epoch}/{self.chance.choice([0, 0, 1])}" for step in ("change", "confirm")
            ],
            "admit": [f"admit/{epoch[:32]}/{subject.hex()}"],
            "recover": [f"{step}/{subject.hex()}" for step in ("recover", "recovered")],
        }[family]
        voters = self.chance.sample(ROOTS, self.chance.choice([2, 3, 4, 5]))
        for slot in slots:
            for root in voters:
                if not self.over:
                    self.vote(root, slot, subject)

    def vote(self, root: bytes, slot: str, subject: bytes) -> None:
        """A vote that an honest voter may cast: above the bound of liars no reader is right."""
        epoch = slot.rpartition("/")[0]
        promised = self.said.get((root, epoch.replace("change", "confirm", 1)), subject)
        if promised != subject or self.said.get((root, slot), subject) != subject:
            return
        self.said[root, slot] = subject
        if epoch.startswith("confirm"):
            self.said[root, epoch] = subject
        choice = "no" if self.chance.random() < 0.05 else "yes"
        body = Vote(slot=slot, subject=subject, choice=choice, identity=ZERO)  # type: ignore[arg-type]
        self.say(root, "vote", body)

    def act(self) -> None:
        """Something happens."""
        act = self.chance.choice(ACTS)
        root, other = self.chance.choice(ROOTS), self.chance.choice(ROOTS)
        match act:
            case "ballot":
                self.ballot()
            case "recovery":
                self.recover(self.chance.choice(FOUNDERS[:2]), self.chance.choice(FOUNDERS))
            case _:
                self.say(root, act, self.body(act, root, other))

    def body(self, act: str, root: bytes, other: bytes) -> object:
        """A document of a kind."""
        claims = Claims(legal_name="x", country="NL")
        makers = {
            "change": self.change,
            "keys": lambda: Keys(identity=self.newer(root).raw),
            "invite": lambda: Invite(
                identity=self.chance.choice([FIRST[other], self.newer(other)]).raw,
                roles=(),
                until=UNTIL,
            ),
            "join": lambda: Join(invite=self.any_of("invite")),
            "leave": lambda: Leave(
                revision=self.chance.choice([0, 0, 1]), reason="", pins=self.pins(root)[1:]
            ),
            "veto": lambda: Veto(recovery=self.any_of("recovery"), reason=""),
            "review": lambda: Review(bundle=ZERO, verdict="approved", text=""),
            "credential": lambda: Credential(
                subject=keys.public(other), claims=claims, until=self.chance.choice([NOW, UNTIL])
            ),
            "credential-revocation": lambda: CredentialRevocation(
                credential=self.any_of("credential"), reason=""
            ),
        }
        return makers[act]()

    def recover(self, root: bytes, lost: bytes) -> None:
        """A guardian proposes a recovery, mostly of somebody who has guardians."""
        if self.chance.random() < 0.7:
            later = self.with_guardians(lost)
            self.say(lost, "keys", Keys(identity=later.raw), key=signing(lost))
        self.say(root, "recovery", self.recovery(lost), key=signing(root))

    def with_guardians(self, lost: bytes) -> Record:
        """The first of the newer identities of a root, if it is the first to be asked for."""
        named = Guardians(dids=(KEYS[0], KEYS[1]), needed=self.chance.choice([1, 2]))
        made = self.newer_.setdefault(lost, [])
        if not made:
            key = signing(lost)
            made.append(identity(lost, FIRST[lost], revision=1, guardians=named, key=key))
        return made[0]

    def recovery(self, lost: bytes) -> Recovery:
        return Recovery(
            did=keys.public(lost),
            identity=FIRST[self.chance.choice([HEIR, HEIR, lost])].raw,
            epoch=self.chance.choice([one.id for one in self.space.chain.epochs]),
            pins=self.pins(lost),
            reason="",
        )

    def data(self) -> bytes:
        """The vector: all that was said, and a question."""
        asked = self.chance.choice(["epoch", "recovery", "member", "credential"])
        value = {
            "epoch": self.space.epoch.id,
            "recovery": self.any_of("recovery"),
            "member": self.chance.choice(KEYS[:6]),
            "credential": self.chance.choice(KEYS[:6]),
        }[asked]
        raws = [one.raw for one in self.told.records]
        return codec.encode(
            {"charter": shape.encode(CHARTER), "now": NOW, "records": raws, asked: value}
        )


ACTS = ("ballot",) * 6 + (
    "change", "change", "change", "keys", "keys", "invite", "invite", "join", "join", "leave",
    "recovery", "recovery", "veto", "review", "review", "credential", "credential",
    "credential-revocation",
)  # fmt: skip


def story(seed: str, acts: int = 30) -> bytes:
    """The bytes of a vector of kind `space`."""
    told = Story(random.Random(seed))  # noqa: S311 (a fuzzer)
    for _ in range(acts):
        if not told.over and len(told.told.records) < 60:
            told.act()
    return told.data()
