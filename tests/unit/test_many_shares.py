"""Bounds on thousands of small shares: what is refused, and that nobody keeps others out."""

import dataclasses
import threading
import typing
from typing import Any

import pytest

from enclave_host.conduct import PAGE, Result
from enclave_host.inputs import Checked, Small
from enclave_host.outputs import Leaving
from enclave_host.together import Together
from node import carrying, host_shares, people_wire, share_index, wire
from node.share_index import Kept, ShareIndex
from node.store.blobs import SealedShares
from node.store.journal import Journal
from protocol import enclave_wire, limits, shape
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds.consent import PersonShare
from protocol.kinds.run import Delivery
from protocol.sealing import wrap
from protocol.shape import Max
from tests.enclave_drive import Door, Host, booted, refused
from tests.enclave_rig import Patient, Rig, rows_of, seed

# --- lists ---------------------------------------------------------------------------------------

LONG = {(enclave_wire.Prepared, "shares")}
"""The only list that may be longer than ITEMS: the ids of the shares of a run."""

DOCUMENTS = [
    one
    for module in (enclave_wire, wire, people_wire)
    for one in vars(module).values()
    if isinstance(one, type) and dataclasses.is_dataclass(one)
]


def lists() -> list[tuple[type[Any], str, Any]]:
    return [
        (document, name, hint)
        for document in DOCUMENTS
        for name, hint in typing.get_type_hints(document, include_extras=True).items()
        if "tuple" in str(hint)
    ]


def test_no_other_list_on_any_wire_is_longer_than_before():
    found = {
        (document, name)
        for document, name, hint in lists()
        if any(
            isinstance(m, Max) and m.size > limits.ITEMS for m in getattr(hint, "__metadata__", ())
        )
        and typing.get_origin(typing.get_args(hint)[0]) is tuple
    }
    assert found == LONG


def test_one_share_more_than_there_can_be_is_refused():
    prepared = {"started": b"", "shares": [bytes(32)] * limits.SHARES}
    shape.read(enclave_wire.Prepared, prepared)
    prepared["shares"].append(bytes(32))
    with pytest.raises(Refused, match=r"shape\.mismatch"):
        shape.read(enclave_wire.Prepared, prepared)


def test_stored_shares_are_compared_in_pages_however_many_there_are():
    ids = tuple(number.to_bytes(32, "big") for number in range(2 * limits.ITEMS + 1))
    found = list(host_shares.pages(ids))
    assert [len(page) for page in found] == [limits.ITEMS, limits.ITEMS, 1]
    assert tuple(one for page in found for one in page) == ids


def test_batches_are_as_long_as_other_lists():
    frame = {"share": bytes(32), "frame": b"f", "end": False}
    load = {"agreement": bytes(32), "number": 1, "frames": [frame] * (limits.ITEMS + 1)}
    with pytest.raises(Refused, match=r"shape\.mismatch"):
        shape.read(enclave_wire.Load, load)
    one = shape.write(delivery(1))
    for document in (enclave_wire.Released, wire.Deliver):
        more = {"more": False} if document is enclave_wire.Released else {"agreement": bytes(32)}
        with pytest.raises(Refused, match=r"shape\.mismatch"):
            shape.read(document, more | {"deliveries": [one] * (limits.ITEMS + 1)})


def test_an_answer_beyond_the_largest_frame_is_not_even_read():
    with pytest.raises(Refused, match=r"codec\.too-large"):
        enclave_wire.WIRE.read_answer(bytes(enclave_wire.FRAME_LIMIT + 1), enclave_wire.Released)


# --- batches -------------------------------------------------------------------------------------


def delivery(number: int, size: int = 10, gateway: bytes | None = None) -> Delivery:
    return Delivery(
        run=bytes(32),
        number=1,
        name="own",
        to=seed(f"to {number}"),
        person=gateway is not None,
        gateway=gateway,
        sealed=bytes(size),
    )


