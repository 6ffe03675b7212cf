"""A verdict on one bundle, by technology: in a process that did it before, and as its very first.

Processor time: a verdict waits for nothing, so on an idle machine it is the time that passes.

Run as `python -m bench.attestation [--quick] [--json FILE]`. A verdict is all of it: from the bytes
of the bundle, over every certificate and signature up to the root, to the answer; nothing is kept
from one to the next. Bundles are of our own making, under test roots; where the real samples are
(VILLAGE_VECTORS), their examination is timed too. No technology's verifier asks the network.
"""

import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.table import entry, options, report

BAR = 5.0
"""Milliseconds, median."""

FIRST = "--first"
FIGURES = ("first of a process", "verdict", "verdict, p95", "real samples", "real samples, p95")


@dataclass(frozen=True)
class Case:
    """What a verifier holds when a bundle arrives."""

    bundle: bytes
    policy: Any
    binding: Any
    now: int
    examine: Any

    def judge(self) -> None:
        """One verdict, which must be a yes."""
        from protocol.attestation.appraise import appraise

        found = appraise(
            self.bundle,
            self.policy,
            self.binding,
            self.now,
            activated=True,
            examiners={self.binding.technology: self.examine},
        )
        if not found.accepted:
            raise RuntimeError(f"{self.binding.technology}: {found.details}")


def cases() -> Iterator[Case]:
    """One for each technology, with all that its vendor wants checked."""
    from protocol import shape
    from protocol.attestation import nitro, sgx, snp, tdx, tpm
    from protocol.attestation.evidence import EvidenceBundle, binding_hash, binding_preimage
    from protocol.kinds.attestation import (
        Attestation,
        NitroTerms,
        SevSnpTerms,
        SgxTerms,
        SnpFloor,
        TdxTerms,
    )
    from tests import attestation_rig as rig
    from tests import attestation_rig_intel as intel
    from tests.attestation_rig_tpm import TpmRig
    from tests.attestation_x509 import NOW

    enclave, chip, machine = rig.NitroRig(), rig.SnpRig(), TpmRig()
    versions: dict[str, Any] = {**rig.VERSIONS, "fmc": None}
    measured = {name: intel.REGISTERS[name] for name in ("mrtd", "rtmr1", "rtmr2")}
    policies = {
        "nitro": NitroTerms(accept=({"pcr0": rig.PCRS[0]},)),
        "sev_snp": SevSnpTerms(
            accept=({"measurement": rig.MEASUREMENT},),
            generations=(SnpFloor(generation="genoa", **versions),),
            crl=True,
            require=(),
            vmpl=0,
        ),
        "tdx": TdxTerms(accept=(measured,), statuses=("UpToDate",), evaluation=intel.EVALUATION),
        "sgx": SgxTerms(
            accept=({"mrenclave": intel.MRENCLAVE},),
            statuses=("UpToDate",),
            evaluation=intel.EVALUATION,
            isv_prod_id=intel.PRODUCT,
            isv_svn=intel.VERSION,
        ),
        "tpm": machine.terms(),
    }
    makers: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "nitro": (
            partial(nitro.examine, roots=enclave.roots),
            lambda bound: enclave.produce(binding_hash(bound)),
        ),
        "sev-snp": (
            partial(snp.examine, roots=chip.roots),
            lambda bound: chip.produce(binding_hash(bound), crl=chip.crl()),
        ),
        "tdx": (
            partial(tdx.examine, roots=intel.roots()),
            lambda bound: rig.Produced(
                intel.quote(4, intel.td_body(binding_hash(bound))),
                {"collateral": intel.collateral(True)},
            ),
        ),
        "sgx": (
            partial(sgx.examine, roots=intel.roots()),
            lambda bound: rig.Produced(
                intel.quote(3, intel.sgx_body(binding_hash(bound))),
                {"collateral": intel.collateral(False)},
            ),
        ),
        "tpm": (tpm.examine, lambda bound: machine.produce(binding_preimage(bound))),
    }
    for technology, (examine, produce) in makers.items():
        bound = rig.binding(technology, b"\x07" * 32)
        made, field = produce(bound), technology.replace("-", "_")
        bundle = EvidenceBundle(
            version=1,
            technology=technology,
            evidence=made.evidence,
            endorsements=made.endorsements,
            binding=bound,
        )
        policy = Attestation(max_age=3600, **{field: policies[field]})  # type: ignore[arg-type]
        yield Case(shape.encode(bundle), policy, bound, NOW, examine)


def milliseconds(work: Callable[[], object]) -> float:
    """The processor time that it takes once."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def first(case: Case) -> float:
    """Milliseconds of the first verdict of a fresh process, its start and imports left out."""
    command = [sys.executable, "-m", "bench.attestation", FIRST]
    done = subprocess.run(command, input=pickle.dumps(case), capture_output=True, check=True)
    return float(done.stdout)


def as_first() -> None:
    """What `first` starts: reads a case, judges it once and prints the milliseconds."""
    from protocol.attestation import appraise

    case: Case = pickle.load(sys.stdin.buffer)  # noqa: S301 (our own parent's)
    if not appraise.EXAMINERS:
        raise RuntimeError("nothing to judge by")
    print(milliseconds(case.judge))


def real() -> dict[str, list[Callable[[], object]]]:
    """Technology -> examinations of its real samples; empty where they are not."""
    from protocol.attestation.appraise import EXAMINERS
    from protocol.attestation.findings import Findings
    from tests.vectors.attestation import samples

    if not samples.VECTORS.is_dir():
        return {}
    found = {"nitro": samples.nitro(), "sev-snp": samples.snp()}
    found |= {name: samples.intel(name) for name in ("tdx", "sgx")}
    return {
        name: [
            partial(EXAMINERS[name], one.evidence, one.endorsements, None, one.at, Findings())
            for one in some
        ]
        for name, some in found.items()
    }


def measured(case: Case, samples: list[Callable[[], object]], quick: bool) -> dict[str, Any]:
    """The figures of one technology."""
    rounds = 100 if quick else 1000
    firsts = [first(case) for _ in range(3 if quick else 20)]
    case.judge()
    verdicts = [milliseconds(case.judge) for _ in range(rounds)]
    figures = [firsts, verdicts, [p95(verdicts)]]
    if samples:
        again = max(1, rounds // len(samples))
        found = [milliseconds(sample) for sample in samples for _ in range(again)]
        figures += [found, [p95(found)]]
    bars = {"verdict": BAR, "real samples": BAR}
    return {
        name: entry(raw, "ms", bars.get(name)) for name, raw in zip(FIGURES, figures, strict=False)
    }


def p95(raw: list[float]) -> float:
    """What 95 of 100 stay below."""
    return statistics.quantiles(raw, n=20)[-1]


def main() -> None:
    """Measure and report."""
    chosen = options(__doc__ or "")
    samples = real()
    figures = {
        case.binding.technology: measured(
            case, samples.get(case.binding.technology, []), chosen.quick
        )
        for case in cases()
    }
    report("A verdict on evidence", figures, chosen.json)


if __name__ == "__main__":
    if FIRST in sys.argv:
        as_first()
    else:
        main()
