"""The light peer: from a letter to a consent, and to its withdrawal."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node import codes
from node import people_wire as pw
from node.net.transport import TransportError
from node.registrar import Registrar
from node.store import StoreError
from node.vault import acts, checks, light, steps
from node.vault.contents import Given
from node.vault.keeper import Keeper
from node.vault.light import LightPeer
from node.vault.standing import confirmed, standing
from node.vault.vault import Vault
from protocol import keys, record, token
from protocol.attestation.evidence import enclave_id
from protocol.errors import Refused
from protocol.identity import History
from protocol.kinds.consent import Consent, Stop, StopReceipt, StopRight
from protocol.kinds.share import Share
from tests.agreements import seed
from tests.people_rig import Village, cheap, examine, give, real_lane, refused, village
from tests.people_story import PARTIES, PASSPHRASE, QUORUM, RINGS, Story


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    cheap(monkeypatch, connector="connector" in request.node.name)


# --- yes --------------------------------------------------------------------------------------


async def test_yes_with_the_real_connector(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        (offer,) = await peer.offers(here.gateway_address)
        state = await give(peer, here)
        assert offer.agreement == here.story.id
        assert state.words == "in force for runs 1 to 12"
        import pyarrow as pa

        table = pa.ipc.open_stream(here.story.enclaves["host-1"].plain).read_all()
        assert table.to_pylist()[0]["person"] == "row-224"


async def test_what_the_enclave_and_what_the_host_get(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        part = peer.vault.participation(here.story.id)
        (given,) = part.given
        said = token.open_(given.consent, "consent", Consent)
        assert said.key == keys.public(part.keys.signing)
        assert (said.body.ordinal, said.body.told) == (1, True)
        assert said.body.gateway == RINGS["hospital-a"].did
        assert said.body.recipients == (RINGS["sponsor"].did,)
        assert said.body.categories == ("inst", "time", "status", "age", "sex", "ph_ecog")
        # Wrapped to the elected enclave and its standby; host and gateway see nothing of it.
        assert given.share is not None
        share = token.open_(given.share.token, "share", Share).body
        both = {enclave_id(one.keys) for one in here.story.enclaves.values()}
        assert {one.enclave for one in share.wraps} == both
        (offered,) = here.hosts["host-1"].offers
        assert part.admission is not None
        for secret in (given.consent, part.admission, b"row-224", part.keys.secret):
            assert secret not in offered
        # Each agreement has a PeerId of its own, and the registrar sees another one.
        assert len(set(here.peers)) == 2
        assert await give(peer, here, told=True) == steps.standing_of(given, examine(here.story))
        assert len(here.hosts["host-1"].offers) == 1


async def test_show_verifies_and_says_so(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = LightPeer(here.vault(), here.connect)
        shown = await peer.show(here.story.id, here.gateway_address)
        words = {check.name: check.words for check in shown.checks}
        assert words["agreement"] == "5 of 5 parties signed"
        assert words["charter"] == "5 of 5 founders signed 'lung'"
        assert words["host"] == "4 of 5 parties elected host-1, term 1"
        assert "SIMULATED, NOT CONFIDENTIAL" in words["enclave"]
        assert words["code"] == "approved by hospital-a"
        assert shown.material.notice.text == "May your record help?"
        assert (shown.window, shown.standing) == ((1, 12), None)
        assert peer.vault.participation(here.story.id).given == ()


async def test_a_broken_upload_goes_on_with_the_same_consent_and_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        here.hosts["host-1"].cut = 1
        monkeypatch.setattr(light, "PAUSE", 0.0)
        with pytest.raises((TransportError, Refused)):
            await give(peer, here)
        (before,) = peer.vault.participation(here.story.id).given
        assert peer.standings(here.story.id)[0].state == "made"
        here.hosts["host-1"].cut = None
        assert (await give(peer, here)).state == "in force"
        (after,) = peer.vault.participation(here.story.id).given
        assert before.share is not None
        assert after.share is not None
        assert (after.consent, after.share.id) == (before.consent, before.share.id)


async def test_one_break_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "PAUSE", 0.0)
    async with village(tmp_path) as here:
        here.hosts["host-1"].cut, here.hosts["host-1"].cuts = 1, 1
        assert (await give(await here.person(), here)).state == "in force"
        assert len(here.hosts["host-1"].offers) == 2


async def test_through_the_share_lane_of_the_product(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        node = await real_lane(here, tmp_path / "host-1")
        peer = await here.person()
        assert (await give(peer, here)).state == "in force"
        assert here.story.enclaves["host-1"].plain == b"arrow stream"
        hosts = next(node.pipeline.world.collaborations())
        (given,) = peer.vault.participation(here.story.id).given
        assert given.share is not None
        assert given.share.id in hosts.receipts
        await peer.withdraw(here.story.id)
        assert (await give(peer, here)).state == "in force"
        await refused(give(await here.person("08"), here), "person.duplicate")
        node.journal.close()


async def test_after_a_fail_over_the_standbys_wrap_is_enough_and_the_old_term_is_fenced(
    tmp_path: Path,
) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here)
        await here.take(here.story.elect(term=2, host="host-2"))
        assert (await give(peer, here)).state == "in force"
        assert len(here.hosts["host-2"].offers) == 0
        await give(peer, here, told=True)  # a new consent goes to the new host
        assert len(here.hosts["host-2"].offers) == 1
        assert peer.vault.participation(here.story.id).term == 2
        dossier = _old(here)
        with pytest.raises(Refused) as caught:
            checks.elected(dossier, lowest=2)
        assert caught.value.code == "term.fenced"


def _old(here: Village) -> checks.Dossier:
    now = here.story.records
    here.story.records = [
        raw for raw in now if (record.parse(raw).body or {}).get("slot") != "host/2"
    ]
    try:
        return examine(here.story)
    finally:
        here.story.records = now


async def test_no_host_no_consent(tmp_path: Path) -> None:
    def nobody(story: Story) -> None:
        story.records = [raw for raw in story.records if record.parse(raw).kind != "vote"]

    async with village(tmp_path, nobody) as here:
        peer = await here.person()
        shown = await peer.show(here.story.id, here.gateway_address)
        assert (shown.enclaves, shown.term) == ((), None)
        await refused(give(peer, here), "election.certificate")
        assert peer.vault.participation(here.story.id).given == ()


async def test_no_means_no_and_nobody_is_told(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = LightPeer(here.vault(), here.connect)
        part = await peer.refuse(here.story.id, here.gateway_address)
        assert part.refused is not None
        assert (await peer.refuse(here.story.id)).refused == part.refused
        assert here.hosts["host-1"].offers == []


async def test_after_a_yes_a_no_is_a_withdrawal(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here)
        with pytest.raises(StoreError) as caught:
            await peer.refuse(here.story.id)
        assert caught.value.code == "vault.consent"


async def test_without_letter_or_data_nothing_is_signed(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        stranger = LightPeer(here.vault("01"), here.connect)
        with pytest.raises(StoreError) as caught:
            await give(stranger, here)
        assert caught.value.code == "vault.enrolment"
        empty = Vault.create(tmp_path / "02", "02", PASSPHRASE)
        peer = LightPeer(empty, here.connect)
        await peer.enrol(here.registrar.enrol_new("row-1", "patient", 1), here.registrar_address)
        with pytest.raises(StoreError) as caught:
            await give(peer, here)
        assert caught.value.code == "vault.data"
        assert empty.participation(here.story.id).given == ()


async def test_another_category_of_people_is_not_admitted(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = LightPeer(here.vault(), here.connect)
        letter = here.registrar.enrol_new("row-224", "nurse", 1)
        await peer.enrol(letter, here.registrar_address)
        await refused(give(peer, here), "credential.subject")
        assert here.hosts["host-1"].offers == []


async def test_two_vaults_of_one_person_count_once(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await give(await here.person("01"), here)
        await refused(give(await here.person("02"), here), "person.duplicate")


async def test_a_vault_takes_the_link_of_a_qr_code_as_it_is(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        keeper = Keeper(here.connect)
        keeper.hold(here.vault())
        link = codes.link(
            here.registrar.enrol_new("row-224", "patient", 30), here.registrar_address
        )
        wrong = link.replace("code=", "code=A")
        await refused(acts.call(keeper, "vault.enrol", {"code": wrong}), "enrolment.code")
        assert here.peers == []  # a slip of the pen is found before anybody is asked
        found = await acts.call(keeper, "vault.enrol", {"code": link})
        assert (found["enrolled"], found["ends"]) == (True, [])


# --- again ------------------------------------------------------------------------------------


async def test_a_renewed_consent_covers_the_runs_that_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        with monkeypatch.context() as patch:
            patch.setattr(light, "next_window", lambda _: (1, 3))
            await give(peer, here, told=True)
        assert peer.standings(here.story.id)[0].words == "in force for runs 1 to 3"
        assert (await peer.renew(here.story.id)).words == "in force for runs 1 to 12"
        first, second = peer.vault.participation(here.story.id).given
        old, new = (token.open_(one.consent, "consent", Consent) for one in (first, second))
        assert (new.body.ordinal, new.body.told, new.key) == (2, True, old.key)
        assert second.share is not None
        assert first.share is not None
        assert token.open_(second.share.token, "share", Share).body.replaces == first.share.id
        assert (first.share.key, second.share.key is None) == (None, False)
        diary = peer.vault.contents.diary
        assert any("the key of the share before it is destroyed" in line.detail for line in diary)
        enclave = here.story.enclaves["host-1"]
        assert enclave.shares is not None
        assert [one.consent.id for one in enclave.shares.consents.current.values()] == [new.id]
        # Again it changes nothing, and a withdrawal ends both.
        await peer.renew(here.story.id)
        assert len(peer.vault.participation(here.story.id).given) == 2
        await peer.withdraw(here.story.id)
        assert all(one.stop for one in peer.vault.participation(here.story.id).given)
        await refused(peer.renew(here.story.id), "consent.missing")


async def test_so_many_consents_as_can_be_withdrawn_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.limits.STOPS_OF_ONE", 1)
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here)
        await refused(give(peer, here, told=True), "consent.scope")


async def test_an_admission_without_the_right_to_stop_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who could not withdraw does not consent."""
    honest = Registrar._admission

    def stingy(self: Registrar, enrolled: Any, agreement: bytes, key: bytes) -> pw.Admitted:
        made = honest(self, enrolled, agreement, key)
        body = StopRight(agreement=agreement, key=seed("another"))
        return replace(made, right=token.sign(self.keyring.record, "stop-right", body))

    monkeypatch.setattr(Registrar, "_admission", stingy)
    async with village(tmp_path) as here:
        peer = await here.person()
        await refused(give(peer, here), "credential.subject")
        assert peer.vault.participation(here.story.id).given == ()


