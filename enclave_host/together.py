"""The contract checks of small shares of people, together: those that wait while a sandbox is at
work go into the next one.

To start a sandbox takes longer than to check a thousand rows. People's shares of one dataset have
one contract, and meet in one sandbox at every run anyway. One that breaks the sandbox breaks it for
itself: then each is checked alone, and that one ever after.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from enclave_host.inputs import Checked, Small
from protocol.errors import Refused

AT_ONCE: Final = 64
"""Shares in one sandbox: a host sends fewer at once."""


@dataclass(slots=True)
class _Waiting:
    share: Small
    found: Checked | Exception | None = None


@dataclass(slots=True)
class Together:
    """The checks of one dataset. `check` runs one sandbox, and raises Refused (run.failed) if that
    ended otherwise than well.
    """

    check: Callable[[Sequence[Small]], list[Checked]]
    _turn: threading.Condition = field(default_factory=threading.Condition, init=False)
    _waiting: list[_Waiting] = field(default_factory=list, init=False)
    _breakers: set[bytes] = field(default_factory=set, init=False)
    _busy: bool = field(default=False, init=False)

    def verdict(self, share: bytes, person: str, content: bytes) -> Checked:
        """The verdict on a share; returns once its sandbox ended. Raises what `check` does."""
        small = Small(share, content, person)
        if share in self._breakers:
            return self.check([small])[0]
        mine = _Waiting(small)
        with self._turn:
            self._waiting.append(mine)
            self._turn.wait_for(lambda: mine.found is not None or not self._busy)
            batch = [] if mine.found is not None else self._begin(mine)
        if batch:
            self._run(batch)
        if not isinstance(mine.found, Checked):
            raise mine.found or Refused("run.failed", "the check of the share broke")
        return mine.found

    def _begin(self, mine: _Waiting) -> list[_Waiting]:
        """Who finds no sandbox at work runs the next one, for all that wait."""
        self._busy = True
        self._waiting.remove(mine)
        batch = [mine, *self._waiting[: AT_ONCE - 1]]
        del self._waiting[: AT_ONCE - 1]
        return batch

    def _run(self, batch: list[_Waiting]) -> None:
        try:
            found: Sequence[Checked | Exception] = self.check([one.share for one in batch])
        except Refused as refused:
            found = [refused] if len(batch) == 1 else [self._alone(one.share) for one in batch]
        except Exception as error:  # whatever it is, it is told to who waits
            found = [error] * len(batch)
        with self._turn:
            for one, verdict in zip(batch, found, strict=True):
                one.found = verdict
            self._busy = False
            self._turn.notify_all()

    def _alone(self, share: Small) -> Checked | Exception:
        try:
            return self.check([share])[0]
        except Refused as refused:
            self._breakers.add(share.id)
            return refused
        except Exception as error:  # as above
            return error
