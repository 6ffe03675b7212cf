"""What comes home to a vault: results, proofs of use and absence, the receipt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.gateway import Gateway
from node.inbox import Inbox
from node.net.peer_id import peer_id_of
from node.vault.light import LightPeer
from node.vault.vault import Vault
from protocol import keys, merkle, shape
from protocol.audit import receipt as receipts
from protocol.errors import Refused
from protocol.kinds.run import Delivery, SealedOutput
from protocol.sealing import wrap
from tests.agreements import seed
from tests.people_rig import Village, cheap, give, village
from tests.people_story import PASSPHRASE, RINGS


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap(monkeypatch)


# --- what comes home --------------------------------------------------------------------------


async def told(here: Village, peer: LightPeer, run_id: bytes, **changes: Any) -> None:
    """The enclave's delivery of the own part lands in the mailbox."""
    part = peer.vault.participation(here.story.id)
    owner = keys.public(part.keys.signing)
    output = SealedOutput(run=run_id, name="own-risk", salt=seed("salt"), content=b'{"risk":1.2}')
    output = replace(output, **changes.pop("output", {}))
    sealed = wrap.seal(
        shape.encode(output),
        wrap.public_key(changes.pop("sealing", part.keys.sealing)),
        "output",
        run_id,
        b"own-risk",
        owner,
    )
    delivery = Delivery(
        run=run_id,
        number=1,
        name="own-risk",
        to=owner,
        person=True,
        gateway=RINGS["hospital-a"].did,
        sealed=sealed,
    )
    here.nodes["hospital-a"].journal.mail_put(owner, shape.encode(replace(delivery, **changes)))


async def ran(
    here: Village, peer: LightPeer, number: int, used: bool, show_leaves: bool = True
) -> bytes:
    """A run takes place; its id."""
    secret = peer.vault.participation(here.story.id).keys.secret
    mine = [merkle.person_leaf(secret, here.story.id, number)] if used else []
    made, records, leaves = here.story.run(number, [seed(f"other {number}"), seed("x"), *mine])
    await here.take(records)
    if show_leaves:
        node = here.nodes["hospital-b"]
        name = f"leaves/{merkle.root(merkle.split(leaves)).hex()}"
        node.journal.put_state(name, node.spread.blobs.put(leaves))
    return made.id


