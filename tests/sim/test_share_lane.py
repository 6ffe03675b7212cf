"""The host's side of shares with a real enclave: honest uploads, breaks, kills, and liars."""

from contextlib import suppress
from dataclasses import replace

import pytest
import trio

from node import share_intake, share_lane, wire
from node.net.transport import TransportError
from protocol import enclave_wire as enclave
from protocol import kinds, limits, record
from protocol.errors import RULES, Refused
from protocol.kinds.consent import PersonShare, SealedEnvelope
from protocol.kinds.share import Receipt
from protocol.sealing import stream
from tests.enclave_rig import Patient, arrow, rows_of, seed
from tests.sim.share_rig import Sender, staged, until

NUMBERS = range(1, 151)
CHUNKS = 9


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    async with staged(tmp_path, monkeypatch) as made:
        yield made


async def share_of_a(stage, **named):
    """A share of hospital A, sealed to both enclaves; its record is known to everybody."""
    enclaves = [one.keys for one in stage.hosts.values()]
    made = stage.rig.share(stage.rig.a, rows_of(*NUMBERS), *enclaves, **named)
    (raw,) = set(made.opener.values())
    await stage.tell(raw)
    return made


async def refused(code, act, *arguments):
    with pytest.raises(Refused) as caught:
        await act(*arguments)
    assert caught.value.code == code, str(caught.value)
    assert code in RULES


def opened(share, frames_):
    """The plain bytes of frames, as the enclave reads them."""
    opener = stream.Opener(share.key, share.header)
    plain = b"".join(bytes(opener.feed(frame)) for frame in frames_)
    assert opener.finished
    return plain


# --- honest --------------------------------------------------------------------------------------


async def test_a_share_is_verified_stored_copied_and_spread(stage):
    share = await share_of_a(stage)
    receipt = await (await Sender(stage, "hospital-a").open()).push(share)
    assert (receipt.verdict, receipt.rows, receipt.people) == ("kept", 150, 150)
    (stored,) = stage.lane.stored(stage.rig.id)
    assert (stored.share, stored.person) == (share.id, False)
    assert tuple(stage.lane.frames(share.id)) == share.frames
    standby = stage.sites["host-2"].lane
    assert tuple(standby.frames(share.id)) == share.frames
    await until(lambda: stage.receipt("hospital-b", share.id))
    plain = opened(share, stage.lane.frames(share.id))
    assert plain == arrow(rows_of(*NUMBERS))
    for site in ("host-1", "host-2"):
        for file in (stage.folder / site).rglob("*"):
            if file.is_file():
                assert b"row-001" not in file.read_bytes(), file


async def test_again_gives_the_same_receipt_and_takes_nothing(stage):
    share = await share_of_a(stage)
    first = await (await Sender(stage, "hospital-a").open()).push(share)
    before = stage.link.frames
    sender = await Sender(stage, "hospital-a").open()
    assert (await sender.offer(share)).finished
    again = await sender.hear(wire.ShareTaken)
    assert kinds.read(Receipt, record.parse(again.receipt)) == first
    assert again.replicas == 1
    assert stage.link.frames == before


async def test_a_share_that_breaks_its_contract_gets_a_receipt_and_is_never_used(stage):
    bad = [{"person": "p", "site": 1, "value": 5000.0}]
    share = await share_of_a(stage, plain=arrow(bad))
    receipt = await (await Sender(stage, "hospital-a").open()).push(share)
    assert receipt.verdict == "share.contract value.maximum"
    assert stage.lane.stored(stage.rig.id) == []
    assert stage.sites["host-2"].lane.stored(stage.rig.id) == []
    sender = await Sender(stage, "hospital-a").open()
    assert (await sender.offer(share)).finished
    told = (await sender.hear(wire.ShareTaken)).receipt
    assert kinds.read(Receipt, record.parse(told)) == receipt


