"""The gateway's doors: what it shows, what it carries, whose mailbox it opens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from node import gateway as gateways
from node import people_wire as pw
from node import share_relay, wire
from node.net.transport import Stream, TransportError
from node.vault.callers import GatewayCall, gateway_call
from protocol import keys, merkle, record, shape, token
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds.consent import PersonShare, SealedEnvelope, Stop, StopReceipt, StopRight
from protocol.kinds.run import Delivery
from tests.agreements import seed
from tests.people_rig import Village, village
from tests.people_story import BUNDLE, CONTRACT, NOTICE, PARTIES, RINGS, sha

T = TypeVar("T")
ME = seed("my key")
GATEWAY = RINGS["hospital-a"].did


@asynccontextmanager
async def visit(here: Village, name: str = "visitor") -> AsyncIterator[GatewayCall]:
    async with (
        here.connect(seed(name)) as transport,
        gateway_call(transport, here.gateway_address) as call,
    ):
        yield call


async def ask(stream: Stream, request: object, answer: type[T] | Any) -> Any:
    await stream.send(pw.GATEWAY_WIRE.pack_request(request))
    return pw.GATEWAY_WIRE.read_answer(await stream.receive(), answer)


async def refused(call: Any, code: str) -> None:
    with pytest.raises(Refused) as caught:
        await call
    assert caught.value.code == code


async def test_it_shows_what_verifies_an_agreement_and_nothing_else(tmp_path: Path) -> None:
    async with village(tmp_path, lambda story: story.run(1, [seed("leaf")])) as here:
        order = here.story.scribe.by("sponsor", "suspension", _suspension())
        await here.take([order.raw])
        async with visit(here) as call:
            (offer,) = await call.offers()
            assert (offer.agreement, offer.name) == (here.story.id, "lung-survival-2026")
            pile = await call.pile(here.story.id)
        assert pile.agreement == here.story.opening
        assert pile.charter == here.story.charter
        assert len(pile.charter_votes) == 5
        assert len(pile.reviews) == 1
        kinds_shown = {record.parse(raw).kind for raw in pile.records}
        assert kinds_shown == {"candidacy", "vote", "run", "suspension"}


def _suspension() -> Any:
    from protocol.kinds.agreement import Suspension

    return Suspension(reason="incident")


async def test_shares_and_statements_of_organizations_are_never_shown(tmp_path: Path) -> None:
    hidden = {"share", "rewrap", "receipt", "order", "summons", "statement", "started", "refusal"}
    assert not hidden & gateways.SEEN_BY_PEOPLE
    async with village(tmp_path) as here:
        node = here.nodes["hospital-a"]
        order = _order()
        made = here.story.scribe.by("sponsor", "order", order)
        await here.take([made.raw])
        assert made.raw in set(node.journal.records(here.story.id))
        async with visit(here) as call:
            assert made.raw not in (await call.pile(here.story.id)).records


def _order() -> Any:
    from protocol.kinds.run import Order

    return Order(entry="fit", parameters='{"covariates":["age"]}')


async def test_records_come_in_pages_without_gap_or_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "PAGE", 2000)
    async with village(tmp_path, lambda story: story.run(1, [])) as here:
        async with visit(here) as call:
            records = (await call.pile(here.story.id)).records
        assert list(records) == here.story.records
        page = here.gateway.records(here.story.id, 2**40)
        assert (page.records, page.more) == ((), False)


async def test_only_named_blobs_and_leaves_of_runs_are_given(tmp_path: Path) -> None:
    leaves = sorted(seed(f"leaf {n}") for n in range(3))
    async with village(tmp_path, lambda story: story.run(1, leaves)) as here:
        node = here.nodes["hospital-a"]
        secret = node.spread.blobs.put(b"an internal blob")
        held = here.nodes["hospital-c"]
        held.journal.put_state(
            f"leaves/{merkle.root(leaves).hex()}", held.spread.blobs.put(b"".join(leaves))
        )
        async with visit(here) as call:
            for blob in (NOTICE, BUNDLE, CONTRACT):
                assert await call.blob(here.story.id, sha(blob)) == blob
            assert await call.blob(here.story.id, merkle.root(leaves)) == b"".join(leaves)
            await refused(call.blob(here.story.id, secret), "session.audience")
            await refused(call.blob(seed("nothing"), sha(NOTICE)), "topic.unknown")
            await refused(call.pile(here.story.space.topic), "topic.unknown")


async def test_a_challenge_reaches_the_enclave_with_the_askers_own_nonce(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        question = wire.Challenge(
            agreement=here.story.id, requester=keys.public(ME), term=1, nonce=seed("my nonce")
        )
        async with visit(here) as call:
            await call.evidence(here.story.candidacies["host-2"].id, question)
            assert here.story.enclaves["host-2"].nonces == [seed("my nonce")]
            await refused(call.evidence(seed("none"), question), "host.candidate")
        here.network.leave(here.nodes["hospital-b"].transport.peer_id)


# --- mailbox --------------------------------------------------------------------------------------


def proof(key: bytes, gateway: bytes, nonce: bytes) -> pw.OpenMail:
    return pw.OpenMail(
        proof=token.sign(key, "mailbox", pw.MailboxProof(gateway=gateway, nonce=nonce))
    )


def put_mail(here: Village, owner: bytes, text: bytes) -> None:
    delivery = Delivery(
        run=seed("run"),
        number=1,
        name="own-risk",
        to=keys.public(owner),
        person=True,
        gateway=GATEWAY,
        sealed=text,
    )
    here.nodes["hospital-a"].journal.mail_put(keys.public(owner), shape.encode(delivery))


async def test_a_mailbox_opens_to_its_key_alone(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        put_mail(here, ME, b"sealed " * 150_000)
        put_mail(here, seed("other"), b"not mine")
        async with visit(here) as call:
            await refused(call.mail(0), "mailbox.proof")
            await call.open_mail(GATEWAY, ME)
            (item,) = await call.mail(0)
            assert (await call.delivery(item.number)).sealed == b"sealed " * 150_000
            await refused(call.delivery(item.number + 1), "topic.unknown")
            await call.acknowledge(item.number + 5)
            assert await call.mail(0) == ()
        async with visit(here) as call:
            await call.open_mail(GATEWAY, seed("other"))
            assert len(await call.mail(0)) == 1


async def test_a_proof_works_once_on_its_own_stream_at_its_own_gateway(tmp_path: Path) -> None:
    async with village(tmp_path) as here, visit(here) as call, visit(here, "second") as second:
        stream, other = call.stream, second.stream
        first = await ask(stream, pw.Greet(), pw.Greeting)
        await refused(ask(other, proof(ME, GATEWAY, first.nonce), Done), "mailbox.proof")
        await ask(stream, proof(ME, GATEWAY, first.nonce), Done)
        await refused(ask(stream, proof(seed("o"), GATEWAY, first.nonce), Done), "mailbox.proof")
        again = await ask(stream, pw.Greet(), pw.Greeting)
        assert again.nonce != first.nonce
        await refused(
            ask(stream, proof(ME, seed("another gateway"), again.nonce), Done), "mailbox.proof"
        )
        await refused(ask(stream, pw.OpenMail(proof=b"\x80"), Done), "shape.mismatch")


# --- shares ---------------------------------------------------------------------------------------


def offer(here: Village) -> wire.OfferPersonShare:
    envelope = SealedEnvelope(enclave=seed("e"), sealed=b"opaque")
    person = PersonShare(
        agreement=here.story.id, owner=keys.public(ME), share=seed("s"), envelopes=(envelope,)
    )
    return wire.OfferPersonShare(person=person)


async def share_answer(here: Village, *frames: bytes) -> Any:
    """What a stranger hears on the share door after these frames."""
    async with here.connect(seed("visitor")) as transport:
        peer = await transport.dial(here.gateway_address)
        stream = await transport.open(peer, pw.GATEWAY_SHARE)
        for frame in frames:
            await stream.send(frame)
        return wire.SHARE_WIRE.read_answer(await stream.receive(), wire.Resume)


async def test_only_a_persons_offer_is_carried(tmp_path: Path) -> None:
    pack = wire.SHARE_WIRE.pack_request
    async with village(tmp_path) as here:
        party = pack(wire.OfferShare(agreement=here.story.id, share=b"record"))
        await refused(share_answer(here, party), "session.request")
        frame = pack(wire.ShareFrame(frame=b"x", last=True))
        await refused(share_answer(here, frame), "session.request")
        await refused(share_answer(here, b"\xff\xff"), "codec.malformed")
        assert here.hosts["host-1"].offers == []
        # A person's goes to the host, byte for byte; there the enclave says no.
        await refused(share_answer(here, pack(offer(here))), "share.wrap")
        assert here.hosts["host-1"].offers == [pack(offer(here))]


async def test_after_the_offer_only_frames_within_the_bound_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = wire.SHARE_WIRE.pack_request
    async with village(tmp_path) as here:
        host = _Patient(here)
        monkeypatch.setattr(share_relay, "PERSON_SHARE", 1000)
        await refused(share_answer(here, pack(offer(here)), pack(offer(here))), "session.request")
        big = pack(wire.ShareFrame(frame=bytes(2000), last=False))
        await refused(share_answer(here, pack(offer(here)), big), "codec.too-large")
        assert host.frames == []


class _Patient:
    """A host that answers nothing and notes what it gets."""

    def __init__(self, here: Village) -> None:
        self.frames: list[bytes] = []
        here.network._nodes[_peer("host-1")].serve(wire.SHARE, self.task)

    async def task(self, stream: Stream) -> None:
        await stream.receive()
        try:
            while True:
                self.frames.append(await stream.receive())
        except TransportError:
            return


def _peer(name: str) -> str:
    from tests.people_rig import address_of

    return address_of(name).rpartition("/")[2]


async def test_without_a_host_the_person_hears_so(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        here.network.leave(_peer("host-1"))
        pack = wire.SHARE_WIRE.pack_request
        await refused(share_answer(here, pack(offer(here))), "host.unreachable")


# --- stops ----------------------------------------------------------------------------------------


def stop(here: Village, key: bytes, consent: bytes, right: bytes | None = None) -> bytes:
    found = right_of(here, key) if right is None else right
    body = Stop(agreement=here.story.id, what="withdrawal", consent=consent, right=found)
    return token.sign(key, "stop", body)


def right_of(here: Village, key: bytes, by: bytes = RINGS["registrar"].record) -> bytes:
    body = StopRight(agreement=here.story.id, key=keys.public(key))
    return token.sign(by, "stop-right", body)


async def test_a_stop_goes_to_all_parties_and_their_receipts_come_back(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        raw = stop(here, ME, seed("consent"))
        async with visit(here) as call:
            receipts = [
                token.open_(one, "stop-receipt", StopReceipt) for one in await call.stop(raw)
            ]
        assert {one.key for one in receipts} == {RINGS[n].me.vote_key for n in PARTIES}
        assert {one.body.not_voted for one in receipts} == {1}
        for name in PARTIES:
            runs = next(here.nodes[name].pipeline.world.collaborations()).runs
            assert list(runs.stops.values()) == [raw]


async def test_a_party_out_of_reach_is_left_out(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        here.network.leave(here.nodes["sponsor"].transport.peer_id)
        async with visit(here) as call:
            assert len(await call.stop(stop(here, ME, seed("consent")))) == 4


async def test_a_flood_by_strangers_is_kept_nowhere(tmp_path: Path) -> None:
    """Neither through a gateway nor by a member that lies: parties look themselves."""
    async with village(tmp_path) as here:
        stranger, thief = seed("stranger"), seed("thief")
        flood = {
            "codec.malformed": stop(here, stranger, seed("c"), b""),
            "credential.issuer": stop(
                here, stranger, seed("c"), right_of(here, stranger, seed("forger"))
            ),
            "credential.subject": stop(here, thief, seed("c"), right_of(here, ME)),
        }
        async with visit(here) as call:
            for code, raw in flood.items():
                await refused(call.stop(raw), code)
                await refused(here.gateway.session.take_stop(raw), code)
            assert len(await call.stop(stop(here, ME, seed("consent")))) == 5
        for name in PARTIES:
            assert len(here.nodes[name].journal.states("stop/")) == 1


async def test_one_person_stops_so_often_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.limits.STOPS_OF_ONE", 2)
    async with village(tmp_path) as here:
        take = here.gateway.session.take_stop
        raws = [stop(here, ME, seed(f"consent {n}")) for n in range(3)]
        for raw in (*raws[:2], raws[0]):
            assert (await take(raw)).receipt
        await refused(take(raws[2]), "codec.too-large")
        assert (await take(stop(here, seed("another"), seed("c")))).receipt


async def test_forged_and_stray_stops_are_refused(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        whole = bytearray(stop(here, ME, seed("consent")))
        whole[-1] ^= 1
        body = Stop(agreement=seed("elsewhere"), what="withdrawal", consent=seed("c"), right=b"")
        async with visit(here) as call:
            await refused(call.stop(bytes(whole)), "record.signature")
            await refused(call.stop(token.sign(ME, "stop", body)), "topic.unknown")
            await refused(call.stop(token.sign(ME, "consent", body)), "record.signature")


# --- garbage and greed ----------------------------------------------------------------------------


async def test_garbage_is_answered_and_the_stream_goes_on(tmp_path: Path) -> None:
    async with village(tmp_path) as here, visit(here) as call:
        for frame in (b"", b"\x00" * 1000, b"\xa2bopdlistdbody\xa1ax\x01", b"\xbf\xff"):
            await call.stream.send(frame)
            with pytest.raises(Refused):
                pw.GATEWAY_WIRE.read_answer(await call.stream.receive(), pw.Offers)
        assert len(await call.offers()) == 1


async def test_a_peer_gets_its_streams_and_no_more(tmp_path: Path) -> None:
    async with village(tmp_path) as here, here.connect(seed("greedy")) as transport:
        peer = await transport.dial(here.gateway_address)
        streams = []
        for _ in range(gateways.BOUNDS.streams):
            streams.append(await transport.open(peer, pw.GATEWAY))
            await ask(streams[-1], pw.ListOffers(), pw.Offers)
        extra = await transport.open(peer, pw.GATEWAY)
        with pytest.raises(Refused, match=r"door\.busy"):
            pw.GATEWAY_WIRE.read_answer(await extra.receive(), pw.Offers)
        await streams[0].close()
        async with visit(here) as call:
            assert len(await call.offers()) == 1
