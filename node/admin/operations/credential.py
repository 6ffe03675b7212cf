"""credential.*: a registrar says which organization a key belongs to, and takes it back."""

import base64
import time
from typing import Annotated, Any

from node import organization
from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.space import SpaceName
from node.node import Node
from protocol import shape, token
from protocol.credentials import cwt_claims, open_presentation
from protocol.errors import Refused
from protocol.kinds.identity import Claims, Credential, CredentialRevocation, Presentation
from protocol.machines.space import Space
from protocol.record import Record

METHODS = Methods("credential")

DAY = 86_400

Which = Annotated[str, "Short id of the credential."]


@METHODS.add("issue", "govern")
async def issue(
    node: Node,
    *,
    subject: Annotated[str, "@name or did:key of the organization; it need not be a member yet."],
    legal_name: Annotated[str, "Its name in the register."],
    country: Annotated[str, "Two letters, ISO 3166."],
    lei: Annotated[str | None, "Legal entity identifier, ISO 17442."] = None,
    vat: Annotated[str | None, "VAT number of the European Union, with its country prefix."] = None,
    no_id: Annotated[bool, "It has neither: you checked that."] = False,
    days: Annotated[int, "Days for which the credential is valid."] = 365,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Vouch for an organization; only registrars of the charter may. Idempotent."""
    found = lookup.space_of(node, space)
    did = lookup.did_of(node, subject)
    if no_id != (lei is None and vat is None):
        raise Failure(
            "admin.parameters",
            "An organization has a LEI, a VAT number, both, or none: say which.",
            "Give lei or vat, or no_id (--lei, --vat, --no-id).",
        )
    claims = organization.claims(legal_name, country, lei, vat)
    if _issued(found, node.keyring.did, did, claims, days):
        return {"already": True, "legal_name": legal_name, **lookup.who(node, did)}
    body = Credential(subject=did, claims=claims, until=int(time.time()) + days * DAY)
    made = await node.pipeline.publish(found.id, "credential", body)
    return {
        "already": False,
        "credential": made.id.hex(),
        "legal_name": legal_name,
        **lookup.who(node, did),
    }


def _issued(space: Space, me: bytes, did: bytes, claims: Claims, days: int) -> bool:
    """Whether I said the same and it holds at least half as long: else this renews it."""
    enough = int(time.time()) + days * DAY // 2
    return any(
        record.author == me
        and (known.subject, known.claims) == (did, claims)
        and known.until >= enough
        and not space.revoked(record.id)
        for record, known in space.credentials.values()
    )


@METHODS.add("list", "read")
async def list_(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """Every credential of a space, and whether it is in force, expired or revoked."""
    found = lookup.space_of(node, space)
    return [_shown(node, found, record, one) for record, one in found.credentials.values()]


@METHODS.add("show", "read")
async def show(node: Node, *, credential: Which, space: SpaceName = None) -> dict[str, Any]:
    """One credential, with its claims by their CWT names (RFC 8392)."""
    found = lookup.space_of(node, space)
    record, one = found.credentials[lookup.one_of(found.credentials, credential, "credential")]
    return {**_shown(node, found, record, one), "claims": _claims(record, one)}


@METHODS.add("present", "operate")
async def present(
    node: Node,
    *,
    to: Annotated[str, "For whom it is meant, in words: it stands in the file."],
    space: SpaceName = None,
) -> dict[str, Any]:
    """Make a file that shows the own credential to somebody outside the space."""
    found, me = lookup.space_of(node, space), node.keyring.did
    valid = [
        (record, one)
        for record, one in found.credentials.values()
        if one.subject == me and state(found, record, one) == "in force"
    ]
    if not valid:
        raise Refused("credential.expired", "this participant has no credential in force here")
    record, one = max(valid, key=lambda pair: (pair[1].until, pair[0].id))
    said = Presentation(
        credential=record.raw,
        registrar=found.participants()[record.author].raw,
        subject=node.keyring.me.raw,
        to=to,
        at=int(time.time()),
    )
    raw = token.sign(node.keyring.record, "presentation", said)
    return {"to": to, "until": one.until, "file": base64.b64encode(raw).decode()}


@METHODS.add("check", "read")
async def check(
    node: Node, *, file: Annotated[bytes, "The presentation that somebody gave you."]
) -> dict[str, Any]:
    """Verify a presentation: who vouches for whom, whether a space here trusts the registrar, and
    whether it is in force as far as this node knows.
    """
    found = open_presentation(file)
    trusting = [s for s in node.world.spaces() if found.registrar.did in s.terms.registrars]
    revoked = any(space.revoked(found.record.id) for space in trusting)
    over = found.credential.until <= time.time()
    return {
        "subject": found.subject.name,
        "legal_name": found.credential.claims.legal_name,
        "registrar": found.registrar.name,
        "trusted_in": [space.charter.name for space in trusting],
        "state": "revoked" if revoked else "expired" if over else "in force",
        "to": found.said.to,
        "at": found.said.at,
        "claims": _claims(found.record, found.credential),
    }


@METHODS.add("revoke", "govern")
async def revoke(
    node: Node,
    *,
    credential: Which,
    reason: Annotated[str, "Why, in words."],
    space: SpaceName = None,
) -> dict[str, Any]:
    """Take a credential back, for ever; only the registrar that issued it can."""
    found = lookup.space_of(node, space)
    id_ = lookup.one_of(found.credentials, credential, "credential")
    record, one = found.credentials[id_]
    if found.revoked(id_):
        return {"already": True, "credential": id_.hex()}
    if record.author != node.keyring.did:
        raise Refused("credential.issuer", f"{node.world.name(record.author)} issued it")
    body = CredentialRevocation(credential=id_, reason=reason)
    made = await node.pipeline.publish(found.id, "credential-revocation", body)
    return {
        "already": False,
        "credential": id_.hex(),
        "record": made.id.hex(),
        "touches": [
            c.document.name for c in node.world.collaborations() if one.subject in c.parties
        ],
    }


def state(space: Space, record: Record, credential: Credential) -> str:
    """What became of a credential, in words."""
    if space.revoked(record.id):
        return "revoked"
    return "expired" if credential.until <= time.time() else "in force"


def _shown(node: Node, space: Space, record: Record, credential: Credential) -> dict[str, Any]:
    now = state(space, record, credential)
    return {
        "credential": record.id.hex(),
        **lookup.who(node, credential.subject),
        "legal_name": credential.claims.legal_name,
        "country": credential.claims.country,
        "lei": credential.claims.lei,
        "vat": credential.claims.vat,
        "by": node.world.name(record.author),
        "until": credential.until,
        "valid": now == "in force",
        "state": now,
    }


def _claims(record: Record, credential: Credential) -> dict[str, Any]:
    registered = cwt_claims(
        issuer=record.author,
        subject=credential.subject,
        issued=record.at,
        until=credential.until,
        cti=record.id,
    )
    return {**registered, **shape.write(credential.claims)}
