"""Credentials shown to others: a presentation by the organization, and claims by their CWT names.

A credential is a record in the space, or a token; its fields map to the claims of RFC 8392 one to
one, and the names of that standard are what leaves the node.
"""

from dataclasses import dataclass
from typing import Any

from protocol import kinds, record, token
from protocol.errors import Refused
from protocol.identity import Participant, open_identity
from protocol.keys import did_text
from protocol.kinds.identity import Credential, Presentation
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Presented:
    """A presentation that verifies. Who reads it still decides whether it trusts `registrar`, and
    asks whether the credential is in force and was not revoked.
    """

    registrar: Participant
    subject: Participant
    record: Record
    credential: Credential
    said: Presentation


def open_presentation(raw: bytes) -> Presented:
    """Verify a presentation (token `presentation`): its credential is by a key of the registrar,
    about the organization whose voting key signed. Raises Refused (credential.*, identity.*).
    """
    shown = token.open_(raw, "presentation", Presentation)
    registrar = open_identity(shown.body.registrar)
    subject = open_identity(shown.body.subject)
    found = record.parse(shown.body.credential)
    if found.kind != "credential":
        raise Refused("record.kind", f"{found.kind} is no credential")
    if found.author != registrar.did or found.key not in registrar.record_keys:
        raise Refused("credential.issuer", "not by a key of the registrar that is shown")
    credential = kinds.read(Credential, found)
    if credential.subject != subject.did or shown.key != subject.vote_key:
        raise Refused("credential.subject", "not shown by the organization that it is about")
    return Presented(registrar, subject, found, credential, shown.body)


def cwt_claims(
    *, issuer: bytes, subject: bytes, issued: int | None, until: int, cti: bytes
) -> dict[str, Any]:
    """The registered claims of RFC 8392: did:key of both, unix seconds, the id in hex.

    `issued` is None for what carries no date of its own (tokens of people).
    """
    dates = {} if issued is None else {"iat": issued, "nbf": issued}
    return {
        "iss": did_text(issuer), "sub": did_text(subject), "exp": until, **dates, "cti": cti.hex()
    }  # fmt: skip
