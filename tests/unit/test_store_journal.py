"""The journal keeps exact bytes in order, refuses contradictions and stays within bounds."""

import hashlib
import re
import stat
import threading
from dataclasses import replace

import pytest

from node.store import (
    BlobRow,
    Entry,
    Equivocation,
    EquivocationRow,
    Refusal,
    StoreError,
    StoreFault,
    StoreFull,
    TopicRow,
    mail,
    peers,
    records,
    refusals,
)
from node.store.journal import Journal
from protocol import kinds
from protocol.errors import Misuse

TOPIC = hashlib.sha256(b"topic").digest()
KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def entry(seq, key=KEY, topic=TOPIC, text="", size=0):
    raw = f"{topic.hex()} {key.hex()} {seq} {text}".encode().ljust(size, b".")
    return Entry(
        id=hashlib.sha256(raw).digest(),
        topic=topic,
        key=key,
        seq=seq,
        prev=None,
        author=key,
        kind="vote",
        at=1_800_000_000,
        raw=raw,
    )


def refusal(detail="seen", at=1):
    return Refusal(
        code="record.signature",
        rule="r",
        set_by="protocol",
        fix="f",
        subject="9c1e",
        party="@b",
        at=at,
        detail=detail,
    )


@pytest.fixture
def kept(tmp_path):
    opened = Journal.open(tmp_path / "state" / "journal.db")
    yield opened
    opened.close()


def test_what_was_committed_is_there_after_reopening(tmp_path):
    path = tmp_path / "journal.db"
    first = Journal.open(path)
    entries = [entry(seq) for seq in range(3)]
    assert first.add_topic(TOPIC, "space", b"charter", None)
    assert first.commit(entries, {"cursor": b"3"}) == 3
    first.close()
    again = Journal.open(path)
    assert list(again.records(TOPIC)) == [e.raw for e in entries]
    assert again.get(entries[1].id) == entries[1].raw
    assert again.topics() == [TopicRow(topic=TOPIC, kind="space", opening=b"charter", parent=None)]
    assert again.state("cursor") == b"3"
    again.close()


def test_the_file_is_for_its_owner_only(tmp_path):
    path = tmp_path / "state" / "journal.db"
    opened = Journal.open(path)
    opened.put_state("a", b"b")
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    opened.close()
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_durability_is_what_the_module_promises(kept):
    value = {
        name: kept._one(f"PRAGMA {name}")
        for name in ("journal_mode", "synchronous", "secure_delete", "locking_mode")
    }
    assert value == {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "locking_mode": "exclusive",
    }


def test_a_second_daemon_is_refused(tmp_path):
    first = Journal.open(tmp_path / "journal.db")
    with pytest.raises(StoreError) as caught:
        Journal.open(tmp_path / "journal.db")
    assert caught.value.code == "journal.in-use"
    first.close()
    Journal.open(tmp_path / "journal.db").close()


def test_a_file_that_is_no_database_is_a_fault(tmp_path):
    (tmp_path / "journal.db").write_bytes(b"x" * 5000)
    with pytest.raises(StoreFault):
        Journal.open(tmp_path / "journal.db")


def test_known_records_and_topics_are_skipped(kept):
    assert kept.add_topic(TOPIC, "space", b"charter", None)
    assert not kept.add_topic(TOPIC, "space", b"charter", None)
    assert kept.commit([entry(0), entry(1)]) == 2
    assert kept.commit([entry(1), entry(2), entry(2)]) == 1
    assert kept.commit([]) == 0
    assert len(list(kept.records(TOPIC))) == 3


def test_an_equivocation_keeps_nothing_of_its_batch(kept):
    kept.commit([entry(0)])
    lie = entry(0, text="another")
    with pytest.raises(Equivocation) as caught:
        kept.commit([entry(1), lie], {"cursor": b"1"})
    assert caught.value.code == "record.equivocation"
    assert (caught.value.held, caught.value.entry) == (entry(0).raw, lie)
    assert list(kept.records(TOPIC)) == [entry(0).raw]
    assert kept.state("cursor") is None


