"""The owner's side of shares: push, break, crash, change, again; whom it trusts with a key."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import trio

from enclave_host.server import Server
from node import enclave_link, share_plain, share_upload, shares, wire
from node.connectors import SourceError
from node.enclave_link import EnclaveLink, EnclaveUnreachable
from node.share_plain import plain_bytes
from node.share_upload import Parcel, upload
from protocol import enclave_wire as enclave
from protocol import kinds, shape
from protocol.errors import Refused
from protocol.kinds.share import Rewrap, Share, ShareHeader
from protocol.sealing import stream, wrap
from tests.enclave_drive import Door
from tests.sim.share_rig import staged, until


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(shares, "PAUSE", 0.02)
    monkeypatch.setattr(shares, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(shares, "LOOK_EVERY", 0.05)
    async with staged(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
async def distrustful(tmp_path, monkeypatch):
    async with staged(tmp_path, monkeypatch, doubted=("host-1",)) as made:
        yield made


@pytest.fixture
async def wary(tmp_path, monkeypatch):
    """Hospital A doubts the standby."""
    async with staged(tmp_path, monkeypatch, doubted=("host-2",)) as made:
        yield made


DATASET = "vitals-v1"


async def push(stage, source, **named):
    with trio.fail_after(20):
        return await stage.owner.push(stage.rig.id, DATASET, source, **named)


async def refused(code, act, *arguments, **named):
    with pytest.raises(Refused) as caught:
        await act(*arguments, **named)
    assert caught.value.code == code, str(caught.value)
    return caught.value


def published(stage):
    return list(stage.sites["hospital-a"].machine.shares)


def opened(stage, share, site="host-1"):
    """What the enclave reads: the share key comes out of the record's wrap for it."""
    _, body, _ = stage.sites["hospital-a"].machine.shares[share]
    vault = stage.hosts[site].door.enclave.vault
    (mine,) = [one for one in body.wraps if one.enclave == vault.id]
    digest = stream.header_digest(body.header)
    key = wrap.open_(mine.sealed, vault.seed, "share-key", digest, vault.id)
    opener = stream.Opener(key, body.header)
    plain = b"".join(bytes(opener.feed(frame)) for frame in stage.sites[site].lane.frames(share))
    assert opener.finished
    return plain


def break_after(stage, frames):
    """Break the stream of hospital A at that frame, once."""
    own = stage.sites["hospital-a"].transport.peer_id
    left = [frames]

    def breaks(sender, _receiver):
        if sender == own:
            left[0] -= 1
        return left[0] == 0

    stage.network.weather.breaks = breaks


# --- the whole way -------------------------------------------------------------------------------


async def test_a_push_ends_with_receipt_and_copy(stage):
    outcome = await push(stage, stage.source(200))
    assert (outcome.already, outcome.replicas) == (False, 1)
    assert (outcome.receipt.rows, outcome.receipt.people, outcome.receipt.verdict) == (
        200,
        200,
        "kept",
    )
    assert len(opened(stage, outcome.share)) == outcome.receipt.bytes > 5000
    assert opened(stage, outcome.share) == opened(stage, outcome.share, "host-2")
    happened = stage.sites["hospital-a"].happened
    assert (
        happened.index("share sealed")
        < happened.index("share progress")
        < happened.index("share taken")
    )
    assert stage.owner.unfinished() == {}


async def test_the_header_binds_agreement_owner_dataset_and_contract(stage):
    outcome = await push(stage, stage.source(20))
    body = kinds.read(Share, stage.sites["hospital-a"].machine.shares[outcome.share][0])
    header = shape.decode(ShareHeader, body.header)
    (dataset,) = stage.rig.document.datasets
    assert (header.agreement, header.owner) == (stage.rig.id, stage.rig.a.did)
    assert (header.dataset, header.contract) == (DATASET, dataset.contract)
    assert {one.enclave for one in body.wraps} == {one.id for one in stage.hosts.values()}


