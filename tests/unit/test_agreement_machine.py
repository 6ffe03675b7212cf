"""The gate of an agreement's topic, shares and receipts: the wrong author is never heard."""

import random
from dataclasses import replace

import pytest

from protocol import limits, record, shape
from protocol.effects import Rewrap as Owed
from protocol.errors import Refused
from protocol.kinds.agreement import Suspension
from protocol.kinds.common import Vote
from protocol.kinds.host import Lapse
from protocol.kinds.run import Order, Started, Summons
from protocol.kinds.share import Receipt, Rewrap, Share, ShareHeader, Wrap
from protocol.topic import read_opening
from tests.agreements import AT, CAST, DOCUMENT, HOST_2, Pen, seed
from tests.in_force import ZERO, Enclave, Telling, opening, retold

WRAP = bytes(1168)


def share_of(found: Telling, name: str = "hospital-a", enclave: bytes = ZERO) -> Share:
    header = ShareHeader(
        agreement=found.topic,
        owner=CAST[name].did,
        dataset="lung-v1",
        contract=seed("contract"),
        commitment=ZERO,
        salt=ZERO,
    )
    wraps = (Wrap(enclave=enclave, sealed=WRAP),)
    return Share(header=shape.encode(header), wraps=wraps)


def receipt_of(share: bytes, verdict: str = "kept") -> Receipt:
    return Receipt(
        share=share, chunks=1, bytes=1, rows=1, people=1, excluded=0, digest=ZERO, verdict=verdict
    )


# --- who may write --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "body", "code"),
    [
        ("registrar", "lapse", Lapse(term=1, reason="x"), "record.author"),
        ("host-1", "lapse", Lapse(term=1, reason="x"), "record.policy"),
        ("host-1", "order", Order(entry="fit", parameters="{}"), "record.policy"),
        ("hospital-a", "order", Order(entry="fit", parameters="{}"), "run.order"),
        ("hospital-a", "summons", Summons(number=1, term=1, order=ZERO, nonce=ZERO),
         "record.policy"),
        ("nobody", "summons", Summons(number=1, term=1, order=ZERO, nonce=ZERO), "record.author"),
    ],
)  # fmt: skip
def test_who_may_write_what(name: str, kind: str, body: object, code: str) -> None:
    Telling().refused(code, name, kind, body)


def test_a_second_key_of_a_participant_writes_nothing() -> None:
    """Of two feeds of one author nobody could say which word was the last."""
    found = Telling()
    found.say("hospital-a", "suspension", Suspension(reason="wait"))
    party = CAST["hospital-a"]
    other = replace(party, signing=seed("second key"))
    known = found.machine.parties[party.did]
    keys_ = known.record_keys | {Enclave("x").did, Pen(other).write("lapse", _lapse()).key}
    found.machine.parties[party.did] = replace(known, record_keys=keys_)
    made = Pen(other, found.topic).write("resumption", Suspension(reason="go on"))
    with pytest.raises(Refused, match=r"record\.author"):
        found.tell(made)
    assert found.runs.suspended


def _lapse() -> Lapse:
    return Lapse(term=1, reason="x")


def test_nobody_resumes_what_another_suspended() -> None:
    found = Telling()
    found.say("hospital-a", "suspension", Suspension(reason="wait"))
    found.say("hospital-b", "resumption", Suspension(reason="go on"))
    assert found.runs.suspended
    found.say("hospital-a", "resumption", Suspension(reason="go on"))
    assert not found.runs.suspended


def test_an_enclave_speaks_in_its_term_only() -> None:
    found = Telling()
    order = found.order()
    summons = Summons(number=1, term=1, order=order.id, nonce=ZERO)
    found.refused("record.author", "one", "summons", summons)
    found.offer("host-1")
    found.refused("election.certificate", "one", "summons", summons)
    found.elect("host-1", "one")
    found.say("one", "summons", summons)
    found.refused("election.certificate", "one", "summons", replace(summons, term=2))
    found.lapse(1)
    found.elect("host-2", "two", 2)
    counts = dict.fromkeys(
        ("shares", "organizations", "people", "consents", "signatures", "digests"), 0
    )
    started = Started(number=1, term=2, **counts)
    found.refused("election.certificate", "one", "started", started)
    found.refused("record.policy", "two", "lapse", Lapse(term=2, reason="x"))


def test_a_candidate_has_the_identity_that_it_is_named_with() -> None:
    """Else whoever names a host could give a stranger the rights of another participant."""
    hosts = DOCUMENT.hosts
    stolen = replace(hosts.candidates[0], identity=HOST_2.participant.id)
    document = replace(DOCUMENT, hosts=replace(hosts, candidates=(stolen,)))
    with pytest.raises(Refused, match=r"agreement\.document"):
        read_opening(opening(document))


