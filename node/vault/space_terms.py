"""The terms of a space that are in force, from what a gateway shows of it.

A gateway can keep a change back, as it can keep back all else: what it shows can only be terms that
a quorum of the space's voters made final, from the charter on.
"""

from collections.abc import Iterable

from protocol import kinds, record
from protocol.errors import Refused
from protocol.events import Received
from protocol.machines.membership import proves_terms
from protocol.machines.space import Space
from protocol.record import Record
from protocol.topic import Opening


def told(opening: Opening, raws: Iterable[bytes]) -> Space:
    """The space as these records make it: what does not verify, or has no say, is passed over.

    Raises Refused (topic.opening, identity.*).
    """
    space = Space(opening)
    for raw in raws:
        found = _parse(raw, opening.topic)
        if found is not None:
            space.handle(Received(found), 0.0)
    return space


def _parse(raw: bytes, topic: bytes) -> Record | None:
    try:
        found = record.parse(raw)
        kinds.check(found, "space")
        good = found.topic == topic and found.body is not None and proves_terms(found)
    except Refused:
        return None
    return found if good else None
