"""What a light peer does about gateways, hosts and registrars that lie; and what enclaves do about
light peers that lie.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node import people_wire as pw
from node.vault import checks, envelope, steps
from node.vault.callers import gateway_call
from node.vault.light import LightPeer
from protocol import keys, limits, record, shape, token
from protocol.attestation.evidence import enclave_id
from protocol.errors import Refused
from protocol.kinds import agreement as k
from protocol.kinds.attestation import Floors
from protocol.kinds.consent import Consent
from protocol.kinds.identity import Admission
from protocol.kinds.run import Summons
from protocol.kinds.space import Change, Review, Seat, Terms
from protocol.machines.epochs import step_slot
from protocol.topic import read_opening
from tests.agreements import Actor, renewed, seed
from tests.people_rig import Village, address_of, cheap, examine, give, now, pile, refused, village
from tests.people_story import BUNDLE, FOUNDERS, QUORUM, RINGS, Story, sha


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap(monkeypatch)


# --- lies of a gateway, a host, a registrar -----------------------------------------------------


def _without_a_vote(here: Village) -> bytes:
    opening = shape.decode(k.AgreementOpening, here.story.opening, 2**20)
    return shape.encode(replace(opening, votes=opening.votes[1:]))


def _other_charter(here: Village) -> bytes:
    document = read_opening(here.story.charter).document
    return shape.encode(replace(document, salt=seed("other")))  # type: ignore[type-var]


def _rejected(here: Village) -> tuple[bytes, ...]:
    review = Review(bundle=sha(BUNDLE), verdict="rejected", text="no")
    return (here.story.space.by("hospital-b", "review", review).raw,)


def _by_a_stranger(here: Village) -> tuple[bytes, ...]:
    review = Review(bundle=sha(BUNDLE), verdict="approved", text="yes")
    return (here.story.space.by("sponsor", "review", review).raw,)


LIES: dict[str, tuple[Callable[[Village], dict[str, Any]], str]] = {
    "a signature too few": (lambda h: {"agreement": _without_a_vote(h)}, "agreement.certificate"),
    "no charter": (lambda _: {"charter": None}, "topic.opening"),
    "another charter": (lambda h: {"charter": _other_charter(h)}, "topic.opening"),
    "a charter vote too few": (
        lambda h: {"charter_votes": tuple(h.story.space_records[:4])},
        "decision.quorum",
    ),
    "no review": (lambda _: {"reviews": ()}, "algorithm.review"),
    "a review that says no": (lambda h: {"reviews": _rejected(h)}, "algorithm.review"),
    "a review by who is no reviewer": (
        lambda h: {"reviews": _by_a_stranger(h)},
        "algorithm.review",
    ),
    "garbage for an agreement": (lambda _: {"agreement": b"\xff"}, "codec.malformed"),
    "a charter for an agreement": (lambda h: {"agreement": h.story.charter}, "topic.opening"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_gateway_that_lies_is_found_out(tmp_path: Path, lie: str) -> None:
    make, code = LIES[lie]
    async with village(tmp_path) as here:
        told = pile(here.story, **make(here))
        with pytest.raises(Refused) as caught:
            checks.examine(told, here.story.id, person=seed("p"), now=now())
        assert caught.value.code == code
        checks.examine(pile(here.story), here.story.id, person=seed("p"), now=now())


async def test_an_agreement_that_a_key_signed_which_its_owner_took_back_is_refused(
    tmp_path: Path,
) -> None:
    async with village(tmp_path) as here:
        party = here.story.document.parties[0].did
        who, ring = next((n, r) for n, r in RINGS.items() if r.did == party)
        owner = Actor(who, seed(f"root {who}"), ring.record, ring.me)
        newer = renewed(owner, seed("new key"), "stolen", ())
        with pytest.raises(Refused) as caught:
            checks.examine(
                pile(here.story),
                here.story.id,
                person=seed("p"),
                now=now(),
                known=[newer.participant.raw],
            )
        assert caught.value.code == "agreement.certificate"


async def test_an_agreement_that_is_over_or_without_people_is_refused(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        later = now() + 400 * 86_400
        with pytest.raises(Refused) as caught:
            checks.examine(pile(here.story), here.story.id, person=seed("p"), now=later)
        assert caught.value.code == "agreement.ended"
    with_nobody = Story(people=None)
    found = checks.Pile(with_nobody.opening, None, (), (), ())
    with pytest.raises(Refused) as caught:
        checks.examine(found, with_nobody.id, person=seed("p"), now=now())
    assert caught.value.code == "share.provider"


async def test_a_registrar_that_the_space_does_not_trust_is_refused(tmp_path: Path) -> None:
    people = Story().document.people
    assert people is not None
    forger = replace(people, registrar=RINGS["sponsor"].did)
    other_keys = replace(people, registrar_keys=(keys.public(seed("forger")),))
    for changed in (forger, other_keys):
        story = Story(people=changed)
        told = checks.Pile(
            story.opening,
            story.charter,
            tuple(story.space_records[:5]),
            tuple(story.space_records[5:]),
            (),
        )
        with pytest.raises(Refused) as caught:
            checks.examine(told, story.id, person=seed("p"), now=now())
        assert caught.value.code == "credential.issuer"


def changed(
    story: Story, terms: Terms, voters: tuple[str, ...] = FOUNDERS[:4]
) -> tuple[bytes, ...]:
    """What proves, or does not, that the founders gave their space other terms."""
    rings = [RINGS[name].me for name in FOUNDERS]
    body = Change(
        epoch=story.space.topic,
        members=tuple(Seat(did=one.did, identity=one.id, roles=()) for one in rings),
        removed=(),
        terms=terms,
        reason="another registrar",
    )
    made = story.space.by(FOUNDERS[0], "change", body)
    slots = [step_slot(step, story.space.topic, 0) for step in ("change", "confirm")]
    votes = [story.space.yes(name, slot, made.id) for slot in slots for name in voters]
    return (made.raw, *votes)


async def test_the_registrar_is_held_against_the_terms_in_force() -> None:
    """Not against those of the charter: the voters may have changed them since."""
    story = Story()
    terms = replace(read_opening(story.charter).document.terms, registrars=())
    assert examine(story, terms=changed(story, terms, FOUNDERS[:3]))
    with pytest.raises(Refused) as caught:
        examine(story, terms=changed(story, terms))
    assert caught.value.code == "credential.issuer"
    assert examine(story, terms=(b"garbage", *changed(story, terms)[2:]))
    trusted = (RINGS["registrar"].did,)
    story = Story(registrars=())
    with pytest.raises(Refused) as caught:
        examine(story)
    assert caught.value.code == "credential.issuer"
    found = examine(story, terms=changed(story, replace(terms, registrars=trusted)))
    assert "changed 1 times since" in {one.name: one.words for one in found.checks}["terms"]


async def test_records_of_others_and_votes_too_few_elect_nobody(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        honest = here.story.records
        votes = [raw for raw in honest if record.parse(raw).kind == "vote"]
        rest = [raw for raw in honest if raw not in votes]
        forged = here.story.scribe.write(seed("forger"), RINGS["sponsor"].did, "vote", _vote(votes))
        for shown in (
            [*rest, *votes[: QUORUM - 1]],
            [*rest, *votes[: QUORUM - 1], votes[0], forged.raw, b"garbage"],
            votes,  # the candidacy is hidden
        ):
            dossier = examine(here.story, records=tuple(shown))
            with pytest.raises(Refused) as caught:
                checks.elected(dossier, 0)
            assert caught.value.code == "election.certificate"
        mixed = tuple(reversed([*honest, b"garbage", here.story.space_records[0]]))
        whole = examine(here.story, records=mixed)
        assert checks.elected(whole, 0).term == 1


def _vote(votes: list[bytes]) -> Any:
    from protocol.kinds.common import Vote

    return shape.read(Vote, dict(record.parse(votes[0]).body or {}))


async def test_evidence_for_another_nonce_or_software_stops_everything(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        enclave = here.story.enclaves["host-1"]
        enclave.software = seed("other software")
        await refused(give(peer, here), "evidence.binding")
        enclave.software = sha(b"")
        await refused(peer.show(here.story.id, here.gateway_address), "evidence.binding")
        enclave.software = seed("software")
        honest = enclave.attest
        enclave.attest = lambda q: honest(replace(q, nonce=seed("old")))  # type: ignore[method-assign]
        await refused(give(peer, here), "evidence.stale")
        assert here.hosts["host-1"].offers == []
        assert peer.vault.participation(here.story.id).given == ()


async def test_the_floors_of_the_charter_bind_a_person_too(tmp_path: Path) -> None:
    """The parties may look away: who checks the charter sees what the space asks."""
    async with village(tmp_path, floors=Floors(max_age=60, technologies=("tdx",))) as here:
        peer = await here.person()
        await refused(give(peer, here), "evidence.policy")
        assert here.hosts["host-1"].offers == []


async def test_an_answer_after_the_life_of_its_nonce_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        monkeypatch.setattr(limits, "NONCE", -1)
        await refused(give(peer, here), "evidence.stale")
        assert here.hosts["host-1"].offers == []


async def test_a_standby_that_does_not_verify_gets_no_key(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        here.story.enclaves["host-2"].software = seed("other software")
        await give(peer, here)
        (given,) = peer.vault.participation(here.story.id).given
        assert given.share is not None
        assert steps.wrapped_to(given.share) == {enclave_id(here.story.enclaves["host-1"].keys)}


async def test_another_notice_code_or_contract_stops_everything(tmp_path: Path) -> None:
    for what, code in (
        ("notice", "audit.altered"),
        ("bundle", "run.code"),
        ("contract", "audit.altered"),
    ):
        async with village(tmp_path / what) as here:
            peer = await here.person()
            digest = {
                "notice": here.story.document.people.notice,  # type: ignore[union-attr]
                "bundle": here.story.document.algorithm.bundle,
                "contract": here.story.document.datasets[0].contract,
            }[what]
            blobs = here.nodes["hospital-a"].spread.blobs
            honest = blobs.get
            blobs.get = lambda d, honest=honest, digest=digest: (  # type: ignore[method-assign]
                b"another" if d == digest else honest(d)
            )
            await refused(give(peer, here), code)
            assert here.hosts["host-1"].offers == []


async def test_the_registrar_at_another_address_is_not_believed(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = LightPeer(here.vault(), here.connect)
        code = here.registrar.enrol_new("row-224", "patient", 1)
        node = here.nodes["hospital-b"]
        node.transport.served[pw.REGISTRAR] = here.nodes["registrar"].transport.served[pw.REGISTRAR]
        await refused(peer.enrol(code, address_of("hospital-b")), "credential.issuer")
        assert peer.vault.contents.enrolment is None


async def test_an_admission_for_another_key_or_by_another_key_is_refused(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        dossier = examine(here.story)
        honest = Admission(
            agreement=here.story.id,
            key=seed("p"),
            tag=seed("tag"),
            person="row-224",
            category="patient",
            until=now() + 100,
        )
        signer = RINGS["registrar"].record
        checks.check_admission(token.sign(signer, "admission", honest), dossier, seed("p"), now())
        for key, changes, code in (
            (seed("forger"), {}, "credential.issuer"),
            (signer, {"key": seed("other")}, "credential.subject"),
            (signer, {"agreement": seed("other")}, "credential.subject"),
            (signer, {"category": "nurse"}, "credential.subject"),
            (signer, {"until": now() - 1}, "credential.expired"),
        ):
            raw = token.sign(key, "admission", replace(honest, **changes))
            with pytest.raises(Refused) as caught:
                checks.check_admission(raw, dossier, seed("p"), now())
            assert caught.value.code == code


async def test_a_receipt_of_another_enclave_share_or_verdict_is_no_receipt(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here)
        (given,) = peer.vault.participation(here.story.id).given
        assert given.share is not None
        assert given.share.receipt is not None
        dossier = examine(here.story)
        found = checks.elected(dossier, 0)
        raw, share = given.share.receipt, given.share.id
        steps.check_receipt(raw, dossier, found, share)
        forged = here.story.scribe.write(
            seed("forger"), keys.public(seed("forger")), "receipt", _body(raw)
        )
        signing = here.story.enclaves["host-1"].signing
        broken = here.story.scribe.write(
            signing,
            keys.public(signing),
            "receipt",
            replace(_body(raw), verdict="share.contract person.other"),
        )
        summons = here.story.scribe.write(signing, keys.public(signing), "summons", SUMMONS)
        for bad, id_, code in (
            (forged.raw, share, "share.binding"),
            (summons.raw, share, "share.binding"),
            (raw, seed("other share"), "share.binding"),
            (broken.raw, share, "share.contract"),
        ):
            with pytest.raises(Refused) as caught:
                steps.check_receipt(bad, dossier, found, id_)
            assert caught.value.code == code


SUMMONS = Summons(number=1, term=1, order=bytes(32), nonce=bytes(32))


async def test_a_gateway_whose_pages_never_end_does_not_keep_a_vault(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        pages = 0

        def endless(agreement: bytes, after: int) -> pw.RecordsPage:
            nonlocal pages
            pages += 1
            return pw.RecordsPage(records=(), next=after + 1, more=pages < 1000)

        here.gateway.records = endless  # type: ignore[method-assign]
        peer = await here.person()
        await refused(give(peer, here), "election.certificate")
        assert pages == 2, "one of the agreement, one of its space"


def _body(raw: bytes) -> Any:
    from protocol.kinds.share import Receipt

    return shape.read(Receipt, dict(record.parse(raw).body or {}))


# --- envelopes, as a hostile client would make them ---------------------------------------------


@pytest.mark.parametrize(
    ("consent", "code"),
    [
        (lambda honest, here, me: b"", "consent.missing"),
        (
            lambda honest, here, me: token.sign(seed("other"), "consent", honest),
            "consent.signature",
        ),
        (
            lambda honest, here, me: token.sign(me, "consent", replace(honest, notice=seed("n"))),
            "consent.scope",
        ),
        (
            lambda honest, here, me: token.sign(me, "consent", replace(honest, recipients=())),
            "consent.scope",
        ),
        (
            lambda honest, here, me: token.sign(me, "consent", replace(honest, last=99)),
            "consent.scope",
        ),
    ],
)
async def test_parts_put_together_wrongly_are_refused_by_the_enclave(
    tmp_path: Path, consent: Callable[..., bytes], code: str
) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        dossier = examine(here.story)
        own = peer.vault.keys(here.story.id)
        me = envelope.Secrets(own.signing, own.sealing, own.secret)
        terms = envelope.Terms(
            ordinal=1, first=1, last=12, told=False, categories=("age",), gateway=seed("g")
        )
        people = dossier.people
        honest = envelope.make_consent(here.story.id, dossier.document, people, terms, me)
        body = token.open_(honest, "consent", Consent).body
        admission = token.sign(
            RINGS["registrar"].record,
            "admission",
            Admission(
                agreement=here.story.id,
                key=me.key,
                tag=seed("tag"),
                person="row-224",
                category="patient",
                until=now() + 1000,
            ),
        )
        targets = [here.story.enclaves["host-1"].keys]
        share = envelope.seal_share(here.story.id, dossier.dataset, me, targets)

        async def send(said: bytes) -> bytes:
            person = envelope.seal_envelopes(here.story.id, me, share, admission, said, targets)
            async with (
                here.connect(seed("hostile")) as transport,
                gateway_call(transport, here.gateway_address) as call,
            ):
                return await call.upload(envelope.make_parcel(share, person, b"arrow"))

        await refused(send(consent(body, here, me.signing)), code)
        assert await send(honest)