async def test_the_standby_can_serve_all_shares_after_a_fail_over(stage):
    share = await share_of_a(stage)
    await (await Sender(stage, "hospital-a").open()).push(share)
    second = stage.hosts["host-2"]
    await stage.tell(*stage.elect(2, second, ()))
    lane = stage.sites["host-2"].lane
    (stored,) = lane.stored(stage.rig.id)
    question = enclave.ShareBegin(
        agreement=stage.rig.id, share=stored.opening, person=False, stored=True
    )
    ready = second.door.ask(question, enclave.ShareReady)
    assert (ready.share, ready.owner) == (share.id, stage.rig.a.did)
    assert opened(share, lane.frames(share.id)) == arrow(rows_of(*NUMBERS))
    await refused("election.certificate", (await Sender(stage, "hospital-a").open()).offer, share)


# --- breaks and kills ----------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 7, CHUNKS + 1, CHUNKS + 2])
async def test_a_killed_host_goes_on_with_every_frame_it_has(stage, at, after):
    share = await share_of_a(stage)
    assert len(share.frames) == CHUNKS + 2
    stage.link.stop_at, stage.link.after = at, after
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.frames(*share.frames[:at])
    with trio.fail_after(20):
        await stage.link.stopped.wait()
    assert stage.lane.stored(stage.rig.id) == []

    await stage.site("host-1")
    sender = await Sender(stage, "hospital-a").open()
    resume = await sender.offer(share)
    here = share.frames[: at - 1]
    assert resume.chunks == sum(frame[:1] == b"\x02" for frame in here)
    assert not resume.finished
    segment = [] if resume.chunks == CHUNKS else share.frames[:1]
    await sender.frames(*segment, *share.frames[max(1, at - 1) :])
    taken = await sender.hear(wire.ShareTaken)
    receipt = kinds.read(Receipt, record.parse(taken.receipt))
    assert (receipt.verdict, receipt.rows, taken.replicas) == ("kept", 150, 1)
    assert opened(share, stage.lane.frames(share.id)) == arrow(rows_of(*NUMBERS))


async def test_a_cut_off_share_is_never_used(stage):
    share = await share_of_a(stage)
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.frames(*share.frames[:-1])
    await sender.stream.close()
    await until(lambda: not (stage.lane._turns))
    assert stage.lane.stored(stage.rig.id) == []
    assert stage.receipt("host-1", share.id) is None
    assert not stage.sites["host-2"].lane.index.complete(share.id)
    resume = await (sender := await Sender(stage, "hospital-a").open()).offer(share)
    assert (resume.chunks, resume.finished) == (CHUNKS, False)
    await sender.frames(share.frames[-1])
    await sender.hear(wire.ShareTaken)
    assert len(stage.lane.stored(stage.rig.id)) == 1


async def test_a_sender_that_comes_back_takes_over_from_its_dead_stream(stage):
    share = await share_of_a(stage)
    dead = await Sender(stage, "hospital-a").open()
    await dead.offer(share)
    await dead.frames(*share.frames[:4])
    with trio.fail_after(20):
        await until(lambda: stage.link.frames == 4)
        sender = await Sender(stage, "hospital-a").open()
        assert (await sender.offer(share)).chunks == 3
        await sender.frames(share.frames[0], *share.frames[4:])
        await sender.hear(wire.ShareTaken)


async def test_an_enclave_that_is_away_is_said_and_the_upload_goes_on_later(stage):
    share = await share_of_a(stage)
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.frames(*share.frames[:3])
    await until(lambda: stage.link.frames == 3)
    stage.link.down = True
    await sender.frames(share.frames[3])
    await refused("enclave.unreachable", sender.hear, wire.ShareTaken)
    await refused("enclave.unreachable", (await Sender(stage, "hospital-a").open()).offer, share)
    stage.link.down = False
    sender = await Sender(stage, "hospital-a").open()
    assert (await sender.offer(share)).chunks == 2
    await sender.frames(share.frames[0], *share.frames[3:])
    await sender.hear(wire.ShareTaken)


async def test_a_receipt_lost_in_a_crash_is_fetched_again_without_the_sender(stage, monkeypatch):
    share = await share_of_a(stage)
    monkeypatch.setattr(share_lane, "LOOK_EVERY", 0.05)
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    real = stage.lane.pipeline.relay
    stopped = trio.Event()

    async def relay(raws):
        stopped.set()
        await trio.sleep_forever()

    stage.lane.pipeline.relay = relay
    await sender.frames(*share.frames)
    with trio.fail_after(20):
        await stopped.wait()
    stage.lane.pipeline.relay = real
    site = await stage.site("host-1")
    stage.tasks.start_soon(site.lane.run)
    await until(lambda: stage.receipt("hospital-a", share.id))
    assert len(site.lane.stored(stage.rig.id)) == 1


