"""Real nodes as processes on loopback, each in its own folder; ended by their process id."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from node.admin.client import AdminClient

ROOT = Path(__file__).parents[2]
START, STOP = 60.0, 30.0
"""Seconds on a busy machine; what hangs takes longer."""

CONFIG = """\
[node]
name = "{name}"
state = "state"
[keys]
unlock = "file:passphrase"
[network]
dial = "both"
listen = ["/ip4/127.0.0.1/tcp/0"]
[admin]
socket = "admin.sock"
"""


class NoStart(AssertionError):
    """The daemon ended, or was silent for too long."""


class Daemon:
    """One node: its folder, its process, a client of its admin socket."""

    def __init__(self, folder, name, extra=""):
        self.folder, self.name = Path(folder), name
        self.folder.mkdir(parents=True)
        self.config = self.folder / "node.toml"
        self.config.write_text(CONFIG.format(name=name) + extra)
        secret = self.folder / "passphrase"
        secret.touch(0o600)
        secret.write_text("correct horse battery staple\n")
        self.socket = self.folder / "admin.sock"
        self.client = AdminClient(self.socket)
        self.process = None
        self.ready = {}

    def village(self, *arguments, check=True, **options):
        """Run the command line as an operator does."""
        environment = {**os.environ, "VILLAGE_SOCKET": str(self.socket), "NO_COLOR": "1"}
        return subprocess.run(  # noqa: S603 (our own command line)
            [sys.executable, "-m", "node.cli", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
            **options,
        )

    def init(self):
        return json.loads(self.village("node", "init", "--config", self.config, "--json").stdout)

    def start(self):
        """Start the process and wait for its ready line."""
        command = [sys.executable, "-m", "node.cli", "node", "run", "--config", str(self.config)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 (our own daemon)
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if selector.select(START) else b""
        if not line:
            raise NoStart((self.folder / "log").read_text()[-2000:])
        self.ready = json.loads(line)
        return self

    def call(self, method, /, **parameters):
        return self.client.call(method, **parameters)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP)
        self.process.stdout.close()

    def stop(self):
        """End it cleanly; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP)
        self.process.stdout.close()
        return code

    def close(self):
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()


@contextmanager
def daemons(folder, *names, extra=""):
    """Started nodes of these names; whatever happens, their processes end."""
    nodes = [Daemon(Path(folder) / name, name, extra) for name in names]
    try:
        with ThreadPoolExecutor() as pool:  # the keystore's key derivation is slow on purpose
            list(pool.map(lambda node: node.init() and node.start(), nodes))
        yield nodes
    finally:
        for node in nodes:
            node.close()


def eventually(condition, seconds=60.0):
    """The first true value of `condition`; what is watched runs in other processes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {condition()!r}")
