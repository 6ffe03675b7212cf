"""Frames between a host's node and its enclave runtime: fixed kinds, nothing else crosses.

A frame is a 4-byte big-endian length and deterministic CBOR {"op": name, "body": document}. The
node asks, the enclave answers with exactly one frame: {"op": "answer", ...} or {"op": "refused",
...}. The same frames run over a unix socket here and over vsock in a TEE guest. The enclave trusts
none of what it is sent: every document is a signed record, token or certificate that it checks
itself.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from protocol import limits
from protocol.dialogue import Dialogue
from protocol.kinds.host import EnclaveKeys
from protocol.kinds.run import Delivery, Raw
from protocol.kinds.share import WrapBytes
from protocol.kinds.space import RawRecord
from protocol.shape import Count, Hash, Key, Max, Name

Frame = Annotated[bytes, Max(limits.FRAME)]
Blob = Annotated[bytes, Max(limits.BLOB)]
Evidence = Annotated[bytes, Max(limits.EVIDENCE)]
Credential = Annotated[bytes, Max(limits.CREDENTIAL)]
Secret = Annotated[bytes, Max(64)]
Shares = Annotated[tuple[Hash, ...], Max(limits.SHARES)]
"""Ids of shares: of all that an agreement may have."""

Wraps = Annotated[tuple[WrapBytes, ...], Max(limits.HEIRS)]
"""The key of a sealed lineage, wrapped to this enclave: by one enclave, or by several."""

FRAME_LIMIT: Final = limits.BLOB + limits.FRAME
"""The largest frame: a blob (algorithm bundle, sealed lineage) with its envelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who are you? -> HelloAnswer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloAnswer:
    """The enclave's public face: keys of this boot, technology, measurement, sandbox tier."""

    keys: EnclaveKeys
    technology: Name
    software: Hash
    tier: Name
    memory: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Attest:
    """A verifier's challenge -> AttestAnswer. The enclave binds all of it into its evidence, but
    for the `credential`: that is for a TPM to open.
    """

    agreement: Hash
    host: Key
    requester: Key
    term: Count
    nonce: Hash
    credential: Credential | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestAnswer:
    """The evidence bundle (protocol.attestation.evidence), at most limits.EVIDENCE bytes, and the
    secret in the challenge's credential.
    """

    bundle: Evidence
    secret: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Learn an agreement: its opening (document and all signatures) -> Done."""

    opening: Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduce:
    """Identity records of parties and candidates that are newer than the agreement -> Done."""

    agreement: Hash
    identities: tuple[RawRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provide:
    """Blobs that the agreement names by digest (bundle, contracts, schemas) -> Done."""

    agreement: Hash
    blobs: tuple[Blob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Appoint:
    """The election certificate for this enclave's term -> Done. A lower term is refused after.

    `host` and `standbys` are the raw candidacy records that the appointment names, in its order:
    they hold the keys to which the lineage is sealed.
    """

    agreement: Hash
    certificate: Frame
    host: Raw
    standbys: tuple[Raw, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """An earlier term: its election certificate, and the raw candidacy of its host."""

    certificate: Frame
    host: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """-> Token: a heartbeat for the term this enclave holds."""

    agreement: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """A raw token signed by the enclave."""

    token: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareBegin:
    """Start or go on with a share. `share` is the owner's record (party), or a SealedEnvelope's
    content for this enclave (person; `person` is set). `rewraps` are the owner's raw rewrap
    records, for an enclave to which the share was not wrapped when it was sealed. `stored` says
    that all frames are stored at the host (after a fail-over): the share is then used without an
    upload. -> ShareReady.
    """

    agreement: Hash
    share: Frame
    person: bool
    rewraps: tuple[Raw, ...] = ()
    stored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareReady:
    """The share's id and the owner's key; frames follow as ShareFrame with this id. A sender that
    resumes goes on at chunk `chunks` with chain value `chain` (protocol.sealing.stream).
    """

    share: Hash
    owner: Key
    chunks: Count
    chain: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareFrame:
    """One stream frame (protocol.sealing.stream) -> Done once it verified."""

    agreement: Hash
    share: Hash
    frame: Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareStream:
    """Frames from a descriptor that comes along: each behind its length (4 bytes, big endian). A
    second descriptor is where verified frames are written, at most `room` bytes; the first alone
    replays what is stored -> ShareSeen, at the final frame, the end of the source, or a full store.
    """

    agreement: Hash
    share: Hash
    room: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSeen:
    """How far a share is: chunks verified, chain digest, and whether the final frame was seen.
    `fault` is the code of what ended it before: a bad frame, or a store that takes no more.
    """

    chunks: Count
    chain: Hash
    finished: bool
    fault: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareEnd:
    """All frames sent -> Records: the receipt (after the contract check in the sandbox)."""

    agreement: Hash
    share: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """The host erased these shares: drop their keys and what is open of them -> Done."""

    agreement: Hash
    shares: tuple[Hash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """The host has these shares stored, receipts and all -> Lacking: those that the enclave must be
    shown by ShareBegin, for it has no key of them. Of many shares the host asks several times.
    """

    agreement: Hash
    shares: tuple[Hash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """The shares that are new to this enclave."""

    shares: tuple[Hash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """Raw stop tokens that the statements of a run name -> Done."""

    agreement: Hash
    stops: tuple[Raw, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summon:
    """Begin run `number` for the raw order record -> Records: the summons."""

    agreement: Hash
    number: Count
    order: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherit:
    """The certificates of all runs, in order, and the newest sealed lineage whose key is wrapped to
    this enclave, or none -> Records: a `bequest` for the standbys, or that it is `lost`.
    """

    agreement: Hash
    runs: tuple[Frame, ...]
    lineage: Blob | None = None
    wraps: Wraps = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """The statements -> Prepared: all checks before anything opens (statements, stops, consents,
    digests, budget). What fails is answered as a refusal: nothing has started, the number stays.

    `runs` are the certificates of all runs so far, in order; `lineage` the blob that the newest
    released one names, `wraps` its key. `terms` are the earlier terms whose run records the
    statements show, and `leaves` the leaves of the newest such record: what it used is chosen again
    by them.
    """

    agreement: Hash
    number: Count
    statements: tuple[Raw, ...]
    lineage: Blob | None = None
    wraps: Wraps = ()
    runs: tuple[Frame, ...] = ()
    terms: tuple[Predecessor, ...] = ()
    leaves: Blob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """`shares` whose stored frames the host must now replay by Load; `started` is the raw started
    record. `adopted` is the id of the run record of an earlier term that is adopted.
    """

    shares: Shares
    started: Raw
    adopted: Hash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrame:
    """One frame of a stored share; the last has `end`."""

    share: Hash
    frame: Frame
    end: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Replay of frames of stored shares for the run -> Done. Those of one share come in order; of
    small shares many come at once.
    """

    agreement: Hash
    number: Count
    frames: tuple[StoredFrame, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclude:
    """Run the algorithm and the gate -> Concluded."""

    agreement: Hash
    number: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    """The raw run record; `leaves` (sorted 32-byte leaves, concatenated) and the sealed lineage
    are blobs for the host to store: their digests stand in the run record. `bequest` is the raw
    record that wraps the lineage's key: it comes before the run record in the enclave's feed.
    """

    run: Raw
    leaves: Blob
    lineage: Blob | None = None
    bequest: Raw | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The run certificate (q votes) -> Released: the deliveries from the place `after` on."""

    agreement: Hash
    certificate: Frame
    after: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Sealed outputs to carry to their recipients, as many as fit into a page; the same again when
    asked again. `more`: others follow.
    """

    deliveries: tuple[Delivery, ...]
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """All that was released of a run record arrived: the enclave may forget it -> Done."""

    agreement: Hash
    run: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Raw records of the enclave's own feed in the agreement's topic, to be published in order."""

    records: tuple[Raw, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The enclave's own records from `seq` on -> Records, at most limits.PUSH of them: for a host
    that crashed between an answer and its journal, or the feed would have a gap for ever.
    """

    agreement: Hash
    seq: Count


REQUESTS: Final[dict[str, type[Any]]] = {
    "hello": Hello, "attest": Attest, "join": Join, "introduce": Introduce,
    "provide": Provide, "appoint": Appoint, "beat": Beat,
    "share-begin": ShareBegin, "share-frame": ShareFrame, "share-stream": ShareStream,
    "share-end": ShareEnd, "forget": Forget, "compare": Compare,
    "stops": Stops, "summon": Summon, "prepare": Prepare, "load": Load, "conclude": Conclude,
    "inherit": Inherit, "release": Release, "carried": Carried, "feed": Feed,
}  # fmt: skip
"""The closed list of what a host may ask of an enclave."""

WIRE: Final = Dialogue(REQUESTS, FRAME_LIMIT, "enclave.frame")
"""Packs and reads the frame bodies of this protocol."""