async def test_nothing_plain_and_no_key_lies_in_the_journal(stage):
    outcome = await push(stage, stage.source(200))
    site = stage.sites["hospital-a"]
    body = site.machine.shares[outcome.share][1]
    key = stage.owner.keys.of(outcome.share, body.header)
    assert wrap.commitment(key) == shape.decode(ShareHeader, body.header).commitment
    site.journal.back_up(stage.folder / "copy.db")
    data = (stage.folder / "copy.db").read_bytes()
    assert outcome.share in data
    assert key not in data
    assert b"person-0001" not in data
    await refused("run.share-missing", _key_of, stage, outcome.share, body.header + b"x")


async def _key_of(stage, share, header):
    return stage.owner.keys.of(share, header)


async def test_the_same_data_again_are_there_already(stage):
    source = stage.source(200)
    first = await push(stage, source)
    frames = stage.link.frames
    again = await push(stage, source)
    assert (again.already, again.share, again.receipt) == (True, first.share, first.receipt)
    assert published(stage) == [first.share]
    assert stage.link.frames == frames


async def test_other_data_replace_the_share(stage):
    first = await push(stage, stage.source(50))
    second = await push(stage, stage.source(60, "more.csv"))
    body = stage.sites["hospital-a"].machine.shares[second.share][1]
    assert body.replaces == first.share
    assert second.receipt.rows == 60
    back = await push(stage, stage.source(50))
    assert not back.already
    assert back.share not in (first.share, second.share)


async def test_people_who_objected_are_left_out_and_counted(stage):
    exclude = stage.folder / "objections.csv"
    exclude.write_text("person\nperson-0003\nperson-9999\n")
    outcome = await push(stage, replace(stage.source(20), exclude=exclude))
    assert (outcome.receipt.rows, outcome.receipt.excluded) == (19, 1)
    assert b"person-0003" not in opened(stage, outcome.share)


async def test_a_share_that_breaks_the_contract_is_told_to_its_owner(stage):
    error = await refused("share.contract", push, stage, stage.source(20, value=5000.0))
    assert "value.maximum" in error.detail
    assert stage.owner.unfinished() == {}
    assert stage.lane.stored(stage.rig.id) == []
    assert not (await push(stage, stage.source(20))).already


# --- breaks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
async def test_a_broken_stream_goes_on_where_it_broke(stage, frames):
    source = stage.source(200)
    break_after(stage, frames)
    outcome = await push(stage, source)
    assert outcome.receipt.verdict == "kept"
    assert published(stage) == [outcome.share]
    chunks = [f for f in stage.lane.frames(outcome.share) if f[:1] == b"\x02"]
    assert len(chunks) == outcome.receipt.chunks
    salts = [f for f in stage.lane.frames(outcome.share) if f[:1] == b"\x01"]
    assert len(set(salts)) == len(salts) <= 2
    assert frames < 5 or len(salts) == 2
    assert len(opened(stage, outcome.share)) == outcome.receipt.bytes


async def test_an_enclave_that_comes_back_gets_the_rest(stage):
    source = stage.source(200)
    stage.link.down = True
    outcome = []

    async def work():
        outcome.append(await push(stage, source))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await until(lambda: "share sealed" in stage.sites["hospital-a"].happened)
        await trio.sleep(0.2)
        assert not outcome
        stage.link.down = False
    assert outcome[0].receipt.verdict == "kept"


async def test_a_host_that_lies_about_what_it_has_gets_nothing_more(stage):
    """Whatever a host claims, each start has a fresh salt; what cannot fit is refused."""
    found = await push(stage, stage.source(20))
    body = stage.sites["hospital-a"].machine.shares[found.share][1]
    key = stage.owner.keys.of(found.share, body.header)
    heard = []

    async def lie(stream_):
        await stream_.receive()
        resume = wire.Resume(chunks=1000, chain=bytes(32), finished=False)
        await stream_.send(wire.SHARE_WIRE.pack_answer(resume))
        heard.append(await stream_.receive())

    transport = stage.sites["hospital-b"].transport
    transport.serve(wire.SHARE, lie)
    own = stage.sites["hospital-a"].transport
    raw = stage.sites["hospital-a"].machine.shares[found.share][0].raw
    parcel = Parcel(
        share=found.share,
        key=key,
        header=body.header,
        offer=wire.OfferShare(agreement=stage.rig.id, share=raw),
        open_plain=plain_bytes(b"plain"),
    )
    opened_ = await own.open(transport.peer_id, wire.SHARE)
    await refused("share.chunk", upload, opened_, parcel, lambda _: None)
    assert heard == []


