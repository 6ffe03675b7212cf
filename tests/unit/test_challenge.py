"""A node's challenge: one round, or two where the machine must prove that it holds its keys."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from node import wire
from node.appraisal import Appraiser
from node.challenge import ROUND_TIME, SLOW_ROUND_TIME, Answer, challenge
from node.host import Host
from protocol import enclave_wire, shape
from protocol.attestation.evidence import VERSION, EvidenceBundle, binding_preimage
from protocol.kinds.attestation import Attestation
from tests.attestation_rig_tpm import TpmRig
from tests.unit.test_tpm import CURVED, RIG, binding

QUESTION = wire.Challenge(agreement=bytes(32), requester=bytes(32), term=1, nonce=b"n" * 32)


class Enclave:
    """Answers challenges by a TPM; `broken` says at which round it is not reached."""

    def __init__(self, rig: TpmRig = RIG, broken: int | None = None) -> None:
        self.rig, self.broken = rig, broken
        self.asked: list[wire.Challenge] = []
        self.waited: list[float] = []

    async def ask(self, question: wire.Challenge, seconds: float) -> wire.Evidence | None:
        self.asked.append(question)
        self.waited.append(seconds)
        if len(self.asked) == self.broken:
            return None
        return self.answer(question)

    def answer(self, question: wire.Challenge) -> wire.Evidence:
        secret = None if question.credential is None else self.activate(question.credential)
        return wire.Evidence(bundle=self.bundle(question), secret=secret)

    def activate(self, credential: bytes) -> bytes | None:
        return self.rig.activate(credential)

    def bundle(self, question: wire.Challenge) -> bytes:
        bound = replace(binding(), nonce=question.nonce)
        made = self.rig.produce(binding_preimage(bound))
        return shape.encode(
            EvidenceBundle(
                version=VERSION,
                technology="tpm",
                evidence=made.evidence,
                endorsements=made.endorsements,
                binding=bound,
            )
        )


async def test_one_round_where_certificates_prove_it() -> None:
    enclave = Enclave()
    answer = await challenge(enclave.ask, "sev-snp", QUESTION)
    assert answer == Answer(enclave.bundle(QUESTION), activated=None)
    assert (enclave.asked, enclave.waited) == ([QUESTION], [ROUND_TIME])
    assert await challenge(Enclave(broken=1).ask, "nitro", QUESTION) is None


async def test_two_rounds_for_a_tpm_and_the_second_is_judged() -> None:
    enclave = Enclave()
    answer = await challenge(enclave.ask, "tpm", QUESTION)
    assert answer == Answer(enclave.bundle(QUESTION), activated=True)
    first, second = enclave.asked
    assert first.credential is None
    assert replace(first, nonce=QUESTION.nonce) == replace(second, credential=None) == QUESTION
    assert first.nonce != second.nonce  # a nonce is used once
    assert enclave.waited == [SLOW_ROUND_TIME] * 2


async def test_each_challenge_has_another_secret() -> None:
    enclave = Enclave()
    for _ in range(2):
        await challenge(enclave.ask, "swtpm", QUESTION)
    secrets = {RIG.activate(one.credential) for one in enclave.asked if one.credential}
    assert len(secrets) == 2


async def test_an_enclave_that_vanishes_is_not_reached() -> None:
    for round_ in (1, 2):
        assert await challenge(Enclave(broken=round_).ask, "tpm", QUESTION) is None


async def test_who_cannot_open_the_credential_proved_nothing() -> None:
    for secret in (None, bytes(32), b""):
        enclave = Enclave()
        enclave.activate = lambda _, secret=secret: secret  # type: ignore[method-assign]
        answer = await challenge(enclave.ask, "tpm", QUESTION)
        assert answer is not None
        assert answer.activated is False


async def test_other_keys_in_the_second_round_prove_nothing() -> None:
    """The relay: an honest TPM opens the credential, another one's evidence is shown."""
    enclave, honest = Enclave(), RIG.activate

    def answer(question: wire.Challenge) -> wire.Evidence:
        if question.credential is None:
            return Enclave.answer(enclave, question)
        shown = Enclave(CURVED).bundle(question)
        return wire.Evidence(bundle=shown, secret=honest(question.credential))

    enclave.answer = answer  # type: ignore[method-assign]
    found = await challenge(enclave.ask, "tpm", QUESTION)
    assert found is not None
    assert found.activated is False


