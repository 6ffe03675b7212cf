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
from importlib.abc import ExecutionLoader
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_loader
from types import ModuleType
from typing import Any, NoReturn

from enclave_host.runners.common import Job, finish, mapped, named, tables, write_outputs

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


class Bundle(ExecutionLoader):
    """Imports modules from the bundle's files in memory, with their packages, data and sources."""

    def __init__(self, code: dict[str, bytes]) -> None:
        """`code` is the files by relative path."""
        self.code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a package, a module, or a folder that is a package without __init__.py."""
        place = fullname.replace(".", "/")
        if self._file(fullname) is not None:
            return spec_from_loader(fullname, self)
        if not any(file.startswith(f"{place}/") for file in self.code):
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [ROOT + place]
        return spec

    def get_filename(self, fullname: str) -> str:
        """The path that tracebacks name. Raises ImportError."""
        file = self._file(fullname)
        if file is None:
            raise ImportError(f"{fullname} is not in the bundle")
        return ROOT + file

    def get_source(self, fullname: str) -> str:
        """The module's text, also for tracebacks. Raises ImportError."""
        return decode_source(self.get_data(self.get_filename(fullname)))

    def is_package(self, fullname: str) -> bool:
        """Whether the module is a package. Raises ImportError."""
        return self.get_filename(fullname).endswith("/__init__.py")

    def _file(self, fullname: str) -> str | None:
        place = fullname.replace(".", "/")
        files = (f"{place}/__init__.py", f"{place}.py")
        return next((file for file in files if file in self.code), None)

    def get_data(self, path: str) -> bytes:
        """A file of the bundle, also for pkgutil.get_data. Raises OSError."""
        try:
            return self.code[path.removeprefix(ROOT)]
        except KeyError as error:
            raise FileNotFoundError(path) from error

    def get_resource_reader(self, fullname: str) -> "Resources":
        """The package's folder, for importlib.resources."""
        return Resources(self.code, fullname.replace(".", "/") + "/")


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
