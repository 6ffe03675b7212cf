"""The synthetic evidence that the project ships: verdicts as written, none by vendors' roots."""

from dataclasses import replace

import pytest

from protocol.attestation import nitro, snp
from tests.vectors.attestation import make

FILES = sorted([*make.FOLDER.glob("nitro-*.json"), *make.FOLDER.glob("snp-*.json")])
VECTORS = [make.read(path) for path in FILES]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_verdict(vector: make.Vector) -> None:
    assert make.judge(vector) == vector.reasons


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vendors_roots_know_none_of_them(vector: make.Vector) -> None:
    pinned = snp.PINNED if vector.name.startswith("snp") else nitro.PINNED
    assert "evidence.chain" in make.judge(replace(vector, roots=pinned))


def test_a_file_is_what_make_would_write() -> None:
    """Names, words and verdicts; keys and signatures are drawn anew."""
    made = {vector.name: vector for vector in make.vectors()}
    assert set(made) == {vector.name for vector in VECTORS}
    for path, vector in zip(FILES, VECTORS, strict=True):
        same = made[vector.name]
        assert (vector.about, vector.reasons, vector.terms) == (
            same.about,
            same.reasons,
            same.terms,
        )
        assert make.judge(same) == same.reasons
        assert path.read_bytes() == vector.encode()