async def test_results_and_proofs_come_home(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        run_id = await ran(here, peer, 1, used=True)
        await ran(here, peer, 2, used=False)
        await told(here, peer, run_id)
        part = await peer.fetch(here.story.id)
        assert [(use.number, use.used) for use in part.uses] == [(1, True), (2, False)]
        (result,) = part.results
        assert peer.vault.blobs.get(result.blob) == b'{"risk":1.2}'
        journal = here.nodes["hospital-a"].journal
        assert journal.mail_list(keys.public(part.keys.signing), 0, 10) == []
        assert await peer.fetch(here.story.id) == part
        # The receipt verifies alone, offline.
        report = receipts.verify(peer.receipt(here.story.id))
        assert report.findings == ()
        assert "run 1" in report.headline
        assert "run 2" in report.headline
        assert receipts.verify(peer.receipt(here.story.id, [2])).headline == "not in run 2"
        with pytest.raises(Refused, match=r"run\.proof"):
            peer.receipt(here.story.id, [2, 3])


async def test_a_result_waits_until_the_proof_of_its_run_is_there(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        run_id = await ran(here, peer, 1, used=True, show_leaves=False)
        await told(here, peer, run_id)
        part = await peer.fetch(here.story.id)
        assert (part.uses, part.results) == ((), ())
        secret = part.keys.secret
        leaves = sorted([seed("other 1"), seed("x"), merkle.person_leaf(secret, here.story.id, 1)])
        node = here.nodes["hospital-c"]
        name = f"leaves/{merkle.root(leaves).hex()}"
        node.journal.put_state(name, node.spread.blobs.put(b"".join(leaves)))
        part = await peer.fetch(here.story.id)
        assert (len(part.uses), len(part.results)) == (1, 1)


async def test_false_mail_is_refused_and_blocks_nothing(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        run_id = await ran(here, peer, 1, used=True)
        box = keys.public(peer.vault.participation(here.story.id).keys.signing)
        journal = here.nodes["hospital-a"].journal
        journal.mail_put(box, b"garbage")
        await told(here, peer, run_id, name="model")
        await told(here, peer, run_id, number=7)
        await told(here, peer, run_id, run=seed("another run"))
        await told(here, peer, run_id, to=seed("somebody"))
        await told(here, peer, run_id, sealing=seed("another key"))
        await told(here, peer, run_id, output={"run": seed("another")})
        await told(here, peer, run_id, output={"name": "another"})
        await told(here, peer, run_id)
        await told(here, peer, run_id)
        part = await peer.fetch(here.story.id)
        assert len(part.results) == 1
        lines = [line for line in peer.vault.contents.diary if line.event == "mail refused"]
        assert len(lines) == 8
        assert journal.mail_list(box, 0, 10) == []


async def test_only_the_host_of_the_run_fills_mailboxes(tmp_path: Path) -> None:
    """Another candidate could fill one up, and so keep the true result out."""
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        run_id = await ran(here, peer, 1, used=True)
        await told(here, peer, run_id)
        journal = here.nodes["hospital-a"].journal
        box = keys.public(peer.vault.participation(here.story.id).keys.signing)
        ((number, item),) = journal.mail_list(box, 0, 10)
        journal.mail_delete(box, number)
        inbox = Inbox(here.nodes["hospital-a"].pipeline)
        delivery = shape.decode(Delivery, item, 2**20)
        for name in ("host-2", "sponsor"):
            sender = peer_id_of(keys.public(RINGS[name].node))
            assert await inbox.receive_all(here.story.id, [delivery], sender) == (0,)
        assert journal.mail_list(box, 0, 10) == []
        host = peer_id_of(keys.public(RINGS["host-1"].node))
        twice = [delivery, replace(delivery, number=2), delivery]
        assert await inbox.receive_all(here.story.id, twice, host) == (1,)
        assert len(journal.mail_list(box, 0, 10)) == 1


async def test_a_mailbox_without_end_is_left(tmp_path: Path, monkeypatch: Any) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        asked: list[int] = []

        def again(box: bytes, after: int, limit: int) -> list[tuple[int, bytes]]:
            asked.append(after)
            return [(1, b"garbage")] if len(asked) < 1000 else []

        def more(box: bytes, after: int, limit: int) -> list[tuple[int, bytes]]:
            asked.append(after)
            return [(after + 1, b"garbage")] if len(asked) < 1000 else []

        journal = here.nodes["hospital-a"].journal
        for lie in (again, more):
            asked.clear()
            monkeypatch.setattr(journal, "mail_list", lie)
            await peer.fetch(here.story.id)
            assert len(asked) < 100


async def test_a_result_of_a_run_without_the_share_is_refused(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        run_id = await ran(here, peer, 1, used=False)
        await told(here, peer, run_id)
        assert (await peer.fetch(here.story.id)).results == ()


async def test_looking_through_another_gateway_does_not_move_the_mailbox(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        other = here.nodes["hospital-b"]
        Gateway(other.pipeline, other.spread, other.session, other.transport)
        peer = await here.person()
        await peer.show(here.story.id, other.address)
        assert peer.vault.participation(here.story.id).address == other.address
        await give(peer, here, told=True)
        await peer.show(here.story.id, other.address)
        part = peer.vault.participation(here.story.id)
        assert (part.address, part.gateway) == (here.gateway_address, RINGS["hospital-a"].did)
        run_id = await ran(here, peer, 1, used=True)
        await told(here, peer, run_id)
        assert (await peer.fetch(here.story.id, other.address)).results == ()
        assert len((await peer.fetch(here.story.id)).results) == 1
        assert (await peer.withdraw(here.story.id, other.address)).state == "withdrawn"


async def test_receipts_need_a_consent_and_a_run(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await peer.show(here.story.id, here.gateway_address)
        with pytest.raises(Refused, match=r"consent\.missing"):
            peer.receipt(here.story.id)
        await give(peer, here)
        with pytest.raises(Refused, match=r"run\.proof"):
            peer.receipt(here.story.id)


async def test_a_vault_that_is_closed_and_opened_goes_on(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person("07")
        await give(peer, here)
        peer.vault.close()
        again = LightPeer(Vault.open(tmp_path / "vault-07", PASSPHRASE), here.connect)
        assert again.standings(here.story.id)[0].state == "in force"
        assert (await again.withdraw(here.story.id)).state == "withdrawn"