# --- crashes -------------------------------------------------------------------------------------


async def crash_in(stage, source, frames):
    """Push until the host has so many frames, then lose the owner's node."""
    stage.link.stop_at, stage.link.after = frames, True
    with trio.CancelScope() as scope:
        stage.tasks.start_soon(_end_when_stopped, stage, scope)
        await push(stage, source)
    assert scope.cancelled_caught
    stage.link.stop_at = None


async def _end_when_stopped(stage, scope):
    await stage.link.stopped.wait()
    scope.cancel()


@pytest.mark.parametrize("frames", [1, 4, 7])
async def test_a_killed_owner_goes_on_by_itself_with_the_same_share(stage, frames):
    source = stage.source(200)
    await crash_in(stage, source, frames)
    (share,) = published(stage)
    site = await stage.site("hospital-a")
    assert [one.share for one in site.owner.unfinished().values()] == [share]
    stage.tasks.start_soon(site.owner.run)
    await until(lambda: not site.owner.unfinished() and not site.owner.turns._scopes, 10)
    assert stage.receipt("hospital-a", share).verdict == "kept"
    assert published(stage) == [share]
    assert len(opened(stage, share)) == stage.receipt("hospital-a", share).bytes
    again = await push(stage, source)
    assert (again.already, again.share) == (True, share)


async def test_a_crash_before_and_after_publishing_makes_one_share(stage, monkeypatch):
    source = stage.source(50)

    class Crash(Exception):
        pass

    def crash(*_arguments):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(shares.ShareKeys, "keep", crash)
        with pytest.raises(Crash):
            await push(stage, source)
    (share,) = published(stage)
    await stage.site("hospital-a")
    assert stage.sites["hospital-a"].journal.share_key(share) is None
    outcome = await push(stage, source)
    assert outcome.share == share
    assert published(stage) == [share]


async def test_a_source_that_changed_is_refused_until_one_says_anew(stage):
    source = stage.source(200)
    await crash_in(stage, source, 4)
    (first,) = published(stage)
    site = await stage.site("hospital-a")
    stage.source(199)
    await refused("share.changed", push, stage, source)
    stage.tasks.start_soon(site.owner.run)
    await until(lambda: "refused" in site.happened)
    assert [one.code for one in site.journal.refusals()] == ["share.changed"]
    outcome = await push(stage, source, anew=True)
    assert outcome.share != first
    assert outcome.receipt.rows == 199
    assert stage.receipt("hospital-a", first) is None


@pytest.fixture
def short_head(monkeypatch):
    """What is in memory before anything is published is next to nothing, as of a large source."""
    monkeypatch.setattr(share_plain, "HEAD", 2)
    monkeypatch.setattr(share_upload, "HEAD", 2)


@pytest.mark.usefixtures("short_head")
async def test_a_source_that_changes_under_way_never_ends_in_a_share(stage, monkeypatch):
    source = stage.source(20_000)
    real = stage.owner._publish

    async def publish(place, push_):
        found = await real(place, push_)
        stage.source(20_001)
        return found

    monkeypatch.setattr(stage.owner, "_publish", publish)
    with pytest.raises(SourceError, match=r"source\.changed"):
        await push(stage, source)
    (share,) = published(stage)
    await until(lambda: not stage.lane._turns)
    assert not stage.lane.index.complete(share)
    assert stage.lane.stored(stage.rig.id) == []
    assert stage.owner.unfinished() == {}


@pytest.mark.usefixtures("short_head")
async def test_a_fault_far_down_a_file_ends_in_no_share_and_the_mended_file_in_another(stage):
    source = stage.source(1_000)
    whole = source.file.read_text()
    with source.file.open("a") as file:
        file.write("person-x,1,many\n")
    with pytest.raises(SourceError, match="Row 1001, column 'value'"):
        await push(stage, source)
    assert stage.owner.unfinished() == {}
    source.file.write_text(whole)
    outcome = await push(stage, source)
    assert outcome.receipt.rows == 1_000
    assert [one.share for one in stage.lane.stored(stage.rig.id)] == [outcome.share]