def test_an_equivocation_within_one_batch_is_seen(kept):
    with pytest.raises(Equivocation) as caught:
        kept.commit([entry(0), entry(0, text="another")])
    assert caught.value.held == entry(0).raw
    assert kept.frontier(TOPIC) == {}


def test_the_proof_of_an_equivocation_is_kept_once(kept):
    proof = EquivocationRow(topic=TOPIC, key=KEY, seq=3, first=b"a", second=b"b", at=5)
    assert kept.add_equivocation(proof)
    assert not kept.add_equivocation(proof)
    assert kept.equivocations(TOPIC) == [proof]
    assert kept.equivocations(b"x" * 32) == []


def test_a_wrong_type_is_our_own_bug(kept):
    wrong = entry(0)
    object.__setattr__(wrong, "kind", None)
    with pytest.raises(Misuse):
        kept.commit([wrong])


def test_records_come_in_order_of_arrival_over_many_pages(kept, monkeypatch):
    monkeypatch.setattr(records, "_PAGE", 3)
    entries = [entry(seq, key) for seq in range(5) for key in (OTHER_KEY, KEY)]
    for one in entries:
        kept.commit([one, entry(one.seq, one.key, topic=b"t" * 32)])
    assert list(kept.records(TOPIC)) == [e.raw for e in entries]


def test_frontier_names_the_head_of_each_feed(kept):
    kept.commit([entry(seq) for seq in range(4)] + [entry(0, OTHER_KEY)])
    kept.commit([entry(9, topic=b"t" * 32)])
    ours = [entry(seq) for seq in range(4)]
    other = entry(0, OTHER_KEY)
    assert kept.frontier(TOPIC) == {
        KEY: (3, ours[3].id, sum(len(one.raw) for one in ours)),
        OTHER_KEY: (0, other.id, len(other.raw)),
    }
    kept.commit(ours)
    assert kept.frontier(TOPIC)[KEY][0] == 3
    assert kept.frontier(b"?" * 32) == {}


def test_what_no_machine_keeps_is_left_out_by_its_index(kept):
    assert set(re.findall(r"'([a-z-]+)'", records._REMEMBERED)) == kinds.JOURNAL_ONLY
    entries = [replace(entry(seq), kind=kind) for seq, kind in enumerate(sorted(kinds.KINDS))]
    kept.commit(entries)
    ours = [one.raw for one in entries if one.kind not in kinds.JOURNAL_ONLY]
    assert list(kept.remembered(TOPIC)) == ours
    (plan,) = kept._rows("EXPLAIN QUERY PLAN" + records._REMEMBERED, (TOPIC, 0, 9))
    assert "record_of_machine" in plan[3]


def test_parts_of_many_feeds_share_one_batch(kept):
    keys = [bytes([number]) * 32 for number in range(4)]
    kept.commit([entry(seq, key) for key in keys for seq in range(10)])
    wants = [(key, 2, 10) for key in keys]
    assert [len(part) for part in kept.parts(TOPIC, wants, 10**6, 100)] == [8] * 4
    assert [len(part) for part in kept.parts(TOPIC, wants, 10**6, 10)] == [2, 2, 3, 3]
    assert kept.parts(TOPIC, [(keys[0], 4, 6)], 10**6, 9) == [
        [entry(4, keys[0]).raw, entry(5, keys[0]).raw]
    ]
    assert kept.parts(TOPIC, wants, 10, 100) == []


def test_after_is_bounded_in_bytes(kept):
    entries = [entry(seq, size=200) for seq in range(6)]
    kept.commit([*reversed(entries), entry(3, OTHER_KEY)])
    assert kept.after(TOPIC, KEY, 1, 10_000) == [e.raw for e in entries[2:]]
    assert kept.after(TOPIC, KEY, 1, 400) == [e.raw for e in entries[2:4]]
    assert kept.after(TOPIC, KEY, 1, 199) == []
    assert kept.after(TOPIC, KEY, 5, 10_000) == []


