"""Erasure: every reason for it, every kill in the middle of it, and nobody erases for others."""

import time
from types import SimpleNamespace

import pytest
import trio

from node import shares, stops
from node.erasing import BEGUN, Erasing
from node.net.transport import TransportError
from protocol import enclave_wire as enclave
from protocol.kinds.share import Erasure
from tests.enclave_rig import Patient, seed
from tests.sim.share_rig import staged, until
from tests.sim.test_share_lane import offer_person, person_share
from tests.sim.test_shares import published, push, refused


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(shares, "PAUSE", 0.02)
    async with staged(tmp_path, monkeypatch) as made:
        yield made


def erasing(stage, name):
    site = stage.sites[name]
    return Erasing(site.pipeline, site.lane)


async def look(stage, name):
    """One look for what is due, as `run` does it again and again."""
    await erasing(stage, name).look()


def said(stage, share, by):
    """Name of who erased -> what and why, as a site sees it."""
    known = stage.sites[by].machine.erasures.get(share, {})
    names = {site.keyring.did: name for name, site in stage.sites.items()}
    return {(names[did], what): erasure.reason for (did, what), (_, erasure) in known.items()}


def holds(stage, name, share):
    """Whether a host has chunks, and its enclave the key."""
    lane = stage.sites[name].lane
    (session,) = stage.hosts[name].door.enclave.sessions.values()
    return lane.index.get(share) is not None, share in session.shares.held


async def everywhere(stage, share, reasons):
    for name in stage.sites:
        await until(lambda name=name: said(stage, share, name) == reasons)


async def test_an_owner_takes_its_share_back_and_may_bring_it_again(stage):
    source = stage.source(50)
    share = (await push(stage, source)).share
    assert holds(stage, "host-1", share) == (True, True)
    await erasing(stage, "hospital-a").pull_back(stage.rig.id, share)
    journal = stage.sites["hospital-a"].journal
    assert journal.share_key(share) is None
    await until(lambda: said(stage, share, "host-1") and said(stage, share, "host-2"))
    for name in ("host-1", "host-2"):
        await look(stage, name)
        assert holds(stage, name, share) == (False, False)
    reasons = {("hospital-a", "key"): "pulled-back"}
    reasons |= {(name, "chunks"): "pulled-back" for name in ("host-1", "host-2")}
    await everywhere(stage, share, reasons)
    by_owner = stage.sites["host-1"].machine.word_of_owner(share)
    assert set(by_owner.enclaves) == {one.id for one in stage.hosts.values()}
    assert stage.sites["hospital-a"].machine.current_shares() == {}
    again = await push(stage, source)
    assert not again.already
    assert holds(stage, "host-1", again.share) == (True, True)


async def test_the_end_of_retention_erases_keys_and_chunks_by_itself(stage, monkeypatch):
    share = (await push(stage, stage.source(20))).share
    document = stage.rig.document
    end = document.start + document.purpose.duration + document.retention
    monkeypatch.setattr(time, "time", lambda: end)
    for name in stage.sites:
        await look(stage, name)
    assert said(stage, share, "host-1") == {}
    monkeypatch.setattr(time, "time", lambda: end + 1)
    for name in stage.sites:
        await look(stage, name)
    reasons = {(name, "chunks"): "ended" for name in ("host-1", "host-2")}
    await everywhere(stage, share, {("hospital-a", "key"): "ended", **reasons})
    assert holds(stage, "host-1", share) == (False, False)
    assert stage.sites["hospital-a"].journal.share_keys() == {}


async def test_a_replaced_share_goes_once_a_decided_run_used_the_newer(stage):
    first = (await push(stage, stage.source(20))).share
    second = (await push(stage, stage.source(30, "more.csv"))).share
    for name in stage.sites:
        await look(stage, name)
    assert said(stage, first, "host-1") == {}
    run = SimpleNamespace(
        outcome="held", withheld=None, term=0, order=b"", shares=(second,), lineage=None
    )
    for site in stage.sites.values():
        site.machine.runs._ended[1] = (None, run)
    for name in stage.sites:
        await look(stage, name)
    reasons = {(name, "chunks"): "replaced" for name in ("host-1", "host-2")}
    await everywhere(stage, first, {("hospital-a", "key"): "replaced", **reasons})
    assert said(stage, second, "host-1") == {}
    assert holds(stage, "host-1", second)[0]