@pytest.mark.usefixtures("short_head")
@pytest.mark.parametrize("line", [1, 999])
async def test_of_a_large_source_every_row_decides_whether_it_is_there_already(stage, line):
    source = stage.source(1_000)
    first = await push(stage, source)
    assert (await push(stage, source)).already
    rows = source.file.read_text().splitlines()
    rows[line] = rows[line][:-1] + ("1" if rows[line][-1] != "1" else "2")
    source.file.write_text("\n".join(rows) + "\n")
    again = await push(stage, source)
    assert not again.already
    assert again.share != first.share
    assert len(opened(stage, again.share)) == again.receipt.bytes


async def test_a_host_that_denies_a_whole_stream_gets_no_second_one_of_other_rows(stage):
    """It could else choose later which of the two it shows to an enclave."""
    source = stage.source(200)
    kept = []

    async def deny(stream_):
        await stream_.receive()
        resume = wire.Resume(chunks=0, chain=bytes(32), finished=False)
        await stream_.send(wire.SHARE_WIRE.pack_answer(resume))
        while True:
            kept.append(wire.SHARE_WIRE.read_request(await stream_.receive()).frame)

    transport = stage.sites["host-1"].transport
    transport.serve(wire.SHARE, deny)
    with trio.CancelScope() as scope:
        stage.tasks.start_soon(_end_when, lambda: kept and kept[-1][:1] == b"\x03", scope)
        await push(stage, source)
    assert scope.cancelled_caught
    frames = len(kept)
    stage.source(201)
    await refused("share.changed", push, stage, source)
    assert all(frame[:1] != b"\x03" for frame in kept[frames:])


async def _end_when(ready, scope):
    await until(ready)
    scope.cancel()


# --- whom it trusts ------------------------------------------------------------------------------


async def test_no_key_goes_to_a_host_this_node_found_unfit(distrustful):
    stage = distrustful
    error = await refused("evidence.measurement", push, stage, stage.source(20))
    assert "own verdict in term 1" in error.detail
    assert published(stage) == []


async def test_an_enclave_proves_itself_again_before_anything_is_sealed_to_it(stage):
    stage.turned.add("host-1")
    error = await refused("evidence.measurement", push, stage, stage.source(20))
    assert "asked again before sealing" in error.detail
    assert published(stage) == []
    assert stage.challenged == [("host-1", 1)]


async def test_each_sealing_asks_host_and_standby_anew_and_leaves_out_who_fails(stage):
    stage.turned.add("host-2")
    machine = stage.sites["hospital-a"].machine
    outcome = await push(stage, stage.source(20))
    assert stage.challenged == [("host-1", 1), ("host-2", 1)]
    assert machine.wrapped_to(outcome.share) == {stage.hosts["host-1"].id}
    await push(stage, stage.source(30))
    # What a fresh challenge found is this node's verdict: the standby is not asked again.
    assert stage.challenged == [("host-1", 1), ("host-2", 1), ("host-1", 1)]


async def test_no_key_goes_to_a_host_this_node_never_looked_at(stage):
    second = stage.hosts["host-2"]
    await stage.tell(*stage.elect(2, second, ()))
    await refused("evidence.stale", push, stage, stage.source(20))
    assert published(stage) == []


async def test_only_a_provider_pushes_and_only_the_agreed_contract(stage):
    source = stage.source(20)
    with pytest.raises(Refused, match=r"share\.provider"):
        await stage.owner.push(stage.rig.id, "other-v1", source)
    source.contract.write_bytes(source.contract.read_bytes() + b"\n# changed\n")
    await refused("share.binding", push, stage, source)
    await refused("topic.unknown", stage.owner.push, bytes(32), DATASET, source)
    assert published(stage) == []


async def test_a_wrong_file_is_told_before_anything_is_published(stage):
    source = stage.source(20)
    with source.file.open("a") as file:
        file.write("person-x,1,many\n")
    with pytest.raises(SourceError, match="Row 21, column 'value'"):
        await push(stage, source)
    assert published(stage) == []
    assert stage.owner.unfinished() == {}


