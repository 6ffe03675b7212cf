"""enrolment.*: letters with one-time codes, by which people get their credential (registrar)."""

import secrets
import time
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import trio

from node import codes
from node.admin.failure import Failure
from node.admin.method import Methods
from node.enrolments import Enrolled, Enrolments, Letter
from node.node import Node
from node.registrar import DAY, Registrar

METHODS = Methods("enrolment")

Person = Annotated[str, "Value of the person column in this person's rows."]
Days = Annotated[int, "Days for which the codes are valid."]
Address = Annotated[str | None, "Where vaults reach this node; default: its first address."]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A person who gets a letter."""

    person: str
    category: str


@METHODS.add("new", "operate")
async def new(
    node: Node,
    *,
    person: Person,
    category: Annotated[str, "What the person is in agreements, as in patient."],
    days: Days = 30,
    address: Address = None,
) -> dict[str, Any]:
    """Make a letter for one person, whatever letter or vault the person has. The code is shown this
    once, and kept only as a digest.
    """
    code = await trio.to_thread.run_sync(_registrar(node).enrol_new, person, category, days)
    return {"person": person, "category": category, "code": code, **_link(node, code, address)}


@METHODS.add("letters", "operate")
async def letters(
    node: Node,
    *,
    people: Annotated[tuple[Wanted, ...], "Person and category of each, at most 1,024."],
    days: Days = 30,
    address: Address = None,
) -> dict[str, Any]:
    """Make a letter for each person who has none that waits, and no vault. Again it makes none."""
    kept = _registrar(node).enrolments
    now = int(time.time())
    wanted = [(one.person, one.category) for one in people]
    chance = [secrets.token_bytes(codes.RANDOM) for _ in wanted]
    until = now + days * DAY
    made = await trio.to_thread.run_sync(kept.write, wanted, until, chance, now)
    new_ones = [
        {"person": who, "category": category, "code": code, **_link(node, code, address)}
        for (who, category), code in zip(wanted, made, strict=True)
        if code is not None
    ]
    return {"letters": new_ones, "known": len(wanted) - len(new_ones), "until": until}


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """Every letter, and what became of it; never a code."""
    found = await trio.to_thread.run_sync(_registrar(node).enrolments.letters)
    now = int(time.time())
    return [_letter(one, now) for one in found]


@METHODS.add("status", "read")
async def status(node: Node) -> dict[str, int]:
    """How many letters wait, were used, expired or cancelled, how often one was refused, and how
    many people are revoked.
    """
    kept = _registrar(node).enrolments
    return await trio.to_thread.run_sync(kept.counts, int(time.time()))


@METHODS.add("cancel", "operate")
async def cancel(
    node: Node,
    *,
    people: Annotated[tuple[str, ...] | None, "Whose letters; default: all that wait."] = None,
) -> dict[str, int]:
    """Make letters that nobody used yet worthless."""
    kept = _registrar(node).enrolments
    chosen = frozenset(people) if people is not None else None
    count = await trio.to_thread.run_sync(kept.cancel, chosen, int(time.time()))
    return {"cancelled": count}


@METHODS.add("show", "read")
async def show(node: Node, *, person: Person) -> dict[str, Any]:
    """What this registrar keeps of one person: letters, credential, agreements."""
    kept = _registrar(node).enrolments
    return await trio.to_thread.run_sync(_person, node, kept, person)


@METHODS.add("revoke", "operate")
async def revoke(node: Node, *, person: Person) -> dict[str, Any]:
    """Admit a person to nothing more, and cancel the person's letters. What was admitted before
    stands: it ends with the person's consent, or at the date named here.
    """
    kept = _registrar(node).enrolments
    found = await trio.to_thread.run_sync(kept.revoke, person, int(time.time()))
    agreements = _agreements(node, kept, person, found)
    return {"person": person, "revoked": found is not None, "still_admitted": agreements}


def _registrar(node: Node) -> Registrar:
    if node.registrar is None:
        fix = "Set registrar.enabled on the node of an identity authority."
        raise Failure("admin.parameters", "This node is no registrar.", fix)
    return node.registrar


def _link(node: Node, code: str, address: str | None) -> dict[str, str]:
    """What a QR code in the letter holds."""
    where = address or next(iter(node.transport.addresses()), None)
    return {"link": codes.link(code, where)} if where is not None else {}


def _letter(letter: Letter, now: int) -> dict[str, Any]:
    # The key of a person is nobody's business here.
    shown = asdict(replace(letter, key=None))
    del shown["key"], shown["cancelled"]
    return {**shown, "tries": letter.tries or 0, "state": letter.state(now)}


def _person(node: Node, kept: Enrolments, person: str) -> dict[str, Any]:
    now = int(time.time())
    found = next((one for one in kept.people() if one.person == person), None)
    letters = [_letter(one, now) for one in kept.letters() if one.person == person]
    return {
        "person": person,
        "enrolled": found is not None,
        "revoked": found is not None and found.revoked,
        "until": found.until if found is not None else None,
        "letters": letters,
        "agreements": _agreements(node, kept, person, found),
    }


def _agreements(
    node: Node, kept: Enrolments, person: str, found: Enrolled | None
) -> list[dict[str, Any]]:
    names = {one.id: one.document.name for one in node.world.collaborations()}
    return [
        {
            "agreement": one.agreement.hex(),
            "name": names.get(one.agreement, "not known here"),
            "until": found.until if found is not None else None,
        }
        for one in kept.admitted(person)
    ]
