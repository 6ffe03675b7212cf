"""Write every lock file anew from its ``.in`` file: exact versions and hashes, no address."""

import re
import subprocess
import sys
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
COMPILE = (
    "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
    "--generate-hashes", "--no-header", "--allow-unsafe", "--upgrade",
)  # fmt: skip
LOCKS: dict[str, tuple[str, ...]] = {
    "bootstrap.lock": ("bootstrap.in",),
    "requirements.lock": ("--override", "overrides.txt", "requirements-dev.in"),
    "configs/deploy/enclave.lock": (
        *("--constraint", "requirements.lock", "configs/deploy/enclave.in"),
    ),
    "node/locks/scientific.lock": ("node/locks/scientific.in",),
    "configs/demo/lifelines.lock": ("--no-deps", "configs/demo/lifelines.in"),
}


def entries(text: str) -> list[str]:
    """Split a lock into its entries: a line that names a distribution and the lines under it."""
    return re.split(r"(?m)^(?=[a-zA-Z0-9])", text)


def installable(text: str) -> str:
    """Return the lock without the entries that overrides.txt says are never installed."""
    kept = [entry for entry in entries(text) if "'never'" not in entry.partition("\n")[0]]
    return "".join(kept)


def lock(target: Path, arguments: tuple[str, ...]) -> None:
    """Compile one lock file; raises CalledProcessError or ValueError and then changes nothing."""
    done = subprocess.run([UV, *COMPILE, *arguments], check=True, capture_output=True, text=True)
    text = installable(done.stdout)
    if "://" in text:
        raise ValueError(f"{target} would name an address")
    target.write_text(text)


def main() -> None:
    """Lock everything; run from the root of the checkout."""
    for target, arguments in LOCKS.items():
        lock(Path(target), arguments)
        sys.stdout.write(f"locked {target}\n")


if __name__ == "__main__":
    main()
