"""Environments of algorithms on this machine: built from a lock file, known by name and digest.

No daemon is needed: an environment is a folder of installed packages, and its digest says what it
is. Who builds the same lock elsewhere gets the same digest.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from protocol.errors import ProtocolError

STAMP: Final = ".stamp"
"""At the top of a folder: the SHA-256 of the lock that it was built from; not in its digest."""

LOCK: Final = 1024 * 1024
"""Bytes of a lock file."""

SHIPPED: Final = Path(__file__).parent / "locks"
"""The locks that come with this program."""

_VERSION: Final = (3, 11)
_SYSTEM: Final = "/usr/bin/python3.11"
_PIP: Final = (
    *("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-color"),
    *("--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile"),
    *("--python-version", "3.11"),
)
_TOOL_MARKS: Final = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
"""What pip and uv write about themselves into *.dist-info: no part of what a lock names."""
_PACKAGE: Final = re.compile(r"(?m)^[A-Za-z0-9][A-Za-z0-9._-]*==")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class EnvironmentFault(ProtocolError):
    """An environment could not be built, or is not there; `fix` says what would help."""

    code = "environment.build"

    def __init__(self, detail: str, fix: str) -> None:
        """Say what is wrong."""
        self.detail = detail
        self.fix = fix
        super().__init__(f"{detail} {fix}")


@dataclass(frozen=True, slots=True)
class Built:
    """An environment that stands; `already` where nothing was to be done."""

    folder: Path
    digest: bytes
    already: bool


def home() -> Path:
    """Where environments are known by name: VILLAGE_ENVIRONMENTS, else below XDG_DATA_HOME."""
    named = os.environ.get("VILLAGE_ENVIRONMENTS")
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "village" / "environments"


def lock_of(text: str) -> Path:
    """The lock file that `text` means: one that is shipped, by its name alone, or any by its path.

    A file beside a caller that has the name of one that is shipped is `./NAME`.
    """
    shipped = SHIPPED / f"{text}.lock"
    return shipped if _named(text) and shipped.is_file() else Path(text)


def local() -> dict[str, Path]:
    """Name -> folder of each environment known on this machine."""
    found = sorted(home().iterdir()) if home().is_dir() else []
    return {path.name: path.resolve() for path in found if path.is_dir() and _named(path.name)}


def digests(folders: dict[str, Path]) -> dict[str, bytes]:
    """Name -> digest of these folders. Raises EnvironmentFault."""
    if not folders:
        return {}
    words = [word for folder in folders.values() for word in ("--environment", str(folder))]
    command = [sys.executable, "-m", "enclave_host.main", "measure", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 our own program
    if done.returncode:
        detail = f"The environment cannot be measured: {done.stderr.strip()[:500]}"
        raise EnvironmentFault(detail, "Build it again.")
    measured = json.loads(done.stdout)["environments"]
    return {name: bytes.fromhex(measured[str(folder)]) for name, folder in folders.items()}


def measure(folder: Path) -> bytes:
    """The digest of one folder. Raises EnvironmentFault."""
    whole = folder.resolve()
    if not whole.is_dir():
        raise EnvironmentFault(f"{folder} is no folder.", "village algorithm env build")
    return digests({"": whole})[""]


def build(lock: Path, target: Path, tell: Callable[[str], None]) -> Built:
    """Install exactly what `lock` names into `target`, all of it or nothing.

    `tell` hears how it goes. Raises EnvironmentFault.
    """
    text, pinned = _read(lock)
    if target.exists():
        return _standing(target, pinned)
    with _beside(target) as folder:
        _install(lock.resolve(), folder, len(_PACKAGE.findall(text)), tell)
        _clean(folder)
        (folder / STAMP).write_text(pinned + "\n")
        tell("measuring")
        found = measure(folder)
        folder.rename(target)
    return Built(target.resolve(), found, already=False)


def register(name: str, folder: Path) -> None:
    """Let `name` mean this folder on this machine. Raises EnvironmentFault."""
    if not _named(name):
        fix = "Letters, digits and . _ -, at most 64: say --name."
        raise EnvironmentFault(f"{name!a} cannot be the name of an environment.", fix)
    known = home() / name
    if known.resolve() == folder.resolve():
        return
    if known.exists() and not known.is_symlink():
        raise EnvironmentFault(f"{known} is an environment of its own.", "Take another --name.")
    known.parent.mkdir(parents=True, exist_ok=True)
    fresh = known.with_name(f".{name}.{os.getpid()}")
    fresh.symlink_to(folder.resolve())
    fresh.replace(known)


def _named(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _read(lock: Path) -> tuple[str, str]:
    """The text of a lock and its digest in hex."""
    try:
        with lock.open("rb") as file:
            data = file.read(LOCK + 1)
    except OSError as error:
        raise EnvironmentFault(f"Cannot read {lock}: {error.strerror}.", "Check it.") from error
    text = data.decode("utf-8", "replace")
    if len(data) > LOCK or not _PACKAGE.search(text):
        fix = "As `uv pip compile --generate-hashes` or `pip-compile --generate-hashes` writes it."
        raise EnvironmentFault(f"{lock} is no lock file.", fix)
    return text, hashlib.sha256(data).hexdigest()


def _standing(target: Path, pinned: str) -> Built:
    """The folder that is there already, if it was built from the same lock."""
    stamp = target / STAMP
    if not stamp.is_file() or stamp.read_text("utf-8", "replace").strip() != pinned:
        detail = f"{target} is there already, and was not built from this lock."
        raise EnvironmentFault(detail, "Choose another folder, or remove it.")
    return Built(target.resolve(), measure(target), already=True)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new folder that becomes the target, or is gone."""
    folder = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, mode=0o755)
        yield folder
    except OSError as error:
        detail = f"Cannot write {error.filename or folder}: {error.strerror}."
        raise EnvironmentFault(detail, "Check the folder.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _install(lock: Path, folder: Path, packages: int, tell: Callable[[str], None]) -> None:
    """Let pip do it; markers of a lock are read by the Python that runs pip, so it must be 3.11."""
    python = sys.executable if sys.version_info[:2] == _VERSION else _SYSTEM
    if python == sys.executable and find_spec("pip") is None:
        detail = "pip is not installed beside this program."
        raise EnvironmentFault(detail, f"{python} -m ensurepip")
    command = [python, *_PIP, "--target", str(folder), "--requirement", str(lock)]
    kept: list[str] = []
    seen = 0
    with subprocess.Popen(  # noqa: S603 our own command line
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        umask=0o022,  # the datacage's user must be able to read it
        cwd="/",
    ) as pip:
        for line in pip.stdout or ():
            kept = [*kept[-20:], line.strip()]
            if line.startswith(("Collecting ", "Processing ")):
                seen += 1
                tell(f"{seen} of at most {packages}  {Path(line.split()[1]).name}")
            elif line.startswith("Installing "):
                tell("installing")
    if pip.returncode:
        errors = [line for line in kept if line.startswith("ERROR")] or kept[-1:]
        detail = f"pip could not install the lock: {' '.join(errors)[:1000]}"
        raise EnvironmentFault(detail, "Only wheels for Python 3.11, each with its hash, will do.")


def _clean(folder: Path) -> None:
    """Take out what differs from machine to machine, and what no import reads."""
    for scripts in ("bin", "Scripts"):
        shutil.rmtree(folder / scripts, ignore_errors=True)
    for installed in folder.glob("*.dist-info"):
        for mark in _TOOL_MARKS:
            (installed / mark).unlink(missing_ok=True)
