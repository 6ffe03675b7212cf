"""Runs: order, summons, statements, the run record and what leaves (docs/protocol.md section 8)."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from protocol import limits
from protocol.kinds.agreement import Rules
from protocol.kinds.share import Wrap
from protocol.shape import Count, Hash, Key, Max, Name, Text, Time

Raw = Annotated[bytes, Max(limits.RECORD)]

LOG: Final = "log"
"""What the delivery is called that holds the algorithm's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A party orders a run (kind `order`): entry point and parameters as JSON text.

    After `deadline` it does not start any more. `trigger` names the trigger of the agreement that
    gave cause, `due` the time of a time table, `payload` is the JSON text of an event and `caller`
    says in words who brought it to the party's node. `again` is the order that this one repeats.
    """

    entry: Name
    parameters: Text
    deadline: Time | None = None
    trigger: Name | None = None
    due: Time | None = None
    payload: Text | None = None
    caller: Name | None = None
    again: Hash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Who ordered takes an order back that did not start (kind `cancel`)."""

    order: Hash
    reason: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A recipient never got what run record `run` released, and its enclave is gone (kind
    `missing`): the enclave of the present term computes the number again, and releases the same.
    """

    number: Count
    run: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Bequest:
    """The key of the sealed lineage with digest `lineage`, wrapped to the enclave of `term` and its
    standbys, by that enclave (kind `bequest`): each of them can go on from it.
    """

    term: Count
    lineage: Hash
    wraps: Annotated[tuple[Wrap, ...], Max(limits.HEIRS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The enclave of `term` cannot open the lineage that the newest run record pins (kind `lost`):
    numbers above `above` are computed again, one by one. Of that number it has it; 0: of none.
    """

    term: Count
    above: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Summons:
    """The enclave asks every party for a statement (kind `summons`, by the enclave)."""

    number: Count
    term: Count
    order: Hash
    nonce: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A party's answer and promise (kind `statement`).

    `stops` are the ids of the `stop` tokens that it holds; `shares` those of its own shares that
    count now, so that no host brings an older one back; `suspended` whether a suspension is in
    force in its view; `attempts` how many terms it saw start this number; `accepted` the raw run
    record of an earlier term it voted for in this number; `identities` the ids of the newest
    identity records that it knows of participants who renewed theirs since the agreement, so that
    no host can hide from its enclave that a key was taken back. Its signer never again answers a
    lower term.
    """

    number: Count
    term: Count
    nonce: Hash
    stops: tuple[Hash, ...]
    shares: tuple[Hash, ...] = ()
    suspended: bool
    attempts: Count
    accepted: Raw | None = None
    identities: tuple[Hash, ...] = ()
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The enclave passed all checks and starts the algorithm (kind `started`, by the enclave).

    `organizations` and `people` count the shares opened, `consents` the consents checked,
    `signatures` the parties' signatures on the agreement, `digests` the digests compared.
    """

    number: Count
    term: Count
    shares: Count
    organizations: Count
    people: Count
    consents: Count
    signatures: Count
    digests: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDigest:
    """What would leave to whom, as a salted commitment: see `output_digest`.

    `to` is the recipient's did. What goes to people, each the own part, stands here once: `to` is
    the agreement, `digest` the one over all sorted digests, `size` the sum. So does a state: its
    recipient is the agreement itself, and its `size` is 0, for nobody learns it. Sizes are those of
    protocol.told: who wrote the algorithm chooses them.
    """

    name: Name
    to: Hash
    digest: Hash
    size: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class StateUse:
    """A state of an earlier run: `number` is the run that wrote it, `digest` as its record says.

    `used` is false for one that was dropped: it rests on a consent that was withdrawn.
    """

    name: Name
    number: Count
    digest: Hash
    used: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCheck:
    """One step of the gate: its rule, who set it, what was measured, and whether it passed."""

    rule: Name
    set_by: Key | None = None
    limit: Count
    measured: Count
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a run took of the noise budget of a dataset for a recipient: see protocol.budget."""

    dataset: Name
    to: Key
    amount: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The run record (kind `run`, by the enclave): proof of everything but the output.

    `statements`, `stops` (all that were honoured) and `shares` (of organizations) are ids. `inputs`
    is a digest over ids and stream digests of all shares, people's too, `consents` one over the ids
    of the consents; `states` were read, or dropped. `leaves` is the Merkle root over the sorted
    person leaves (HMAC of each contributing person's receipt secret), `leaf_count` their number;
    `lineage` is the digest of the sealed lineage (contributor tags of all runs from which something
    left, and the states; not of the wraps of its key), or none where nothing leaves; `bundle` etc.
    the digests that ran; `outcome` ends the number; `refusal_code` says why it is held or refused,
    or `void` (the agreed attempts were used up, and nothing ran); `trigger` and `due` are those of
    the order; `logs` are what leaves of the algorithm's log.

    `adopts` names the run record of an earlier term that this one repeats: same order, inputs and
    output digests, computed again, said again by the enclave of the newer term. Where it cannot be
    computed again, or no more may, `withheld` is the code of why: the number ends, nothing leaves.
    """

    number: Count
    term: Count
    order: Hash
    entry: Name
    parameters: Text
    appointment: Hash
    statements: tuple[Hash, ...]
    stops: tuple[Hash, ...]
    shares: tuple[Hash, ...]
    inputs: Hash
    consents: Hash
    leaves: Hash
    leaf_count: Count
    bundle: Hash
    environment: Hash
    evidence: Hash
    technology: Name
    rules: Rules
    gate: tuple[GateCheck, ...]
    outputs: tuple[OutputDigest, ...]
    charges: tuple[Charge, ...] = ()
    states: tuple[StateUse, ...] = ()
    logs: tuple[OutputDigest, ...] = ()
    rows: Count
    contributors: Count
    lineage: Hash | None = None
    outcome: Literal["released", "held", "refused", "failed", "void"]
    refusal_code: Name | None = None
    refusal_detail: Text | None = None
    adopts: Hash | None = None
    withheld: Name | None = None
    trigger: Name | None = None
    due: Time | None = None
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCertificate:
    """A run record and the q votes for its id: what lets outputs leave."""

    run: Raw
    votes: tuple[Raw, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One sealed output on its way (never a record): HPKE-sealed to the recipient's key.

    `to` is a party's did or a person's key; `kind` says which, so that the node knows the way;
    `gateway` is set for people.
    """

    run: Hash
    number: Count
    name: Name
    to: Key
    person: bool
    gateway: Key | None = None
    sealed: Annotated[bytes, Max(limits.OUTPUT + 4096)]

    @property
    def size(self) -> int:
        """Bytes that it takes to send it, but for a few of its envelope."""
        return len(self.sealed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedOutput:
    """The plain text inside a Delivery: the output's one canonical form (JSON text, or an Arrow IPC
    stream) and the salt of its digest. `padding` says nothing: with it, who carries the delivery
    sees of the content's size no more than the run record tells.
    """

    run: Hash
    name: Name
    salt: Hash
    format: Literal["json", "arrow"] = "json"
    content: Annotated[bytes, Max(limits.OUTPUT)]
    padding: Annotated[bytes, Max(limits.OUTPUT)] = b""


def output_digest(salt: bytes, content: bytes) -> bytes:
    """The commitment to an output that stands in its run record: the salt hides what could be
    guessed.
    """
    return hashlib.sha256(salt + content).digest()
