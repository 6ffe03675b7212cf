"""Runs a Python algorithm inside the sandbox, in the process that the shim locked up.

The algorithm is `function(tables, parameters)`: tables by name as pyarrow.Table, parameters as
parsed JSON. It returns a dict of output name -> JSON value, which leaves as one JSON document in
UTF-8 on the output descriptor. A traceback goes to stderr, the log that stays in the enclave.
This file may use the standard library and, from the algorithm's environment, pyarrow.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

FAILED, LIMIT = 1, 3  # exit codes, see runners/__init__.py


def run(job: dict[str, str], output: int) -> NoReturn:
    """Run the job and end the process; what was written before an error does not count."""
    sys.path[:0] = [job["code"], job["environment"]]
    try:
        document = compute(job)
        write_all(output, document)
        code = 0
    except MemoryError:
        traceback.print_exc()
        code = LIMIT
    except BaseException:  # a sys.exit() of the algorithm is a failure too
        traceback.print_exc()
        code = FAILED
    flush_log()
    os._exit(code)  # no exit hooks, no waiting for threads of the algorithm


def compute(job: dict[str, str]) -> bytes:
    """Call the algorithm and return its result as a JSON document."""
    tables = load_tables(Path(job["inputs"]) / "tables")
    module, _, function = job["entry"].partition(":")
    algorithm = getattr(importlib.import_module(module), function)
    result = algorithm(tables, json.loads(job["parameters"]))
    if not isinstance(result, dict) or not all(isinstance(name, str) for name in result):
        raise TypeError("the algorithm must return a dict of output name -> JSON value")
    return json.dumps(result, allow_nan=False, ensure_ascii=False).encode()


def load_tables(folder: Path) -> dict[str, Any]:
    """Read each NAME.arrow of the folder; without any, pyarrow is not needed at all."""
    if not folder.is_dir():
        return {}
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".arrow")
    if not paths:
        return {}
    pyarrow = importlib.import_module("pyarrow")
    return {path.stem: load_table(pyarrow, path) for path in paths}


def load_table(pyarrow: Any, path: Path) -> Any:  # noqa: ANN401 pyarrow has no types
    """Read one Arrow IPC file or stream, mapped into memory, not copied."""
    source = pyarrow.memory_map(str(path))
    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    reader = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
    return reader.read_all()


def write_all(descriptor: int, document: bytes) -> None:
    """Write the whole document to a pipe that may take it in parts."""
    rest = memoryview(document)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def flush_log() -> None:
    """Bring out what the algorithm printed, as far as it left stdout and stderr usable."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
