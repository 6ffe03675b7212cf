"""What nodes, and light peers, ask of each other over libp2p streams: closed lists of requests."""

from dataclasses import dataclass
from typing import Annotated, Final

from protocol import limits
from protocol.dialogue import Dialogue
from protocol.equivocation import RawHeader
from protocol.kinds.consent import PersonShare
from protocol.kinds.run import Delivery
from protocol.shape import Count, Hash, Key, Length, Max, Name

SESSION: Final = "/village/session/1"
"""Between members: records, openings, blobs, heartbeats, stops."""

ENCLAVE: Final = "/village/enclave/1"
"""Anyone who may verify a host: a challenge that the host's node relays to its enclave."""

SHARE: Final = "/village/share/1"
"""A share on its way to the host: ShareOffer, then stream frames, then the receipt."""

REPLICA: Final = "/village/replica/1"
"""Host to standby: the stored ciphertext of a share."""

Raw = Annotated[bytes, Max(limits.RECORD)]
RawProof = Annotated[bytes, Max(limits.PROOF)]
FeedPlace = Annotated[bytes, Length(64)]
RawOpening = Annotated[bytes, Max(limits.FRAME)]
Blob = Annotated[bytes, Max(limits.BLOB)]
ShortText = Annotated[str, Max(512)]

FRAME: Final = limits.FRAME
"""Bound of one frame body; larger blobs travel in pieces."""

SEGMENTS: Final = limits.ITEMS - 8
"""Segments of one unfinished share, one for each start. A large share has up to five without any
break, and all must fit one list.
"""

