"""The enclave: its keys, its agreements, and the answer to each request of its host.

Both keys are made at boot and live in this process's memory only. A real TEE adds that the operator
cannot read that memory, and that its evidence is signed by the hardware; the code here is the same.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nacl.signing import SigningKey

from enclave_host import attest, measure, outputs
from enclave_host.attest import Attester
from enclave_host.computation import compute
from enclave_host.conduct import Conduct
from enclave_host.environment import Watched
from enclave_host.feed import Feed
from enclave_host.inputs import Datacage
from enclave_host.parties import read_agreement
from enclave_host.private import Room
from enclave_host.pump import Pump
from enclave_host.server import NONE, Descriptors
from enclave_host.session import Session
from enclave_host.shares import Vault
from protocol import enclave_wire as wire
from protocol import keys, limits
from protocol.attestation.evidence import Binding
from protocol.ceilings import agreed, beyond
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds.agreement import RunLimits, recipients_of
from protocol.kinds.host import EnclaveKeys
from protocol.sealing import wrap

AGREEMENTS: Final = 64
"""Agreements served at once."""


@dataclass(slots=True)
class Enclave:
    """One boot. `lock` guards all state; it is never held while a sandbox runs.

    `environments` maps the digest of an environment to the datacage that has it; `ceilings` are the
    most that the host lets a run use.
    """

    attester: Attester
    room: Room
    tier: str
    environments: Mapping[bytes, Datacage]
    ceilings: RunLimits = field(default_factory=RunLimits)
    seed: bytes = field(default_factory=lambda: bytes(SigningKey.generate()))
    vault: Vault = field(init=False)
    software: bytes = field(default_factory=measure.software)
    watched: Watched = field(default_factory=Watched)
    lock: threading.RLock = field(default_factory=threading.RLock)
    sessions: dict[bytes, Session] = field(default_factory=dict)
    conducts: dict[bytes, Conduct] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the sealing key of this boot."""
        sealing_seed = bytes(SigningKey.generate())
        public = EnclaveKeys(signing=keys.public(self.seed), sealing=wrap.public_key(sealing_seed))
        self.vault = Vault(public, sealing_seed)

    def answer(self, request: object, descriptors: Descriptors = NONE) -> object:
        """The answer to a request of protocol.enclave_wire. Raises Refused, and nothing else.

        Why something broke could hold data, so it is not told: `village-enclave doctor` finds out.
        """
        try:
            if isinstance(request, wire.ShareStream):
                return self.stream_share(request, descriptors)
            return _ANSWERS[type(request)](self, request)
        except Refused:
            raise
        except Exception as error:
            raise Refused("enclave.broken") from error

    # --- each request -------------------------------------------------------------------------

    def hello(self, _: wire.Hello) -> wire.HelloAnswer:
        """Who this is."""
        return wire.HelloAnswer(
            keys=self.vault.keys,
            technology=self.attester.technology,
            software=self.software,
            tier=self.tier,
            memory=self.room.capacity,
        )

    def attest(self, request: wire.Attest) -> wire.AttestAnswer:
        """Evidence for one verifier, bound to its nonce."""
        binding = Binding(
            technology=self.attester.technology,
            keys=self.vault.keys,
            host=request.host,
            requester=request.requester,
            agreement=request.agreement,
            term=request.term,
            nonce=request.nonce,
            software=self.software,
        )
        with self.lock:
            session = self._session(request.agreement)
            if request.host not in session.parties.hosts:
                raise Refused("host.candidate")
        # Not under the lock: hardware is slow, and heartbeats must not wait for it.
        bundle = attest.bundle(self.attester, binding)
        secret = None
        if request.credential is not None:
            secret = self.attester.activate(request.credential)
        judged = secret is not None or not self.attester.activates
        with self.lock:
            # What a run record names must be kept by somebody who judged it: a voter.
            if judged and request.requester in session.parties.members:
                session.evidence = hashlib.sha256(bundle).digest()
        return wire.AttestAnswer(bundle=bundle, secret=secret)

    def join(self, request: wire.Join) -> Done:
        """Learn an agreement, unless its runs may use more than the host allows; again is no harm.

        Before it is told this, no host offers itself.
        """
        parties = read_agreement(request.opening)
        over = beyond(parties.document, self.ceilings)
        if over:
            raise Refused("host.limits", "; ".join(over))
        for did in recipients_of(parties.document):
            outputs.check_recipient(parties.members[did].sealing)
        with self.lock:
            if parties.id not in self.sessions:
                if len(self.sessions) >= AGREEMENTS:
                    raise Refused("enclave.full", f"{AGREEMENTS} agreements")
                feed = Feed(self.seed, parties.id)
                technology = self.attester.technology
                session = Session(parties, self.vault, self.room, feed, technology)
                self.sessions[parties.id] = session
                self.conducts[parties.id] = Conduct(session)
        return Done()

    def introduce(self, request: wire.Introduce) -> Done:
        """Newer identities of those whom the agreement names."""
        with self.lock:
            self._session(request.agreement).parties.learn(request.identities)
        return Done()

    def provide(self, request: wire.Provide) -> Done:
        """Blobs by digest."""
        with self.lock:
            self._session(request.agreement).provide(request.blobs)
        return Done()

    def appoint(self, request: wire.Appoint) -> Done:
        """A term of office."""
        with self.lock:
            conduct = self._conduct(request.agreement)
            try:
                conduct.session.appoint(request)
            finally:
                conduct.leave_office()
        return Done()

    def beat(self, request: wire.Beat) -> wire.TokenAnswer:
        """A heartbeat."""
        with self.lock:
            conduct = self._conduct(request.agreement)
            conduct.require_works()
            return wire.TokenAnswer(token=conduct.session.beat(self.seed))

    def begin_share(self, request: wire.ShareBegin) -> wire.ShareReady:
        """A share's key."""
        with self.lock:
            return self._session(request.agreement).begin_share(request, self.environments)

    def feed_share(self, request: wire.ShareFrame) -> Done:
        """A share's frame."""
        with self.lock:
            intake = self._session(request.agreement).arriving(request.share)
        intake.feed(request.frame)  # may wait for the check: not under the lock
        return Done()

    def stream_share(self, request: wire.ShareStream, descriptors: Descriptors) -> wire.ShareSeen:
        """A share's frames from a descriptor."""
        if not descriptors.came:
            raise Refused("enclave.frame", "a source must come along")
        with self.lock:
            intake = self._session(request.agreement).arriving(request.share)
        source, store = (*descriptors.came, None)[:2]
        fault = None
        try:
            Pump(intake, source or 0, store, request.room, descriptors.connection).run()
        except Refused as refused:
            fault = refused.code
        opener = intake.opener
        return wire.ShareSeen(
            chunks=opener.chunks, chain=opener.chain, finished=opener.finished, fault=fault
        )

    def end_share(self, request: wire.ShareEnd) -> wire.Records:
        """A share's contract check and receipt; heartbeats go on meanwhile."""
        with self.lock:
            session = self._session(request.agreement)
            held = session.end_share(request.share)
            if held.receipt is not None or held.arrival is None:
                return wire.Records(records=(held.receipt or b"",))
            checking = held.arrival.checking
        try:
            checked = checking.end()
        except BaseException:
            with self.lock:
                session.give_back(held)
            raise
        with self.lock:
            return wire.Records(records=(session.keep_share(held, checked),))

    def forget(self, request: wire.Forget) -> Done:
        """Shares that the host erased."""
        with self.lock:
            self._session(request.agreement).forget(request.shares)
        return Done()

    def compare(self, request: wire.Compare) -> wire.Lacking:
        """Which stored shares are new here."""
        with self.lock:
            session = self._session(request.agreement)
            return wire.Lacking(shares=session.lacking(request.shares))

    def stop(self, request: wire.Stops) -> Done:
        """Withdrawals."""
        with self.lock:
            self._session(request.agreement).consents.tell(request.stops)
        return Done()

    def summon(self, request: wire.Summon) -> wire.Records:
        """A run's summons."""
        with self.lock:
            return wire.Records(records=(self._conduct(request.agreement).summon(request),))

    def prepare(self, request: wire.Prepare) -> wire.Prepared:
        """A run's checks."""
        with self.lock:
            conduct = self._conduct(request.agreement)
            datacage = conduct.session.environment(self.environments)
        found = self.watched.digest(datacage.environment)  # may read it all: not under the lock
        with self.lock:
            return conduct.prepare(request, datacage, found)

    def load(self, request: wire.Load) -> Done:
        """Stored frames."""
        with self.lock:
            self._conduct(request.agreement).load(request)
        return Done()

    def conclude(self, request: wire.Conclude) -> wire.Concluded:
        """A run's computation; heartbeats go on meanwhile."""
        with self.lock:
            conduct = self._conduct(request.agreement)
            task = conduct.begin_conclude(request.number)
            if isinstance(task, wire.Concluded):
                return task
        started = time.monotonic()
        try:
            finding = compute(task)
            _until_quantum(started, agreed(task.parties.document).quantum)
            with self.lock:
                return conduct.finish_conclude(task.asked, finding)
        except BaseException as error:
            with self.lock:
                conduct.abandon(task.asked, broken=not isinstance(error, Refused))
            raise

    def inherit(self, request: wire.Inherit) -> wire.Records:
        """The lineage's way to the standbys."""
        with self.lock:
            found = self._conduct(request.agreement).inheritance.inherit(request)
            return wire.Records(records=found)

    def release(self, request: wire.Release) -> wire.Released:
        """What a quorum let go."""
        with self.lock:
            conduct = self._conduct(request.agreement)
            return conduct.release(request.certificate, request.after)

    def carried(self, request: wire.Carried) -> Done:
        """What was released arrived."""
        with self.lock:
            self._conduct(request.agreement).forget_released(request.run)
        return Done()

    def feed(self, request: wire.Feed) -> wire.Records:
        """Own records again."""
        with self.lock:
            signed = self._session(request.agreement).feed.signed
            return wire.Records(records=tuple(signed[request.seq :][: limits.PUSH]))

    def _session(self, agreement: bytes) -> Session:
        if agreement not in self.sessions:
            raise Refused("topic.unknown", "Join comes first")
        return self.sessions[agreement]

    def _conduct(self, agreement: bytes) -> Conduct:
        self._session(agreement)
        return self.conducts[agreement]