def test_short_ids_resolve(kept):
    entries = [entry(seq) for seq in range(50)]
    kept.commit(entries)
    wanted = entries[7].id
    assert kept.resolve(wanted.hex()) == [wanted]
    assert kept.resolve(wanted.hex()[:9].upper()) == [wanted]
    assert kept.resolve("0" * 64) == []
    for wrong in ("", "abc", "zzzz", "12%4", "0" * 65):
        with pytest.raises(StoreError) as caught:
            kept.resolve(wrong)
        assert caught.value.code == "journal.short-id"


def test_refusals_are_found_again(kept):
    first, second = refusal("one"), refusal("two", at=2)
    assert kept.add_refusal(first) == first.id
    kept.add_refusal(second)
    kept.add_refusal(first)
    assert kept.refusals() == [second, first]
    assert kept.refusals(1) == [second]
    assert kept.refusal(first.id) == first
    assert kept.resolve_refusal(first.id.hex()[:6]) == [first.id]
    assert kept.refusal(b"?" * 32) is None


def test_refusals_are_bounded(kept, monkeypatch):
    monkeypatch.setattr(refusals, "REFUSALS", 5)
    for number in range(12):
        kept.add_refusal(refusal(at=number))
    assert [r.at for r in kept.refusals()] == [11, 10, 9, 8, 7]
    cut = kept.add_refusal(refusal("x" * 100_000))
    assert len(kept.refusal(cut).detail) == refusals.REFUSAL_TEXT


def test_state_is_replaced_listed_and_forgotten(kept):
    kept.put_state("petname/a", b"1")
    kept.put_state("petname/a", b"2")
    kept.put_state("petname/%", b"3")
    kept.put_state("other", b"4")
    assert kept.state("petname/a") == b"2"
    assert kept.states("petname/") == {"petname/%": b"3", "petname/a": b"2"}
    assert kept.delete_state("petname/a")
    assert not kept.delete_state("petname/a")
    assert kept.state("petname/a") is None


def test_mail_waits_until_acknowledged_and_numbers_are_never_reused(kept):
    numbers = [kept.mail_put(KEY, item) for item in (b"a", b"b", b"c")]
    kept.mail_put(OTHER_KEY, b"other")
    assert kept.mail_list(KEY, 0, 2) == [(numbers[0], b"a"), (numbers[1], b"b")]
    assert kept.mail_list(KEY, numbers[1], 9) == [(numbers[2], b"c")]
    assert kept.mail_delete(KEY, numbers[2]) == 3
    assert kept.mail_list(KEY, 0, 9) == []
    assert kept.mail_put(KEY, b"d") > numbers[2]
    assert [item for _, item in kept.mail_list(OTHER_KEY, 0, 9)] == [b"other"]


@pytest.mark.parametrize(
    ("bound", "value"), [("MAIL_ITEM", 9), ("MAIL_BOX", 25), ("MAIL_BOX_ITEMS", 2)]
)
def test_a_mailbox_is_bounded(kept, monkeypatch, bound, value):
    monkeypatch.setattr(mail, bound, value)
    if bound != "MAIL_ITEM":
        kept.mail_put(KEY, b"0123456789")
        kept.mail_put(KEY, b"0123456789")
    with pytest.raises(StoreFull):
        kept.mail_put(KEY, b"0123456789")
    if bound != "MAIL_ITEM":
        kept.mail_put(OTHER_KEY, b"0123456789")


def test_all_mailboxes_are_bounded_together_also_after_reopening(tmp_path, monkeypatch):
    monkeypatch.setattr(mail, "MAIL_TOTAL", 25)
    first = Journal.open(tmp_path / "journal.db")
    number = first.mail_put(KEY, b"0123456789")
    first.mail_put(OTHER_KEY, b"0123456789")
    first.close()
    again = Journal.open(tmp_path / "journal.db")
    with pytest.raises(StoreFull):
        again.mail_put(b"3" * 32, b"0123456789")
    again.mail_delete(KEY, number)
    again.mail_put(b"3" * 32, b"0123456789")
    again.close()


