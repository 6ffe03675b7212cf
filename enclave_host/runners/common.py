"""What every runner needs: inputs mapped into memory, the way out, and the end of the process.

The shim makes this module importable in the sandbox under its own name. It may use the standard
library and, from the algorithm's environment, pyarrow.
"""

import importlib
import json
import mmap
import os
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import CodeType
from typing import Any, NoReturn, TypedDict

FAILED, LIMIT = 1, 3  # exit codes, see runners/__init__.py
TABLES = "tables/"


class Job(TypedDict):
    """What the shim hands to a runner's `run`, beside the descriptor of the output."""

    code: dict[str, bytes]  # the bundle's files by relative path
    inputs: dict[str, int]  # name -> descriptor of a memory file that can only be read
    environment: str | None  # directory of the installed packages
    entry: str
    parameters: str  # one JSON object


def finish(job: Job, work: Callable[[], None]) -> NoReturn:
    """Do the work and end the process; what was written before an error does not count."""
    if job["environment"] is not None:
        use(job["environment"])
    try:
        work()
        code = 0
    except MemoryError:
        traceback.print_exc()
        code = LIMIT
    except BaseException:  # a sys.exit() of the algorithm is a failure too
        traceback.print_exc()
        code = FAILED
    flush_log()
    os._exit(code)  # no exit hooks, no waiting for threads of the algorithm


def use(environment: str) -> None:
    """Import from this folder, before the standard library, and byte code from none of its caches.

    The standard library's own byte code is loaded: it is as much the machine's as its sources are.
    """

    def finder(path: str) -> FileFinder:
        if path != environment and not path.startswith(f"{environment}/"):
            raise ImportError(path)
        return FileFinder(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (Source, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    sys.path_hooks.insert(0, finder)
    sys.path.insert(0, environment)


class Source(SourceFileLoader):
    """Compiles a module each time: byte code beside a source is in no digest."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the source. Raises SyntaxError, OSError."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def mapped(descriptor: int) -> memoryview:
    """All bytes of an input, mapped and not copied."""
    if os.fstat(descriptor).st_size == 0:  # which mmap(2) refuses
        return memoryview(b"")
    return memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))


def named(job: Job, prefix: str) -> dict[str, int]:
    """The inputs whose names begin with `prefix`, without it, in order."""
    inputs = sorted(job["inputs"].items())
    return {name.removeprefix(prefix): one for name, one in inputs if name.startswith(prefix)}


def tables(job: Job) -> dict[str, Any]:
    """Each table by name, as a pyarrow.Table; without any, pyarrow is not needed at all."""
    found = named(job, TABLES)
    if not found:
        return {}
    pyarrow = importlib.import_module("pyarrow")
    return {name: table(pyarrow, descriptor) for name, descriptor in found.items()}


def table(pyarrow: Any, descriptor: int) -> Any:  # noqa: ANN401 pyarrow has no types
    """One Arrow IPC stream or file, mapped."""
    content = mapped(descriptor)
    source = pyarrow.py_buffer(content)
    is_file = bytes(content[:6]) == b"ARROW1"
    reader = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
    return reader.read_all()


def write_outputs(descriptor: int, outputs: dict[str, Any]) -> None:
    """Write what an algorithm returned: an 8-byte length (big-endian), a JSON head of [name,
    format, size], then the contents. pyarrow.Table is format arrow, bytes are a state, all else is
    JSON. The enclave trusts none of it: enclave_host/outputs.py:parse.
    """
    contents = [(name, *encoded(value)) for name, value in outputs.items()]
    sizes = [[name, form, memoryview(content).nbytes] for name, form, content in contents]
    head = json.dumps(sizes).encode()
    write_all(descriptor, len(head).to_bytes(8, "big") + head)
    for _, _, content in contents:
        write_all(descriptor, content)


def encoded(value: Any) -> tuple[str, Any]:  # noqa: ANN401 whatever an algorithm returns
    """Format and bytes of one output."""
    if isinstance(value, bytes):
        return "state", value
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is None or not isinstance(value, pyarrow.Table):
        return "json", json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, value.schema) as writer:
        writer.write_table(value)
    return "arrow", sink.getvalue()


def write_all(descriptor: int, document: Any) -> None:  # noqa: ANN401 any buffer
    """Write the whole document to a pipe that may take it in parts."""
    rest = memoryview(document).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def flush_log() -> None:
    """Bring out what was printed, as far as the algorithm left stdout and stderr usable."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
