"""People's stops as a node keeps them: only those of admitted keys, so many of each, for ever."""

from collections.abc import Iterable

from node.store.journal import Journal
from protocol import limits
from protocol.errors import Refused
from protocol.kinds.consent import Stop
from protocol.machines.agreement import Collaboration
from protocol.stops import open_stop
from protocol.token import Token


def check(raw: bytes, collaboration: Collaboration) -> Token[Stop]:
    """A stop under an agreement, by a key that its registrar admitted.

    Raises Refused (credential.*, consent.scope, record.*): what a stranger signs is not kept.
    """
    people = collaboration.document.people
    return open_stop(raw, collaboration.id, people.registrar_keys if people is not None else ())


def keep(journal: Journal, stop: Token[Stop]) -> None:
    """Keep a stop durably. Raises Refused (codec.too-large) beyond those of one key."""
    mine = f"{prefix(stop.body.agreement)}{stop.key.hex()}/"
    kept, name = journal.states(mine), mine + stop.id.hex()
    if name not in kept and len(kept) >= limits.STOPS_OF_ONE:
        raise Refused("codec.too-large", f"{limits.STOPS_OF_ONE} stops of one key")
    journal.put_state(name, stop.raw)


def prefix(agreement: bytes) -> str:
    """Where the stops of an agreement stand in the journal."""
    return f"stop/{agreement.hex()}/"


def missing(ids: Iterable[bytes], collaboration: Collaboration) -> tuple[bytes, ...]:
    """Those of the named stops that are not here, so many as one question may name."""
    return tuple(sorted(set(ids) - collaboration.runs.stops.keys()))[: limits.PUSH]
