"""The file as such: openings, records, feeds, and the manifest of heads (checks 1 to 4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from protocol import codec, identity, keys, kinds, limits, record, shape, token, topic
from protocol.audit.bundle import MANIFEST, Bundle, FeedHead, Manifest, blobs_digest, feed_heads
from protocol.audit.findings import Check, Entry, Ledger
from protocol.errors import ProtocolError, Refused
from protocol.identity import History
from protocol.kinds.agreement import Agreement, AgreementOpening, NegotiationOpening
from protocol.kinds.run import Statement
from protocol.kinds.space import Charter, Invite
from protocol.record import Header, Place, Record
from protocol.topic import Opening


@dataclass(slots=True)
class Topic:
    """One topic of the file: its verified opening and its verified records, in file order."""

    opening: Opening
    entries: list[Entry] = field(default_factory=list)

    def numbered(self) -> Mapping[bytes, Entry]:
        """Every record by its id."""
        return {entry.record.id: entry for entry in self.entries}


def open_topics(bundle: Bundle, ledger: Ledger) -> list[Topic]:
    """Verify openings and records one by one. What does not verify becomes a finding."""
    topics, number = [], 0
    histories = _histories(bundle)
    for at, material in enumerate(bundle.topics, 1):
        opened = _open(material.opening, at, histories, ledger)
        found = Topic(opened) if opened else None
        for raw in material.records:
            number += 1
            ledger.look(Check.RECORDS)
            entry = _entry(raw, number, ledger)
            if entry is not None and found is not None:
                _place(entry, found, ledger)
        if found is not None:
            topics.append(found)
    if len({found.opening.topic for found in topics}) < len(topics):
        ledger.find(Check.FILE, "audit.malformed", "a topic is in the file twice")
    return topics


def check_feeds(topics: list[Topic], ledger: Ledger) -> None:
    """Each feed counts from 0 without gap, each record names the one before, nobody forks."""
    seen: dict[tuple[bytes, bytes, int], Entry] = {}
    for found in topics:
        places: dict[bytes, Place] = {}
        for entry in found.entries:
            ledger.look(Check.FEEDS)
            place = (entry.record.topic, entry.record.key, entry.record.seq)
            first = seen.setdefault(place, entry)
            if first is not entry:
                _report_fork(first, entry, ledger)
                continue
            expected = places.get(entry.record.key, Place())
            if (entry.record.seq, entry.record.prev) != (expected.seq, expected.prev):
                _report_gap(entry, expected, ledger)
            places[entry.record.key] = Place(seq=entry.record.seq + 1, prev=entry.record.id)
    _check_quoted(topics, seen, ledger)


def check_manifest(
    bundle: Bundle, topics: list[Topic], now: int, ledger: Ledger
) -> Manifest | None:
    """The manifest is signed by a participant of these topics, and names exactly these heads."""
    manifest = _open_manifest(bundle.manifest, now, ledger)
    if manifest is None:
        return None
    if manifest.exporter not in ledger.names:
        ledger.find(Check.FILE, "audit.manifest", "its signer is nobody named in the file")
    if manifest.blobs != blobs_digest([*bundle.evidence, *bundle.leaves]):
        ledger.find(
            Check.FILE, "audit.altered", "evidence or leaves are not those that the manifest names"
        )
    named = {heads.topic: heads.feeds for heads in manifest.topics}
    found = {one.opening.topic: feed_heads(e.record for e in one.entries) for one in topics}
    for missing in sorted(named.keys() - found.keys()):
        sentence = f"topic {missing.hex()[:8]} is named by the manifest and missing in the file"
        ledger.find(Check.HEADS, "audit.incomplete", sentence)
    for one in topics:
        heads = named.get(one.opening.topic, ())
        _check_heads(heads, found[one.opening.topic], one, ledger)
        _check_dates(one, manifest.at, ledger)
    return manifest


def _check_dates(one: Topic, exported: int, ledger: Ledger) -> None:
    for entry in one.entries:
        if entry.record.at > exported + limits.CLOCK_SKEW:
            sentence = f"record {entry.number} is dated after the export of the file"
            ledger.find(Check.HEADS, "record.clock", sentence, entry)


def _histories(bundle: Bundle) -> dict[bytes, History]:
    """The identities that `keys` records of the file bring, whatever topic they stand in."""
    found: dict[bytes, History] = {}
    for raw in (raw for material in bundle.topics for raw in material.records):
        try:
            one = record.parse(raw)
            if one.kind == "keys" and one.body is not None:
                identity.learn(found, identity.open_keys(one))
        except ProtocolError:
            continue  # a finding of its own, where the record is read
    return found


def _open(
    raw: bytes, at: int, histories: Mapping[bytes, History], ledger: Ledger
) -> Opening | None:
    try:
        opened = topic.read_opening(raw, histories)
        ledger.know(_names(opened))
    except ProtocolError as error:
        ledger.find(Check.FILE, error.code, f"the opening of topic {at} is refused: {error}")
        return None
    return opened


def _names(opened: Opening) -> Iterator[tuple[bytes, str]]:
    match opened.document:
        case Charter(founders=founders):
            for founder in founders:
                participant = identity.open_identity(founder.identity)
                yield participant.did, participant.name
        case Agreement(parties=parties, hosts=hosts):
            yield from ((party.did, party.name) for party in parties)
            yield from ((host.did, host.name) for host in hosts.candidates)
        case NegotiationOpening():
            return


def _entry(raw: bytes, number: int, ledger: Ledger) -> Entry | None:
    try:
        parsed = record.parse(raw)
    except ProtocolError as error:
        sentence = f"record {number} altered{_claimed(raw, ledger)}: {error}"
        ledger.find(Check.RECORDS, error.code, sentence)
        return None
    return Entry(number, parsed)


def _claimed(raw: bytes, ledger: Ledger) -> str:
    """What a record that does not verify says of itself, if it can still be read."""
    try:
        match codec.decode(raw, limits.RECORD):
            case [[bytes(), dict(), bytes(payload), bytes()], _]:
                header = shape.decode(Header, payload)
            case _:
                return ""
    except ProtocolError:
        return ""
    return f" (it claims to be a {header.kind} by {ledger.name(header.author)})"


def _place(entry: Entry, found: Topic, ledger: Ledger) -> None:
    one = entry.record
    if one.topic != found.opening.topic:
        ledger.find(
            Check.RECORDS,
            "audit.altered",
            f"record {entry.number} stands under another topic",
            entry,
        )
        return
    try:
        kinds.check(one, found.opening.type)
        if one.kind == "invite" and one.body is not None:
            guest = identity.open_identity(kinds.read(Invite, one).identity)
            ledger.know([(guest.did, guest.name)])
    except ProtocolError as error:
        ledger.find(Check.RECORDS, error.code, f"record {entry.number}: {error}", entry)
        return
    found.entries.append(entry)


def _report_fork(first: Entry, second: Entry, ledger: Ledger) -> None:
    who, at = ledger.name(second.record.author), second.record.seq
    if first.record.id == second.record.id:
        sentence = f"record {second.number} is record {first.number} again"
        ledger.find(Check.FEEDS, "audit.altered", sentence, second)
        return
    sentence = f"records {first.number} and {second.number}: {who} wrote both as number {at}"
    ledger.find(Check.FEEDS, "record.equivocation", sentence, second)


def _report_gap(entry: Entry, expected: Place, ledger: Ledger) -> None:
    who, seq = ledger.name(entry.record.author), entry.record.seq
    if seq == expected.seq:
        sentence = f"record {entry.number}: {who} names another predecessor than the file has"
    else:
        sentence = (
            f"record {entry.number}: the feed of {who} lacks number {expected.seq} before {seq}"
        )
    ledger.find(Check.FEEDS, "record.gap", sentence, entry)


def _check_quoted(
    topics: list[Topic], seen: Mapping[tuple[bytes, bytes, int], Entry], ledger: Ledger
) -> None:
    """Records that other material quotes must be those of the feeds: a fork may hide there."""
    for where, quoted in _quoted(topics):
        ledger.look(Check.FEEDS)
        known = seen.get((quoted.topic, quoted.key, quoted.seq))
        if known is not None and known.record.id != quoted.id:
            who = ledger.name(quoted.author)
            sentence = f"record {known.number}: {where} shows another one by {who} for its place"
            ledger.find(Check.FEEDS, "record.equivocation", sentence, known)


def _quoted(topics: list[Topic]) -> Iterator[tuple[str, Record]]:
    for found in topics:
        if found.opening.type == "agreement":
            opening = shape.decode(AgreementOpening, found.opening.raw, limits.FRAME)
            for raw in opening.votes:
                yield "the agreement's certificate", record.parse(raw)
        for entry in found.entries:
            if entry.record.kind == "statement" and entry.record.body is not None:
                accepted = kinds.read(Statement, entry.record).accepted
                quoted = readable(accepted) if accepted else None
                if quoted is not None:
                    yield f"record {entry.number}", quoted


def readable(raw: bytes) -> Record | None:
    """The record in `raw`, or None if it does not verify."""
    try:
        return record.parse(raw)
    except ProtocolError:
        return None


def _open_manifest(raw: bytes | None, now: int, ledger: Ledger) -> Manifest | None:
    ledger.look(Check.FILE)
    if raw is None:
        ledger.find(
            Check.FILE, "audit.manifest", "the file has no manifest: nobody answers for its heads"
        )
        return None
    try:
        signed = token.open_(raw, MANIFEST, Manifest)
        exporter = identity.open_identity(signed.body.identity)
        if exporter.did != signed.body.exporter or signed.key not in exporter.record_keys:
            raise Refused("audit.manifest", "not signed by a key of the exporter")
    except ProtocolError as error:
        ledger.find(Check.FILE, "audit.manifest", f"the manifest is refused: {error}")
        return None
    if signed.body.at > now + limits.CLOCK_SKEW:
        ledger.find(Check.FILE, "record.clock", "the manifest is dated in the future")
    return signed.body


def _check_heads(
    named: tuple[FeedHead, ...], found: tuple[FeedHead, ...], one: Topic, ledger: Ledger
) -> None:
    here = {head.key: head for head in found}
    authors = {entry.record.key: entry.record.author for entry in one.entries}
    for head in named:
        ledger.look(Check.HEADS)
        mine = here.pop(head.key, None)
        if mine == head:
            continue
        who = ledger.name(authors[head.key]) if mine else f"key {keys.base58(head.key)[:8]}"
        if mine is None or mine.seq < head.seq:
            reached = f"ends before its number {head.seq}"
            ledger.find(Check.HEADS, "audit.incomplete", f"the feed of {who} {reached}")
        else:
            ledger.find(Check.HEADS, "audit.altered", f"the feed of {who} has another head")
    for key in here:
        who = ledger.name(authors[key])
        ledger.find(Check.HEADS, "audit.altered", f"the manifest does not name a feed of {who}")
