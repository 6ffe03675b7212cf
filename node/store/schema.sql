-- Everything that one node's journal keeps. One file, one truth: the schema stands nowhere else.
--
-- Ids are SHA-256 (32 bytes), keys are Ed25519 public keys (32 bytes), times are unix seconds.
-- Every table is STRICT and every column has its sentence (tests/unit/test_store_schema.py).
-- A released migration never changes: what comes later is a new section at the end.

-- migration 0001: the first schema

-- A topic orders records: a space, a negotiation or an agreement.
CREATE TABLE topic (
    number INTEGER PRIMARY KEY, -- order of arrival
    topic BLOB NOT NULL UNIQUE, -- id of the topic: digest of its opening
    kind TEXT NOT NULL, -- space, negotiation or agreement
    opening BLOB NOT NULL, -- exact bytes of the document that defines the topic
    parent BLOB -- id of the topic that this one grew out of; null for a space
) STRICT;

-- A verified record, as received. The unique place (topic, key, seq) makes an equivocation
-- impossible to store. A rowid table: WITHOUT ROWID was measured 8 times slower here.
CREATE TABLE record (
    arrival INTEGER PRIMARY KEY, -- order of arrival on this node
    id BLOB NOT NULL UNIQUE, -- RecordId: SHA-256 of the signed bytes
    topic BLOB NOT NULL, -- topic that the record belongs to
    key BLOB NOT NULL, -- key that signed it; (topic, key) is a feed
    seq INTEGER NOT NULL, -- place in the feed
    prev BLOB, -- id of the record before it in the feed; null for the first
    author BLOB NOT NULL, -- participant who answers for the key
    kind TEXT NOT NULL, -- kind of record
    at INTEGER NOT NULL, -- the author's wall time
    raw BLOB NOT NULL, -- exact bytes received: what is verified, hashed and relayed
    UNIQUE (topic, key, seq)
) STRICT;

-- The records of a topic in order of arrival (every index ends with the rowid).
CREATE INDEX record_of_topic ON record (topic);

-- Proof that a key signed two different records for one place in its feed. The first is enough.
CREATE TABLE equivocation (
    number INTEGER PRIMARY KEY, -- order of arrival
    topic BLOB NOT NULL, -- topic of the feed
    key BLOB NOT NULL, -- key that signed both
    seq INTEGER NOT NULL, -- the place claimed twice
    first BLOB NOT NULL, -- exact bytes of the record that came first
    second BLOB NOT NULL, -- exact bytes of the record that contradicts it
    at INTEGER NOT NULL, -- when this node noticed
    UNIQUE (topic, key, seq)
) STRICT;

-- What this node refused, and why: for `village refusal list` and `village explain`.
CREATE TABLE refusal (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- order of arrival; the oldest go first
    id BLOB NOT NULL UNIQUE, -- digest of the columns below
    code TEXT NOT NULL, -- stable code of the rule
    rule TEXT NOT NULL, -- the rule in words
    set_by TEXT NOT NULL, -- who set the rule
    fix TEXT NOT NULL, -- what would make the refusal go away
    subject TEXT NOT NULL, -- what was refused: an id in hex, or words
    party TEXT NOT NULL, -- whom it concerns; empty if nobody is known
    at INTEGER NOT NULL, -- when
    detail TEXT NOT NULL -- what was seen, without any data of a person
) STRICT;

-- Small durable values: own settings, petnames, cursors, pending effects.
CREATE TABLE state (
    number INTEGER PRIMARY KEY, -- internal
    name TEXT NOT NULL UNIQUE, -- path-like name, as in petname/hospital-b
    value BLOB NOT NULL -- opaque to the journal
) STRICT;

-- The mailbox of a gateway: opaque items wait for a light peer, and go when acknowledged.
CREATE TABLE mail (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, so a cursor stays valid
    box BLOB NOT NULL, -- mailbox key of the light peer
    item BLOB NOT NULL -- sealed end to end; the gateway reads nothing
) STRICT;

CREATE INDEX mail_of_box ON mail (box);

-- Results that this node, a data consumer, received and opened.
CREATE TABLE result (
    number INTEGER PRIMARY KEY, -- order of arrival
    run BLOB NOT NULL, -- id of the run record that released it
    name TEXT NOT NULL, -- name of the output in the agreement
    sealed BLOB NOT NULL, -- the result, sealed at rest under this node's own key
    at INTEGER NOT NULL, -- when it was opened
    UNIQUE (run, name)
) STRICT;

-- Keys of this node's own shares, to wrap again for the next enclave.
CREATE TABLE share_key (
    number INTEGER PRIMARY KEY, -- order of arrival
    share BLOB NOT NULL UNIQUE, -- id of the share
    sealed BLOB NOT NULL -- its key, sealed at rest under this node's own key
) STRICT;

-- Which blobs are kept, and for what; the bytes lie sealed in the blob folder.
CREATE TABLE blob (
    number INTEGER PRIMARY KEY, -- order of arrival
    digest BLOB NOT NULL, -- SHA-256 of the plain bytes
    size INTEGER NOT NULL, -- plain bytes
    kind TEXT NOT NULL, -- contract, bundle, schema, notice, evidence, ...
    subject BLOB NOT NULL, -- topic or record that needs it
    at INTEGER NOT NULL, -- when it was stored
    UNIQUE (digest, subject)
) STRICT;

-- Peers of the network and where they were last seen.
CREATE TABLE peer (
    number INTEGER PRIMARY KEY, -- internal
    peer TEXT NOT NULL UNIQUE, -- PeerId
    addresses TEXT NOT NULL, -- JSON list of multiaddrs
    seen INTEGER NOT NULL, -- when it was last reached; 0 if never
    banned INTEGER NOT NULL CHECK (banned IN (0, 1)) -- 1: no connection in or out
) STRICT;

-- migration 0002: heads of feeds, and records that no machine keeps

-- The newest record of each feed, so that a start reads heads and not all records.
CREATE TABLE feed (
    number INTEGER PRIMARY KEY, -- internal
    topic BLOB NOT NULL, -- topic of the feed
    key BLOB NOT NULL, -- key that signs it
    seq INTEGER NOT NULL, -- place of the newest record
    head BLOB NOT NULL, -- its id
    bytes INTEGER NOT NULL, -- bytes of all records of the feed
    UNIQUE (topic, key)
) STRICT;

INSERT INTO feed (topic, key, seq, head, bytes)
SELECT topic, key, max(seq), id, sum(length(raw)) FROM record GROUP BY topic, key;

-- What machines are rebuilt from, in order of arrival: all but the kinds that no machine keeps.
CREATE INDEX record_of_machine ON record (topic)
WHERE kind NOT IN ('commitment', 'refusal');