PIECE: Final = limits.CHUNK
"""Bytes of a blob in one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """New records for topics that the receiver follows, and proofs against liars -> Took."""

    records: tuple[Raw, ...]
    proofs: tuple[RawProof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poke:
    """There is a topic for you here -> Took; the receiver then asks for its opening."""

    topic: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """How many were new, which topics are not known here, and which have gaps."""

    new: Count
    unknown: tuple[Hash, ...]
    gaps: tuple[Hash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedHead:
    """What the asker has of one feed: the next place that it wants, and the id before it.

    `end` is the first place that counts for nothing there, `fork` the lowest proven equivocation.
    """

    key: Key
    next: Count
    head: Hash | None = None
    end: Count | None = None
    fork: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFrontier:
    """What the asker has of one topic, as far as the page goes."""

    topic: Hash
    heads: tuple[FeedHead, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Anti-entropy: send what I lack between two places -> Batch.

    A place is topic and key, one behind the other; both places belong to the page. All that the
    asker has there is listed, so what is not listed is lacking.
    """

    low: FeedPlace
    high: FeedPlace
    topics: tuple[TopicFrontier, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPart:
    """A feed in a batch, and the place after its last record there."""

    topic: Hash
    key: Key
    next: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records in feed order; `more`: this page has more; `others` are topics to open.

    `parts` says of each feed in it where the asker then stands, so that it can ask for the next
    batch before it has looked at this one. `proofs` are those that the asker lacks, `forks` feeds
    whose head here is another.
    """

    records: tuple[Raw, ...]
    parts: tuple[FeedPart, ...]
    proofs: tuple[RawProof, ...]
    forks: tuple[FeedPlace, ...]
    more: bool
    others: tuple[Hash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFeed:
    """Whole records of one feed from a place on, for who was a guest and is a member now ->
    FeedAnswer.
    """

    topic: Hash
    key: Key
    seq: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedAnswer:
    """Records of one feed, in order, as many as fit."""

    records: tuple[Raw, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetHeader:
    """The header at one place of a feed, to find where two nodes' records part -> HeaderAnswer."""

    topic: Hash
    key: Key
    seq: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderAnswer:
    """A record without its body."""

    header: RawHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOpening:
    """The opening of a topic whose audience the asker is in -> OpeningAnswer."""

    topic: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningAnswer:
    """The exact opening."""

    opening: RawOpening


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlob:
    """A piece of a blob by digest, from byte `offset` -> BlobPiece."""

    digest: Hash
    offset: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPiece:
    """At most PIECE bytes, and the blob's whole size."""

    data: Annotated[bytes, Max(limits.CHUNK)]
    size: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPeers:
    """Where are the nodes of our members? -> Peers."""

    addresses: tuple[ShortText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAddresses:
    """A node's PeerId and the multiaddrs at which it was reached."""

    peer: Name
    addresses: tuple[ShortText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Known nodes."""

    peers: tuple[PeerAddresses, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Host to standby: fetch what the next host would need after a run -> Done once it is kept.

    `lineage` is the digest of the sealed lineage, `leaves` the Merkle root of the leaves.
    """

    agreement: Hash
    lineage: Hash | None = None
    leaves: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A heartbeat token of an elected enclave -> Done. Ephemeral: never kept."""

    token: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class TellStop:
    """A person's raw stop token -> StopAnswer."""

    token: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAnswer:
    """A raw stop-receipt token by the receiver's record key."""

    receipt: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStops:
    """A host asks for stops that a party's statement names, for its enclave -> StopTokens."""

    agreement: Hash
    stops: tuple[Hash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTokens:
    """The raw stop tokens that are here; the asker checks each."""

    tokens: tuple[Raw, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRewrap:
    """A host asks an owner to wrap a share key to its enclave of a term -> Done (the owner then
    publishes a rewrap record) or a refusal.
    """

    agreement: Hash
    term: Count
    enclave: Hash
    share: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """Sealed outputs for the receiver, or for people whose mailboxes it keeps -> Delivered."""

    agreement: Hash
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """All but those at the places `lacking` are kept; the host brings these again."""

    lacking: tuple[Count, ...] = ()


SESSION_WIRE: Final = Dialogue(
    {
        "push": Push,
        "poke": Poke,
        "pull": Pull,
        "header": GetHeader,
        "feed": GetFeed,
        "opening": GetOpening,
        "blob": GetBlob,
        "peers": GetPeers,
        "keep": Keep,
        "beat": Beat,
        "stop": TellStop,
        "stops": GetStops,
        "rewrap": AskRewrap,
        "deliver": Deliver,
    },
    limits.OUTPUT + FRAME,
    "session.request",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A verifier's challenge to the enclave behind this node -> Evidence. `credential` is for keys
    that earlier evidence named, where the technology needs one (attestation/possession.py).
    """

    agreement: Hash
    requester: Key
    term: Count
    nonce: Hash
    credential: Annotated[bytes, Max(limits.CREDENTIAL)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The enclave's evidence bundle, and the secret in the challenge's credential."""

    bundle: Annotated[bytes, Max(limits.EVIDENCE)]
    secret: Annotated[bytes, Max(64)] | None = None


ENCLAVE_WIRE: Final = Dialogue({"challenge": Challenge}, FRAME, "session.request")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferShare:
    """A party's share, by the id of its record in the agreement's topic -> Resume."""

    agreement: Hash
    share: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPersonShare:
    """A person's share: opaque envelopes -> Resume."""

    person: PersonShare


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOffer:
    """Where a bulk lane may be dialled, on the hosts of the connection or the candidacy; what is
    shown there is drawn from `ticket`, and `key` never travels there (node/bulk_lane.py).
    """

    port: Count
    ticket: Annotated[bytes, Length(16)]
    key: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A segment of a sealed stream: the index of its first chunk, and its salt."""

    chunk: Count
    salt: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where to go on: chunks verified and stored, the chain digest after them, and the segments
    that they are in, by which an owner holds its source against them. With `lane`, or where the
    receiver `dials` a lane of the sender, that says by ChooseWay how its frames come.
    """

    chunks: Count
    chain: Hash
    finished: bool
    lane: LaneOffer | None = None
    dials: bool = False
    segments: Annotated[tuple[Begun, ...], Max(SEGMENTS)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseWay:
    """How the sender's frames come: by the receiver's lane, by its own one, which it offers, ->
    Dialled, or by this stream as ShareFrame.
    """

    lane: bool
    offer: LaneOffer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """Whether the receiver came to the sender's lane; if not, the frames come by this stream."""

    lane: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareFrame:
    """One stream frame (protocol.sealing.stream); no answer until the last."""

    frame: Annotated[bytes, Max(limits.FRAME)]
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareTaken:
    """The whole share verified in the enclave and is on the host's and standby's disks."""

    receipt: Raw
    replicas: Count


SHARE_WIRE: Final = Dialogue(
    {"offer": OfferShare, "person": OfferPersonShare, "way": ChooseWay, "frame": ShareFrame},
    FRAME + 4096,
    "session.request",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicate:
    """The ciphertext of a stored share follows: a party's record, or a person's outer message."""

    agreement: Hash
    share: Hash
    record: Raw | None = None
    person: PersonShare | None = None


REPLICA_WIRE: Final = Dialogue(
    {"replicate": Replicate, "way": ChooseWay, "frame": ShareFrame},
    FRAME + 4096,
    "session.request",
)