def test_a_redacted_record_is_not_taken_and_the_whole_one_is() -> None:
    found = Telling()
    made = found.pen("hospital-a").write("lapse", Lapse(term=1, reason="x"))
    bare = record.parse(record.redact(made.raw))
    with pytest.raises(Refused, match=r"record\.body"):
        found.tell(bare)
    found.tell(made)
    assert found.election.lapses[1] == {CAST["hospital-a"].did}
    assert not found.feeds.check(bare, found.machine, AT), "known by now"


def test_a_feed_ends_at_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FEED", 3)
    found = Telling()
    for _ in range(3):
        found.lapse(1, ["hospital-a"])
    found.refused("record.policy", "hospital-a", "lapse", Lapse(term=1, reason="x"))
    found.lapse(1, ["hospital-b"])
    monkeypatch.setattr(limits, "FEED", 100)
    monkeypatch.setattr(limits, "FEED_BYTES", found.feeds.heads[found.told[0].key].size + 100)
    found.refused("record.policy", "hospital-a", "lapse", Lapse(term=1, reason="x"))


def test_a_vote_by_a_host_or_for_nothing_is_refused() -> None:
    found = Telling()
    body = Vote(slot="run/1/1", subject=ZERO, choice="yes", identity=ZERO)
    found.refused("record.policy", "host-1", "vote", body)
    found.refused("decision.subject", "hospital-a", "vote", replace(body, slot="agreement"))


# --- shares ---------------------------------------------------------------------------------------


def test_only_a_source_shares_its_own() -> None:
    found = Telling()
    found.say("hospital-a", "share", share_of(found))
    found.refused("share.binding", "hospital-b", "share", share_of(found))
    found.refused("share.provider", "sponsor", "share", share_of(found, "sponsor"))
    made = found.told[0]
    rewrap = Rewrap(share=made.id, wraps=())
    found.refused("share.binding", "hospital-b", "rewrap", rewrap)
    found.refused("share.binding", "hospital-a", "rewrap", replace(rewrap, share=ZERO))


def test_a_share_with_a_broken_header_is_refused() -> None:
    found = Telling()
    broken = replace(share_of(found), header=b"\xff")
    found.refused("codec.malformed", "hospital-a", "share", broken)


def test_the_owner_owes_a_wrap_to_an_enclave_that_it_found_eligible_itself() -> None:
    found = Telling()
    made = found.say("hospital-a", "share", share_of(found))
    found.say("hospital-b", "share", share_of(found, "hospital-b"))
    first = found.elect()
    assert [e for e in found.owed() if isinstance(e, Owed)] == [], "no own verdict"
    found.judge("hospital-a", first.id)
    assert [e.share for e in found.owed() if isinstance(e, Owed)] == [made.id]
    enclave = found.election.elected().appointment.enclave
    wraps = (Wrap(enclave=enclave, sealed=WRAP),)
    found.say("hospital-a", "rewrap", Rewrap(share=made.id, wraps=wraps))
    assert [e for e in found.owed() if isinstance(e, Owed)] == []
    assert found.machine.wrapped_to(made.id) == {ZERO, enclave}


def test_only_an_elected_enclave_gives_receipts() -> None:
    """Any candidate can name keys of its own making: they say nothing about anybody's share."""
    found = Telling()
    made = found.say("hospital-a", "share", share_of(found))
    found.offer("host-2", "fake")
    found.refused("election.certificate", "fake", "receipt", receipt_of(made.id, "share.contract"))
    found.elect()
    found.say("one", "receipt", receipt_of(made.id))
    (kept,) = found.machine.current_shares().values()
    assert kept.receipt.verdict == "kept"


def test_the_last_receipt_counts_whatever_order_they_come_in() -> None:
    found = Telling()
    made = found.say("hospital-a", "share", share_of(found))
    found.elect()
    found.say("one", "receipt", receipt_of(made.id, "share.contract"))
    found.lapse(1)
    found.elect("host-2", "two", 2)
    found.say("two", "receipt", receipt_of(made.id), AT + 1)
    chance = random.Random(1)  # noqa: S311 (a simulation)
    for _ in range(6):
        chance.shuffle(found.told)
        assert retold(found.told).machine.receipts[made.id].verdict == "kept"


# --- the end --------------------------------------------------------------------------------------


def test_after_its_time_an_agreement_asks_for_nothing() -> None:
    found = Telling()
    found.offer("host-1")
    assert found.owed()
    assert found.owed(0.0, DOCUMENT.start + DOCUMENT.purpose.duration) == []
