"""What a hospital can learn alone: the demo's own algorithm, on its own rows, on its own machine.

The model is the one that the parties agree on later: women compared with men of the same age and
the same ECOG score. That matters: with sex alone in the model Hospital A would get 0.46, p 0.03,
instead of 0.54, p 0.09, because its men were five years older and in a somewhat worse condition.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COVARIATES: Final = ("age", "sex", "ph_ecog")
PATIENCE: Final = 60.0
"""Seconds that a fit of one hospital's rows may take; it takes about half of one."""

SIGNIFICANT: Final = 0.05


class LocalFitFailed(RuntimeError):
    """The algorithm could not fit the hospital's own rows; the text says why."""


@dataclass(frozen=True, slots=True)
class LocalFit:
    """Women against men of the same age and ECOG score: hazard ratio, 95 % interval, p."""

    n: int
    events: int
    hazard_ratio: float
    low: float
    high: float
    p: float

    @property
    def can_tell(self) -> bool:
        """Whether these rows alone answer the question at the usual level of 5 %."""
        return self.p < SIGNIFICANT


def fit(data: Path, bundle: Path, environment: Path) -> LocalFit:
    """Fit the rows of one CSV file, in a process of its own; raises LocalFitFailed.

    `bundle` is the folder of the algorithm cox-ph, `environment` the folder with numpy and pyarrow.
    Blocks: call it in a thread.
    """
    command = [sys.executable, "-P", "-s", "-B", "-m", "cox", str(data.resolve()), *COVARIATES]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, no shell
            command,
            env=_environment(bundle, environment),
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalFitFailed(f"{data.name}: {error}") from error
    if done.returncode:
        raise LocalFitFailed(f"{data.name}: {done.stderr.strip()[-500:]}")
    return _read(done.stdout)


def _environment(bundle: Path, environment: Path) -> dict[str, str]:
    path = os.pathsep.join(str(folder.resolve()) for folder in (bundle, environment))
    return {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}


def _read(text: str) -> LocalFit:
    model = json.loads(text)
    interval = model["ci95"]["sex"]
    return LocalFit(
        model["n"],
        model["events"],
        model["hazard_ratio"]["sex"],
        interval["low"],
        interval["high"],
        model["p"]["sex"],
    )
