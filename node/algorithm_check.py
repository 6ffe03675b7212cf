"""What is wrong with an algorithm's folder, found without running any of it.

No daemon is needed. What the enclave would refuse is asked of the enclave's own code, in a process
of its own; SQL is parsed by DuckDB, in another one.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from node import environments, sql_faults
from node.config import ConfigError, Problem
from node.documents import algorithm_bundle, strict_yaml
from node.documents.algorithm_bundle import MANIFEST
from node.documents.fields import SHA256, read_digest
from protocol import shape
from protocol.kinds.algorithm import Bundle

_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Checked:
    """A bundle without faults; `unchecked` says what could not be looked at, and why."""

    bundle: Bundle
    environment: Path | None
    unchecked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The environment of one manifest: the names that stand for a digest, and its folder here."""

    names: Mapping[str, bytes]
    folder: Path | None


def known(folder: Path, chosen: Path | None, names: Mapping[str, bytes]) -> Known:
    """The environment that the manifest of `folder` names: `chosen`, or one known on this machine.

    `names` are those that a daemon knows. Raises EnvironmentFault, also where two digests have one
    name: a bundle must have the same digest wherever it is packed.
    """
    word = _word(folder)
    here = {name: path for name, path in environments.local().items() if name == word}
    found = chosen or here.get(word)
    given = read_digest(word)
    if found is None and given is not None:
        return Known(names, _by_digest(given))
    if found is None or given is not None:
        return Known(names, found)
    digest = environments.measure(found)
    if names.get(word, digest) != digest:
        detail = f"{word!a} is {names[word].hex()} at the node, and {digest.hex()} in {found}."
        raise environments.EnvironmentFault(detail, "village algorithm env name, or build it again")
    return Known({**names, word: digest}, found)


def check(folder: Path, environment: Known) -> Checked:
    """Look at everything. Raises ConfigError with every fault, by file and line."""
    bundle = algorithm_bundle.read(folder, environment.names)
    found = list(code_faults(bundle, environment.folder))
    found += [
        Problem(one.line, "", one.detail, one.fix, file=one.file)
        for one in trio.run(sql_faults.find, bundle)
    ]
    found += _documents(bundle)
    if found:
        raise ConfigError(MANIFEST, found)
    return Checked(bundle, environment.folder, tuple(_unchecked(bundle, environment.folder)))


def _word(folder: Path) -> str:
    """How the manifest calls its environment; "" if that cannot be read, which others say."""
    try:
        value, _ = strict_yaml.load((folder / MANIFEST).read_bytes(), MANIFEST)
    except (OSError, ConfigError):
        return ""
    found = value.get("environment") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _by_digest(digest: bytes) -> Path | None:
    folders = environments.local()
    found = environments.digests(folders)
    return next((folders[name] for name, one in found.items() if one == digest), None)


def _unchecked(bundle: Bundle, environment: Path | None) -> Iterator[str]:
    if bundle.manifest.kind == "python" and environment is None:
        digest = f"{SHA256}{bundle.manifest.environment.hex()}"
        yield f"imports: no folder of environment {digest} is known here: --environment"


def code_faults(bundle: Bundle, environment: Path | None) -> Iterator[Problem]:
    """Syntax, and imports that neither Python, the bundle nor the environment has."""
    if bundle.manifest.kind != "python":
        return
    modules = {path.partition("/")[0].removesuffix(".py") for path in bundle.files}
    modules |= sys.stdlib_module_names
    modules |= set() if environment is None else set(_installed(environment))
    for path, data in sorted(bundle.files.items()):
        if not path.endswith(".py"):
            continue
        try:
            tree = ast.parse(data, path)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None) or 0
            detail = f"This is not Python: {getattr(error, 'msg', None) or error}."
            yield Problem(line, "", detail, "Correct the line.", file=path)
            continue
        if environment is not None:
            yield from _imports(path, tree, modules)


def _imports(path: str, tree: ast.Module, modules: set[str]) -> Iterator[Problem]:
    """Imports under `try` may fail: the code says what then."""
    optional = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.Try)
        for statement in outer.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in optional:
            continue
        match node:
            case ast.Import(names=names):
                wanted = [one.name for one in names]
            case ast.ImportFrom(module=str(module), level=0):
                wanted = [module]
            case _:
                continue
        for name in wanted:
            if name.partition(".")[0] not in modules:
                detail = f"The environment has no {name.partition('.')[0]}."
                fix = "Leave it out, or build an environment with it: village algorithm env build."
                yield Problem(node.lineno, "", detail, fix, file=path)


def _installed(environment: Path) -> Iterator[str]:
    """The modules at the top of an environment."""
    for path in environment.iterdir():
        if path.is_dir() or path.suffix in (".py", ".so"):
            yield path.name.partition(".")[0]


def _documents(bundle: Bundle) -> list[Problem]:
    """What the enclave would refuse of data contracts and output models."""
    done = subprocess.run(
        [sys.executable, "-m", "enclave_host.main", "check"],
        input=shape.encode(bundle),
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode:
        detail = done.stderr.decode("utf-8", "replace").strip()[:500]
        return [Problem(0, "", f"The enclave's code cannot read it: {detail}", "")]
    return [
        Problem(0, "", str(one["detail"]), str(one["fix"]), file=str(one["file"]))
        for one in json.loads(done.stdout)
    ]
