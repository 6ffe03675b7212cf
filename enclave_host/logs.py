"""What leaves of the algorithm's log: nothing, unless the agreement says who gets it.

The log is written by code that is not trusted. `errors` lets out choices from closed lists only:
the class of an exception, and lines of the bundle. `all` lets out what was printed, as text. Either
is counted like a result: enough people for whoever gets it, and in the lineage.
"""

import builtins
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from enclave_host import contributors, outputs
from enclave_host.cage import Outcome
from enclave_host.contributors import Contributors
from enclave_host.outputs import Leaving
from enclave_host.parties import Parties
from protocol import limits
from protocol.kinds.agreement import Logs
from protocol.kinds.algorithm import Bundle
from protocol.kinds.run import LOG

OTHER: Final = "Exception"
"""What every class is called that is not in the list."""

CLASSES: Final = frozenset(
    name
    for name, one in vars(builtins).items()
    if isinstance(one, type) and issubclass(one, BaseException)
) | {
    "ArrowInvalid", "ArrowKeyError", "ArrowTypeError", "ArrowNotImplementedError",
    "BinderException", "ConversionException", "InvalidInputException", "OutOfRangeException",
    "LinAlgError", "ConvergenceWarning", "NotFittedError", "PerfectSeparationError",
    "JSONDecodeError", "InvalidOperation", "EmptyDataError", "MergeError",
}  # fmt: skip
"""Exceptions of Python, and of the libraries that statistics are written with."""

_TRACEBACK: Final = "Traceback (most recent call last):"
_FRAME: Final = re.compile(r'  File "/algorithm/([^"\n]{1,200})", line ([0-9]{1,7}), in ')
_RAISED: Final = re.compile(r"(?:[A-Za-z_]\w{0,60}\.){0,8}([A-Za-z_]\w{0,60})(?:: (.*))?", re.ASCII)


def leaving(
    parties: Parties,
    bundle: Bundle,
    people: Sequence[Contributors],
    outcome: Outcome,
    secret: bytes,
) -> tuple[Leaving, ...]:
    """The log for each party that the agreement names and for whom enough people stand behind it:
    in each of the sets `people`, as for results (enclave_host/gate.py). `secret` is that of the
    salts of outputs.
    """
    logs = parties.document.logs
    content = None if logs is None else _content(logs, bundle, outcome)
    if logs is None or content is None:
        return ()
    needed = parties.document.rules.min_contributors
    return tuple(
        Leaving(
            name=LOG,
            to=did,
            person=False,
            gateway=None,
            sealing=parties.members[did].sealing,
            salt=outputs.salt(secret, LOG, did),
            format="json",
            content=content,
        )
        for did in logs.to
        if all(contributors.count_for(one, did) >= needed for one in people)
    )


def _content(logs: Logs, bundle: Bundle, outcome: Outcome) -> bytes | None:
    """The JSON text of at most `logs.bytes` bytes; None if there is nothing to say."""
    text = outcome.log.decode("utf-8", "replace")
    if logs.what == "all":
        return _printed(text, logs.bytes)
    if outcome.status == "ok":
        return None
    said = errors(text, bundle.files)
    while len(content := outputs.canonical(said)) > logs.bytes:
        if not said["frames"]:
            return None
        said["frames"].pop(0)
    return content


def errors(text: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The last traceback in a log, as class and frames of the bundle, the innermost last.

    Whatever the text says, what comes back is one of CLASSES or nothing, and at most
    limits.LOG_FRAMES pairs of a file of the bundle and a line that it has.
    """
    last = text.rpartition(_TRACEBACK)[2] if _TRACEBACK in text else ""
    frames, raised = [], None
    for line in last.splitlines()[: 8 * limits.LOG_FRAMES]:
        found = _FRAME.match(line)
        if found is not None and _is_line(files, found[1], int(found[2])):
            frames.append({"file": found[1], "line": int(found[2])})
        elif line and not line.startswith(" "):
            raised = _RAISED.fullmatch(line)
            break
    if raised is None:
        return {"class": None, "frames": frames[-limits.LOG_FRAMES :]}
    query = (raised[2] or "").partition(":")[0]
    if query.endswith(".sql") and query in files:  # so runners/sql.py says which query it was
        frames.append({"file": query, "line": 1})
    name = raised[1] if raised[1] in CLASSES else OTHER
    return {"class": name, "frames": frames[-limits.LOG_FRAMES :]}


def _is_line(files: Mapping[str, bytes], file: str, line: int) -> bool:
    return file in files and 1 <= line <= files[file].count(b"\n") + 1


def _printed(text: str, most: int) -> bytes | None:
    """The end of what was printed: printable characters, tabs and line ends, nothing that writes
    elsewhere on a reader's terminal.
    """
    kept = "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)[-most:]
    while len(content := outputs.canonical({"text": kept})) > most:
        kept = kept[len(content) - most :]
        if not kept:
            return None
    return content if kept else None