def test_results_and_share_keys_are_kept_once(kept):
    run, share = b"r" * 32, b"s" * 32
    assert kept.add_result(run, "model", b"sealed", 7)
    assert not kept.add_result(run, "model", b"again", 8)
    assert kept.result(run, "model") == b"sealed"
    assert [(r.name, r.size, r.at) for r in kept.results()] == [("model", 6, 7)]
    assert kept.add_share_key(share, b"key")
    assert not kept.add_share_key(share, b"other")
    assert kept.share_keys() == {share: b"key"}
    assert kept.delete_share_key(share)
    assert kept.share_key(share) is None


def test_an_erased_share_key_is_in_no_file(tmp_path):
    secret = hashlib.sha256(b"sealed share key").digest() * 4
    opened = Journal.open(tmp_path / "journal.db")
    opened.add_share_key(b"s" * 32, secret)
    assert any(secret in file.read_bytes() for file in tmp_path.iterdir())
    opened.delete_share_key(b"s" * 32)
    assert not any(secret in file.read_bytes() for file in tmp_path.iterdir())
    opened.close()


def test_blobs_are_forgotten_with_the_last_subject_that_needs_them(kept):
    first = BlobRow(digest=b"d" * 32, size=3, kind="bundle", subject=TOPIC, at=1)
    second = BlobRow(digest=b"d" * 32, size=3, kind="bundle", subject=KEY, at=2)
    assert kept.add_blob(first)
    assert not kept.add_blob(first)
    kept.add_blob(second)
    assert kept.blobs(TOPIC) == [first]
    assert kept.blobs() == [first, second]
    assert kept.delete_blobs(TOPIC) == []
    assert kept.delete_blobs(KEY) == [b"d" * 32]


def test_peers_are_remembered_banned_and_bounded(kept, monkeypatch):
    monkeypatch.setattr(peers, "PEERS", 2)
    kept.ban_peer("bad", True)
    for at, peer in enumerate(["a", "bad", "b", "c"], 1):
        kept.see_peer(peer, [f"/ip4/127.0.0.1/tcp/{at}"] * 99, at)
    found = kept.peers()
    assert [(p.peer, p.banned) for p in found] == [("c", False), ("b", False), ("bad", True)]
    assert found[0].addresses == ("/ip4/127.0.0.1/tcp/4",) * peers.PEER_ADDRESSES
    kept.ban_peer("bad", False)
    assert not any(p.banned for p in kept.peers())


def test_a_backup_opens_and_overwrites_nothing(kept, tmp_path):
    kept.commit([entry(0)])
    kept.back_up(tmp_path / "backup.db")
    with pytest.raises(StoreFault):
        kept.back_up(tmp_path / "backup.db")
    copy = Journal.open(tmp_path / "backup.db")
    assert list(copy.records(TOPIC)) == [entry(0).raw]
    copy.close()


def test_threads_share_one_journal(kept):
    def write(number):
        for seq in range(20):
            kept.commit([entry(seq, key=bytes([number]) * 32)])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seq for seq, _, _ in kept.frontier(TOPIC).values()} == {19}
    assert len(list(kept.records(TOPIC))) == 80


def test_many_items_are_mailed_at_once_and_none_twice(kept, monkeypatch):
    monkeypatch.setattr(mail, "MAIL_BOX_ITEMS", 2)
    kept.mail_put(KEY, b"a")
    found = kept.mail_put_all(
        [(KEY, b"a"), (KEY, b"b"), (OTHER_KEY, b"a"), (KEY, b"c"), (OTHER_KEY, b"d")]
    )
    assert found == [3]
    assert [item for _, item in kept.mail_list(KEY, 0, 9)] == [b"a", b"b"]
    assert [item for _, item in kept.mail_list(OTHER_KEY, 0, 9)] == [b"a", b"d"]
    assert kept.mail_put_all([(KEY, b"a"), (KEY, b"b")]) == []
