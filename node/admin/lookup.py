"""What an operator means: short ids, petnames, the agreement in use, the only space."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from node.admin.failure import Failure
from node.judgement import petnames
from node.node import Node
from node.world import World
from protocol.errors import Refused
from protocol.keys import did_parse, did_text
from protocol.machines.agreement import Collaboration
from protocol.machines.negotiation import Negotiation
from protocol.machines.space import Space

SHORT: Final = 4
"""Characters of the shortest short id."""

USED: Final = "use/agreement"
"""State of the journal: the agreement that commands mean by default."""

Joint = Negotiation | Collaboration
"""An agreement: being negotiated, or in force."""


def one_of(ids: Iterable[bytes], text: str, what: str) -> bytes:
    """The one id that begins with these hex characters. Raises Failure (id.*)."""
    wanted = text.lower()
    if not re.fullmatch(r"[0-9a-f]{4,64}", wanted):
        detail = f"{text[:64]!r} is no id of {what}."
        raise Failure("id.short", detail, f"At least {SHORT} of its hexadecimal characters.")
    found = sorted({id_ for id_ in ids if id_.hex().startswith(wanted)})
    if not found:
        raise Failure("id.unknown", f"There is no {what} {text}.", "See the list of that noun.")
    if len(found) > 1:
        shown = ", ".join(id_.hex()[: len(wanted) + 4] for id_ in found[:5])
        raise Failure("id.ambiguous", f"{text} can mean: {shown}.", "Give more characters.")
    return found[0]


def did_of(node: Node, text: str) -> bytes:
    """The participant behind "@name", "name" or a did:key. Raises Failure, Refused (identity.root).

    A did:key need not be known here.
    """
    if text.startswith("did:"):
        return did_parse(text)
    found = petnames(node).get(text.removeprefix("@"))
    if found is None:
        known = ", ".join(f"@{name}" for name in sorted(petnames(node))[:16])
        raise Failure("id.unknown", f"{text[:64]!r} means nobody.", f"Known are: {known}.")
    return found.did


def who(node: Node, did: bytes) -> dict[str, str]:
    """A participant for screens: petname and did:key."""
    return {"name": node.world.name(did), "did": did_text(did)}


def space_of(node: Node, text: str | None) -> Space:
    """A space by short id or name; by default the only one. Raises Failure (id.*)."""
    spaces = {space.id: space for space in node.world.spaces()}
    if text is None:
        if len(spaces) != 1:
            detail = f"This node is in {len(spaces)} spaces."
            raise Failure("id.ambiguous" if spaces else "id.unknown", detail, "Name one.")
        return next(iter(spaces.values()))
    named = [space for space in spaces.values() if space.charter.name == text]
    return named[0] if len(named) == 1 else spaces[one_of(spaces, text, "space")]


def negotiation_of(node: Node, text: str | None) -> Negotiation:
    """A negotiation by its id, name, or the id of a version; by default the one in use."""
    found = joint_of(node, text)
    if isinstance(found, Negotiation):
        return found
    return node.world.negotiation(found.document.negotiation)


def collaboration_of(node: Node, text: str | None) -> Collaboration:
    """An agreement in force, as `negotiation_of`. Raises Failure, Refused (agreement.certificate)
    if not all have signed yet.
    """
    found = joint_of(node, text)
    if isinstance(found, Collaboration):
        return found
    missing = found.unsigned(found.newest) if found.newest is not None else ()
    waits = ", ".join(node.world.name(did) for did in missing)
    raise Refused(
        "agreement.certificate", f"{found.document.name} waits for {waits or 'a version'}"
    )


def joint_of(node: Node, text: str | None) -> Joint:
    """An agreement in force or under negotiation; in force comes first. Raises Failure (id.*)."""
    known = joints(node.world)
    if text is None:
        return _default(node, known)
    named = [one for one in known.values() if title(one) == text]
    if len(named) == 1:
        return named[0]
    aliases = _aliases(known)
    return known[aliases[one_of(aliases, text, "agreement")]]


def joints(world: World) -> Mapping[bytes, Joint]:
    """Every agreement once, by the id of its negotiation."""
    found: dict[bytes, Joint] = {one.id: one for one in world.negotiations()}
    found.update({one.document.negotiation: one for one in world.collaborations()})
    return found


def title(joint: Joint) -> str:
    """What people call an agreement."""
    return joint.document.name


def _aliases(known: Mapping[bytes, Joint]) -> dict[bytes, bytes]:
    """Id of negotiation, agreement or version -> id of the negotiation."""
    aliases = {id_: id_ for id_ in known}
    for id_, joint in known.items():
        aliases[joint.id] = id_
        if isinstance(joint, Negotiation):
            aliases.update({version.digest: id_ for version in joint.versions.values()})
    return aliases


def _default(node: Node, known: Mapping[bytes, Joint]) -> Joint:
    used = node.journal.state(USED)
    if used is not None and used in known:
        return known[used]
    if len(known) == 1:
        return next(iter(known.values()))
    names_ = ", ".join(title(one) for one in known.values()) or "none"
    code = "id.ambiguous" if known else "id.unknown"
    raise Failure(code, f"Agreements here: {names_}.", "Name one, or choose one: village use.")
