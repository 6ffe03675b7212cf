"""Writes noise.json: `python -m tests.vectors.noises`. Draws of each sampler over known streams."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from protocol import budget, noise
from protocol.kinds.agreement import Rules

FILE = Path(__file__).parent / "noise.json"
KEY = bytes(range(32))
ABOUT = (
    "Noise of Village: bytes are HKDF-SHA256 (no salt) of `key` in blocks of 1024, info is the "
    "deterministic CBOR of [village/noise/v1, place..., block]. Each list of draws begins at the "
    "start of its stream. laplace and gaussian are algorithms 2 and 3 of Canonne, Kamath, Steinke "
    "(2020); rho is in 10^-12, epsilon in 10^-6, delta in 10^-12, rounded down."
)
SCALES = ("1/3", "1", "7/2", "1000", "123456789/1000")
VARIANCES = ("1/4", "1", "25/3", "1000000")
BUDGETS = ((100_000, 10**6), (1_000_000, 10**6), (1_000_000, 10**3), (20_000_000, 1))


def make() -> dict[str, Any]:
    """The whole file."""
    return {
        "about": ABOUT,
        "key": KEY.hex(),
        "streams": [
            {"place": list(place), "first": noise.Stream(KEY, *place).take(64).hex(),
             "at_1000": _after(place).hex()}
            for place in (("model", "n"), ("model", "cells", "*", "n"), ("table",))
        ],
        "below": [
            {"bound": bound, "place": ["below", str(bound)], "draws": _draws("below", bound)}
            for bound in (1, 2, 3, 10, 256, 257, 10**12)
        ],
        "bernoulli_exp": [
            {"x": x, "place": ["bernoulli_exp", x], "draws": _draws("bernoulli_exp", x)}
            for x in ("0", "1/2", "1", "7/3")
        ],
        "laplace": [
            {"scale": x, "place": ["laplace", x], "draws": _draws("laplace", x)} for x in SCALES
        ],
        "gaussian": [
            {"variance": x, "place": ["gaussian", x], "draws": _draws("gaussian", x)}
            for x in VARIANCES
        ],
        "rho": [
            {"epsilon": epsilon, "delta": delta, "rho": budget.rho(epsilon, delta)}
            for epsilon, delta in BUDGETS
        ],
    }  # fmt: skip


def rules(**changes: Any) -> Rules:
    """Rules with noise, for tests."""
    said = {"noise": "laplace", "epsilon": 500_000, "epsilon_total": 2_000_000}
    return Rules(
        min_contributors=3,
        min_change=1,
        small_cells="suppress",
        precision=2,
        output_bytes=65536,
        **{**said, **changes},
    )


def _after(place: tuple[str, ...]) -> bytes:
    """The 64 bytes from place 1000 on: over the end of the first block."""
    stream = noise.Stream(KEY, *place)
    stream.take(1000)
    return stream.take(64)


def _draws(name: str, value: int | str) -> list[int]:
    stream = noise.Stream(KEY, name, str(value))
    if name == "below":
        return [stream.below(int(value)) for _ in range(16)]
    draw = {"bernoulli_exp": noise.bernoulli_exp, "laplace": noise.laplace,
            "gaussian": noise.gaussian}[name]  # fmt: skip
    return [int(draw(stream, Fraction(value))) for _ in range(16)]


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
