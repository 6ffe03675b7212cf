"""One agreement in force: who may write into its topic, its election, its shares, its runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol import identity, kinds, topic
from protocol.decision import check_vote
from protocol.effects import Appoint, Effect, Publish, Rewrap
from protocol.errors import Refused
from protocol.events import (
    Appraised,
    Event,
    HeartbeatHeard,
    OrderRefused,
    Received,
    ResultKept,
    StopHeard,
    Ticked,
)
from protocol.identity import History, Participant, open_keys
from protocol.kinds.agreement import Agreement, provision
from protocol.kinds.common import Refusal
from protocol.kinds.host import Lapse, Verdict
from protocol.kinds.run import Bequest, Lost, Order, Run, Started, Summons
from protocol.kinds.share import KEPT, Erasure, Receipt, Share, ShareHeader
from protocol.kinds.share import Rewrap as RewrapDocument
from protocol.machines.election import Election, voting_rule
from protocol.machines.runs import Runs
from protocol.parameters import check_order
from protocol.record import Record
from protocol.shape import decode
from protocol.topic import Opening

PARTY_KINDS = frozenset({"vote", "verdict", "lapse", "share", "rewrap", "order", "statement"}) | {
    "suspension", "resumption", "refusal", "keys", "cancel", "missing", "erasure",
}  # fmt: skip
HOST_KINDS = frozenset({"candidacy", "refusal", "keys", "erasure"})
OTHER_KEY_KINDS = frozenset({"share", "order", "cancel", "refusal", "keys", "erasure"})
"""What a record key of a participant may publish here that does not vote: of two words by one
author in a decision nobody could say which was the last."""
OF_A_TERM: Mapping[str, type[Any]] = {
    "summons": Summons, "started": Started, "run": Run, "bequest": Bequest, "lost": Lost,
}  # fmt: skip
"""What an enclave says in a term that it holds, and in no other."""

ENCLAVE_KINDS = frozenset({"receipt", *OF_A_TERM})

Erased = tuple[bytes, str]
"""Who erased, and what of a share: "key" or "chunks"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """Who looks at the agreement: did, id of the own identity record. Hosts and parties alike.

    `from_term` is the first term in which it votes and states, above 0 where it may have forgotten
    what it said before (restored from a backup, recovered by guardians); None while that is open.
    """

    did: bytes
    identity: bytes
    from_term: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptShare:
    """A party's share: its record, header, and the receipt of the enclave that verified it."""

    record: Record
    share: Share
    header: ShareHeader
    receipt: Receipt | None


