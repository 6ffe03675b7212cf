"""Writes synthetic/nitro-*.json and snp-*.json: `python -m tests.vectors.attestation.make`.

Evidence of our own making under test roots that stand in each file. RSA keys and their signatures
are drawn anew at each run, so files are written once and kept; private keys are never kept.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from protocol import shape
from protocol.attestation import nitro, snp
from protocol.attestation.findings import Findings
from protocol.attestation.snp_certificate import KINDS
from protocol.kinds.attestation import SevSnpTerms, SnpFloor
from tests.attestation_rig import PCRS, VERSIONS, NitroRig, Produced, SnpRig
from tests.attestation_x509 import NOW

FOLDER = Path(__file__).parent / "synthetic"
BINDING = bytes(range(64))


@dataclass(frozen=True)
class Vector:
    """One file; `reasons` are the codes of all faults, none if accepted."""

    name: str
    about: str
    reasons: tuple[str, ...]
    made: Produced
    roots: Any
    at: int = NOW
    terms: SevSnpTerms | None = None

    def encode(self) -> bytes:
        value = {
            "about": self.about,
            "technology": snp.TECHNOLOGY if self.name.startswith("snp") else nitro.TECHNOLOGY,
            "at": self.at,
            "reasons": self.reasons,
            "terms": None if self.terms is None else shape.write(self.terms),
            "roots": _roots(self.roots),
            "evidence": _text(self.made.evidence),
            "endorsements": {name: _text(der) for name, der in self.made.endorsements.items()},
        }
        return json.dumps(value, indent=1).encode() + b"\n"


def read(path: Path) -> Vector:
    """The vector in a file."""
    value = json.loads(path.read_bytes())
    endorsements = {name: _bytes(text) for name, text in value["endorsements"].items()}
    terms = value["terms"] and shape.read(SevSnpTerms, value["terms"])
    roots = value["roots"]
    return Vector(
        path.stem,
        value["about"],
        tuple(value["reasons"]),
        Produced(_bytes(value["evidence"]), endorsements),
        _read_snp_roots(roots) if path.stem.startswith("snp") else frozenset(map(_bytes, roots)),
        value["at"],
        terms,
    )


def judge(vector: Vector) -> tuple[str, ...]:
    """The codes of all faults, in alphabetical order."""
    found, made = Findings(), vector.made
    examine: Any = snp.examine if vector.name.startswith("snp") else nitro.examine
    examine(made.evidence, made.endorsements, vector.terms, vector.at, found, vector.roots)
    return tuple(sorted(found.codes))


def vectors() -> Iterator[Vector]:
    """All of them."""
    yield from _nitro()
    yield from _snp()


def _nitro() -> Iterator[Vector]:
    rig = NitroRig()
    good = Vector("nitro-good", "all as it should be", (), rig.produce(BINDING), rig.roots)
    yield good
    yield replace(
        good, name="nitro-root", about="a root that is not pinned", roots=[bytes(32)],
        reasons=("evidence.chain",),
    )  # fmt: skip
    yield replace(
        good, name="nitro-expired", about="a day later", at=NOW + 86_400,
        reasons=("evidence.chain",),
    )  # fmt: skip
    debug = {**PCRS, **dict.fromkeys((0, 1, 2), bytes(48))}
    yield replace(
        good, name="nitro-debug", about="debug mode", made=rig.produce(BINDING, pcrs=debug),
        reasons=("evidence.debug",),
    )  # fmt: skip
    raw = good.made.evidence
    changed = raw.replace(BINDING, BINDING[::-1])
    yield replace(
        good, name="nitro-changed", about="another user_data", made=Produced(changed),
        reasons=("evidence.signature",),
    )  # fmt: skip


def _snp() -> Iterator[Vector]:
    for generation, kind in (("genoa", "vcek"), ("milan", "vlek"), ("turin", "vcek")):
        rig = SnpRig(generation, kind)
        made = rig.produce(BINDING, crl=rig.crl())
        about = f"a {kind.upper()} of {generation.title()}, as it should be"
        yield Vector(f"snp-{generation}-{kind}", about, (), made, rig.roots, terms=terms(rig))
    rig = SnpRig("turin")
    good = Vector("snp", "", (), rig.produce(BINDING, crl=rig.crl()), rig.roots, terms=terms(rig))
    yield replace(
        good, name="snp-revoked", about="the issuer of the VCEK is revoked",
        reasons=("evidence.revoked",), made=rig.produce(BINDING, crl=rig.crl(rig.ask)),
    )  # fmt: skip
    ended = rig.crl(last=datetime(2026, 5, 1, tzinfo=UTC))
    yield replace(
        good, name="snp-crl-ended", about="a revocation list out of date",
        reasons=("evidence.collateral",), made=rig.produce(BINDING, crl=ended),
    )  # fmt: skip
    yield replace(
        good, name="snp-floor", about="below the floor of the policy", reasons=("evidence.tcb",),
        terms=terms(rig, fmc=VERSIONS["fmc"] + 1),
    )  # fmt: skip
    debug = rig.produce(BINDING, patch={0x08: b"\0\0\x0b"}, crl=rig.crl())
    yield replace(
        good, name="snp-debug", about="a guest that may be debugged", made=debug,
        reasons=("evidence.debug",),
    )  # fmt: skip
    other = SnpRig("turin", chip=bytes(8 * [7]))
    yield replace(
        good, name="snp-chip", about="a VCEK of another chip", roots=other.roots,
        made=other.produce(BINDING, crl=other.crl()), reasons=("evidence.chain",),
    )  # fmt: skip


def terms(rig: SnpRig, **raised: int) -> SevSnpTerms:
    """The strictest terms that the rig's chip fulfils, with some versions raised."""
    versions = {name: version for name, version in VERSIONS.items() if name != "fmc" or rig.turin}
    floor = SnpFloor(generation=rig.generation, **{**versions, **raised})  # type: ignore[arg-type]
    return SevSnpTerms(
        accept=(), generations=(floor,), crl=True, require=("alias-check", "no-smt", "ecc"), vmpl=0
    )


def _roots(roots: Any) -> Any:
    if not isinstance(roots, snp.Roots):
        return sorted(map(_text, roots))
    return {
        name: {
            "fingerprint": _text(roots.fingerprints[name]),
            "ark": _text(roots.certificates[name]),
            **{f"ask-{kind}": _text(roots.issuers[name, kind]) for kind in KINDS},
        }
        for name in roots.fingerprints
    }


def _read_snp_roots(value: dict[str, dict[str, str]]) -> snp.Roots:
    return snp.Roots(
        {name: _bytes(one["fingerprint"]) for name, one in value.items()},
        {name: _bytes(one["ark"]) for name, one in value.items()},
        {(name, kind): _bytes(one[f"ask-{kind}"]) for name, one in value.items() for kind in KINDS},
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    for vector in vectors():
        (FOLDER / f"{vector.name}.json").write_bytes(vector.encode())


if __name__ == "__main__":
    main()
