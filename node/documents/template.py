"""Templates of algorithms: complete folders that work at once, shipped with the package."""

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from node.config import ConfigError, Problem
from protocol.kinds.algorithm import Kind

NAME: Final = "NAME"
"""Stands in a template for the algorithm's name."""

_COMMON: Final = "common"
"""What every kind has: the data contract, the output model and rows to try it on."""


def write(kind: Kind, name: str, folder: Path) -> list[str]:
    """Make `folder` from the template of `kind`; the paths of its files. Raises ConfigError."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise _refused(folder, "There is something already.", "Choose another name or --dir.")
    files = dict(sorted(_files(kind)))
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text.replace(NAME, name), "utf-8")
    except OSError as error:
        raise _refused(folder, f"Cannot write: {error.strerror}.", "Check the path.") from error
    return list(files)


def _files(kind: Kind) -> Iterator[tuple[str, str]]:
    """Relative path and text of each file of a template."""
    templates = resources.files("node") / "templates"
    for part in (_COMMON, kind):
        yield from _below(templates / part, "")


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for one in folder.iterdir():
        if one.name.startswith((".", "__")):
            continue
        if one.is_dir():
            yield from _below(one, f"{prefix}{one.name}/")
        else:
            yield f"{prefix}{one.name}", one.read_text("utf-8")


def _refused(folder: Path, detail: str, fix: str) -> ConfigError:
    return ConfigError(folder.name, [Problem(0, "", detail, fix)])
