"""States: what one run writes and a later run reads, and nobody else ever gets.

They lie in the sealed lineage. Whoever is in the rows from which a state was computed is counted in
every result that is computed from the state. One that rests on a consent that was withdrawn is
used no more, whoever wrote it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from enclave_host import outputs
from enclave_host.lineage import Lineage, State
from enclave_host.people import Consents
from enclave_host.shares import Held
from protocol import limits
from protocol.errors import Refused
from protocol.kinds.run import OutputDigest, StateUse, output_digest


@dataclass(frozen=True, slots=True)
class Reading:
    """The states that a run reads, and those that are in force no more."""

    read: tuple[State, ...] = ()
    dropped: tuple[State, ...] = ()

    def contents(self) -> dict[str, bytes]:
        """Name -> bytes, for the algorithm."""
        return {state.name: state.content for state in self.read}

    def uses(self) -> tuple[StateUse, ...]:
        """What the run record says of them, by name."""
        found = [_use(state, used=True) for state in self.read]
        found += [_use(state, used=False) for state in self.dropped]
        return tuple(sorted(found, key=lambda use: use.name))

    def consents(self) -> bytes:
        """The consents that the states read rest on, in a row."""
        return b"".join(state.consents for state in self.read)


def choose(lineage: Lineage, names: Iterable[str], consents: Consents) -> Reading:
    """What an entry point reads that names these states; the withdrawals known now are heard."""
    ended = frozenset(stop.body.consent + stop.key for stop in consents.stops.values())
    dropped = tuple(state for state in lineage.states if state.rests_on(ended))
    wanted = set(names)
    read = [one for one in lineage.states if one.name in wanted and one not in dropped]
    return Reading(tuple(read), dropped)


def plan(names: Iterable[str]) -> bytes:
    """What tells the runner to hand states to the algorithm, also where there are none yet."""
    return json.dumps({"states": sorted(names)}).encode()


def require_same(reading: Reading, adopted: tuple[StateUse, ...]) -> None:
    """Refuse (consent.withdrawn) to repeat a run with other states than its record names: a
    withdrawal since then keeps the number open rather than be ignored.
    """
    if reading.uses() != adopted:
        raise Refused("consent.withdrawn", "a state that the adopted record used ended since")


def write(
    contents: Mapping[str, bytes], number: int, secret: bytes, agreement: bytes, consents: bytes
) -> tuple[State, ...]:
    """The states that run `number` wrote. `secret`: as for the salts of outputs; `consents` are
    those that it rests on, in a row.
    """
    return tuple(
        State(
            name=name,
            number=number,
            salt=outputs.salt(secret, name, agreement),
            content=content,
            consents=_distinct(consents),
        )
        for name, content in sorted(contents.items())
    )


def in_force(lineage: Lineage, reading: Reading, written: tuple[State, ...]) -> tuple[State, ...]:
    """The states after a run. Raises Refused (gate.quota) if all together are too large."""
    gone = {state.name for state in written} | {state.name for state in reading.dropped}
    found = (*(one for one in lineage.states if one.name not in gone), *written)
    if sum(len(state.content) for state in found) > limits.STATE:
        raise Refused("gate.quota", f"all states together, at most {limits.STATE} bytes")
    return found


def commitments(written: Iterable[State], agreement: bytes) -> tuple[OutputDigest, ...]:
    """What the run record says of states that were written; how large they are, nobody learns."""
    return tuple(
        OutputDigest(
            name=state.name,
            to=agreement,
            digest=output_digest(state.salt, state.content),
            size=0,
        )
        for state in written
    )


def consents_of(used: Iterable[Held]) -> bytes:
    """Id and key of the consent behind each person's share, in a row."""
    found = [one.share.person.consent for one in used if one.share.person is not None]
    return b"".join(sorted(consent.id + consent.key for consent in found))


def _use(state: State, *, used: bool) -> StateUse:
    digest = output_digest(state.salt, state.content)
    return StateUse(name=state.name, number=state.number, digest=digest, used=used)


def _distinct(consents: bytes) -> bytes:
    ones = {consents[at : at + 64] for at in range(0, len(consents), 64)}
    return b"".join(sorted(ones))
