"""The registrar's door: letters, credentials, admissions, and who is turned away."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from node import people_wire as pw
from node.codes import make
from node.door import Bounds, Door
from node.happenings import Happenings
from node.net.memory import memory_network
from node.net.peer_id import peer_id_of
from node.pipeline import Pipeline
from node.registrar import DAY, Registrar
from node.store.journal import Journal
from node.talk import ask
from node.world import World
from protocol import keys, token
from protocol.errors import Refused
from protocol.identity import History
from protocol.kinds.consent import StopRight
from protocol.kinds.identity import Admission, PersonCredential
from tests.agreements import Actor, renewed, seed
from tests.people_rig import Village, village
from tests.people_story import RINGS

BASE = seed("base")
AGREEMENT = seed("agreement")
DID = RINGS["registrar"].did


def proof(code: str, base: bytes = BASE) -> bytes:
    return token.sign(base, "enrolment", pw.EnrolmentProof(code=pw.code_digest(code)))


def enrol(registrar: Registrar, code: str, base: bytes = BASE) -> bytes:
    answer = registrar.answer(pw.Enrol(code=code, proof=proof(code, base)))
    assert isinstance(answer, pw.Credentialed)
    return answer.credential


def admit(
    registrar: Registrar, credential: bytes, base: bytes = BASE, /, **changes: object
) -> Admission:
    request = pw.AdmissionRequest(registrar=DID, agreement=AGREEMENT, key=seed("key 1"))
    signed = token.sign(base, "admission-request", replace(request, **changes))
    answer = registrar.answer(pw.Admit(credential=credential, request=signed))
    assert isinstance(answer, pw.Admitted)
    found = token.open_(answer.admission, "admission", Admission)
    assert found.key == RINGS["registrar"].me.vote_key
    return found.body


def states(registrar: Registrar) -> list[str]:
    return [one.state(int(time.time())) for one in registrar.enrolments.letters()]


def refusal(act: object, *args: object, **more: object) -> str:
    with pytest.raises(Refused) as caught:
        act(*args, **more)  # type: ignore[operator]
    return caught.value.code


@asynccontextmanager
async def open_registrar(folder: Path) -> AsyncIterator[Registrar]:
    """A registrar alone: no space, no agreement, no other node."""
    (folder / "node").mkdir(mode=0o700)
    journal = Journal.open(folder / "node" / "journal.db")
    ring = RINGS["registrar"]
    async with memory_network() as network:
        pipeline = Pipeline(journal, ring, World(ring.me), Happenings())
        yield Registrar(pipeline, network.join(peer_id_of(keys.public(ring.node))))
    journal.close()


async def test_a_code_works_once_and_only_a_digest_is_kept(tmp_path: Path) -> None:
    async with open_registrar(tmp_path) as registrar:
        code = registrar.enrol_new("row-224", "patient", 30)
        assert all(
            code.replace("-", "").encode() not in raw and code.encode() not in raw
            for raw in registrar.pipeline.journal.states("registrar/").values()
        )
        credential = token.open_(enrol(registrar, code), "person", PersonCredential)
        assert (credential.body.key, credential.body.category) == (keys.public(BASE), "patient")
        # The same vault may ask again, as its answer may have been lost; nobody else may.
        enrol(registrar, code.lower().replace("-", " "))
        assert refusal(enrol, registrar, code, seed("thief")) == "enrolment.code"
        assert states(registrar) == ["used"]
        assert registrar.enrolments.counts(0)["refused"] == 1


async def test_wrong_expired_and_foreign_codes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_registrar(tmp_path) as registrar:
        code = registrar.enrol_new("row-224", "patient", 1)
        assert refusal(enrol, registrar, make(bytes(16))) == "enrolment.code"
        other = pw.Enrol(code=code, proof=proof("AAAAA"))
        assert refusal(registrar.answer, other) == "credential.subject"
        whole = bytearray(proof(code))
        whole[-1] ^= 1
        broken = pw.Enrol(code=code, proof=bytes(whole))
        assert refusal(registrar.answer, broken).startswith(("record.", "codec."))
        now = registrar.enrolments.letters()[0].until
        monkeypatch.setattr("node.registrar.time.time", lambda: now + 1)
        assert refusal(enrol, registrar, code) == "enrolment.code"
        assert states(registrar) == ["expired"]


async def test_one_person_has_one_tag_and_one_key_in_an_agreement(tmp_path: Path) -> None:
    async with open_registrar(tmp_path) as registrar:
        credential = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
        first = admit(registrar, credential)
        assert (first.person, first.category, first.agreement) == ("row-224", "patient", AGREEMENT)
        assert admit(registrar, credential) == first
        assert refusal(admit, registrar, credential, key=seed("key 2")) == "person.duplicate"
        elsewhere = admit(registrar, credential, agreement=seed("other"), key=seed("key 2"))
        assert elsewhere.tag != first.tag
        # A new letter for the same person, and even a new vault: no second key.
        newer = enrol(registrar, registrar.enrol_new("row-224", "patient", 30), seed("new base"))
        again = seed("new base")
        assert refusal(admit, registrar, newer, again, key=seed("key 3")) == "person.duplicate"
        assert admit(registrar, newer, again) == first
        assert refusal(admit, registrar, credential) == "credential.subject"
        stranger = enrol(registrar, registrar.enrol_new("row-228", "patient", 30), seed("b2"))
        other = admit(registrar, stranger, seed("b2"), key=seed("key 4"))
        assert other.tag != first.tag


async def test_two_codes_of_one_person_give_one_admission(tmp_path: Path) -> None:
    async with open_registrar(tmp_path) as registrar:
        codes = [registrar.enrol_new("row-224", "patient", 30) for _ in range(2)]
        bases = [seed("base a"), seed("base b")]
        one, two = (enrol(registrar, c, b) for c, b in zip(codes, bases, strict=True))
        assert refusal(admit, registrar, one, bases[0], key=seed("a")) == "credential.subject"
        admit(registrar, two, bases[1], key=seed("b"))
        # The older vault comes back by the code that it used: the newer one is in its place.
        assert refusal(enrol, registrar, codes[0], bases[0]) == "credential.subject"
        third = enrol(registrar, registrar.enrol_new("row-224", "patient", 30), bases[0])
        assert refusal(admit, registrar, third, bases[0], key=seed("a")) == "person.duplicate"


async def test_requests_at_once_admit_one_key(tmp_path: Path) -> None:
    """Twenty vaults with one person's credential, from threads: one key wins, for ever."""
    async with open_registrar(tmp_path) as registrar:
        credential = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
        won: list[bytes] = []
        lost: list[str] = []

        def race(number: int) -> None:
            try:
                won.append(admit(registrar, credential, key=seed(f"key {number}")).key)
            except Refused as error:
                lost.append(error.code)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(trio.to_thread.run_sync, race, number)
        assert (len(won), lost) == (1, ["person.duplicate"] * 19)
        assert admit(registrar, credential, key=won[0]).key == won[0]


