"""credential.*: a registrar says which organization a key belongs to, and takes it back."""

import time
from typing import Annotated, Any

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.space import SpaceName
from node.node import Node
from protocol.kinds.identity import Claims, Credential, CredentialRevocation

METHODS = Methods("credential")

DAY = 86_400


@METHODS.add("issue", "govern")
async def issue(
    node: Node,
    *,
    subject: Annotated[str, "@name or did:key of the organization; it need not be a member yet."],
    legal_name: Annotated[str, "Its name in the register."],
    country: Annotated[str, "Two letters, ISO 3166."],
    lei: Annotated[str | None, "Legal entity identifier, ISO 17442."] = None,
    days: Annotated[int, "Days for which the credential is valid."] = 365,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Vouch for an organization; only registrars of the charter may. Idempotent."""
    found = lookup.space_of(node, space)
    did = lookup.did_of(node, subject)
    claims = Claims(legal_name=legal_name, country=country, lei=lei)
    known = found.credential(did, int(time.time()))
    if known is not None and known.claims == claims:
        return {"already": True, "legal_name": legal_name, **lookup.who(node, did)}
    body = Credential(subject=did, claims=claims, until=int(time.time()) + days * DAY)
    made = await node.pipeline.publish(found.id, "credential", body)
    return {
        "already": False,
        "credential": made.id.hex(),
        "legal_name": legal_name,
        **lookup.who(node, did),
    }


@METHODS.add("list", "read")
async def list_(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """Every credential of a space."""
    found = lookup.space_of(node, space)
    now = int(time.time())
    return [
        {
            "credential": id_.hex(),
            **lookup.who(node, credential.subject),
            "legal_name": credential.claims.legal_name,
            "country": credential.claims.country,
            "lei": credential.claims.lei,
            "by": node.world.name(record.author),
            "until": credential.until,
            "valid": id_ not in found.revoked and credential.until > now,
        }
        for id_, (record, credential) in found.credentials.items()
    ]


@METHODS.add("revoke", "govern")
async def revoke(
    node: Node,
    *,
    credential: Annotated[str, "Short id of the credential."],
    reason: Annotated[str, "Why, in words."],
    space: SpaceName = None,
) -> dict[str, Any]:
    """Take a credential back, for ever."""
    found = lookup.space_of(node, space)
    id_ = lookup.one_of(found.credentials, credential, "credential")
    if id_ in found.revoked:
        return {"already": True, "credential": id_.hex()}
    body = CredentialRevocation(credential=id_, reason=reason)
    made = await node.pipeline.publish(found.id, "credential-revocation", body)
    return {"already": False, "credential": id_.hex(), "record": made.id.hex()}
