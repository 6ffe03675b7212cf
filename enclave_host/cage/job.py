"""What goes into the datacage and what may come out of it: values, no processes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from protocol.errors import ProtocolError

Status = Literal["ok", "failed", "limit", "policy"]
"""How a run ended: all that anyone outside the enclave learns about it, beside its output."""

MAX_PARAMETERS: Final = 64 * 1024  # parameters are a few typed values; 64 KiB is generous
FUNCTION: Final = re.compile(r"(?=.{3,200}\Z)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
FOLDER: Final = re.compile(r"(?=.{1,200}\Z)[\w+-][\w.+-]*(/[\w+-][\w.+-]*)*", re.ASCII)
"""What a job may enter: a function of a module, or, in SQL, a folder of the bundle."""


class BadJob(ProtocolError):
    """A job was described wrongly; nothing was started."""

    code = "cage.job"


class Broken(ProtocolError):
    """The sandbox could not be built, or not be taken down; the message says what failed."""

    code = "cage.broken"


class NoTier(ProtocolError):
    """No tier of the sandbox holds on this machine; the message names what each one lacks."""

    code = "cage.no-tier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that one run may use; what goes beyond ends it with status `limit`."""

    memory: int = 4 << 30  # bytes of address space; numpy and pyarrow alone reserve about 1 GiB
    cpu: int = 300  # seconds of processor time, all threads together
    wall: float = 600.0  # seconds from start to end, by the monotonic clock
    processes: int = 64  # threads (the sandbox can have no second process)
    files: int = 256  # open descriptors
    tmp: int = 64 << 20  # bytes of the private /tmp, which is memory; tier C has none
    output: int = 1 << 20  # bytes that may leave on descriptor 3
    log: int = 64 << 10  # bytes kept of stdout and stderr: the last ones, where the traceback is


DEFAULTS: Final = Limits()
"""Enough for statistics over some hundred thousand rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of one algorithm. Raises BadJob if entry or parameters are malformed.

    Code and inputs have no path: they are in memory, and the inputs reach the sandbox by
    descriptor, to be read only. The environment is seen read-only at a path; its files must be
    readable to everybody, for the sandbox's user is not the enclave's where that one is root.
    """

    environment: Path | None = None  # installed packages, addressed by digest
    code: Mapping[str, bytes] = field(default_factory=dict)  # the bundle's files by relative path
    inputs: Mapping[str, int] = field(default_factory=dict)  # name -> descriptor of a memory file
    made: Mapping[str, int] = field(default_factory=dict)  # the same, to write: for our own runners
    entry: str  # "package.module:function", or a folder of the bundle
    parameters: bytes = b"{}"  # one JSON object, at most 64 KiB
    limits: Limits = DEFAULTS
    kind: str = "python"  # a key of runners.RUNNERS
    feed: int | None = None  # a pipe's reading end: the sandbox's standard input

    def __post_init__(self) -> None:
        """Check what text can be checked."""
        if not (FOLDER if self.kind == "sql" else FUNCTION).fullmatch(self.entry):
            raise BadJob(
                f"the entry point {self.entry[:200]!r} is neither module:function nor a folder"
            )
        if len(self.parameters) > MAX_PARAMETERS:
            raise BadJob(f"the parameters are longer than {MAX_PARAMETERS} bytes")
        try:
            parameters = json.loads(self.parameters)
        except (ValueError, RecursionError) as error:
            raise BadJob("the parameters are not JSON") from error
        if not isinstance(parameters, dict):
            raise BadJob("the parameters are not a JSON object")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run. `output` goes to the gate only; `log` stays in the enclave."""

    status: Status
    output: bytes  # what was written to descriptor 3; empty unless the status is ok
    log: bytes  # the end of stdout and stderr, written by code that is not trusted
