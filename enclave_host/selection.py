"""Which shares a run uses. None is left out in silence: the run waits, or the agreement says that
it goes on without; the run record and its leaves say what was in.
"""

from collections.abc import Mapping, Sequence

from enclave_host.parties import Parties
from enclave_host.people import Consents
from enclave_host.shares import Held, Shares
from enclave_host.statements import Heard
from protocol import merkle
from protocol.consistency import COMBINE
from protocol.errors import Refused
from protocol.kinds.run import Run


def select(
    parties: Parties, consents: Consents, shares: Shares, heard: Heard, number: int
) -> list[Held]:
    """The shares for run `number`. Raises Refused (run.share-missing, run.combine).

    An organization's share is the one that its own statement for this run names: so it stops the
    use of its data at once, and no host brings an older one back. A person's share needs a consent
    that covers the number and was not withdrawn.
    """
    people = _people(shares)
    covered = [one for one in people if _covered(consents, one, number, heard.now)]
    used = [*_organizations(parties, shares.of_parties(), heard), *covered]
    _require_allowed(parties, used)
    return used


def select_again(
    parties: Parties,
    consents: Consents,
    shares: Shares,
    heard: Heard,
    adopted: Run,
    leaves: bytes | None,
) -> list[Held]:
    """The shares that the run record of an earlier term used, to compute it again: those too that
    their owners replaced since.

    `leaves` says which people were in; without it those are taken whose consents cover the number,
    and the inputs' digest tells whether it were the same. Raises Refused (run.adopted,
    consent.withdrawn): a withdrawal since then keeps the number open rather than be ignored.
    """
    by_id = shares.of_parties()
    if not by_id.keys() >= set(adopted.shares):
        raise Refused("run.adopted", "a share of an organization is not here")
    # In the order of the record: sums of floating-point numbers depend on it.
    parties_shares = [by_id[share] for share in adopted.shares]
    for one in parties_shares:
        _require_statement(parties, one.share.owner, heard)
    people = _people(shares)
    if leaves is None:
        chosen = [one for one in people if _covered(consents, one, adopted.number, heard.now)]
    else:
        chosen = _by_leaves(parties, people, adopted, leaves)
    for one in chosen:
        person = one.share.person
        if person is None:
            continue
        if consents.withdrawn(person) or person.until < heard.now:
            raise Refused("consent.withdrawn", "a consent in the adopted record ended since")
    return [*parties_shares, *chosen]


def leaf(parties: Parties, held: Held, number: int) -> bytes:
    """A contributing person's leaf in run `number`; only the holder of its secret knows it."""
    person = held.share.person
    secret = person.consent.body.secret if person is not None else b""
    return merkle.person_leaf(secret, parties.id, number)


def _people(shares: Shares) -> list[Held]:
    return [one for one in shares.usable() if one.share.person is not None]


def _organizations(parties: Parties, known: Mapping[bytes, Held], heard: Heard) -> list[Held]:
    """The organizations' shares, in the order of the agreement."""
    by_slot = {
        one.share.slot: one
        for id_, one in known.items()
        if id_ in heard.shares.get(one.share.owner, ())
    }
    found = []
    for dataset in parties.document.datasets:
        for source in dataset.sources:
            if source.did is None:
                continue
            held = by_slot.get((source.did, dataset.id))
            stated = source.did in heard.shares
            if source.waits and held is None:
                what = "share" if stated else "statement"
                name = parties.name(source.did)
                raise Refused("run.share-missing", f"the {what} of {name}", set_by=name)
            if held is not None:
                found.append(held)
    return found


def _covered(consents: Consents, held: Held, number: int, now: int) -> bool:
    person = held.share.person
    return person is not None and consents.covers(person, number, now)


def _require_statement(parties: Parties, owner: bytes, heard: Heard) -> None:
    if owner not in heard.shares:
        name = parties.name(owner)
        raise Refused("run.share-missing", f"the statement of {name}", set_by=name)


def _require_allowed(parties: Parties, used: list[Held]) -> None:
    if not used:
        raise Refused("run.share-missing", "there is no share at all")
    meet = len({one.share.owner for one in used}) > 1
    if meet and COMBINE not in parties.document.purpose.processing:
        raise Refused("run.combine")


def _by_leaves(parties: Parties, people: Sequence[Held], adopted: Run, leaves: bytes) -> list[Held]:
    shown = merkle.split(leaves)
    if merkle.root(shown) != adopted.leaves:
        raise Refused("run.adopted", "the leaves are not those of the adopted record")
    wanted = set(shown)
    by_leaf = [(leaf(parties, one, adopted.number), one) for one in people]
    lacking = wanted - {place for place, _ in by_leaf}
    if lacking:  # after a fail-over each person seals to the new enclave anew
        raise Refused("run.share-missing", f"the shares of {len(lacking)} people")
    return [one for place, one in by_leaf if place in wanted]
