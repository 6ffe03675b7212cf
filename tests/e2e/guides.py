"""A guide of docs/ is typed as it stands: its blocks, and the shell that they are typed in."""

import os
import re
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"^```sh\n(.*?)```", re.MULTILINE | re.DOTALL)
PATIENCE, LIMIT = 60, 240
"""Seconds for what a reader waits for, and for a block; an idle machine takes two, and twenty."""


class Shell:
    """The terminal of one machine; use it as a context manager."""

    def __init__(self, home):
        self.home = home
        home.mkdir()
        environment = {**os.environ, "HOME": str(home), "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            ["/bin/bash", "--norc"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """End the shell and everything it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def type(self, text):
        """Run lines as if typed; fails at the first that fails."""
        script = self.home / "block"
        script.write_text(f"set -e\n{text}\nset +e\n")
        self.process.stdin.write(f". {script} < /dev/null; echo; echo END $?\n")
        self.process.stdin.flush()
        said = []
        # Some blocks repeat a command until it works: none forever.
        alarm = threading.Timer(LIMIT, os.killpg, (self.process.pid, signal.SIGKILL))
        alarm.start()
        try:
            for line in self.process.stdout:
                if line.startswith("END "):
                    assert line == "END 0\n", "".join([text, *said])
                    break
                said.append(line)
            else:
                pytest.fail("".join(["not done, or exited:\n", text, *said]))
        finally:
            alarm.cancel()
        self.said += "".join(said)

    def await_(self, condition):
        """Look until `condition` holds."""
        late = f"[ $SECONDS -lt {PATIENCE} ] || return 1"
        self.type(f"SECONDS=0; until {condition}; do {late}; sleep 0.5; done")


def typed(guide, home, *more):
    """Type all blocks of a guide, and then `more`, in one shell; what it said."""
    with Shell(home) as shell:
        for text in (*STEP.findall(guide.read_text()), *more):
            shell.type(text)
    return shell.said