async def test_one_code_at_once_enrols_one_vault(tmp_path: Path) -> None:
    async with open_registrar(tmp_path) as registrar:
        code = registrar.enrol_new("row-224", "patient", 30)
        won: list[bytes] = []
        lost: list[str] = []

        def race(number: int) -> None:
            try:
                won.append(enrol(registrar, code, seed(f"base {number}")))
            except Refused as error:
                lost.append(error.code)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(trio.to_thread.run_sync, race, number)
        assert (len(won), lost) == (1, ["enrolment.code"] * 19)


async def test_killed_before_the_answer_the_admission_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with village(tmp_path) as here:
        credential = enrol(here.registrar, here.registrar.enrol_new("row-224", "patient", 30))
        monkeypatch.setattr(Registrar, "_admission", _die)
        with pytest.raises(KeyboardInterrupt):
            admit(here.registrar, credential)
        monkeypatch.undo()
        again = Registrar(here.nodes["registrar"].pipeline, here.nodes["registrar"].transport)
        assert refusal(admit, again, credential, key=seed("key 2")) == "person.duplicate"
        assert admit(again, credential).key == seed("key 1")


def _die(*_: object) -> None:
    raise KeyboardInterrupt


async def test_a_restored_database_gives_the_same_tag(tmp_path: Path) -> None:
    """What was admitted since the backup is forgotten; the enclave still counts one tag once."""
    async with open_registrar(tmp_path) as registrar:
        credential = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
        before = registrar.pipeline.journal.states("registrar/")
        first = admit(registrar, credential)
        for name in registrar.pipeline.journal.states("registrar/").keys() - before.keys():
            registrar.pipeline.journal.delete_state(name)
        second = admit(registrar, credential, key=seed("key 2"))
        assert second.tag == first.tag


async def test_a_request_cannot_be_played_again_elsewhere(tmp_path: Path) -> None:
    """What the registrar hears of one person is worth nothing with another's credential."""
    async with open_registrar(tmp_path) as registrar:
        one = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
        two = enrol(registrar, registrar.enrol_new("row-228", "patient", 30), seed("b2"))
        body = pw.AdmissionRequest(registrar=DID, agreement=AGREEMENT, key=seed("key 1"))
        overheard = token.sign(BASE, "admission-request", body)
        request = pw.Admit(credential=two, request=overheard)
        assert refusal(registrar.answer, request) == "credential.subject"
        assert registrar.answer(pw.Admit(credential=one, request=overheard)) is not None


async def test_the_admission_brings_the_right_to_stop(tmp_path: Path) -> None:
    async with open_registrar(tmp_path) as registrar:
        credential = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
        asked = pw.AdmissionRequest(registrar=DID, agreement=AGREEMENT, key=seed("key 1"))
        request = token.sign(BASE, "admission-request", asked)
        answer = registrar.answer(pw.Admit(credential=credential, request=request))
        assert isinstance(answer, pw.Admitted)
        right = token.open_(answer.right, "stop-right", StopRight)
        assert right.key == RINGS["registrar"].me.vote_key
        assert right.body == StopRight(agreement=AGREEMENT, key=seed("key 1"))
        assert b"row-224" not in answer.right


