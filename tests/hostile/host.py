"""A host whose operator cheats: the ordinary node, its conveyer patched from outside.

    python -m tests.hostile.host ORDERS -- node run --config FILE

It behaves until a file appears in the folder ORDERS; the file's name says what to do, and what came
of it is written beside it as NAME.answer (JSON). Everything it tries is what the operator of a host
could try with root on that machine.

    wait        while the file is there: do not offer the enclave to anybody
    flip-code   show the enclave the agreed bundle with one byte changed, then ask it to open shares
    ask-keys    ask every owner to wrap its share key for the enclave of a term that ended
    forge       push a vote of another party, with a signature that does not verify, to @hospital-b
    hide        while the file is there: keep back every statement that tells of a withdrawal
"""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio

from node import wire
from node.cli.main import main as village
from node.host import Host, collaboration
from node.world import Room
from protocol import codec, kinds, record
from protocol import enclave_wire as enclave
from protocol.attestation.evidence import enclave_id
from protocol.dialogue import Done
from protocol.errors import ProtocolError, Refused
from protocol.kinds.run import Statement
from protocol.machines.agreement import Collaboration

LOOK: Final = 0.1
"""Seconds between two looks at the orders."""

Act = Callable[[Host, Room], Awaitable[dict[str, Any]]]


async def flip_code(host: Host, room: Room) -> dict[str, Any]:
    """Change one byte of the code, and go on as if nothing were."""
    document = collaboration(room).document
    bundle = await host.spread.fetch_blob(
        document.algorithm.bundle, host.spread.audience_peers(room)
    )
    changed = bytearray(bundle)
    changed[len(changed) // 2] ^= 1
    await host.link.ask(enclave.Join(opening=room.opening.raw), Done)
    provide = enclave.Provide(agreement=room.topic, blobs=(bytes(changed),))
    found = await _refused(host, room, host.link.ask(provide, Done))
    opened = 0
    stored = host.lane.stored(room.topic)
    for share in stored:
        begin = enclave.ShareBegin(
            agreement=room.topic, share=share.opening, person=share.person, stored=True
        )
        try:
            await host.link.ask(begin, enclave.ShareReady)
            opened += 1
        except Refused:
            continue
    return {**found, "shares": len(stored), "opened": opened}


async def ask_keys(host: Host, room: Room) -> dict[str, Any]:
    """Ask every owner for a wrap to the enclave that held the first term, and to the new one."""
    machine = collaboration(room)
    elected = machine.election.elected(1)
    hello = await host.link.ask(enclave.Hello(), enclave.HelloAnswer)
    enclaves = [enclave_id(hello.keys)]
    if elected is not None:
        enclaves.append(elected.appointment.enclave)
    answers = []
    for (_, owner), kept in machine.current_shares().items():
        for name in enclaves:
            question = wire.AskRewrap(
                agreement=room.topic, term=1, enclave=name, share=kept.record.id
            )
            asked = _ask(host, owner, question, Done)
            answers.append({"owner": host.world.name(owner), **await _outcome(asked)})
    return {"answers": answers}


async def forge(host: Host, room: Room) -> dict[str, Any]:
    """A vote of the sponsor with one bit of its signature changed, pushed to Hospital B."""
    machine = collaboration(room)
    raw = _vote_of(machine, "sponsor", host)
    [envelope, body] = codec.decode(raw)
    envelope[3] = bytes([envelope[3][0] ^ 1]) + envelope[3][1:]
    forged = codec.encode([envelope, body])
    victim = next(did for did, one in machine.parties.items() if one.name == "hospital-b")
    took: wire.Took = await _ask(host, victim, wire.Push(records=(forged,), proofs=()), wire.Took)
    return {"new": took.new}


ACTS: Final[dict[str, Act]] = {"flip-code": flip_code, "ask-keys": ask_keys, "forge": forge}


def hide_withdrawals(orders: Path) -> None:
    """Patch what the host brings its enclave for a run, while the file `hide` is there."""
    honest = Host._prepare

    async def prepare(self: Host, room: Room, effect: Any) -> enclave.Prepare:
        question = await honest(self, room, effect)
        if not (orders / "hide").exists():
            return question
        silent = tuple(raw for raw in question.statements if not _stops(raw))
        return enclave.Prepare(
            agreement=question.agreement,
            number=question.number,
            statements=silent,
            lineage=question.lineage,
            wraps=question.wraps,
            runs=question.runs,
            terms=question.terms,
            leaves=question.leaves,
        )

    Host._prepare = prepare  # type: ignore[method-assign]


def hold_back(orders: Path) -> None:
    """Patch the offering of the enclave, while the file `wait` is there."""
    honest = Host._offer_everywhere

    async def offer(self: Host) -> None:
        if not (orders / "wait").exists():
            await honest(self)

    Host._offer_everywhere = offer  # type: ignore[method-assign]


def obey(orders: Path) -> None:
    """Give every host of this process a task that does what the orders say."""
    honest = Host.run

    async def run(self: Host) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, self, orders)
            await honest(self)

    Host.run = run  # type: ignore[method-assign]


async def _watch(host: Host, orders: Path) -> None:
    while True:
        await trio.sleep(LOOK)
        room = next((r for r in host.world.rooms.values() if _agreement(r)), None)
        for name, act in ACTS.items():
            if room is not None and (orders / name).exists():
                answer = await _try(act, host, room)
                # Renamed into place, so that nobody reads half of it.
                (orders / f"{name}.part").write_text(json.dumps(answer))
                (orders / name).unlink()
                (orders / f"{name}.part").rename(orders / f"{name}.answer")


async def _try(act: Act, host: Host, room: Room) -> dict[str, Any]:
    try:
        return await act(host, room)
    except (ProtocolError, OSError, trio.TooSlowError) as error:
        return {"error": repr(error)}


async def _refused(host: Host, room: Room, asked: Awaitable[object]) -> dict[str, Any]:
    """What the enclave said, kept as a refusal as the ordinary node keeps them."""
    try:
        await asked
    except Refused as error:
        host.pipeline.refuse(error, room.topic, host.world.me.did, room.topic)
        return {"code": error.code, "detail": error.detail}
    return {"code": ""}


async def _outcome(asked: Awaitable[object]) -> dict[str, Any]:
    try:
        await asked
    except Refused as error:
        return {"code": error.code}
    return {"code": ""}


async def _ask(host: Host, did: bytes, question: object, answer: type[Any]) -> Any:
    peer = host.world.peers_of(did)[0]
    return await host.spread._ask(peer, question, answer)


def _agreement(room: Room) -> bool:
    return isinstance(room.machine, Collaboration)


def _vote_of(machine: Collaboration, name: str, host: Host) -> bytes:
    voter = next(did for did, one in machine.parties.items() if one.name == name)
    raws = host.pipeline.journal.records(machine.id)
    votes = (raw for raw in raws if (found := record.parse(raw)).kind == "vote"
             and found.author == voter)  # fmt: skip
    return next(votes)


def _stops(raw: bytes) -> bool:
    return bool(kinds.read(Statement, record.parse(raw)).stops)


def main(arguments: list[str]) -> int:
    """Patch, then be the ordinary node."""
    match arguments:
        case [orders, "--", *rest]:
            hide_withdrawals(Path(orders))
            hold_back(Path(orders))
            obey(Path(orders))
            return int(village(rest) or 0)
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
