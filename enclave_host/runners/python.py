"""Runs a Python algorithm inside the sandbox, in the process that the shim locked up.

The algorithm is `function(tables, parameters)`: tables by name as pyarrow.Table, parameters as
parsed JSON. Where its entry point names states, it is `function(tables, parameters, states)`: bytes
by name, of those that an earlier run wrote and that are still in force. It returns a dict of output
name -> JSON value, pyarrow.Table, or bytes for a state. A traceback goes to stderr, the log that
stays in the enclave.
"""

import importlib
import io
import json
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from enclave_host.runners.common import (
    Job,
    Source,
    finish,
    mapped,
    named,
    tables,
    write_outputs,
)

ROOT = "/algorithm/"  # where the bundle's files seem to lie; no file is there


def run(job: Job, output: int) -> NoReturn:
    """Run the job and end the process."""
    finish(job, lambda: write_outputs(output, compute(job)))


def compute(job: Job) -> dict[str, Any]:
    """Call the algorithm and return its outputs by name."""
    sys.meta_path.insert(-1, Bundle(job["code"]))  # before the path, after what is built in
    inputs = tables(job)
    module, _, function = job["entry"].partition(":")
    algorithm = getattr(importlib.import_module(module), function)
    given = [inputs, json.loads(job["parameters"])]
    if "plan" in job["inputs"]:  # the entry point names states, which may not be there yet
        given.append({name: bytes(mapped(one)) for name, one in named(job, "state/").items()})
    result = algorithm(*given)
    if not isinstance(result, dict) or not all(isinstance(name, str) for name in result):
        raise TypeError("the algorithm must return a dict of output name -> value")
    return result


class Bundle:
    """Imports modules from the bundle's files in memory, with their packages, data and sources."""

    def __init__(self, code: dict[str, bytes]) -> None:
        """`code` is the files by relative path."""
        self.code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a package, a module, or a folder that is a package without __init__.py."""
        place = fullname.replace(".", "/")
        module = f"{place}.py"
        file = next((one for one in (f"{place}/__init__.py", module) if one in self.code), None)
        if file is None and not any(one.startswith(f"{place}/") for one in self.code):
            return None
        loader = InMemory(fullname, ROOT + file, self.code) if file else None
        spec = ModuleSpec(fullname, loader, origin=loader.path if loader else None)
        spec.has_location = loader is not None
        if file != module:
            spec.submodule_search_locations = [ROOT + place]
        return spec


class InMemory(Source):
    """Loads one module of the bundle."""

    def __init__(self, fullname: str, path: str, code: dict[str, bytes]) -> None:
        """`path` is where the module seems to lie, `code` the files of the bundle."""
        super().__init__(fullname, path)
        self.code = code

    def get_data(self, path: str) -> bytes:
        """A file of the bundle, also for pkgutil.get_data. Raises OSError."""
        try:
            return self.code[path.removeprefix(ROOT)]
        except KeyError as error:
            raise FileNotFoundError(path) from error

    def get_resource_reader(self, name: str) -> "Resources":  # type: ignore[override]
        """The package's folder, for importlib.resources."""
        return Resources(self.code, name.replace(".", "/") + "/")


class Resources:
    """The files of one package, as importlib.resources wants them."""

    def __init__(self, code: dict[str, bytes], folder: str) -> None:
        """`folder` ends with a slash."""
        self.code, self.folder = code, folder

    def files(self) -> Any:  # noqa: ANN401 a Traversable: an archive in memory is one
        """The package's folder."""
        zipfile = importlib.import_module("zipfile")
        archive = zipfile.ZipFile(io.BytesIO(), "w")
        for path, content in self.code.items():
            archive.writestr(path, content)
        return zipfile.Path(archive, self.folder)
