"""Sealed shares: the header that binds, the owner's signature, the enclave's receipt."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from protocol.shape import Count, Hash, Key, Length, Max, Name

KEPT: Final = "kept"
"""The verdict of a receipt for a share that keeps its contract."""

WrapBytes = Annotated[bytes, Length(1168)]
"""HPKE MLKEM768-X25519 / HKDF-SHA256 / AES-256-GCM of a 32-byte share key: 1120 + 32 + 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareHeader:
    """What a share is bound to; its digest is the AAD of every chunk and part of every key.

    `owner` is a party's did, or a person's key of this agreement; `commitment` pins the share key
    (AES-GCM does not); `salt` makes two shares of the same data differ.
    """

    agreement: Hash
    owner: Key
    dataset: Name
    contract: Hash
    commitment: Hash
    salt: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrap:
    """A share key sealed to one enclave (`enclave` is its enclave_id)."""

    enclave: Hash
    sealed: WrapBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The owner's signed word for a share: kind `share` by a party, token `share` by a person.

    `header` are the exact bytes of a ShareHeader; `replaces` names the earlier share of this owner
    and dataset that it takes the place of. Nothing here says what is in it: it is signed before the
    rows are read.
    """

    header: Annotated[bytes, Max(1024)]
    wraps: tuple[Wrap, ...]
    replaces: Hash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrap:
    """The owner wraps the key of a share to another enclave (kind `rewrap`): no stream again."""

    share: Hash
    wraps: tuple[Wrap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The enclave verified every chunk and checked the contract (kind `receipt`, by the enclave).

    `share` is the id of the owner's record or token; `digest` the one of the stream's final frame;
    `verdict` is "kept" or the broken rule's code; rows and people are counted inside, `excluded`
    people were left out as its owner says in the final frame.
    """

    share: Hash
    chunks: Count
    bytes: Count
    rows: Count
    people: Count
    excluded: Count
    digest: Hash
    verdict: Name


ErasureReason = Literal["pulled-back", "withdrawn", "replaced", "ended"]
"""Why a share is erased: its owner took it back, its person withdrew, a newer one took its place in
a run, or the agreement and its retention are over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """A participant erased what it held of a share (kind `erasure`): its owner the `key`, a host
    the sealed `chunks` and the key in its enclave.

    `enclaves` are the enclaves that, as far as the signer knows, ever had a wrap of the key. An
    owner's erasure is an order to every host: whoever still holds chunks erases them.
    """

    share: Hash
    what: Literal["key", "chunks"]
    reason: ErasureReason
    enclaves: tuple[Hash, ...]