# --- no more ----------------------------------------------------------------------------------


async def test_a_withdrawal_is_in_force_once_a_quorum_confirmed(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here)
        out = {here.nodes[n].transport.peer_id for n in ("biostat-lab", "sponsor")}
        here.network.weather.reaches = _cut(out)
        state = await peer.withdraw(here.story.id)
        assert state.words == "withdrawal sent, 3 of 4 parties confirmed"
        here.network.weather.reaches = lambda _a, _b: True
        state = await peer.withdraw(here.story.id)
        assert state.words == "withdrawn, in force from run 1"
        (given,) = peer.vault.participation(here.story.id).given
        assert given.stop is not None
        assert len(given.stop_receipts) == 5
        assert given.share is None or given.share.key is None
        for name in PARTIES:
            runs = next(here.nodes[name].pipeline.world.collaborations()).runs
            assert list(runs.stops.values()) == [given.stop]


def _cut(peers: set[str]) -> Callable[[str, str], bool]:
    return lambda a, b: not peers & {a, b}


async def test_after_a_withdrawal_a_new_consent_replaces_the_old_for_good(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here)
        await peer.withdraw(here.story.id)
        enclave = here.story.enclaves["host-1"]
        (first,) = peer.vault.participation(here.story.id).given
        assert enclave.shares is not None
        assert first.stop is not None
        enclave.shares.consents.tell([first.stop])
        state = await give(peer, here)
        assert state.state == "in force"
        first, second = peer.vault.participation(here.story.id).given
        assert token.open_(second.consent, "consent", Consent).body.ordinal == 2
        assert first.share is not None
        assert second.share is not None
        assert token.open_(second.share.token, "share", Share).body.replaces == first.share.id
        assert [s.state for s in peer.standings(here.story.id)] == ["withdrawn", "in force"]
        assert len(enclave.shares.usable()) == 1


