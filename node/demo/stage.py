"""The demo's folder: for each participant its own configuration, passphrase, state and data.

    DIR/participants/NAME/{node.toml, passphrase, state/, lung.csv}    DIR/logs/NAME.log

Sockets and what they need lie in a short folder of their own, because the kernel allows 107 bytes.
"""

import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from node.demo.cast import Cast, split, to_csv
from node.demo.record import MARK

PROJECT: Final = Path(__file__).resolve().parents[2]
DEMO: Final = PROJECT / "configs" / "demo"
ENVIRONMENTS: Final = PROJECT / ".cache" / "environments"
LUNG: Final = PROJECT / ".cache" / "demo-data" / "lifelines" / "datasets" / "lung.csv"

HOSPITALS: Final = {f"hospital-{letter.lower()}": letter for letter in "ABCD"}
HOSTS: Final = {"host-1": "enclave-1", "host-2": "enclave-2"}
FOUNDERS: Final = ("registrar", *HOSPITALS)
GUESTS: Final = ("biostat-lab", "sponsor", "host-1", "host-2")
NODES: Final = (*FOUNDERS, *GUESTS)
PARTIES: Final = (*HOSPITALS, "biostat-lab", "sponsor")
VAULTS: Final = "vaults"
"""The one light-peer process that serves all personal vaults."""


class NotHere(RuntimeError):
    """The demo cannot begin; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything lies. `run` is the folder of sockets."""

    folder: Path
    run: Path
    cast: Cast

    def home(self, name: str) -> Path:
        """A participant's own folder."""
        return self.folder / "participants" / name

    def config(self, name: str) -> Path:
        """A node's configuration."""
        return self.home(name) / "node.toml"

    def socket(self, name: str) -> Path:
        """The admin socket of a node or of the light peer, or the socket of an enclave."""
        return self.run / f"{name}.sock"

    def passphrase(self, name: str) -> Path:
        """A file with a participant's own passphrase."""
        return self.home(name) / "passphrase"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.folder / "logs"

    def strike(self) -> None:
        """Remove the folder of sockets."""
        shutil.rmtree(self.run, ignore_errors=True)


def build(folder: Path) -> Stage:
    """Make the folder anew. Raises NotHere; a folder that no demo made is left alone."""
    for path in (DEMO, LUNG, ENVIRONMENTS / "scientific"):
        if not path.exists():
            raise NotHere(f"{path.name} is missing: the demo runs in a checkout, after make setup")
    _clear(folder)
    cast = split(LUNG.read_text("utf-8"))
    run = Path(tempfile.mkdtemp(prefix="village-"))
    stage = Stage(folder.resolve(), run, cast)
    run.chmod(0o711)  # the datacage's own user passes through, and sees no more
    _show_environments(run / "environments")
    for name in NODES:
        _participant(stage, name)
    for name, letter in HOSPITALS.items():
        _private(stage.home(name) / "lung.csv", to_csv(cast.hospitals[letter]))
    _vaults(stage)
    return stage


def _show_environments(place: Path) -> None:
    """Let the datacage's own user reach the environments: in a checkout in root's home it could not
    pass through the folders above, so they are linked, or else copied, file by file.
    """
    above = ENVIRONMENTS.parents
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in above):
        place.symlink_to(ENVIRONMENTS)
    else:
        shutil.copytree(ENVIRONMENTS, place, symlinks=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target


def _clear(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / MARK).exists():
        raise NotHere(f"{folder} is not empty, and no demo made it: name another folder")
    (folder / MARK).touch()
    for old in folder.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != MARK:
            old.unlink()


def _participant(stage: Stage, name: str) -> None:
    home = stage.home(name)
    home.mkdir(parents=True, mode=0o700)
    _private(stage.passphrase(name), secrets.token_urlsafe(24))
    template = Template((DEMO / "nodes" / f"{name}.toml").read_text("utf-8"))
    text = template.substitute(home=home, run=stage.run, demo=DEMO)
    stage.config(name).write_text(text, "utf-8")


def _vaults(stage: Stage) -> None:
    """Each patient's own row and passphrase, as each would have them at home."""
    for number, row in stage.cast.patients.items():
        home = stage.home(f"patient-{number}")
        home.mkdir(parents=True, mode=0o700)
        _private(stage.passphrase(f"patient-{number}"), secrets.token_urlsafe(24))
        _private(home / "lung.csv", to_csv([row]))


def _private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
