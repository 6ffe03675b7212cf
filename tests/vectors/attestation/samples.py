"""The real evidence that is kept beside the checkout, never in it (VILLAGE_VECTORS).

A checkout that stands alone skips these tests, visibly. Where the samples should be, that is if
VILLAGE_VECTORS is set or a folder `shared` stands beside the checkout, their absence is a failure.
"""

import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

BESIDE = Path(__file__).parents[4] / "shared"
VECTORS = Path(os.environ.get("VILLAGE_VECTORS") or BESIDE / "vectors")
EXPECTED = "VILLAGE_VECTORS" in os.environ or BESIDE.is_dir()


@dataclass(frozen=True)
class Sample:
    """One real piece of evidence; `about` is its JSON."""

    name: str
    about: dict[str, Any] = field(repr=False)
    evidence: bytes = field(repr=False)
    endorsements: dict[str, bytes] = field(repr=False)

    @property
    def accepted(self) -> bool:
        return bool(self.about["verdict"] == "accept")

    @property
    def at(self) -> int:
        return seconds(self.about["valid_at"])

    def __str__(self) -> str:
        return self.name


def seconds(text: str) -> int:
    """Unix seconds of an ISO time."""
    return int(datetime.fromisoformat(text).timestamp())


def folder(technology: str) -> Path:
    """Where a technology's samples are; skips the module if the checkout stands alone."""
    path = VECTORS / "attestation" / technology
    if not path.is_dir() and not EXPECTED:
        pytest.skip(f"no real evidence: {VECTORS} is not there", allow_module_level=True)
    assert path.is_dir(), f"{path} is missing"
    return path


def nitro() -> list[Sample]:
    return [_nitro(path) for path in sorted(folder("nitro").glob("*.json"))]


def snp() -> list[Sample]:
    return [_snp(path) for path in sorted(folder("snp").glob("*.json"))]


def intel(technology: str) -> list[Sample]:
    """Quotes of TDX or SGX, one sample for each case: quote, collateral and time."""
    paths = sorted(folder(technology).glob("*.json"))
    found = [_intel(path) for path in paths if not path.name.endswith(".collateral.json")]
    return [case for cases in found for case in cases]


def _nitro(path: Path) -> Sample:
    evidence = path.with_suffix(".cose").read_bytes()
    return Sample(path.stem, json.loads(path.read_text()), evidence, {})


def _snp(path: Path) -> Sample:
    evidence = path.with_suffix(".report").read_bytes()
    (leaf,) = path.parent.glob(f"{path.stem}.*.der")
    kind = leaf.name.split(".")[-2]
    return Sample(path.stem, json.loads(path.read_text()), evidence, {kind: leaf.read_bytes()})


def _intel(path: Path) -> list[Sample]:
    about, evidence = json.loads(path.read_text()), path.with_suffix(".quote").read_bytes()
    return [
        Sample(
            f"{path.stem}.{number}",
            {**about, **case},
            evidence,
            {"collateral": (path.parent / case["collateral"]).read_bytes()},
        )
        for number, case in enumerate(about["cases"])
    ]
