"""Every bound of the protocol: one constant, one sentence why. Sizes are bytes, times seconds."""

from typing import Final

RECORD: Final = 64 * 1024
"""A record is governance, not data; 64 KiB keeps gossip and memory small."""

DOCUMENT: Final = 48 * 1024
"""An agreement or charter travels inside a record beside signatures."""

DEPTH: Final = 12
"""Nesting deeper than any document of ours has; stops stack attacks on parsers."""

TEXT: Final = 8 * 1024
"""The longest free text (a purpose, a reason) in a record."""

NAME: Final = 128
"""Names, codes and other short texts."""

ITEMS: Final = 1024
"""Elements of one list in a document."""

SALT: Final = 16
"""Random bytes before each body, so that the digest in the header hides a guessable body."""

CLOCK_SKEW: Final = 300
"""How far in the future a record may be dated before it is refused."""

IDENTITY: Final = 16 * 1024
"""An identity record: a few keys of each kind, and the pins of keys that were taken back."""

REVISIONS: Final = 1024
"""Identity records of one participant: each rotation is one, and every member keeps them all."""

PINS: Final = 96
"""Pinned topics of all retired keys of one identity; more would not fit into its record."""

HEADER: Final = 1024
"""A record without its body: a header has at most a few hundred bytes."""

PROOF: Final = 2 * 1024 + 64
"""A proof of equivocation: two headers."""

FRAME: Final = 1024 * 1024 + 64 * 1024
"""One frame on a stream: a sealed chunk of 1 MiB and its envelope."""

CHUNK: Final = 1024 * 1024
"""Plain bytes of one sealed chunk; the loss on a cut-off stream is at most one chunk."""

SEGMENT_CHUNKS: Final = 2**18
"""Chunks under one segment salt; far below the bound of AES-GCM for one key."""

SHARE: Final = 1024 * 1024 * 1024 * 1024
"""A share of 1 TiB; more is split into several datasets."""

PERSON_SHARE: Final = 64 * 1024 * 1024
"""Plain bytes of one person's share; a vault holds rows, not databases."""

PEOPLE: Final = 10_000
"""People's shares in one agreement, and in one run: what is named of each (32 bytes of an id or a
leaf, a receipt of half a KiB, a consent in memory) then adds up to megabytes, never more."""

SHARES: Final = 10_000 + 1024
"""Shares in one agreement: all people's, and of its organizations as many as a list holds. The two
are counted apart, so that people keep no organization out."""

PEOPLE_PUSHES: Final = 3 * 10_000
"""Shares pushed by people in one term: each has a receipt in the enclave's feed, which holds FEED
records, and its runs must have room there too. Beyond, only who pushed none yet is heard."""

BLOB: Final = 16 * 1024 * 1024
"""A bundle, contract, schema or notice; larger things are data and belong into shares."""

CONTRACT: Final = 128 * 1024
"""A data contract that an enclave reads: YAML is slow, and others' heartbeats wait meanwhile."""

EVIDENCE: Final = 256 * 1024
"""One evidence bundle with endorsements and collateral."""

NONCE: Final = 120
"""Seconds for which a challenge's nonce lives: evidence that comes later is stale."""

CREDENTIAL: Final = 1024
"""A TPM's credential: two encrypted secrets, of which the larger fits an RSA key of 4096 bits."""

EVIDENCE_AGE: Final = 30 * 24 * 3600
"""How long an agreement may let a verdict on evidence stand before it is asked for again."""

PARAMETERS: Final = 64 * 1024
"""JSON parameters of a run."""

OUTPUT: Final = 16 * 1024 * 1024
"""JSON that an algorithm may return before the gate looks at it."""

HEIRS: Final = 32
"""Enclaves to which one record wraps the key of a lineage, the host's and its first standbys: each
wrap is 1.2 kB."""

STATE: Final = 4 * 1024 * 1024
"""All states of one agreement: they travel in the sealed lineage at every run."""

LOG: Final = 64 * 1024
"""What may leave of an algorithm's log, and what the sandbox keeps of it: the end."""

LOG_FRAMES: Final = 8
"""Lines of the bundle that a log of errors names: each is a choice that the algorithm could make
to tell something."""

NOISED: Final = 100_000
"""Numbers of one path that get noise: each is drawn exactly, in tens of microseconds."""

PUSH: Final = 1024
"""Records in one push or sync batch, and feeds in one page of a frontier."""

ROUNDS: Final = 256
"""Rounds of votes in one epoch of a space; each new one needs a quorum of answers before."""

CHANGES: Final = 64
"""Changes that one key proposes in one epoch of a space."""

INVITES: Final = 1024
"""Invites by one key in one space: each brings an identity that every member keeps."""

RUNS: Final = 1024
"""Run numbers of one agreement: each run is shown the certificates of all before it."""

ORDERS: Final = 64
"""Orders of one party that wait in an agreement; more is a queue that nobody reads."""

WITHIN: Final = 24 * 3600
"""Seconds in which a run that started must have its record, where the agreement says nothing."""

STOPS: Final = 1000
"""Withdrawals that one statement and one run record can name. If a party holds more, it states that
the agreement is suspended: nothing runs, and none is forgotten."""

STOPS_OF_ONE: Final = 32
"""Withdrawals kept of one key in one agreement, and so consents that a vault makes in one: a person
withdraws each once."""

PARTIES: Final = 64
"""Organizations in one agreement; a quorum of more needs other protocols."""

NEGOTIATION: Final = 128
"""Records of one key in one negotiation: bounds memory against a member who never stops."""

FEED: Final = 65_536
"""Records of one key in one topic: what a machine keeps grows with records, so this bounds it."""

FEED_BYTES: Final = 256 * 1024 * 1024
"""Bytes of all records of one key in one topic: a member who never stops fills no disk."""

CANDIDACIES: Final = 512
"""Offers of one host in one agreement, one per boot of its enclave: every voter answers each with
a challenge and a verdict."""

NEGOTIATIONS: Final = 256
"""Negotiations without a proposal that peers may have opened here: to open one costs nothing."""

AUDIT: Final = 256 * 1024 * 1024
"""One audit file: all records of an agreement's life, its evidence and its leaves."""

AUDIT_ITEMS: Final = 2_000_000
"""CBOR items in one audit file: bounds the memory that a hostile file can make us use."""