async def test_one_push_of_a_dataset_at_a_time(stage):
    source = stage.source(200)
    stage.link.down = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(push, stage, source)
        await until(lambda: "share sealed" in stage.sites["hospital-a"].happened)
        await refused("share.busy", push, stage, source)
        stage.link.down = False


async def test_a_standby_that_one_doubts_gets_no_key_before_it_is_found_fit(wary):
    stage, site = wary, wary.sites["hospital-a"]
    outcome = await push(stage, stage.source(20))
    first, second = stage.hosts.values()
    assert site.machine.wrapped_to(outcome.share) == {first.id}
    await stage.owner.rewrap(outcome.share, first.candidacy.id)
    assert site.machine.rewrap_records(outcome.share) == []  # it has a wrap already
    with pytest.raises(Refused, match=r"term\.fenced"):
        await stage.owner.rewrap(outcome.share, second.candidacy.id)
    with pytest.raises(Refused, match="no agreement has"):
        await stage.owner.rewrap(outcome.share, bytes(32))

    vote = stage.elect(2, second, ())
    with pytest.raises(Refused, match=r"evidence\.stale"):
        await _rewrap_after(stage, outcome.share, second, vote)
    stage.say(stage.rig.a, "verdict", stage.verdict_on(second, 2, True))
    await until(lambda: (2, second.candidacy.id) in site.machine.election.verdicts)
    await stage.owner.rewrap(outcome.share, second.candidacy.id)
    (rewrap,) = site.machine.rewrap_records(outcome.share)
    (mine,) = kinds.read(Rewrap, rewrap).wraps
    header = site.machine.shares[outcome.share][1].header
    vault = second.door.enclave.vault
    digest = stream.header_digest(header)
    key = wrap.open_(mine.sealed, vault.seed, "share-key", digest, vault.id)
    assert key == stage.owner.keys.of(outcome.share, header)
    assert (await push(stage, stage.source(20))).already


async def _rewrap_after(stage, share, of, votes):
    await stage.tell(*votes)
    await stage.owner.rewrap(share, of.candidacy.id)


# --- the link to the enclave ---------------------------------------------------------------------


@pytest.fixture
def served(stage, tmp_path):
    path = tmp_path / "enclave.sock"
    server = Server(path, stage.hosts["host-1"].door.enclave.answer)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield path, stage.hosts["host-1"]
    server.stop()
    thread.join()


async def test_the_link_asks_a_real_enclave_many_at_once(served):
    path, host = served
    link = EnclaveLink(path)
    found = []

    async def ask():
        found.append(await link.ask(enclave.Hello(), enclave.HelloAnswer))

    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(ask)
    assert [one.keys for one in found] == [host.keys] * 60
    assert 0 < len(link._idle) <= enclave_link.IDLE
    with pytest.raises(Refused, match=r"topic\.unknown"):
        await link.ask(enclave.Beat(agreement=bytes(32)), enclave.TokenAnswer)
    await link.close()
    assert link._idle == []


async def test_the_link_outlives_its_enclave(tmp_path, stage):
    path = tmp_path / "enclave.sock"
    door = Door(stage.hosts["host-1"].door.enclave)
    link = EnclaveLink(path)
    with pytest.raises(EnclaveUnreachable):
        await link.ask(enclave.Hello(), enclave.HelloAnswer)
    for _ in range(2):
        server = Server(path, door.enclave.answer)
        thread = threading.Thread(target=server.serve)
        thread.start()
        assert await link.ask(enclave.Hello(), enclave.HelloAnswer)
        server.stop()
        await trio.to_thread.run_sync(thread.join)
    await link.close()


async def test_a_silent_or_babbling_enclave_is_unreachable(tmp_path):
    path = tmp_path / "enclave.sock"
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
        "print('up', flush=True); silent, _ = s.accept(); other, _ = s.accept();"
        "other.sendall(b'\\xff' * 8); other.recv(1);"
        "third, _ = s.accept(); third.sendall(b'\\0\\0')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)  # noqa: S603, ASYNC220
    try:
        assert process.stdout.readline() == b"up\n"
        link = EnclaveLink(path)
        for _ in range(3):
            with pytest.raises(EnclaveUnreachable):
                await link.ask(enclave.Hello(), enclave.HelloAnswer, seconds=0.5)
        await link.close()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
