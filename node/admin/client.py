"""The client of the admin API: command line, demo and tests talk to a daemon through this alone.

Each call is a connection of its own: a client can be used from any thread, and survives a restart
of its daemon. Only the standard library, because the command line must start fast.
"""

import base64
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

CONNECT: Final = 5.0
"""Seconds to connect; an answer takes as long as it takes, as a push or a run does."""


class AdminError(Exception):
    """The daemon said no: the fields of its answer, and the HTTP status."""

    def __init__(self, answer: dict[str, str], status: int) -> None:
        """Take the daemon's answer apart."""
        self.status = status
        self.code = answer.get("code", "admin.answer")
        self.message = answer.get("message", "")
        self.rule = answer.get("rule", "")
        self.set_by = answer.get("set_by", "")
        self.fix = answer.get("fix", "")
        super().__init__(f"{self.code}: {self.message}")


class NoDaemon(AdminError):
    """Nobody answers on the socket."""

    def __init__(self, socket: Path) -> None:
        """`socket` is where a daemon was expected."""
        message = f"No daemon answers on {socket}."
        fix = "Start it (village node run), or name its socket: --socket, VILLAGE_SOCKET."
        super().__init__({"code": "admin.no-daemon", "message": message, "fix": fix}, 0)


class AdminClient:
    """Calls methods of the node behind a unix socket."""

    def __init__(self, socket_: Path | str) -> None:
        """Nothing is connected before the first call."""
        self.socket = Path(socket_)

    def call(self, method: str, /, **parameters: object) -> Any:  # noqa: ANN401 (any JSON)
        """Call "noun.verb". Bytes are sent as base64, None is left out. Raises AdminError."""
        given = {name: value for name, value in parameters.items() if value is not None}
        body = json.dumps(given, default=_plain).encode()
        return _value(*self._whole("POST", f"/v1/{method}", body))

    def events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Happenings after number `after`, and then each new one; ends when the daemon does."""
        connection = _Connection(self.socket)
        try:
            answer = self._answer(connection, "GET", f"/v1/events?after={after}")
            if answer.status != 200:
                _value(answer.status, answer.read())
            yield from _events(answer)
        finally:
            connection.close()

    def metrics(self) -> str:
        """All numbers in Prometheus' text format. Raises AdminError."""
        status, body = self._whole("GET", "/metrics")
        return body.decode() if status == 200 else str(_value(status, body))

    def close(self) -> None:
        """Nothing stays open between calls."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _whole(self, verb: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of one exchange. Raises NoDaemon."""
        connection = _Connection(self.socket)
        try:
            answer = self._answer(connection, verb, path, body)
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoDaemon(self.socket) from error
        finally:
            connection.close()

    def _answer(
        self, connection: "_Connection", verb: str, path: str, body: bytes = b""
    ) -> http.client.HTTPResponse:
        try:
            connection.request(verb, path, body, {"connection": "close"})
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise NoDaemon(self.socket) from error


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("village")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket. Raises OSError."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(CONNECT)
            connected.connect(str(self._path))
            connected.settimeout(None)
        except OSError:
            connected.close()
            raise
        self.sock = connected


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a stream, until its daemon ends."""
    while True:
        try:
            line = answer.readline()
        except (OSError, http.client.HTTPException):
            return
        if not line:
            return
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def _plain(value: object) -> object:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case Path():
            return str(value)
        case _:
            raise TypeError(type(value).__name__)


def _value(status: int, body: bytes) -> Any:  # noqa: ANN401 (any JSON)
    try:
        value = json.loads(body)
    except ValueError as error:
        raise AdminError({"message": "The answer is not JSON."}, status) from error
    if status == 200:
        return value
    raise AdminError(value if isinstance(value, dict) else {}, status)
