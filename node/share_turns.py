"""Whose turn it is: of one dataset one push is under way; who gives it up ends it at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from protocol.errors import Refused


class Turns:
    """The pushes under way, and those that stopped: place in the journal -> why."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self.stopped: dict[str, str] = {}
        self._scopes: dict[str, trio.CancelScope] = {}

    def is_idle(self, place: str) -> bool:
        """Whether a push that was left there may go on."""
        return place not in self._scopes and place not in self.stopped

    @contextmanager
    def alone(self, place: str) -> Iterator[None]:
        """Push from `place`, alone. Raises Refused (share.busy, or share.changed where
        it is given up meanwhile).
        """
        if place in self._scopes:
            raise Refused("share.busy", "this dataset is being pushed")
        self.stopped.pop(place, None)
        with trio.CancelScope() as scope:
            self._scopes[place] = scope
            try:
                yield
            finally:
                del self._scopes[place]
        if scope.cancelled_caught:
            raise Refused("share.changed", "this push was given up")

    def end(self, place: str) -> None:
        """End what is under way there."""
        self.stopped.pop(place, None)
        if place in self._scopes:
            self._scopes[place].cancel()
