"""How a node itself verifies an enclave: own nonce, own appraisal, nobody's word taken.

A nonce is made for one question and dies with its answer, or when NONCE seconds passed.
"""

import logging
import secrets
import time
from functools import partial

import trio

from node import wire
from node.challenge import Answered, challenge
from node.net.transport import Transport, TransportError
from node.pipeline import Pipeline
from node.store.blobs import Blobs
from node.talk import ask
from protocol import limits
from protocol.attestation.appraise import Appraisal, appraise
from protocol.attestation.evidence import Binding
from protocol.errors import Refused
from protocol.kinds.host import Candidacy, Verdict
from protocol.machines.agreement import Collaboration

log = logging.getLogger("village.appraisal")


class Appraiser:
    """Challenges candidates of agreements and judges their answers."""

    def __init__(self, pipeline: Pipeline, blobs: Blobs, transport: Transport) -> None:
        """Judge for the participant of `pipeline`; bundles are kept in `blobs`."""
        self.pipeline = pipeline
        self.blobs = blobs
        self.transport = transport

    async def verify(self, collaboration: Collaboration, candidacy: bytes, term: int) -> Verdict:
        """The verdict of this node on one candidate, by a nonce that is used for nothing else."""
        record, offer = collaboration.election.candidacies[candidacy]
        nonce, asked = secrets.token_bytes(32), trio.current_time()
        question = wire.Challenge(
            agreement=collaboration.id,
            requester=self.pipeline.world.me.did,
            term=term,
            nonce=nonce,
        )
        answer = await challenge(partial(self._ask, record.author), offer.technology, question)
        in_time = trio.current_time() - asked < limits.NONCE
        expected = Binding(
            technology=offer.technology,
            keys=offer.enclave,
            host=record.author,
            requester=self.pipeline.world.me.did,
            agreement=collaboration.id,
            term=term,
            nonce=nonce,
            software=offer.software,
        )
        now, election = int(time.time()), collaboration.election
        collaboration.election.heed(self.pipeline.world.ground(collaboration.document.space))
        found = None
        if answer is not None and in_time:
            found = appraise(
                answer.bundle,
                election.policy,
                expected,
                now,
                advisories=election.ground.advisories,
                activated=answer.activated is True,
            )
            await trio.to_thread.run_sync(self.blobs.put, answer.bundle)
        activated = answer.activated if answer is not None else None
        return _verdict(record.id, offer, expected, election.policy_digest, found, activated, now)

    async def _ask(self, host: bytes, question: wire.Challenge, seconds: float) -> Answered:
        """One round with the enclave behind a node of `host`; None if it cannot be reached."""
        for peer in self.pipeline.world.peers_of(host):
            try:
                return await ask(
                    self.transport,
                    peer,
                    wire.ENCLAVE,
                    wire.ENCLAVE_WIRE,
                    question,
                    wire.Evidence,
                    seconds=seconds,
                )
            except (TransportError, Refused, trio.TooSlowError) as error:
                log.info("challenge of %s: %r", peer, error)
        return None


def _verdict(
    candidacy: bytes,
    offer: Candidacy,
    expected: Binding,
    policy: bytes,
    found: Appraisal | None,
    activated: bool | None,
    now: int,
) -> Verdict:
    return Verdict(
        candidacy=candidacy,
        term=expected.term,
        eligible=found is not None and found.accepted,
        reasons=found.reasons if found is not None else ("host.unreachable",),
        technology=offer.technology,
        nonce=expected.nonce,
        evidence=found.digest if found is not None else None,
        policy=policy,
        measured=found.measured if found is not None else None,
        activated=activated,
        at=now,
        until=found.valid_until if found is not None else now,
    )
