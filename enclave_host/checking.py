"""The contract check of a share while it arrives: a sandbox that reads a pipe, batch by batch.

The plain bytes of a share are in the pipe and in the sandbox, a batch at a time, and nowhere else:
memory does not grow with the share, and a slow check slows its sender.
"""

import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from enclave_host.contract import Contract
from enclave_host.inputs import Checked, Datacage, check
from protocol import limits
from protocol.errors import Refused

WALL: Final = 7 * 24 * 3600.0
"""Seconds that an upload may last; the host ends one that stands still long before."""

CPU: Final = 6 * 3600
"""Seconds of processor time for one check; a TiB of a few columns takes minutes."""

EARLY: Final = limits.CHUNK
"""Bytes that wait here before a sandbox is started: uploads that are begun and left cost none."""


class Checking:
    """One share's check under way."""

    def __init__(
        self,
        datacage: Datacage,
        contract: Contract,
        person_column: str,
        person: str | None,
        together: Callable[[bytes], Checked] | None = None,
    ) -> None:
        """Nothing runs yet; `person` is the only one whom the rows may be about, if any. What never
        grew beyond EARLY goes to `together`, if that is given.
        """
        self._datacage = datacage
        self._together = together
        self._question = (contract, person_column, person)
        self._early = bytearray()
        self._thread: threading.Thread | None = None
        self._sink: int | None = None
        self._found: Checked | Exception | None = None

    def write(self, plain: memoryview) -> None:
        """Hand on the next plain bytes; waits while the sandbox is busy with those before.

        A sandbox that ended early has its verdict already: what follows is not looked at. Raises
        Refused (enclave.full).
        """
        if self._thread is not None:
            self._push(plain)
        elif len(self._early) + len(plain) <= EARLY:
            self._datacage.room.take(len(plain))
            self._early += plain
        else:
            self._start()
            self._push(plain)

    def end(self) -> Checked:
        """The verdict, once all was written. Raises Refused (run.failed), or what broke."""
        if self._thread is None and self._together is not None:
            try:
                return self._together(bytes(self._early))
            finally:
                self._forget_early()
        if self._thread is None:
            self._start()
        self._close()
        if self._thread is not None:
            self._thread.join()
        if not isinstance(self._found, Checked):
            raise self._found or Refused("run.failed", "the check of the share broke")
        return self._found

    def abandon(self) -> None:
        """The rest will not come: the sandbox sees the end of its input, and ends too."""
        self._forget_early()
        self._close()

    def _start(self) -> None:
        source, self._sink = os.pipe()
        with suppress(OSError):  # a smaller pipe is slower, no more
            fcntl.fcntl(source, fcntl.F_SETPIPE_SZ, limits.CHUNK)
        self._thread = threading.Thread(target=self._run, args=(source,), daemon=True)
        self._thread.start()
        self._push(memoryview(bytes(self._early)))
        self._forget_early()

    def _push(self, plain: memoryview) -> None:
        while plain and self._sink is not None:
            try:
                plain = plain[os.write(self._sink, plain) :]
            except BrokenPipeError:
                self._close()

    def _close(self) -> None:
        if self._sink is not None:
            os.close(self._sink)
            self._sink = None

    def _forget_early(self) -> None:
        self._datacage.room.give(len(self._early))
        self._early = bytearray()

    def _run(self, source: int) -> None:
        patient = replace(self._datacage, limits=replace(self._datacage.limits, wall=WALL, cpu=CPU))
        try:
            self._found = check(patient, *self._question, source)
        except Exception as error:  # whatever it is, it is told to who asks for the end
            self._found = error
        finally:
            os.close(source)