def _until_quantum(started: float, quantum: int) -> None:
    """Wait for the next whole number of quanta (seconds) since the start: how long rows took to be
    computed says something about them.
    """
    time.sleep(-(time.monotonic() - started) % quantum)


_ANSWERS: Final[Mapping[type[Any], Callable[[Enclave, Any], object]]] = {
    wire.Hello: Enclave.hello,
    wire.Attest: Enclave.attest,
    wire.Join: Enclave.join,
    wire.Introduce: Enclave.introduce,
    wire.Provide: Enclave.provide,
    wire.Appoint: Enclave.appoint,
    wire.Beat: Enclave.beat,
    wire.ShareBegin: Enclave.begin_share,
    wire.ShareFrame: Enclave.feed_share,
    wire.ShareEnd: Enclave.end_share,
    wire.Forget: Enclave.forget,
    wire.Compare: Enclave.compare,
    wire.Stops: Enclave.stop,
    wire.Summon: Enclave.summon,
    wire.Prepare: Enclave.prepare,
    wire.Load: Enclave.load,
    wire.Conclude: Enclave.conclude,
    wire.Inherit: Enclave.inherit,
    wire.Release: Enclave.release,
    wire.Carried: Enclave.carried,
    wire.Feed: Enclave.feed,
}
"""Every request of wire.REQUESTS; a test compares the two."""