async def test_evidence_that_cannot_be_read_is_judged_as_it_is() -> None:
    enclave = Enclave()
    enclave.bundle = lambda _: b"no bundle"  # type: ignore[method-assign]
    assert await challenge(enclave.ask, "tpm", QUESTION) == Answer(b"no bundle", activated=False)
    assert len(enclave.asked) == 1


# --- a voter's verdict, and the host's relay -----------------------------------------------------


def voter(enclave: Enclave) -> tuple[Appraiser, SimpleNamespace]:
    """A voter whose network is `enclave`, and an agreement whose policy names its TPM."""
    bound = binding()
    offer = SimpleNamespace(technology="tpm", enclave=bound.keys, software=bound.software)
    election = SimpleNamespace(
        candidacies={b"c" * 32: (SimpleNamespace(id=b"c" * 32, author=bound.host), offer)},
        policy=Attestation(max_age=3600, tpm=RIG.terms()),
        policy_digest=bytes(32),
        ground=SimpleNamespace(advisories=()),
        heed=lambda _: None,
    )
    document = SimpleNamespace(space=bytes(32))
    agreement = SimpleNamespace(id=bound.agreement, election=election, document=document)
    world = SimpleNamespace(me=SimpleNamespace(did=bound.requester), ground=lambda _: None)
    found = Appraiser(
        SimpleNamespace(world=world),  # type: ignore[arg-type]
        SimpleNamespace(put=lambda _: None),  # type: ignore[arg-type]
        SimpleNamespace(),  # type: ignore[arg-type]
    )

    async def ask(_host: bytes, question: wire.Challenge, seconds: float) -> wire.Evidence | None:
        return await enclave.ask(question, seconds)

    found._ask = ask  # type: ignore[method-assign]
    return found, agreement


@pytest.mark.parametrize(
    ("activate", "reasons"), [(RIG.activate, ()), (lambda _: None, ("evidence.binding",))]
)
async def test_a_verdict_says_whether_the_credential_was_opened(activate, reasons) -> None:
    enclave = Enclave()
    enclave.activate = activate  # type: ignore[method-assign]
    appraiser, agreement = voter(enclave)
    verdict = await appraiser.verify(agreement, b"c" * 32, 1)  # type: ignore[arg-type]
    assert (verdict.reasons, verdict.eligible) == (reasons, not reasons)
    assert verdict.activated is not bool(reasons)
    assert verdict.nonce == enclave.asked[1].nonce
    assert abs(verdict.at - time.time()) < 60


async def test_a_tpm_that_vanishes_is_unreachable() -> None:
    appraiser, agreement = voter(Enclave(broken=2))
    verdict = await appraiser.verify(agreement, b"c" * 32, 1)  # type: ignore[arg-type]
    assert (verdict.reasons, verdict.activated) == (("host.unreachable",), None)


async def test_the_hosts_node_carries_credential_and_secret() -> None:
    asked = []

    async def ask(request: enclave_wire.Attest, _: object) -> enclave_wire.AttestAnswer:
        asked.append(request)
        return enclave_wire.AttestAnswer(bundle=b"evidence", secret=b"secret")

    world = SimpleNamespace(
        me=SimpleNamespace(did=b"h" * 32),
        collaboration=lambda _: SimpleNamespace(parties={}),
        owners_of=lambda _: frozenset(),
    )
    host = SimpleNamespace(world=world, link=SimpleNamespace(ask=ask))
    question = replace(QUESTION, credential=b"credential")
    answer = await Host._challenge(host, question, "a stranger")  # type: ignore[arg-type]
    assert answer == wire.Evidence(bundle=b"evidence", secret=b"secret")
    assert (asked[0].credential, asked[0].nonce) == (b"credential", QUESTION.nonce)