async def test_a_withdrawal_ends_the_consents_that_were_replaced_too(tmp_path: Path) -> None:
    """A host that fails over could show the older one to an enclave that knows no newer."""
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here)
        await give(peer, here, told=True)
        assert (await peer.withdraw(here.story.id)).state == "withdrawn"
        given = peer.vault.participation(here.story.id).given
        assert [s.state for s in peer.standings(here.story.id)] == ["withdrawn", "withdrawn"]
        for name in PARTIES:
            runs = next(here.nodes[name].pipeline.world.collaborations()).runs
            assert set(runs.stops.values()) == {one.stop for one in given}
        assert len({token.open_(one.stop or b"", "stop", Stop).body.consent for one in given}) == 2


async def test_without_consent_there_is_nothing_to_withdraw(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = LightPeer(here.vault(), here.connect)
        await peer.show(here.story.id, here.gateway_address)
        await refused(peer.withdraw(here.story.id), "consent.missing")


def test_which_run_a_withdrawal_binds() -> None:
    parties = {RINGS[n].did: History.of(RINGS[n].me) for n in PARTIES}
    stop = token.sign(
        seed("me"),
        "stop",
        Stop(agreement=seed("a"), what="withdrawal", consent=seed("c"), right=b""),
    )
    consent = token.sign(seed("me"), "consent", _consent())
    given = Given(ordinal=1, consent=consent, at=0, stop=stop)

    def receipt(name: str, number: int, **changes: Any) -> bytes:
        body = StopReceipt(
            stop=token.open_(stop, "stop", Stop).id, agreement=seed("a"), not_voted=number, at=0
        )
        return token.sign(RINGS[name].record, "stop-receipt", replace(body, **changes))

    def bound(*raws: bytes) -> int | None:
        return standing(replace(given, stop_receipts=raws), parties, QUORUM).bound

    a, b, c, lab = (receipt(n, 2) for n in PARTIES[:4])
    late = receipt("sponsor", 3)
    assert bound(a, b, c) is None
    assert bound(a, b, c, lab) == 2
    assert bound(a, b, c, late) == 3
    assert bound(a, b, c, late, lab) == 2
    # A party counts once, by its first word; what is forged or about another stop counts nothing.
    assert bound(a, a, b, c) is None
    assert bound(a, b, c, receipt("hospital-a", 9)) is None
    assert bound(a, b, c, receipt("registrar", 1)) is None
    assert bound(a, b, c, receipt("sponsor", 1, stop=seed("x"))) is None
    assert bound(a, b, c, receipt("sponsor", 1, agreement=seed("x"))) is None
    assert bound(a, b, c, b"garbage") is None
    assert confirmed(stop, [late, receipt("sponsor", 2)], parties) == {RINGS["sponsor"].did: 2}


def _consent() -> Consent:
    return Consent(
        agreement=seed("a"),
        ordinal=1,
        notice=seed("n"),
        purpose="p",
        categories=(),
        recipients=(),
        first=1,
        last=12,
        until=1,
        told=False,
        sealing=bytes(32),
        secret=seed("s"),
        gateway=seed("g"),
    )
