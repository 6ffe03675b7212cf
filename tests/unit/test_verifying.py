"""Batches are parsed here, in a thread, or by worker processes: with the same answers."""

import sys

import trio

from node import verifying
from node.verifying import Verifier
from protocol import keys, record
from protocol.errors import Refused
from protocol.kinds.space import Commitment
from protocol.record import Place, Record

SEED = b"\x01" * 32


def raws(count: int) -> list[bytes]:
    made = [
        record.sign(
            SEED,
            topic=bytes(32),
            author=keys.public(SEED),
            kind="commitment",
            body=Commitment(digest=number.to_bytes(32, "big")),
            place=Place(),
            at=1,
            salt=bytes(16),
        ).raw
        for number in range(count)
    ]
    made[count // 2] = made[count // 2][:-1] + b"\x00"
    return made


def said(found: list[Record | Refused]) -> list[object]:
    return [(one.code, one.detail) if isinstance(one, Refused) else one for one in found]


async def test_every_way_finds_the_same() -> None:
    verifier = Verifier()
    given = raws(verifying.BULK + 3)
    found = await verifier.parse(given)
    assert said(found) == said(verifying._parse_all(given))
    assert said(found)[len(given) // 2] == ("record.body", "")
    assert said(await verifier.parse(given[:9])) == said(found[:9])
    assert said(await verifier.parse(given[:3])) == said(found[:3])
    processes = [worker._process for worker in verifier._workers]
    assert len(processes) == verifying.WORKERS
    await verifier.close()
    assert all(process.returncode is not None for process in processes)


async def test_a_worker_that_dies_is_replaced_and_nothing_is_lost() -> None:
    verifier = Verifier()
    given = raws(verifying.BULK)
    await verifier.parse(given)
    for worker in verifier._workers:
        worker._process.kill()
    assert said(await verifier.parse(given)) == said(verifying._parse_all(given))
    assert said(await verifier.parse(given)) == said(verifying._parse_all(given))
    await verifier.close()


async def test_idle_workers_end(monkeypatch: object) -> None:
    verifier = Verifier()
    await verifier.parse(raws(verifying.BULK))
    await verifier.rest()
    assert verifier._workers
    verifier._used -= verifying.IDLE + 1
    await verifier.rest()
    assert not verifier._workers
    await trio.lowlevel.checkpoint()
    assert sys.executable
