"""Nodes elect a host that attests by a TPM: each asks twice, and believes no key without proof."""

import shutil
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from node import wire
from node.release import software
from protocol import shape
from protocol.attestation.evidence import VERSION, Binding, EvidenceBundle, binding_preimage
from protocol.kinds.host import EnclaveKeys
from tests.agreements import seed
from tests.attestation_rig_tpm import SOFTWARE, VALUES, TpmRig, style
from tests.attestation_x509 import ec_key, rsa_key
from tests.sim.admin_nodes import DEMO, candidacy, demo_cast
from tests.sim.nodes import eventually
from tests.sim.test_admin_story import PARTIES, in_force, publish
from tests.sim.test_advisory import election

HONEST = TpmRig(certificate=style(SOFTWARE), endorsement=rsa_key("software endorsement"))
FORGED = TpmRig(
    certificate=HONEST.certificate,
    endorsement=HONEST.endorsement,
    attestation=ec_key("a key in a file", ec.SECP256R1),
)
"""The same certificate, and a key that never was in its TPM."""


class Enclaves:
    """host-1 shows a key of its own making under a genuine certificate; host-2 has the TPM."""

    def __init__(self):
        self.rigs = {}
        self.asked = []

    async def offer(self, host, rig):
        me = host.node.keyring
        self.rigs[me.did] = rig
        (room,) = host.node.world.collaborations()
        body = candidacy(enclave(me.did), "swtpm", me.me.name)
        await host.node.pipeline.publish(room.id, "candidacy", body)

    async def answer(self, host, question, _seconds):
        """The enclave behind a host; only the real TPM opens credentials, for whoever asks it."""
        self.asked.append((host, question))
        binding = Binding(
            technology="swtpm",
            keys=enclave(host),
            host=host,
            requester=question.requester,
            agreement=question.agreement,
            term=question.term,
            nonce=question.nonce,
            software=software(),
        )
        made = self.rigs[host].produce(binding_preimage(binding))
        bundle = EvidenceBundle(
            version=VERSION,
            technology="swtpm",
            evidence=made.evidence,
            endorsements=made.endorsements,
            binding=binding,
        )
        secret = question.credential and HONEST.activate(question.credential)
        return wire.Evidence(bundle=shape.encode(bundle), secret=secret)


def enclave(host):
    return EnclaveKeys(signing=seed(f"enclave {host.hex()}"), sealing=bytes(1216))


def for_tpm(folder):
    """The demo's agreement, with a TPM in software in place of the simulation."""
    shutil.copytree(DEMO, folder)
    agreement = folder / "agreement.yaml"
    text = agreement.read_text()
    block = text[text.index("  simulated:") : text.index("  max_age: PT24H")]
    terms = (
        f'  swtpm:\n    accept: [{{ pcr11: "{VALUES[11].hex()}" }}]\n'
        f'    authorities: ["{HONEST.path[0].fingerprint.hex()}"]\n'
    )
    agreement.write_text(text.replace(block, terms))
    return agreement


def waiting(one, digest):
    found = next(one.node.world.negotiations(), None)
    return found is not None and digest in {v.digest.hex() for v in found.versions.values()}


@pytest.mark.soak
async def test_the_host_without_the_tpm_is_passed_over(tmp_path):
    agreement = for_tpm(tmp_path / "demo")
    async with demo_cast(tmp_path, policies={}) as cast:
        await publish(cast)
        made = await cast["sponsor"].call("agreement.propose", path=str(agreement))
        for name in set(PARTIES) - {"sponsor"}:  # no policy knows what a register should hold
            await eventually(partial(waiting, cast[name], made["digest"]))
            await cast[name].call("agreement.accept", digest=made["digest"][:8])
        await eventually(lambda: all(in_force(cast[n]) for n in (*PARTIES, "host-1", "host-2")))
        enclaves = Enclaves()
        for name in PARTIES:
            cast[name].node.effects.appraiser._ask = enclaves.answer
        await enclaves.offer(cast["host-1"], FORGED)
        await enclaves.offer(cast["host-2"], HONEST)
        await eventually(lambda: all(election(cast[name]).elected(1) for name in PARTIES))
        shown = await cast["sponsor"].call("host.show")
        assert (shown["host"], shown["technology"], shown["confidential"]) == (
            "host-2", "swtpm", False,
        )  # fmt: skip
        assert {one["activated"] for one in shown["verdicts"]} == {True}
        reasons = election(cast["sponsor"]).reasons()
        assert sorted(reasons.values()) == [[], ["evidence.binding"]]
        rounds = [question.credential is None for _, question in enclaves.asked]
        assert rounds.count(True) == rounds.count(False)
        nonces = [question.nonce for _, question in enclaves.asked]
        assert len(set(nonces)) == len(nonces)
