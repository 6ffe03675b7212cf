"""How every command talks: to the daemon by its admin socket, to the operator by one exit code."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from node.admin.client import AdminError

DONE, FAILED, USAGE, REFUSED, FORBIDDEN, UNKNOWN, WAITS, NO_DAEMON, INTERRUPTED = (
    0, 1, 2, 3, 4, 5, 6, 7, 130,
)  # fmt: skip
"""The one table of exit codes, for all commands."""

SYSTEM_SOCKET: Final = Path("/run/village/admin.sock")

_CODES: Final = {
    "admin.no-daemon": NO_DAEMON,
    "admin.method": USAGE,
    "admin.parameters": USAGE,
    "admin.permission": FORBIDDEN,
    "admin.waits": WAITS,
    "config.refused": USAGE,
    "id.ambiguous": UNKNOWN,
    "id.short": UNKNOWN,
    "id.unknown": UNKNOWN,
}


@dataclass(slots=True)
class Choices:
    """What the options that every command has say."""

    json: bool = False
    socket: Path | None = None


CHOICES: Final = Choices()
"""One process is one command."""


def socket_path() -> Path:
    """--socket, VILLAGE_SOCKET, the system's, or the user's own."""
    if CHOICES.socket is not None:
        return CHOICES.socket
    named = os.environ.get("VILLAGE_SOCKET")
    if named:
        return Path(named)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and not SYSTEM_SOCKET.exists():
        return Path(runtime) / "village" / "admin.sock"
    return SYSTEM_SOCKET


def call(method: str, /, **parameters: object) -> Any:  # noqa: ANN401 (any JSON)
    """Call a method of the daemon; on a no, say why and leave with its exit code."""
    from node.admin.client import AdminClient, AdminError

    with AdminClient(socket_path()) as client:
        try:
            return client.call(method, **parameters)
        except AdminError as error:
            fail(error)


@contextmanager
def client() -> Iterator[Any]:
    """The client itself, for commands that follow events; fails as `call` does."""
    from node.admin.client import AdminClient, AdminError

    with AdminClient(socket_path()) as found:
        try:
            yield found
        except AdminError as error:
            fail(error)


def fail(error: "AdminError") -> NoReturn:
    """Print the daemon's no: what, which rule, who set it, what would fix it."""
    from node.cli.show import plain

    if CHOICES.json:
        from node.cli.show import as_json

        names = ("code", "message", "rule", "set_by", "fix")
        sys.stderr.write(as_json({name: getattr(error, name) for name in names}) + "\n")
        raise typer.Exit(exit_code(error.code, error.status))
    sys.stderr.write(f"{plain(error.code)}: {plain(error.message)}\n")
    if error.code == "admin.method":
        sys.stderr.write("  Nodes and vaults have sockets of their own: is this the right one?\n")
    for label, text in (("rule", error.rule), ("set by", error.set_by), ("fix", error.fix)):
        if text and text != error.message:
            sys.stderr.write(f"  {label}: {plain(text)}\n")
    raise typer.Exit(exit_code(error.code, error.status))


def exit_code(code: str, status: int) -> int:
    """The exit code of an error code: what the daemon refused by a rule of the protocol is 3."""
    return _CODES.get(code, REFUSED if status == 422 else FAILED)


def usage(message: str) -> NoReturn:
    """The command itself is wrong."""
    sys.stderr.write(message + "\n")
    raise typer.Exit(USAGE)


def read(file: Path) -> bytes:
    """The content of FILE, or of the standard input for "-"."""
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        usage(f"Cannot read {file}: {error.strerror}.")


def write(file: Path, data: bytes) -> None:
    """Write FILE, or to the standard output for "-"."""
    if str(file) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        file.write_bytes(data)
    except OSError as error:
        usage(f"Cannot write {file}: {error.strerror}.")


def unfold(folder: Path, files: Mapping[str, str]) -> None:
    """Write files (relative path -> base64) into a new folder that nobody else may look into."""
    import base64

    try:
        folder.mkdir(mode=0o700)
        for name, text in files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(base64.b64decode(text))
    except OSError as error:
        usage(f"Cannot write {folder}: {error.strerror}.")


def card(file: Path) -> bytes:
    """The identity record in a card file, which holds it in base64."""
    import base64
    import binascii

    try:
        return base64.b64decode(read(file), validate=False)
    except binascii.Error:
        usage(f"{file} is no identity card: it is not base64.")


def parameters(pairs: list[str], text: str | None) -> dict[str, Any]:
    """Parameters from NAME=VALUE (VALUE as JSON, else as text) and from one JSON object."""
    import json

    found: dict[str, Any] = {}
    if text is not None:
        try:
            found.update(json.loads(text))
        except (ValueError, TypeError):
            usage("--parameters is no JSON object.")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            usage(f"{pair} is not NAME=VALUE.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; in scripts --yes must stand."""
    if yes:
        return
    if not sys.stdin.isatty():
        usage("Not on a terminal: say --yes.")
    if not typer.confirm(question):
        raise typer.Exit(FAILED)