async def test_a_standby_that_was_away_gets_its_copy_later(stage, monkeypatch):
    monkeypatch.setattr(share_lane, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(share_lane, "LATER", 0.05)
    share = await share_of_a(stage)
    away = stage.sites["host-2"].transport.peer_id
    stage.network.weather.reaches = lambda *ends: away not in ends
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.frames(*share.frames)
    assert (await sender.hear(wire.ShareTaken)).replicas == 0
    stage.network.weather.reaches = lambda *_: True
    stage.tasks.start_soon(stage.lane.run)
    await until(lambda: not (stage.lane.replicas.lacking(stage.lane.index.get(share.id))))
    assert tuple(stage.sites["host-2"].lane.frames(share.id)) == share.frames


# --- liars ---------------------------------------------------------------------------------------


def flip(frame, at=-1):
    changed = bytearray(frame)
    changed[at] ^= 1
    return bytes(changed)


def reordered(all_):
    return [*all_[:2], all_[3], all_[2], *all_[4:]]


def truncated(all_):
    """The final frame too early, with the digest of what was sent."""
    chain = all_[-1][1:33]
    return [*all_[:-2], b"\x03" + chain + (CHUNKS - 1).to_bytes(8, "big") + bytes(40)]


LIES = {
    "reordered": (reordered, "share.chunk"),
    "repeated": (lambda all_: [*all_[:3], *all_[2:]], "share.chunk"),
    "missing": (lambda all_: [*all_[:3], *all_[4:]], "share.chunk"),
    "flipped": (lambda all_: [*all_[:3], flip(all_[3]), *all_[4:]], "share.chunk"),
    "flipped tag of the last": (lambda all_: [*all_[:-2], flip(all_[-2]), all_[-1]], "share.chunk"),
    "flipped salt": (lambda all_: [flip(all_[0]), *all_[1:]], "share.chunk"),
    "truncated": (truncated, "share.chunk"),
    "lying digest": (lambda all_: [*all_[:-1], flip(all_[-1], 5)], "share.chunk"),
    "lying count": (lambda all_: [*all_[:-1], flip(all_[-1], 40)], "share.chunk"),
    "lying about people": (lambda all_: [*all_[:-1], flip(all_[-1], 48)], "share.chunk"),
    "flipped seal of the end": (lambda all_: [*all_[:-1], flip(all_[-1])], "share.chunk"),
    "appended": (
        lambda all_: [*all_[:-1], b"\x02" + CHUNKS.to_bytes(8, "big") + bytes(40)],
        "share.chunk",
    ),
    "new segment after the last": (lambda all_: [*all_[:-1], b"\x01" + bytes(32)], "share.chunk"),
    "no frame": (lambda all_: [b"\x07hello"], "share.chunk"),
    "no salt": (lambda all_: list(all_[1:]), "share.chunk"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_in_the_stream_is_refused_and_the_truth_still_arrives(stage, lie):
    tell, code = LIES[lie]
    share = await share_of_a(stage)
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)

    async def lie_to_it():
        with suppress(TransportError):
            await sender.frames(*tell(share.frames))
        await sender.hear(wire.ShareTaken)

    await refused(code, lie_to_it)
    await sender.stream.close()
    assert stage.lane.stored(stage.rig.id) == []
    assert not stage.sites["host-2"].lane.index.complete(share.id)

    sender = await Sender(stage, "hospital-a").open()
    resume = await sender.offer(share)
    rest = [f for f in share.frames[1:-1] if int.from_bytes(f[1:9], "big") >= resume.chunks]
    await sender.frames(*(share.frames[:1] if rest else ()), *rest, share.frames[-1])
    receipt = kinds.read(Receipt, record.parse((await sender.hear(wire.ShareTaken)).receipt))
    assert (receipt.verdict, receipt.rows) == ("kept", 150)
    assert opened(share, stage.lane.frames(share.id)) == arrow(rows_of(*NUMBERS))
    assert opened(share, stage.sites["host-2"].lane.frames(share.id))


async def test_an_honest_digest_over_a_stream_cut_short_is_refused(stage):
    """The chain of the final frame fits what was sent; only the seal of the last chunk does not."""
    share = await share_of_a(stage)
    opener = stream.Opener(share.key, share.header)
    for frame in share.frames[:5]:
        opener.feed(frame)
    end = b"\x03" + opener.chain + (4).to_bytes(8, "big") + bytes(40)
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.frames(*share.frames[:5], end)
    await refused("share.unfinished", sender.hear, wire.ShareTaken)
    assert not stage.lane.index.complete(share.id)
    sender = await Sender(stage, "hospital-a").open()
    assert (await sender.offer(share)).chunks == 4
    await sender.frames(share.frames[0], *share.frames[5:])
    await sender.hear(wire.ShareTaken)


async def test_frames_after_the_final_one_change_nothing(stage):
    share = await share_of_a(stage)
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.frames(*share.frames, share.frames[1])
    await sender.hear(wire.ShareTaken)
    assert tuple(stage.lane.frames(share.id)) == share.frames


async def test_lies_leave_nothing_on_the_disk(stage):
    share = await share_of_a(stage)
    for _ in range(3):
        sender = await Sender(stage, "hospital-a").open()
        assert (await sender.offer(share)).chunks == 0
        await sender.frames(share.frames[0], flip(share.frames[1]))
        await refused("share.chunk", sender.hear, wire.ShareTaken)
        await sender.stream.close()
        assert set(stage.lane.frames(share.id)) == {share.frames[0]}


async def test_another_peer_cannot_push_somebodys_share(stage):
    share = await share_of_a(stage)
    for name in ("hospital-b", "host-2"):
        await refused("share.signature", (await Sender(stage, name).open()).offer, share)


async def test_a_share_without_its_owners_signature_is_refused(stage):
    share = await share_of_a(stage)
    (raw,) = set(share.opener.values())
    forged = raw.replace(share.header[:20], flip(share.header[:20]))
    assert forged != raw
    for bad, code in (
        (flip(raw), "record.body"),
        (forged, "record.body"),
        (raw[:-1], "codec.malformed"),
        (raw.replace(b"share", b"shark"), "record.signature"),
    ):
        sender = await Sender(stage, "hospital-a").open()
        await sender.say(wire.OfferShare(agreement=stage.rig.id, share=bad))
        await refused(code, sender.hear, wire.Resume)


async def test_a_share_for_another_agreement_is_refused(stage):
    share = await share_of_a(stage)
    (raw,) = set(share.opener.values())
    sender = await Sender(stage, "hospital-a").open()
    await sender.say(wire.OfferShare(agreement=seed("other"), share=raw))
    await refused("topic.unknown", sender.hear, wire.Resume)
    enclaves = [one.keys for one in stage.hosts.values()]
    other = stage.rig.share(stage.rig.a, rows_of(1), *enclaves, agreement=seed("other"))
    await refused("share.binding", (await Sender(stage, "hospital-a").open()).offer, other)


async def test_a_key_that_is_not_wrapped_here_opens_nothing(stage):
    second = stage.hosts["host-2"].keys
    share = stage.rig.share(stage.rig.a, rows_of(1), second)
    await stage.tell(*set(share.opener.values()))
    await refused("share.wrap", (await Sender(stage, "hospital-a").open()).offer, share)
    rewrap = stage.rig.rewrap(stage.rig.a, share, stage.hosts["host-1"].keys)
    await stage.tell(rewrap)
    receipt = await (await Sender(stage, "hospital-a").open()).push(share)
    assert receipt.verdict == "kept"


async def test_what_is_no_offer_is_refused(stage):
    share = await share_of_a(stage)
    sender = await Sender(stage, "hospital-a").open()
    await sender.frames(share.frames[0])
    await refused("session.request", sender.hear, wire.Resume)
    sender = await Sender(stage, "hospital-a").open()
    await sender.stream.send(b"\xff\x00junk")
    await refused("codec.malformed", sender.hear, wire.Resume)
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.say(
        wire.OfferShare(agreement=stage.rig.id, share=next(iter(share.opener.values())))
    )
    await refused("session.request", sender.hear, wire.ShareTaken)


# --- bounds --------------------------------------------------------------------------------------


async def test_a_stalled_and_a_slow_sender_are_let_go(stage, monkeypatch):
    monkeypatch.setattr(share_intake, "FRAME_TIME", 0.2)
    monkeypatch.setattr(share_lane, "OFFER_TIME", 0.2)
    share = await share_of_a(stage)
    stalled = await Sender(stage, "hospital-a").open()
    await stalled.offer(share)
    silent = await Sender(stage, "hospital-b").open()
    await refused("share.unfinished", stalled.hear, wire.ShareTaken)
    await refused("share.unfinished", silent.hear, wire.Resume)
    slow = await Sender(stage, "hospital-a").open()
    await slow.offer(share)

    with trio.move_on_after(20) as scope:
        while True:
            await slow.frames(share.frames[0])
            with trio.move_on_after(0.05):
                await refused("share.unfinished", slow.hear, wire.ShareTaken)
                break
    assert not scope.cancelled_caught
    await slow.stream.close()
    await until(lambda: not stage.lane._streams)


async def test_only_so_many_shares_stream_at_once(stage, monkeypatch):
    monkeypatch.setattr(share_lane, "UPLOADS_OF_ONE", 2)
    waiting = [await Sender(stage, "hospital-a").open() for _ in range(2)]
    await trio.sleep(0.01)
    share = await share_of_a(stage)
    await refused("share.busy", (await Sender(stage, "hospital-a").open()).offer, share)
    for one in waiting:
        await one.stream.close()
    await until(lambda: not stage.lane._streams)
    receipt = await (await Sender(stage, "hospital-a").open()).push(share)
    assert receipt.verdict == "kept"


async def test_a_share_beyond_its_bound_or_the_disk_is_refused(stage, monkeypatch):
    share = await share_of_a(stage)
    monkeypatch.setattr(limits, "SHARE", 3000)
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.frames(*share.frames)
    await refused("share.full", sender.hear, wire.ShareTaken)
    monkeypatch.undo()


async def test_a_full_disk_is_refused_and_the_rest_comes_later(stage):
    share = await share_of_a(stage)
    files = stage.lane.index.files
    files._limit = 2000
    sender = await Sender(stage, "hospital-a").open()
    await sender.offer(share)
    await sender.frames(*share.frames)
    await refused("share.full", sender.hear, wire.ShareTaken)
    await sender.stream.close()
    files._limit = 10**9
    sender = await Sender(stage, "hospital-a").open()
    resume = await sender.offer(share)
    assert resume.chunks == 3
    await sender.frames(share.frames[0], *share.frames[4:])
    await sender.hear(wire.ShareTaken)


# --- people --------------------------------------------------------------------------------------


def person_share(stage, patient, *enclaves, consent=None, **changes):
    rows = [{"person": patient.value, "site": 1, "value": 1.0}]
    made = stage.rig.person_share(patient, rows, *enclaves, consent_=consent)
    outer = PersonShare(
        agreement=stage.rig.id,
        owner=patient.key,
        share=made.id,
        envelopes=tuple(
            SealedEnvelope(enclave=id_, sealed=sealed) for id_, sealed in made.opener.items()
        ),
    )
    return made, replace(outer, **changes)


async def offer_person(stage, outer, through="hospital-b"):
    sender = await Sender(stage, through).open()
    await sender.say(wire.OfferPersonShare(person=outer))
    await sender.hear(wire.Resume)
    return sender


async def test_a_person_pushes_through_a_gateway(stage):
    enclaves = [one.keys for one in stage.hosts.values()]
    made, outer = person_share(stage, Patient("row-100"), *enclaves)
    sender = await offer_person(stage, outer)
    await sender.frames(*made.frames)
    taken = await sender.hear(wire.ShareTaken)
    assert taken.replicas == 1
    (stored,) = stage.lane.stored(stage.rig.id)
    assert stored.person
    assert stored.opening == made.opener[stage.hosts["host-1"].id]
    second = stage.hosts["host-2"]
    await stage.tell(*stage.elect(2, second, ()))
    (moved,) = stage.sites["host-2"].lane.stored(stage.rig.id)
    assert moved.opening == made.opener[second.id]
    question = enclave.ShareBegin(
        agreement=stage.rig.id, share=moved.opening, person=True, stored=True
    )
    assert second.door.ask(question, enclave.ShareReady).share == made.id


async def test_a_new_share_of_a_person_leaves_the_old(stage):
    patient = Patient("row-100")
    enclaves = [one.keys for one in stage.hosts.values()]
    found = []
    for ordinal in (1, 2):
        consent = stage.rig.consent(patient, ordinal=ordinal)
        rows = [{"person": patient.value, "site": ordinal, "value": 1.0}]
        made = stage.rig.person_share(patient, rows, *enclaves, consent_=consent)
        envelopes = tuple(SealedEnvelope(enclave=i, sealed=s) for i, s in made.opener.items())
        outer = PersonShare(
            agreement=stage.rig.id, owner=patient.key, share=made.id, envelopes=envelopes
        )
        sender = await offer_person(stage, outer)
        await sender.frames(*made.frames)
        await sender.hear(wire.ShareTaken)
        found.append(made.id)
    assert {one.share for one in stage.lane.stored(stage.rig.id)} == set(found)


async def test_envelopes_that_lie_or_are_not_for_this_enclave(stage):
    first, second = (one.keys for one in stage.hosts.values())
    patient = Patient("row-100")
    for changes, code in (
        ({"share": seed("other")}, "share.binding"),
        ({"owner": seed("other")}, "share.binding"),
        ({"agreement": seed("other")}, "topic.unknown"),
        ({"envelopes": ()}, "share.wrap"),
    ):
        _, outer = person_share(stage, patient, first, **changes)
        await refused(code, offer_person, stage, outer)
    _, outer = person_share(stage, patient, second)
    await refused("share.wrap", offer_person, stage, outer)
    _, outer = person_share(stage, patient, first)
    (envelope,) = outer.envelopes
    bad = replace(envelope, sealed=flip(envelope.sealed))
    await refused("share.wrap", offer_person, stage, replace(outer, envelopes=(bad,)))


# --- copies --------------------------------------------------------------------------------------


def copy_of(stage, share):
    (raw,) = set(share.opener.values())
    return wire.Replicate(agreement=stage.rig.id, share=share.id, record=raw)


async def test_only_the_elected_host_brings_copies(stage):
    share = await share_of_a(stage)
    sender = await Sender(stage, "hospital-a").open(wire.REPLICA, "host-2")
    await sender.say(copy_of(stage, share))
    await refused("host.candidate", sender.hear, wire.Resume)


async def test_a_copy_out_of_order_is_thrown_away_and_brought_again(stage):
    share = await share_of_a(stage)
    sender = await Sender(stage, "host-1").open(wire.REPLICA, "host-2")
    await sender.say(copy_of(stage, share))
    await sender.hear(wire.Resume)
    await sender.frames(*share.frames[:3], share.frames[4])
    await refused("share.chunk", sender.hear, wire.Resume)
    assert stage.sites["host-2"].lane.index.get(share.id) is None
    receipt = await (await Sender(stage, "hospital-a").open()).push(share)
    assert receipt.verdict == "kept"
    assert tuple(stage.sites["host-2"].lane.frames(share.id)) == share.frames


async def test_a_copy_goes_on_where_it_broke(stage):
    share = await share_of_a(stage)
    sender = await Sender(stage, "host-1").open(wire.REPLICA, "host-2")
    await sender.say(copy_of(stage, share))
    await sender.hear(wire.Resume)
    await sender.frames(*share.frames[:5])
    await sender.stream.close()
    await trio.sleep(0.1)
    await (await Sender(stage, "hospital-a").open()).push(share)
    copied = tuple(stage.sites["host-2"].lane.frames(share.id))
    assert copied == (*share.frames[:5], share.frames[0], *share.frames[5:])
    assert opened(share, copied) == arrow(rows_of(*NUMBERS))


async def test_a_copy_of_another_share_than_it_says_is_refused(stage):
    share = await share_of_a(stage)
    for lie in (
        replace(copy_of(stage, share), share=seed("other")),
        replace(copy_of(stage, share), record=None),
        replace(copy_of(stage, share), agreement=seed("other")),
    ):
        sender = await Sender(stage, "host-1").open(wire.REPLICA, "host-2")
        await sender.say(lie)
        with pytest.raises(Refused):
            await sender.hear(wire.Resume)
