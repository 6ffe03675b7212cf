"""The registrar's door: letters, credentials, admissions, and who is turned away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from node import people_wire as pw
from node.door import Bounds, Door
from node.registrar import DAY, Registrar
from node.talk import ask
from protocol import keys, token
from protocol.errors import Refused
from protocol.kinds.identity import Admission, PersonCredential
from tests.agreements import seed
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


def refusal(act: object, *args: object, **more: object) -> str:
    with pytest.raises(Refused) as caught:
        act(*args, **more)  # type: ignore[operator]
    return caught.value.code


@asynccontextmanager
async def open_registrar(folder: Path) -> AsyncIterator[Registrar]:
    async with village(folder) as here:
        yield here.registrar


async def test_a_code_works_once_and_only_a_digest_is_kept(tmp_path: Path) -> None:
    async with open_registrar(tmp_path) as registrar:
        code = registrar.enrol_new("row-224", "patient", 30)
        assert all(
            code.replace("-", "").encode() not in raw and code.encode() not in raw
            for raw in registrar.journal.states("registrar/").values()
        )
        credential = token.open_(enrol(registrar, code), "person", PersonCredential)
        assert (credential.body.key, credential.body.category) == (keys.public(BASE), "patient")
        # The same vault may ask again, as its answer may have been lost; nobody else may.
        enrol(registrar, code.lower().replace("-", " "))
        assert refusal(enrol, registrar, code, seed("thief")) == "enrolment.code"
        assert [letter.state for letter in registrar.enrolments()] == ["used"]


async def test_wrong_expired_and_foreign_codes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_registrar(tmp_path) as registrar:
        code = registrar.enrol_new("row-224", "patient", 1)
        assert refusal(enrol, registrar, "AAAAA-AAAAA-AAAAA-AAAAA") == "enrolment.code"
        other = pw.Enrol(code=code, proof=proof("AAAAA"))
        assert refusal(registrar.answer, other) == "credential.subject"
        whole = bytearray(proof(code))
        whole[-1] ^= 1
        broken = pw.Enrol(code=code, proof=bytes(whole))
        assert refusal(registrar.answer, broken).startswith(("record.", "codec."))
        now = registrar.enrolments()[0].until
        monkeypatch.setattr("node.registrar.time.time", lambda: now + 1)
        assert refusal(enrol, registrar, code) == "enrolment.code"
        assert registrar.enrolments()[0].state == "expired"


async def test_one_person_has_one_tag_whatever_the_key(tmp_path: Path) -> None:
    async with open_registrar(tmp_path) as registrar:
        credential = enrol(registrar, registrar.enrol_new("row-224", "patient", 30))
        first = admit(registrar, credential)
        second = admit(registrar, credential, key=seed("key 2"))
        assert (first.person, first.category, first.agreement) == ("row-224", "patient", AGREEMENT)
        assert first.tag == second.tag
        assert first.key != second.key
        elsewhere = admit(registrar, credential, agreement=seed("other"))
        assert elsewhere.tag != first.tag
        # A new letter for the same person: the same tag again, and the old vault is out.
        newer = enrol(registrar, registrar.enrol_new("row-224", "patient", 30), seed("new base"))
        assert admit(registrar, newer, seed("new base")).tag == first.tag
        assert refusal(admit, registrar, credential) == "credential.subject"
        stranger = enrol(registrar, registrar.enrol_new("row-228", "patient", 30), seed("b2"))
        assert admit(registrar, stranger, seed("b2")).tag != first.tag


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
        assert registrar.revoke("row-224")
        assert not registrar.revoke("row-999")
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
