"""Starts the process that brings a result into another form; see node/connectors/results.py."""

import subprocess
import sys
from typing import Final

from node.cli.talk import usage

_PATIENCE: Final = 180.0
"""Seconds; its own bound on processor time is lower."""


def converted(content: bytes, form: str, to: str, context: bytes, name: str) -> bytes:
    """The result in form `to`. Leaves with a usage error where it has none."""
    command = [sys.executable, "-I", "-m", "node.connectors.results"]
    command += ["--form", form, "--to", to, "--name", name, "--context", str(len(context))]
    try:
        ended = subprocess.run(  # noqa: S603 (our own module, fixed words)
            command,
            input=context + content,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
            cwd="/",
            env={"LANG": "C.UTF-8", "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        usage("Bringing the result into this form takes too long.")
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        usage(said if ended.returncode == 1 else "The result cannot be brought into this form.")
    return ended.stdout