async def test_a_withdrawal_erases_what_the_person_gave_before_it_and_nothing_after(stage):
    enclaves = [one.keys for one in stage.hosts.values()]
    patient, other = Patient("row-100"), Patient("row-101")
    made, outer = person_share(stage, patient, *enclaves)
    sender = await offer_person(stage, outer)
    await sender.frames(*made.frames)
    await until(lambda: stage.receipt("host-1", made.id) is not None)
    bystander, theirs = person_share(stage, other, *enclaves)
    sender = await offer_person(stage, theirs)
    await sender.frames(*bystander.frames)
    await until(lambda: stage.receipt("host-1", bystander.id) is not None)

    raw = stage.rig.stop(patient, stage.rig.consent(patient))
    site = stage.sites["host-1"]
    stop = stops.check(raw, site.machine)
    site.machine.runs.hear_stop(stop.id, raw)
    await look(stage, "host-1")
    assert holds(stage, "host-1", made.id) == (False, False)
    assert holds(stage, "host-1", bystander.id) == (True, True)
    await until(lambda: said(stage, made.id, "hospital-a"))
    assert said(stage, made.id, "hospital-a") == {("host-1", "chunks"): "withdrawn"}
    await until(lambda: said(stage, made.id, "host-2"))
    await look(stage, "host-2")
    assert holds(stage, "host-2", made.id)[0] is False
    assert holds(stage, "host-2", bystander.id)[0] is True


async def test_a_new_consent_before_the_look_keeps_its_share(stage):
    patient = Patient("row-100")
    site = stage.sites["host-1"]
    consent = stage.rig.consent(patient, ordinal=1)
    withdrawn = await receipted(stage, patient, consent)
    raw = stage.rig.stop(patient, consent)
    site.machine.runs.hear_stop(stops.check(raw, site.machine).id, raw)
    renewed = await receipted(stage, patient, stage.rig.consent(patient, ordinal=2))
    await look(stage, "host-1")
    assert holds(stage, "host-1", withdrawn) == (False, False)
    assert holds(stage, "host-1", renewed) == (True, True)


async def receipted(stage, patient, consent):
    """The id of a share of a person, sent under a consent and taken."""
    enclaves = [one.keys for one in stage.hosts.values()]
    one, outer = person_share(stage, patient, *enclaves, consent=consent)
    sender = await offer_person(stage, outer)
    await sender.frames(*one.frames)
    await until(lambda: stage.receipt("host-1", one.id) is not None)
    return one.id


async def person_shares(stage, patient):
    """Two shares of one person, the second under a renewed consent."""
    return [
        await receipted(stage, patient, stage.rig.consent(patient, ordinal=ordinal))
        for ordinal in (1, 2)
    ]


