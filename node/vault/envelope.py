"""What a person signs and seals: consent, share, envelopes, stop. Each step is one function.

Nothing here decides or sends; node/vault/light.py calls these in their order.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from node import wire
from node.share_plain import plain_bytes
from node.share_upload import Parcel
from protocol import keys, shape, token
from protocol.attestation.evidence import enclave_id
from protocol.kinds.agreement import Agreement, Dataset, People, recipients_of
from protocol.kinds.consent import (
    Consent,
    PersonEnvelope,
    PersonShare,
    SealedEnvelope,
    Stop,
    sealing_digest,
)
from protocol.kinds.host import EnclaveKeys
from protocol.kinds.share import Share, ShareHeader, Wrap
from protocol.sealing import stream, wrap


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a person says yes to beyond the agreement's own words.

    `ordinal` counts the person's consents from 1; runs `first` to `last` are covered; `told` asks
    for the own result; `gateway` is the did whose mailbox takes answers.
    """

    ordinal: int
    first: int
    last: int
    told: bool
    categories: tuple[str, ...]
    gateway: bytes


@dataclass(frozen=True, slots=True)
class Secrets:
    """The seeds of one person under one agreement (32 bytes each)."""

    signing: bytes = field(repr=False)
    sealing: bytes = field(repr=False)
    secret: bytes = field(repr=False)

    @property
    def key(self) -> bytes:
        """The person's key of this agreement: owner of the share, name of the mailbox."""
        return keys.public(self.signing)


@dataclass(frozen=True, slots=True)
class SealedShare:
    """A share that is signed and wrapped: its raw token and id, its key, its header."""

    id: bytes
    token: bytes
    header: bytes
    key: bytes = field(repr=False)


def make_consent(
    agreement: bytes, document: Agreement, people: People, terms: Terms, person: Secrets
) -> bytes:
    """The consent token to an agreement, to all its recipients, until it ends."""
    recipients = sorted(recipients_of(document))
    body = Consent(
        agreement=agreement,
        ordinal=terms.ordinal,
        notice=people.notice,
        purpose=document.purpose.term,
        categories=terms.categories,
        recipients=tuple(recipients),
        first=terms.first,
        last=terms.last,
        until=document.start + document.purpose.duration,
        told=terms.told,
        sealing=sealing_digest(wrap.public_key(person.sealing)),
        secret=person.secret,
        gateway=terms.gateway,
    )
    return token.sign(person.signing, "consent", body)


def seal_share(
    agreement: bytes,
    dataset: Dataset,
    person: Secrets,
    enclaves: Iterable[EnclaveKeys],
    replaces: bytes | None = None,
) -> SealedShare:
    """A new share of the person's data: a fresh key, wrapped to each of the enclaves, signed."""
    key = secrets.token_bytes(wrap.KEY_BYTES)
    header = shape.encode(
        ShareHeader(
            agreement=agreement,
            owner=person.key,
            dataset=dataset.id,
            contract=dataset.contract,
            commitment=wrap.commitment(key),
            salt=secrets.token_bytes(32),
        )
    )
    wraps = tuple(_wrap(key, header, enclave) for enclave in enclaves)
    share = Share(header=header, wraps=wraps, replaces=replaces)
    raw = token.sign(person.signing, "share", share)
    return SealedShare(token.open_(raw, "share", Share).id, raw, header, key)


def seal_envelopes(
    agreement: bytes,
    person: Secrets,
    share: SealedShare,
    admission: bytes,
    consent: bytes,
    enclaves: Iterable[EnclaveKeys],
) -> PersonShare:
    """Admission, consent and share, sealed to each enclave: all that host and gateway see."""
    envelope = PersonEnvelope(
        admission=admission,
        consent=consent,
        share=share.token,
        sealing=wrap.public_key(person.sealing),
    )
    plain = shape.encode(envelope)
    envelopes = tuple(
        SealedEnvelope(
            enclave=enclave_id(one),
            sealed=wrap.seal(plain, one.sealing, "person-envelope", agreement, enclave_id(one)),
        )
        for one in enclaves
    )
    return PersonShare(agreement=agreement, owner=person.key, share=share.id, envelopes=envelopes)


def make_parcel(share: SealedShare, person: PersonShare, plain: bytes) -> Parcel:
    """The upload of an Arrow stream that is in memory."""
    return Parcel(
        share=share.id,
        key=share.key,
        header=share.header,
        offer=wire.OfferPersonShare(person=person),
        open_plain=plain_bytes(plain),
    )


def make_stop(agreement: bytes, consent: bytes, person: Secrets, right: bytes) -> bytes:
    """The withdrawal of a consent (raw token): it ends that consent for ever."""
    ended = token.open_(consent, "consent", Consent).id
    body = Stop(agreement=agreement, what="withdrawal", consent=ended, right=right)
    return token.sign(person.signing, "stop", body)


def _wrap(key: bytes, header: bytes, enclave: EnclaveKeys) -> Wrap:
    name = enclave_id(enclave)
    digest = stream.header_digest(header)
    return Wrap(enclave=name, sealed=wrap.seal(key, enclave.sealing, "share-key", digest, name))