@dataclass(slots=True)
class Collaboration:
    """The machine of an agreement's topic. Order of arrival never changes its state."""

    opening: Opening
    me: Self
    histories: dict[bytes, History] = field(init=False)
    parties: dict[bytes, Participant] = field(init=False)
    candidates: dict[bytes, Participant] = field(init=False)
    election: Election = field(init=False)
    runs: Runs = field(init=False)
    shares: dict[bytes, tuple[Record, Share, ShareHeader]] = field(default_factory=dict)
    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    rewraps: dict[bytes, list[Record]] = field(default_factory=dict)
    erasures: dict[bytes, dict[Erased, tuple[Record, Erasure]]] = field(default_factory=dict)
    refusals: list[tuple[Record, Refusal]] = field(default_factory=list)
    _voters: dict[bytes, frozenset[bytes]] = field(default_factory=dict, init=False)
    _receipted: dict[bytes, tuple[int, bytes]] = field(default_factory=dict, init=False)
    _wrapped: dict[bytes, set[bytes]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Take parties and candidates. Raises Refused (topic.opening)."""
        document, known = self.document, self.opening.participants
        self.parties = {party.did: known[party.did] for party in document.parties}
        self.candidates = {host.did: known[host.did] for host in document.hosts.candidates}
        self.histories = {did: History.of(one) for did, one in known.items()}
        self._voters = topic.party_keys(document)
        rule = voting_rule(self._voters)
        self.election = Election(self.id, document, rule)
        self.runs = Runs(document, self.election, rule)

    @property
    def id(self) -> bytes:
        """The agreement's id and topic."""
        return self.opening.topic

    @property
    def document(self) -> Agreement:
        """The signed document."""
        if not isinstance(self.opening.document, Agreement):
            raise Refused("topic.opening", "not an agreement")
        return self.opening.document

    def audience(self) -> dict[bytes, Participant]:
        """Who sees every record of this topic: parties and candidate hosts."""
        return {**self.candidates, **self.parties}

    def ends(self, id_at: Callable[[bytes, int], bytes | None]) -> dict[bytes, int]:
        """Key -> first void place of its feed, by the identities that are known here."""
        return identity.ends(self.id, self.histories, id_at)

    def ended(self, now: int) -> bool:
        """Whether the agreed duration is over."""
        return now >= self.document.start + self.document.purpose.duration

    def candidacy_of(self, did: bytes) -> bytes | None:
        """The newest candidacy of a host."""
        return self.election.latest().get(did)

    def current_shares(self) -> dict[tuple[str, bytes], KeptShare]:
        """(dataset, owner) -> the owner's newest share; none that it erased the key of."""
        newest: dict[tuple[str, bytes], KeptShare] = {}
        for record, share, header in self.shares.values():
            if self.word_of_owner(record.id) is not None:
                continue
            place = (header.dataset, header.owner)
            known = newest.get(place)
            if known is None or record.said > known.record.said:
                receipt = self.receipts.get(record.id)
                newest[place] = KeptShare(
                    record=record, share=share, header=header, receipt=receipt
                )
        return newest

    def _own_shares(self) -> tuple[bytes, ...]:
        """What own statements name: the newest share of each dataset that kept its contract. One
        that was taken back is not named, and does not bring back the one before it.
        """
        newest: dict[str, Record] = {}
        for record, _, header in self.shares.values():
            receipt = self.receipts.get(record.id)
            if header.owner == self.me.did and receipt is not None and receipt.verdict == KEPT:
                known = newest.setdefault(header.dataset, record)
                newest[header.dataset] = max(known, record, key=lambda one: one.said)
        return tuple(
            sorted(one.id for one in newest.values() if self.word_of_owner(one.id) is None)
        )

    def word_of_owner(self, share: bytes) -> Erasure | None:
        """The erasure by which a party took back the key of its share."""
        owner = self.shares[share][2].owner if share in self.shares else b""
        found = self.erasures.get(share, {}).get((owner, "key"))
        return found[1] if found is not None else None

    def replaced_shares(self) -> set[bytes]:
        """The parties' shares that no run needs: a decided one used a newer share in their place,
        and no recipient lacks a result that would have to be computed again from the old one.
        """
        decided = self.runs.committed()
        used = {share for _, run in decided.values() for share in run.shares}
        again = (*self.runs.lacking(), *self.runs.rebuilding())
        needed = {share for n in again for share in decided[n][1].shares}
        since: dict[tuple[str, bytes], tuple[int, int, bytes]] = {}
        for record, _, header in self.shares.values():
            place = (header.dataset, header.owner)
            if record.id in used:
                since[place] = max(since.get(place, record.said), record.said)
        return {
            record.id
            for record, _, header in self.shares.values()
            if record.said < since.get((header.dataset, header.owner), record.said)
            and record.id not in needed
        }

    # --- the gate ---------------------------------------------------------------------------

    def authorise(self, record: Record) -> None:
        """Who may publish what here. Raises Refused (record.author, record.policy, ...)."""
        if record.author == record.key:
            self._authorise_enclave(record)
            return
        history = self.histories.get(record.author)
        if history is None:
            raise Refused("record.author")
        if record.kind == "keys":
            history.check_keys(record)
            return
        history.may_sign(record)
        if record.kind not in self.allowed(record.author, record.key):
            name = history.participant.name
            raise Refused("record.policy", f"{name} may not publish {record.kind} by this key")
        self._authorise_content(record)

    def allowed(self, author: bytes, key: bytes) -> frozenset[str]:
        """The kinds that a participant may publish here by one of its record keys."""
        as_party = PARTY_KINDS if author in self.parties else frozenset()
        kinds_ = as_party | (HOST_KINDS if author in self.candidates else frozenset())
        history = self.histories.get(author)
        votes = history is not None and key in history.voting_keys
        return kinds_ if votes else kinds_ & OTHER_KEY_KINDS

    def _authorise_content(self, record: Record) -> None:
        match record.kind:
            case "vote":
                self._authorise_vote(record)
            case "candidacy":
                self.election.check_candidacy(record.author)
            case "share":
                self._authorise_share(record)
            case "rewrap":
                known = self.shares.get(kinds.read(RewrapDocument, record).share)
                if known is None or known[0].author != record.author:
                    raise Refused("share.binding", "only the owner wraps the key of a share again")
            case "erasure":
                self._authorise_erasure(record)
            case "order":
                check_order(self.document, record.author, kinds.read(Order, record))
            case _:
                return

    def _authorise_enclave(self, record: Record) -> None:
        known = {c.enclave.signing for _, c in self.election.candidacies.values()}
        if record.key not in known:
            raise Refused("record.author", "no candidacy names this enclave")
        if record.kind not in ENCLAVE_KINDS:
            raise Refused("record.policy", f"an enclave may not publish {record.kind}")
        if record.kind in OF_A_TERM:
            self._authorise_term(record, kinds.read(OF_A_TERM[record.kind], record).term)
        elif not self._was_elected(record.key):
            raise Refused("election.certificate", "an enclave that holds no term")

    def _authorise_term(self, record: Record, term: int) -> None:
        """An old host is fenced: only the enclave elected for a term speaks in it."""
        elected = self.election.elected(term)
        if elected is None or elected.candidacy.enclave.signing != record.key:
            raise Refused("election.certificate", f"term {term}")

    def _was_elected(self, key: bytes) -> bool:
        found = (self.election.elected(term) for term in self.election.ballots)
        return any(one is not None and one.candidacy.enclave.signing == key for one in found)

    def _authorise_vote(self, record: Record) -> None:
        text = str((record.body or {}).get("slot"))
        vote = check_vote(record, self.election.rule, text)
        if text.startswith("host/"):
            self.election.check_vote(vote)
        else:
            self.runs.check_run_vote(vote)

    def _authorise_share(self, record: Record) -> None:
        header = decode(ShareHeader, kinds.read(Share, record).header)
        if header.agreement != self.id or header.owner != record.author:
            raise Refused("share.binding")
        agreed = provision(self.document, header.dataset)
        if agreed is None or header.owner not in agreed[1]:
            raise Refused("share.provider", header.dataset)

    def _authorise_erasure(self, record: Record) -> None:
        said = kinds.read(Erasure, record)
        known = self.shares.get(said.share)
        if said.what == "key" and (known is None or known[2].owner != record.author):
            raise Refused("share.binding", "only the owner erases the key of a share")
        if said.what == "chunks" and record.author not in self.candidates:
            raise Refused("record.policy", "only a host has chunks to erase")

    # --- the machine ------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event; return what cannot wait. All else is asked for by `duties`."""
        match event:
            case Received(record):
                self._take(record)
            case HeartbeatHeard(term, enclave):
                self.election.hear(term, enclave, now)
            case StopHeard(stop, _, raw):
                self.runs.hear_stop(stop, raw)
            case ResultKept(number, name):
                self.runs.kept.add((number, name))
            case OrderRefused(order, until):
                self.runs.queue.refuse(order, until)
            case Appraised(verdict):
                return self._say(verdict)
            case Ticked():
                return []
        return []

    def _say(self, verdict: Verdict) -> list[Effect]:
        """Publish an own verdict, unless it says again what was said: idle nodes write nothing."""
        place = (verdict.term, verdict.candidacy)
        said = self.election.verdicts.get(place, {}).get(self.me.did)
        same = said is not None and _says(said) == _says(verdict)
        if said is not None and same and (not verdict.eligible or said.until > verdict.at):
            return []
        return [Publish("verdict", verdict)]

    def duties(self, now: float, wall: int) -> list[Effect]:
        """What this participant owes now; asked again until it is seen to be done."""
        if self.ended(wall):
            return []
        me = self.me
        if me.from_term is None or self.election.term < me.from_term:
            return [*self._give_way(), *self._host_duties(now, wall)]
        owed = self.election.duties(me.did, me.identity, now, wall)
        self.runs.own = self._own_shares()
        owed += self.runs.party_duties(me.did, me.identity, wall)
        owed += self._owner_duties(wall)
        return owed + self._host_duties(now, wall)

    def _give_way(self) -> list[Effect]:
        """Let a term end in which it must not speak: where every party is needed, nothing else
        would go on. A lapse contradicts nothing that was said before.
        """
        term = self.election.term
        if self.me.from_term is None or self.me.did not in self.parties:
            return []
        if self.me.did in self.election.lapses.get(term, ()):
            return []
        return [Publish("lapse", Lapse(term=term, reason="keys were lost: from the next term on"))]

    def _owner_duties(self, wall: int) -> list[Effect]:
        """Wrap own shares to an elected enclave that had no wrap when they were sealed, and to
        standbys that were named since: the owner may be away when one of them takes over.
        """
        elected = self.election.elected()
        if elected is None or self.me.did not in self.parties:
            return []
        host = elected.appointment.candidacy
        if not self.trusts(elected.term, host, wall):
            return []
        enclaves = {
            self.election.enclave_of(candidacy)
            for candidacy in (host, *elected.appointment.standbys)
            if self.trusts(elected.term, candidacy, wall)
        }
        return [
            Rewrap(kept.record.id, host)
            for (_, owner), kept in self.current_shares().items()
            if owner == self.me.did and enclaves - self.wrapped_to(kept.record.id)
        ]

    def trusts(self, term: int, candidacy: bytes, wall: int) -> bool:
        """Whether this participant itself found a candidate's enclave eligible, and still does."""
        mine = self.election.verdicts.get((term, candidacy), {}).get(self.me.did)
        if mine is None or not mine.eligible or candidacy not in self.election.candidacies:
            return False
        return self.election.doubt(self.me.did, candidacy, wall) is None

    def wrapped_to(self, share: bytes) -> set[bytes]:
        """The enclaves that can open a party's share."""
        return set(self._wrapped[share])

    def rewrap_records(self, share: bytes) -> list[Record]:
        """The owner's later wraps of a share's key, as signed records."""
        return self.rewraps.get(share, [])

    def _host_duties(self, now: float, wall: int) -> list[Effect]:
        elected = self.election.elected()
        if elected is None or elected.appointment.host != self.me.did:
            return []
        certificate = self.election.certificate(elected.term)
        if certificate is None:
            return []
        owed: list[Effect] = [Appoint(certificate)]
        return owed + self.runs.host_duties(self.candidacy_of(self.me.did), now, wall)

    def _take(self, record: Record) -> None:
        match record.kind:
            case "candidacy" | "verdict" | "lapse":
                self.election.take(record)
            case "vote":
                text = str((record.body or {}).get("slot"))
                owner = self.election if text.startswith("host/") else self.runs
                owner.take(record)
            case "share" | "rewrap" | "receipt" | "erasure":
                self._take_share(record)
            case "bequest" | "lost":
                self.runs.heritage.take(record)
            case "keys":
                self.introduce(open_keys(record))
            case "refusal":
                self.refusals.append((record, kinds.read(Refusal, record)))
            case _:
                self.runs.take(record)

    def introduce(self, known: Participant) -> None:
        """Take an identity of a party or candidate; it counts for what is here already, too."""
        did = known.did
        history = self.histories[did]
        history.learn(known)
        newest = history.participant
        for table in (self.parties, self.candidates):
            if did in table:
                table[did] = newest
        if did in self._voters:
            self._voters[did] = history.voting_keys
        if newest.id != self.opening.participants[did].id:
            self.runs.renewed[did] = newest.id

    def _take_share(self, record: Record) -> None:
        match record.kind:
            case "share":
                share = kinds.read(Share, record)
                self.shares[record.id] = (record, share, decode(ShareHeader, share.header))
                self._wrapped[record.id] = {wrap.enclave for wrap in share.wraps}
            case "receipt":
                self._take_receipt(record)
            case "rewrap":
                rewrap = kinds.read(RewrapDocument, record)
                self.rewraps.setdefault(rewrap.share, []).append(record)
                self._wrapped[rewrap.share] |= {wrap.enclave for wrap in rewrap.wraps}
            case _:
                said = (record, kinds.read(Erasure, record))
                known = self.erasures.setdefault(said[1].share, {})
                place = (record.author, said[1].what)
                known[place] = min(known.get(place, said), said, key=lambda one: one[0].said)

    def _take_receipt(self, record: Record) -> None:
        """Keep the last word on a share; the enclaves of several terms speak in several feeds."""
        receipt = kinds.read(Receipt, record)
        said = (record.at, record.id)
        if said > self._receipted.get(receipt.share, (0, b"")):
            self._receipted[receipt.share] = said
            self.receipts[receipt.share] = receipt


def _says(verdict: Verdict) -> tuple[bool, tuple[str, ...], bytes]:
    return verdict.eligible, verdict.reasons, verdict.policy