def test_deliveries_go_in_batches_bounded_in_bytes_and_number():
    many = [delivery(n) for n in range(limits.ITEMS + 1)]
    assert [len(one) for one in carrying.batches(many)] == [limits.ITEMS, 1]
    large = [delivery(n, carrying.BATCH // 2) for n in range(5)]
    assert [len(one) for one in carrying.batches(large)] == [2, 2, 1]
    assert [len(one) for one in carrying.batches([delivery(1, 2 * carrying.BATCH)])] == [1]


def test_frames_of_many_shares_go_in_batches_and_the_last_of_each_says_so():
    frames = {b"a": [b"1", b"2", b"3"], b"b": [bytes(host_shares.LOAD)], b"c": [b"4"], b"d": []}
    found = list(host_shares.batches(lambda share: iter(frames[share]), frames))
    assert [[(one.share, one.end) for one in batch] for batch in found] == [
        [(b"a", False), (b"a", False), (b"a", True), (b"b", True)],
        [(b"c", True)],
    ]
    many = host_shares.batches(lambda _: iter([b"f"]), [b"s"] * (limits.ITEMS + 1))
    assert [len(batch) for batch in many] == [limits.ITEMS, 1]


def test_what_is_released_comes_in_pages_and_is_sealed_once():
    def leaving(number: int, size: int) -> Any:
        key = wrap.public_key(seed("box"))
        return Leaving("own", seed(f"{number}"), False, None, key, bytes(32), "json", bytes(size))

    result = Result(1, 1, [leaving(n, 200_000) for n in range(9)])
    pages = [result.page(bytes(32), 0)]
    while pages[-1]:
        pages.append(result.page(bytes(32), sum(map(len, pages))))
    found = [one for page in pages for one in page]
    assert [one.to for one in found] == [seed(f"{n}") for n in range(9)]
    assert len(pages[0]) > 1
    assert all(sum(one.size for one in page) <= PAGE for page in pages)
    assert result.page(bytes(32), len(pages[0])) == pages[1]
    huge = Result(1, 1, [leaving(n, 2 * limits.CHUNK) for n in range(2)])
    assert len(huge.page(bytes(32), 0)) == 1


# --- checks together -----------------------------------------------------------------------------

GOOD = Checked("kept", 1, 1)


def together(check: Any, names: list[str]) -> list[Any]:
    """The verdicts for shares that arrive while the first is being checked."""
    began, go_on = threading.Event(), threading.Event()

    def slow(shares: Any) -> list[Checked]:
        if not began.is_set():
            began.set()
            go_on.wait(10)
        return check(shares)

    here, found = Together(slow), {}

    def ask(name: str) -> None:
        try:
            found[name] = here.verdict(name.encode(), name, b"")
        except Exception as error:
            found[name] = error

    first, *others = [threading.Thread(target=ask, args=(name,)) for name in names]
    first.start()
    assert began.wait(10)
    for thread in others:
        thread.start()
    while len(here._waiting) < len(others):
        threading.Event().wait(0.001)
    go_on.set()
    for thread in (first, *others):
        thread.join(10)
    return [found[name] for name in names]


def test_shares_that_wait_are_checked_in_one_sandbox():
    batches = []

    def check(shares: Any) -> list[Checked]:
        batches.append(len(shares))
        return [GOOD] * len(shares)

    assert together(check, list("abcdef")) == [GOOD] * 6
    assert batches == [1, 5]


def test_who_breaks_the_sandbox_breaks_it_for_itself_and_only_once():
    batches = []

    def check(shares: Any) -> list[Checked]:
        batches.append("".join(one.person for one in shares))
        if "x" in batches[-1]:
            raise Refused("run.failed", "the check of the shares ended as limit")
        return [GOOD] * len(shares)

    *others, last = together(check, ["a", "b", "c", "x"])
    assert others == [GOOD] * 3
    assert last.code == "run.failed"
    assert sorted(batches[1]) == ["b", "c", "x"]
    assert sorted(batches[2:]) == ["b", "c", "x"]


def test_a_breaker_is_never_again_checked_with_others():
    def check(shares: Any) -> list[Checked]:
        if any(one.person == "x" for one in shares):
            raise Refused("run.failed")
        return [GOOD] * len(shares)

    here = Together(check)
    here._alone(small("x"))
    with pytest.raises(Refused):
        here.verdict(b"x", "x", b"")
    assert not here._waiting
    assert not here._busy


def test_a_fault_of_ours_is_told_to_all_and_blocks_nobody():
    def check(shares: Any) -> list[Checked]:
        raise OSError("no memory")

    here = Together(check)
    for _ in range(2):
        with pytest.raises(OSError, match="no memory"):
            here.verdict(b"a", "a", b"")


def small(name: str) -> Small:
    return Small(name.encode(), b"", name)


# --- places in the enclave -----------------------------------------------------------------------


@pytest.fixture
def office(tmp_path):
    with booted(tmp_path) as start:
        enclave = start()
        (digest,) = enclave.environments
        rig = Rig(digest)
        yield Host(rig, rig.host_1, Door(enclave)).join().take_office()


def share(office: Host, number: int, **changes: Any) -> Any:
    person = Patient(f"row-{number}")
    said = office.rig.consent(person, **changes)
    return office.rig.person_share(person, rows_of(number), office.keys, consent_=said)


def test_one_person_more_than_there_may_be_is_refused_and_no_organization(office, monkeypatch):
    monkeypatch.setattr(limits, "PEOPLE", 3)
    for number in range(3):
        office.keep(share(office, number))
    refused("enclave.full", office.keep, share(office, 3))
    office.begin(office.rig.share(office.rig.a, rows_of(1), office.keys))
    office.keep(share(office, 0, ordinal=2))  # a newer one takes the place of the older


def test_organizations_have_their_own_bound(office, monkeypatch):
    monkeypatch.setattr(limits, "ITEMS", 1)
    office.keep(office.rig.share(office.rig.a, rows_of(1), office.keys))
    refused("enclave.full", office.keep, office.rig.share(office.rig.b, rows_of(2), office.keys))
    office.keep(share(office, 1))


def test_a_place_comes_back_when_a_share_is_erased(office, monkeypatch):
    monkeypatch.setattr(limits, "PEOPLE", 1)
    first = share(office, 1)
    office.keep(first)
    refused("enclave.full", office.keep, share(office, 2))
    request = enclave_wire.Forget(agreement=office.rig.id, shares=(first.id,))
    office.door.ask(request, Done)
    office.keep(share(office, 2))


def test_a_crowd_that_pushes_without_end_leaves_room_for_newcomers(office, monkeypatch):
    monkeypatch.setattr(limits, "PEOPLE_PUSHES", 4)
    monkeypatch.setattr(limits, "PEOPLE", 2)
    for ordinal in range(1, 5):
        office.begin(share(office, 1, ordinal=ordinal))
    refused("share.busy", office.begin, share(office, 1, ordinal=5))
    office.begin(share(office, 2))
    refused("share.busy", office.begin, share(office, 2, ordinal=2))


def test_the_feed_of_an_enclave_has_room_for_runs_whatever_people_push():
    assert limits.SHARES == limits.PEOPLE + limits.ITEMS
    assert limits.PEOPLE_PUSHES == 3 * limits.PEOPLE
    assert limits.PEOPLE_PUSHES + limits.PEOPLE + limits.ITEMS < limits.FEED * 3 // 4


def test_what_is_compared_tells_which_shares_are_new(office):
    old, new = share(office, 1), share(office, 2)
    office.keep(old)
    asked = (new.id, old.id, new.id)
    request = enclave_wire.Compare(agreement=office.rig.id, shares=asked)
    assert office.door.ask(request, enclave_wire.Lacking).shares == (new.id, new.id)


def test_a_share_is_loaded_once(office):
    office.keep(office.rig.share(office.rig.a, rows_of(1, 2), office.keys))
    office.keep(office.rig.share(office.rig.b, rows_of(3, 4), office.keys))
    one = share(office, 9)
    office.keep(one)
    prepared = office.prepare(1, office.rig.statements(office.summon(1)))
    frames = [
        enclave_wire.StoredFrame(share=one.id, frame=frame, end=frame is one.frames[-1])
        for frame in one.frames
    ]
    refused("share.chunk", office.load_frames, 1, (*frames, frames[-1]))
    refused("share.chunk", office.load_frames, 1, tuple(frames))
    other = next(s for s in prepared.shares if s != one.id)
    swapped = enclave_wire.StoredFrame(share=other, frame=one.frames[1], end=False)
    refused("share.chunk", office.load_frames, 1, (swapped,))


# --- places on the host --------------------------------------------------------------------------


@pytest.fixture
def index(tmp_path):
    journal = Journal.open(tmp_path / "journal.db")
    yield ShareIndex(journal, SealedShares(tmp_path / "shares"))
    journal.close()


def kept(share: str, owner: str | None = None) -> Kept:
    of_person = owner is not None
    person = PersonShare(
        agreement=bytes(32), share=seed(share), owner=seed(owner or ""), envelopes=()
    )
    return Kept(
        agreement=bytes(32),
        share=seed(share),
        owner=seed(owner or share),
        record=None if of_person else b"record",
        person=person if of_person else None,
    )


def test_a_host_bounds_the_shares_of_one_person_and_of_all(index, monkeypatch):
    monkeypatch.setattr(share_index, "OF_PERSON", 2)
    monkeypatch.setattr(share_index, "OF_PEOPLE", 3)
    monkeypatch.setattr(share_index, "OF_PARTIES", 1)
    first = index.put(kept("1", "ann"))
    index.put(kept("2", "ann"))
    refused("share.full", index.put, kept("3", "ann"))
    index.put(kept("4", "bob"))
    refused("share.full", index.put, kept("5", "cat"))
    index.put(kept("6"))
    refused("share.full", index.put, kept("7"))
    index.put(first)  # what is here may change
    index.erase(first)
    index.put(kept("5", "cat"))
    again = ShareIndex(index._journal, index.files)
    refused("share.full", again.put, kept("8", "dan"))
    assert [one.share for one in again.of(bytes(32))] == [one.share for one in index.of(bytes(32))]