async def test_a_persons_replaced_share_goes_once_a_decided_run_used_the_newer(stage):
    first, second = await person_shares(stage, Patient("row-100"))
    other = (await person_shares(stage, Patient("row-101")))[0]
    site, id_ = stage.sites["host-1"], stage.rig.id
    decided = SimpleNamespace(
        outcome="held", withheld=None, term=0, order=b"", shares=(), lineage=None
    )
    record = SimpleNamespace(id=seed("run"))

    async def none_yet():
        await look(stage, "host-1")
        assert said(stage, first, "host-1") == {}

    await none_yet()
    site.lane.used[id_] = (record.id, frozenset({first}))
    site.machine.runs._decided[record.id] = site.machine.runs._ended[1] = (record, decided)
    await none_yet()  # the run used the older: its result may have to be computed again
    site.lane.used[id_] = (seed("not decided"), frozenset({second}))
    await none_yet()
    site.lane.used[id_] = (record.id, frozenset({second}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(site.machine.runs), "lacking", lambda _: [1])
        await none_yet()
    await look(stage, "host-1")
    assert holds(stage, "host-1", first) == (False, False)
    assert holds(stage, "host-1", second) == (True, True)
    assert said(stage, other, "host-1") == {}, "no run used the newer of that person"
    await until(lambda: said(stage, first, "host-2"))
    await look(stage, "host-2")
    assert [holds(stage, "host-2", one)[0] for one in (first, second, other)] == [False, True, True]
    reasons = {(name, "chunks"): "replaced" for name in ("host-1", "host-2")}
    await everywhere(stage, first, reasons)
    enclaves = {one.id for one in stage.hosts.values()}
    words = site.machine.erasures[first].values()
    assert all(set(word.enclaves) == enclaves for _, word in words)


STEPS = {
    "after the intention": ("journal", "delete_share_key"),
    "before it is signed": ("pipeline", "publish"),
    "before it is forgotten": ("journal", "delete_state"),
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_only_delays_it(stage, monkeypatch, step):
    share = (await push(stage, stage.source(20))).share
    site = stage.sites["hospital-a"]
    part, act = STEPS[step]

    def killed(*_):
        raise TransportError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(getattr(site, part), act, killed)
        with pytest.raises(TransportError):
            await erasing(stage, "hospital-a").pull_back(stage.rig.id, share)
    assert site.journal.states(BEGUN)
    await look(stage, "hospital-a")  # the node after its restart
    assert site.journal.states(BEGUN) == {}
    assert site.journal.share_key(share) is None
    assert said(stage, share, "hospital-a") == {("hospital-a", "key"): "pulled-back"}
    assert len(site.machine.erasures[share]) == 1


async def test_a_host_signs_only_after_its_enclave_let_go(stage, monkeypatch):
    share = (await push(stage, stage.source(20))).share
    await erasing(stage, "hospital-a").pull_back(stage.rig.id, share)
    await until(lambda: said(stage, share, "host-1"))
    link = stage.sites["host-1"].link

    async def away(request, answer, **_):
        assert isinstance(request, enclave.Forget)
        raise TransportError("the enclave is away")

    with monkeypatch.context() as patch:
        patch.setattr(link, "ask", away)
        await look(stage, "host-1")
    assert holds(stage, "host-1", share) == (False, True)
    assert ("host-1", "chunks") not in said(stage, share, "host-1")
    await look(stage, "host-1")
    assert holds(stage, "host-1", share) == (False, False)
    assert ("host-1", "chunks") in said(stage, share, "host-1")


async def test_leftovers_are_found_and_removed_at_the_start(stage):
    share = (await push(stage, stage.source(20))).share
    lane = stage.sites["host-1"].lane
    with lane.index.files.begin(seed("cut off")) as writer:
        writer.append(b"\x01" + bytes(32))
    foreign = lane.index.get(share)
    lane.index.put(type(foreign)(agreement=seed("gone"), share=seed("s"), owner=seed("o")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(erasing(stage, "host-1").run)
        await until(lambda: lane.index.get(seed("s")) is None)
        nursery.cancel_scope.cancel()
    assert lane.index.files.shares() == {share: True}


@pytest.mark.parametrize(
    ("name", "what", "code"),
    [
        ("hospital-b", "key", "share.binding"),
        ("host-1", "key", "share.binding"),
        ("hospital-b", "chunks", "record.policy"),
    ],
)
async def test_nobody_erases_for_others(stage, name, what, code):
    share = (await push(stage, stage.source(20))).share
    assert published(stage) == [share]
    site = stage.sites[name]
    await until(lambda: share in site.machine.shares)
    body = Erasure(share=share, what=what, reason="pulled-back", enclaves=())
    await refused(code, site.pipeline.publish, stage.rig.id, "erasure", body)
