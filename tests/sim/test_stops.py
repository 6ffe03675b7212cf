"""Stops on their way: from parties, which alone are told, to the host's enclave."""

from pathlib import Path
from typing import Any

import pytest

from node import stops, wire
from node.host import Host
from protocol import enclave_wire as enclave
from protocol import keys, token
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds.consent import Stop, StopRight
from protocol.kinds.run import Statement
from tests.agreements import seed
from tests.people_rig import Village, real_lane, village
from tests.people_story import RINGS


class EnclaveLink:
    """Notes what the enclave is told."""

    def __init__(self) -> None:
        self.told: list[enclave.Stops] = []

    async def ask(self, question: Any, answer: Any, **_: object) -> Done:
        assert answer is Done
        self.told.append(question)
        return Done()


def stop(here: Village, name: str) -> bytes:
    key = seed(name)
    body = StopRight(agreement=here.story.id, key=keys.public(key))
    right = token.sign(RINGS["registrar"].record, "stop-right", body)
    said = Stop(agreement=here.story.id, what="withdrawal", consent=seed("c"), right=right)
    return token.sign(key, "stop", said)


def id_of(raw: bytes) -> bytes:
    return token.open_(raw, "stop", Stop).id


def statement(here: Village, name: str, *ids: bytes) -> bytes:
    body = Statement(
        number=1, term=1, nonce=seed("n"), stops=tuple(sorted(ids)), suspended=False, attempts=0,
        identities=(), at=0,
    )  # fmt: skip
    return here.story.scribe.by(name, "statement", body).raw


async def host(here: Village, folder: Path) -> tuple[Any, Any]:
    """The product's host of an agreement, as far as stops concern it."""
    node = await real_lane(here, folder)
    made = Host.__new__(Host)
    made.pipeline, made.transport, made.link = node.pipeline, node.transport, EnclaveLink()  # type: ignore[assignment]
    return made, node.pipeline.world.room(here.story.id)


async def test_the_host_fetches_what_statements_name_and_keeps_it(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        made, room = await host(here, tmp_path / "host-1")
        one, two = stop(here, "one"), stop(here, "two")
        parties = [here.nodes[n] for n in ("hospital-a", "sponsor")]
        for node, raw in zip(parties, (one, two), strict=True):
            await node.session.take_stop(raw)
        said = (
            statement(here, "hospital-a", id_of(one)),
            statement(here, "sponsor", id_of(two)),
            statement(here, "biostat-lab"),
        )
        await made._show_stops(room, said)
        assert set(made.link.told[0].stops) == {one, two}
        assert set(made.pipeline.journal.states(stops.prefix(here.story.id)).values()) == {one, two}
        # The second time nobody is asked.
        here.network.weather.reaches = lambda _a, _b: False
        await made._show_stops(room, said)
        assert set(made.link.told[1].stops) == {one, two}
        made.pipeline.journal.close()


async def test_what_a_party_names_and_does_not_show_is_left_out(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        made, room = await host(here, tmp_path / "host-1")
        true = stop(here, "one")
        await here.nodes["sponsor"].session.take_stop(true)
        said = (
            statement(here, "hospital-a", seed("invented"), seed("another")),
            statement(here, "sponsor", id_of(true)),
        )
        await made._show_stops(room, said)
        assert [told.stops for told in made.link.told] == [(true,)]
        made.pipeline.journal.close()


async def test_stops_are_shown_to_the_audience_alone(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        raw = stop(here, "one")
        party = here.nodes["hospital-a"]
        await party.session.take_stop(raw)
        request = wire.GetStops(agreement=here.story.id, stops=(id_of(raw), seed("unknown")))
        peer = here.nodes["sponsor"].transport.peer_id
        answer = await party.session.answer(request, peer)
        assert isinstance(answer, wire.StopTokens)
        assert answer.tokens == (raw,)
        async with here.connect(seed("stranger")) as transport:
            with pytest.raises(Refused) as caught:
                await party.session.answer(request, transport.peer_id)
            assert caught.value.code == "session.audience"
