"""What light peers ask of a registrar and of a gateway: two closed lists of requests.

Everybody may ask, so every answer is either public to the people concerned, sealed, or given only
to who proves a key.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from node import codes, wire
from protocol import keys, limits
from protocol.dialogue import Dialogue
from protocol.kinds.space import RawRecord
from protocol.shape import Count, Hash, Key, Max, Name, Text

REGISTRAR: Final = "/village/registrar/1"
"""A person's vault to the registrar: enrol by one-time code, be admitted to an agreement."""

GATEWAY: Final = "/village/gateway/1"
"""A light peer to any member that serves as its gateway."""

GATEWAY_SHARE: Final = "/village/gateway/share/1"
"""A wire.SHARE stream that the gateway carries to the elected host; it begins with
OfferPersonShare, and nothing but frames may follow."""

REGISTRAR_FRAME: Final = 64 * 1024
"""Bytes of one frame with a registrar: tokens only."""

CODE: Final = 64
"""Bytes of a one-time code as typed."""


def code_digest(code: str) -> bytes:
    """What is kept of a code, however it was typed."""
    return keys.digest("enrolment-code", codes.plain(code).encode())


# --- registrar -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentProof:
    """Token `enrolment`, by the base key of a vault: this key asks that registrar by this code.

    `code` is `code_digest` of the code.
    """

    code: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrol:
    """A one-time code and the proof of the base key -> Credentialed."""

    code: Annotated[str, Max(CODE)]
    proof: wire.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentialed:
    """The registrar's PersonCredential token for the base key, and its own identity record."""

    credential: wire.Raw
    registrar: RawRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """Token `admission-request`, by the base key: admit `key` to the agreement.

    `registrar` is the one asked, so that no other can use the request.
    """

    registrar: Key
    agreement: Hash
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """The credential and the request, both tokens -> Admitted."""

    credential: wire.Raw
    request: wire.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An Admission token (protocol.kinds.identity), and the StopRight of its key."""

    admission: wire.Raw
    right: wire.Raw


REGISTRAR_WIRE: Final = Dialogue(
    {"enrol": Enrol, "admit": Admit}, REGISTRAR_FRAME, "session.request"
)

# --- gateway: what is offered, and all that verifies it -----------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOffers:
    """Which agreements take people? -> Offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an agreement is about, in the gateway's words: nothing of it is verified yet."""

    agreement: Hash
    name: Name
    purpose: Text
    category: Name
    registrar: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """Every agreement of this gateway that has people."""

    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDossier:
    """-> Dossier."""

    agreement: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """Raw openings of the agreement and its space, the founders' votes on the charter, and the
    reviews of the agreement's algorithm. The agreement's own records follow by GetRecords.
    """

    agreement: wire.RawOpening
    charter: wire.RawOpening | None = None
    charter_votes: tuple[wire.Raw, ...]
    reviews: tuple[wire.Raw, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRecords:
    """The agreement's records that people may see, from number `after` on -> RecordsPage. Of its
    space, in place of the agreement: those that prove which terms are in force.
    """

    agreement: Hash
    after: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsPage:
    """Raw records in order of arrival at the gateway; `next` is where the next page begins."""

    records: tuple[wire.Raw, ...]
    next: Count
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlob:
    """A piece of a blob that the agreement names, or of the leaves under a run's root
    -> wire.BlobPiece.
    """

    agreement: Hash
    digest: Hash
    offset: Count


# --- gateway: relays -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayChallenge:
    """Carry a challenge to the enclave of a candidacy -> wire.Evidence."""

    candidacy: Hash
    challenge: wire.Challenge


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStop:
    """A person's raw stop token, for all parties -> StopReceipts."""

    token: wire.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReceipts:
    """The raw stop-receipt tokens of the parties that were reached."""

    receipts: tuple[wire.Raw, ...]


# --- gateway: mailbox ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Greet:
    """-> Greeting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """Who this gateway is, and a nonce that opens one mailbox, once, on this stream."""

    gateway: Key
    nonce: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxProof:
    """Token `mailbox`, by the mailbox key: open it for the stream that gave this nonce.

    `gateway` stops a gateway that passes on another one's nonce.
    """

    gateway: Key
    nonce: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMail:
    """The proof for a mailbox -> Done; the requests below then concern that mailbox."""

    proof: wire.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMail:
    """What waits with a number above `after`? -> Mail."""

    after: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class MailItem:
    """One item: its number and its bytes."""

    number: Count
    size: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """The oldest items that wait."""

    items: tuple[MailItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMail:
    """A piece of an item, a Delivery, from byte `offset` -> wire.BlobPiece."""

    number: Count
    offset: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class AckMail:
    """Everything up to and with this number is safe at home -> Done; it is deleted here."""

    upto: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """An own result of a run never came, and its enclave is gone: a gateway that is a party says so
    to all, once -> Done.
    """

    agreement: Hash
    number: Count


GATEWAY_WIRE: Final = Dialogue(
    {
        "list": ListOffers,
        "dossier": GetDossier,
        "records": GetRecords,
        "blob": GetBlob,
        "challenge": RelayChallenge,
        "stop": SendStop,
        "greet": Greet,
        "open-mail": OpenMail,
        "list-mail": ListMail,
        "read-mail": ReadMail,
        "ack-mail": AckMail,
        "lacking": Lacking,
    },
    limits.FRAME,
    "session.request",
)
