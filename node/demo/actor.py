"""One participant as the demo drives it: by the admin API of its own node, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from node.admin.client import AdminClient

LOOK_EVERY: Final = 0.15
"""Seconds between two questions while the demo waits for something."""

PATIENCE: Final = 90.0
"""Seconds that the demo waits for something before it says that it did not come."""


class SceneFailed(RuntimeError):
    """A line of the story does not hold; the text names the check."""


@dataclass(slots=True)
class Actor:
    """A participant. Calls run in threads, so that several can act at once."""

    name: str
    socket: Path
    _idle: list[AdminClient] = field(default_factory=list)

    async def ask(self, method: str, **parameters: object) -> Any:  # noqa: ANN401 (any JSON)
        """Call one method. Raises AdminError."""
        return await trio.to_thread.run_sync(
            lambda: self.call(method, **parameters),
            abandon_on_cancel=True,  # type: ignore[call-arg] # the stubs are older
        )

    def call(self, method: str, **parameters: object) -> Any:  # noqa: ANN401 (any JSON)
        """The same in the current thread."""
        client = self._idle.pop() if self._idle else AdminClient(self.socket)
        answer = client.call(method, **parameters)
        self._idle.append(client)
        return answer

    async def until(
        self,
        what: str,
        ready: Callable[[Any], bool],
        method: str,
        *,
        seconds: float = PATIENCE,
        **parameters: object,
    ) -> Any:  # noqa: ANN401 (any JSON)
        """Ask until the answer is `ready`. Raises SceneFailed: `what` did not come."""
        with trio.move_on_after(seconds):
            while True:
                answer = await self.ask(method, **parameters)
                if ready(answer):
                    return answer
                await trio.sleep(LOOK_EVERY)
        raise SceneFailed(f"{self.name}: {what} did not come within {seconds:.0f} s ({method})")


def expect(what: str, wanted: object, found: object) -> None:
    """Hold a line of the story against what happened. Raises SceneFailed."""
    if wanted != found:
        raise SceneFailed(f"{what}: expected {wanted!r}, found {found!r}")


def expect_close(what: str, wanted: float, found: float, within: float = 1e-5) -> None:
    """Hold a number against what is known of it. Raises SceneFailed."""
    if not abs(wanted - found) <= within:
        raise SceneFailed(f"{what}: expected {wanted} within {within}, found {found}")
