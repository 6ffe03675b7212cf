"""Two readers that share no code say the same of altered vectors, and of random lives of spaces."""

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import ProtocolError
from tests.fuzz.test_vectors_fuzz import CORPUS, MAPS, altered, inside
from tests.vectors.judge import JUDGES
from tests.vectors.make import Vector
from tests.vectors.stories import story

READER = Path(__file__).parents[1] / "vectors" / "reader" / "reader.mjs"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    NODE is None, reason="Node.js is not installed: the second reader stays unused"
)


def vector(name: str, kind: str, data: bytes) -> Vector:
    """The bytes with what our own code says of them."""
    try:
        JUDGES[kind](data)
    except ProtocolError as error:
        return Vector(f"{kind}-{name}", error.code, "", data)
    return Vector(f"{kind}-{name}", "ok", "", data)


def agree(vectors: Iterator[Vector], folder: Path) -> set[str]:
    """Let the second reader judge them all; what was expected of them."""
    expected = {}
    for one in vectors:
        (folder / f"{one.name}.vector").write_bytes(one.encode())
        expected[one.name] = one.expect
    files = sorted(map(str, folder.glob("*.vector")))
    found: dict[str, str] = {}
    for at in range(0, len(files), 500):
        said = subprocess.run(  # noqa: S603 (our own program)
            [str(NODE), str(READER), *files[at : at + 500]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.stderr == ""
        found |= dict(line.split(" ") for line in said.stdout.splitlines())
    assert {
        name: (code, found[name]) for name, code in expected.items() if code != found[name]
    } == {}
    return set(expected.values())


def alterations(each: int, seed: str) -> Iterator[Vector]:
    chance = random.Random(seed)  # noqa: S311 (a fuzzer)
    for number, one in enumerate(CORPUS):
        if one.kind in MAPS:
            made = inside(one, chance, each)
        else:
            places = (chance.randrange(len(one.data)) for _ in range(each) if one.data)
            made = (data for at in places for data in altered(one.data, at, chance))
        for count, data in enumerate(made):
            yield vector(f"altered-{number}-{count}", one.kind, data)


def stories(count: int, seed: str) -> Iterator[Vector]:
    for number in range(count):
        yield vector(f"story-{number}", "space", story(f"{seed} {number}", 45))


def test_two_readers_say_the_same_of_altered_vectors(tmp_path: Path) -> None:
    assert len(agree(alterations(1, "small"), tmp_path)) > 8


def test_two_readers_say_the_same_of_the_life_of_a_space(tmp_path: Path) -> None:
    assert len(agree(stories(10, "small"), tmp_path)) > 3


@pytest.mark.soak
def test_two_readers_say_the_same_of_many_altered_vectors(tmp_path: Path) -> None:
    agree(alterations(40, "large"), tmp_path)


@pytest.mark.soak
def test_two_readers_say_the_same_of_many_lives_of_a_space(tmp_path: Path) -> None:
    agree(stories(1_000, "large"), tmp_path)
