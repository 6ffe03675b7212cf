"""A second reader, in JavaScript and sharing no code, says of every vector what ours says."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.vectors.make import read

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.vector"))
READER = HERE / "reader" / "reader.mjs"
NODE = shutil.which("node")

needs_node = pytest.mark.skipif(
    NODE is None, reason="Node.js is not installed: the second reader stays unused"
)


def reader(*files: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (our own program)
        [str(NODE), str(READER), *map(str, files)], capture_output=True, text=True, check=False
    )


@needs_node
def test_the_second_reader_agrees_on_every_vector() -> None:
    said = reader()
    assert said.returncode == 0, said.stderr or said.stdout or "make setup installs its one library"
    outcomes = dict(line.split(" ") for line in said.stdout.splitlines())
    assert outcomes == {path.stem: read(path).expect for path in FILES}


@needs_node
def test_the_core_alone_proves_the_format() -> None:
    """Less than 120 lines, and nothing of the rules of topics."""
    kinds = {"codec", "record", "identity", "history", "certificate", "proof", "feed"}
    said = reader("--core")
    assert said.returncode == 0, said.stderr or said.stdout
    outcomes = dict(line.split(" ") for line in said.stdout.splitlines())
    wanted = {path.stem: read(path).expect for path in FILES}
    assert outcomes == {
        name: code
        for name, code in wanted.items()
        if name.partition("-")[0] in kinds | {"presentation"}
    }
    core = (READER.parent / "core.mjs").read_text(encoding="utf-8")
    assert len(core.splitlines()) < 120
    assert "rules/" not in core


@needs_node
@pytest.mark.parametrize("head", ["expect: ok\nkind: poem", "expect: record.gap\nkind: codec"])
def test_the_second_reader_fails_on_what_it_does_not_know_or_expect(
    head: str, tmp_path: Path
) -> None:
    path = tmp_path / "one.vector"
    path.write_bytes(f"{head}\ncomment: none\n\n".encode() + b"\xf6")
    assert reader(FILES[0]).returncode == 0
    assert reader(FILES[0], path).returncode == 1
