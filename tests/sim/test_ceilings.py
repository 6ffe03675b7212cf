"""A host that allows a run less than was agreed says so to its operator, and offers nothing."""

from pathlib import Path
from typing import Any

from node.host import Host
from protocol import enclave_wire as enclave
from protocol.errors import Refused
from protocol.kinds.host import EnclaveKeys
from tests.agreements import seed
from tests.people_rig import real_lane, village

WHY = "memory 4 GiB, the host allows 2 GiB"
HELLO = enclave.HelloAnswer(
    keys=EnclaveKeys(signing=seed("signing"), sealing=seed("sealing")),
    technology="simulated",
    software=seed("software"),
    tier="A",
    memory=2**30,
)


class LowEnclave:
    """Refuses the agreement, as an enclave with low ceilings does."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def ask(self, question: object, answer: Any, **_: object) -> Any:
        self.asked.append(question)
        raise Refused("host.limits", WHY)


async def test_a_host_with_lower_ceilings_says_why_once_and_is_no_candidate(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        node = await real_lane(here, tmp_path / "host-1")
        made: Any = Host.__new__(Host)
        made.pipeline, made.world, made.link = node.pipeline, node.pipeline.world, LowEnclave()
        made._joined, made._unfit = set(), set()
        room = made.world.room(here.story.id)
        before = len(node.pipeline.journal.refusals())
        for _ in range(2):
            await made._offer_to(room, HELLO)
        assert [type(one) for one in made.link.asked] == [enclave.Join]
        told, *others = node.pipeline.journal.refusals()
        assert len(others) == before
        assert (told.code, told.detail) == ("host.limits", WHY)
        assert "[limits]" in told.fix