async def test_who_has_a_letter_needs_no_other_once_the_registrar_rotated_its_key(
    tmp_path: Path,
) -> None:
    """Unless the key was stolen: then its letters are worth nothing."""
    ring = RINGS["registrar"]
    for reason, code in (("rotated", None), ("stolen", "credential.issuer")):
        folder = tmp_path / reason
        folder.mkdir()
        async with open_registrar(folder) as registrar:
            credential = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
            pins = None if reason == "rotated" else ()
            newer = renewed(
                Actor("registrar", seed("root registrar"), ring.record, ring.me),
                seed("new key"),
                reason,  # type: ignore[arg-type]
                pins,
            )
            known = SimpleNamespace(histories={DID: History.of(ring.me, newer.participant)})
            registrar.pipeline.world.rooms[b""] = SimpleNamespace(machine=known)  # type: ignore[assignment]
            registrar.keyring = replace(ring, record=seed("new key"), me=newer.participant)
            if code is None:
                request = pw.AdmissionRequest(registrar=DID, agreement=AGREEMENT, key=seed("k"))
                signed = token.sign(BASE, "admission-request", request)
                answer = registrar.answer(pw.Admit(credential=credential, request=signed))
                found = token.open_(answer.admission, "admission", Admission)  # type: ignore[attr-defined]
                assert found.key == keys.public(seed("new key"))
            else:
                assert refusal(admit, registrar, credential) == code


async def test_admission_needs_the_base_key_a_true_credential_and_this_registrar(
    tmp_path: Path,
) -> None:
    async with open_registrar(tmp_path) as registrar:
        credential = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
        assert refusal(admit, registrar, credential, seed("thief")) == "credential.subject"
        assert refusal(admit, registrar, credential, registrar=seed("x")) == "credential.subject"
        body = PersonCredential(key=keys.public(BASE), category="patient", until=2**39)
        forged = token.sign(seed("forger"), "person", body)
        assert refusal(admit, registrar, forged) == "credential.issuer"
        waiting = registrar.enrol_new("row-224", "patient", 30)
        assert registrar.enrolments.revoke("row-224", 0) is not None
        assert registrar.enrolments.revoke("row-999", 0) is None
        # A letter that was not used yet does not bring the person back.
        assert refusal(enrol, registrar, waiting, seed("b2")) == "enrolment.code"
        assert refusal(admit, registrar, credential) == "credential.expired"


async def test_a_credential_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_registrar(tmp_path) as registrar:
        credential = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
        until = token.open_(credential, "person", PersonCredential).body.until
        monkeypatch.setattr("node.registrar.time.time", lambda: until + DAY)
        assert refusal(admit, registrar, credential) == "credential.expired"


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        code = here.registrar.enrol_new("row-224", "patient", 30)
        credential = enrol(here.registrar, code)
        before = admit(here.registrar, credential)
        node = here.nodes["registrar"]
        again = Registrar(node.pipeline, node.transport)
        assert admit(again, credential) == before


async def call(here: Village, frames: list[bytes]) -> list[bytes]:
    """The answers to raw frames of a stranger; the stream may end before the last."""
    async with here.connect(seed("stranger")) as transport:
        peer = await transport.dial(here.registrar_address)
        stream = await transport.open(peer, pw.REGISTRAR)
        answers = []
        for frame in frames:
            await stream.send(frame)
            answers.append(await stream.receive())
        return answers


async def test_garbage_is_answered_and_the_next_person_is_served(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        frames = [b"", b"\xff" * 100, b"\xa1bop", pw.REGISTRAR_WIRE.pack_answer(pw.Greet())]
        for answer in await call(here, frames):
            with pytest.raises(Refused):
                pw.REGISTRAR_WIRE.read_answer(answer, pw.Credentialed)
        code = here.registrar.enrol_new("row-224", "patient", 30)
        async with here.connect(seed("node")) as transport:
            peer = await transport.dial(here.registrar_address)
            request = pw.Enrol(code=code, proof=proof(code))
            answer = await ask(
                transport, peer, pw.REGISTRAR, pw.REGISTRAR_WIRE, request, pw.Credentialed
            )
        assert answer.registrar == RINGS["registrar"].me.raw


async def test_an_oversized_frame_ends_the_stream_only(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        with pytest.raises(Exception, match=r"ended|broken"):
            await call(here, [b"\x00" * (pw.REGISTRAR_FRAME + 1)])
        await here.person()


async def test_who_asks_too_fast_waits_and_is_then_refused(autojump_clock: object) -> None:
    bounds = Bounds(streams=1, all_streams=2, requests=1, burst=2, bytes=100, bytes_burst=1000)
    door = Door(bounds)
    for _ in range(7):
        await door.request("a", 1)
    with pytest.raises(Refused, match=r"door\.busy"):
        await door.request("a", 100_000)
    await door.request("b", 1)
    with door.stream("a"):
        with pytest.raises(Refused), door.stream("a"):
            raise AssertionError
        with door.stream("b"), pytest.raises(Refused), door.stream("c"):
            raise AssertionError
    with door.stream("a"), door.stream("c"):
        pass
