"""What probes aim at on this machine, and how they are made in a sandbox and outside."""

import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pyarrow
from pyarrow import parquet

from enclave_host import outputs
from enclave_host.cage import Cage, Job, Limits, Outcome, memory, tiers
from tests.hostile import probes
from tests.hostile.probes.probe import Probe

ROOT = Path(__file__).parents[2]
SCIENTIFIC = ROOT / ".cache/environments/scientific"
GROUPS = (*probes.GROUPS, *probes.WITH_PACKAGES)
PROBES = {one.name: one for group in GROUPS for one in group.PROBES}
FOLDER = Path(probes.__file__).parent
RUNNER = "enclave_host/runners/sql.py", "protocol/sql_report.py"  # which locks DuckDB
CODE = {f"probes/{path.name}": path.read_bytes() for path in FOLDER.glob("*.py")}
CODE |= {path: (ROOT / path).read_bytes() for path in RUNNER}
SECRET = b"a row of a patient\n" * 300  # more than a page
LIMITS = {
    "memory": 512 << 20, "processes": 32, "files": 128, "tmp": 8 << 20, "output": 1 << 20,
    "log": 4096,
}  # fmt: skip
"""tests/hostile/probes/bombs.py goes just beyond."""
SIDE_BY_SIDE = 6  # sandboxes: some only sleep


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the sandbox's user may enter, as an environment must be."""
    with tempfile.TemporaryDirectory(prefix="datacage-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


class Target:
    """Listeners that note who reached them, a secret, an open door, an environment, an input."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.hits: set[str] = set()
        self.environment, self.open, self.scratch = (
            folder / name for name in ("environment", "open", "scratch")
        )
        for directory in (self.environment, self.open, self.scratch):
            directory.mkdir()
        self.open.chmod(0o777)
        for place in ("environment/spare", "environment/doomed", "open/secret"):
            (folder / place).write_bytes(SECRET)
        self._tables()
        (self.environment / "link").symlink_to(self.open / "secret")
        self.inputs = stack.enter_context(memory.files({"state/spare": SECRET}))
        self.abstract = folder.name
        self.port = self._listen("tcp", socket.create_server(("127.0.0.1", 0)), stack)[1]
        for name, place in (
            ("environment", str(self.environment / "socket")),
            ("door", str(self.open / "socket")),
            ("abstract", f"\0{self.abstract}"),
        ):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(place)
            self._listen(name, listener, stack)
        for path in (self.environment / "socket", self.open / "socket"):
            path.chmod(0o777)
        self.leak = os.open(os.devnull, os.O_RDONLY)
        os.set_inheritable(self.leak, True)
        stack.callback(os.close, self.leak)
        self.before = self.names()

    def _tables(self) -> None:
        """A row of a patient in every form that DuckDB reads by itself."""
        (self.open / "x.csv").write_text("a,b\n1,2\n")
        (self.open / "x.json").write_text('{"a": 1}')
        parquet.write_table(pyarrow.table({"a": [1]}), self.open / "x.parquet")

    def names(self) -> list[str]:
        """What lies where everybody may write."""
        return sorted(path.name for path in (*self.open.iterdir(), *self.scratch.iterdir()))

    def _listen(self, name: str, listener: socket.socket, stack: ExitStack) -> tuple:
        listener.listen()
        stack.callback(listener.close)
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=self._note, args=(name, listener), daemon=True).start()
        return listener.getsockname()

    def _note(self, name: str, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.hits.add(name)
            connection.close()

    def secrets(self) -> list[Path]:
        """Files that nobody may change."""
        return [self.environment / "spare", self.environment / "doomed", self.open / "secret"]

    def aim(self, environment: str, scratch: str, inputs: Mapping[str, int]) -> dict:
        """What an attack is told; `environment` and `scratch` are where it finds them."""
        return {
            "port": self.port,
            "abstract": self.abstract,
            "door": str(self.open / "socket"),
            "secret": str(self.open / "secret"),
            "open": str(self.open),
            "environment": environment,
            "in_environment": f"{environment}/socket",
            "link": f"{environment}/link",
            "spare": f"{environment}/spare",
            "scratch": scratch,
            "inputs": dict(inputs),
            "enclave": os.getpid(),
            "environ": [*tiers.ENVIRON, "PWD", "LC_CTYPE"],
            "marker": self.abstract,
            "csv": str(self.open / "x.csv"),
            "json": str(self.open / "x.json"),
            "parquet": str(self.open / "x.parquet"),
        }

    def control(self, packages: Path | None = None) -> dict[str, str]:
        """All probes outside: no sandbox, and an enclave that hands on all that it has."""
        aim = self.aim(str(self.environment), str(self.scratch), self.inputs)
        aim |= {"packages": packages is not None}
        done = subprocess.run(  # noqa: S603 our own script
            [tiers.PYTHON, "-B", str(FOLDER / "probe.py"), json.dumps(aim)],
            pass_fds=[self.leak, *self.inputs.values()],
            input=SECRET,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(packages or ROOT)},
            check=True,
            timeout=120,
        )
        return json.loads(done.stdout)

    def run(
        self,
        cage: Cage,
        entry: str,
        limits: Limits,
        environment: Path | None = None,
        **parameters: object,
    ) -> Outcome:
        """An entry point of the probes in a sandbox."""
        job = Job(
            environment=environment or self.environment,
            code=CODE,
            inputs=self.inputs,
            entry=entry,
            limits=limits,
        )
        seen = tiers.view(cage.tier, job)
        inputs = {name: 4 + place for place, name in enumerate(self.inputs)}
        aim = self.aim(seen.environment or "", seen.scratch or "/tmp", inputs)  # noqa: S108
        aim |= {"packages": environment is not None, **parameters}
        return cage.run(replace(job, parameters=json.dumps(aim).encode()))

    def with_packages(self, cage: Cage) -> dict[str, str]:
        """How the probes ended in this tier that need packages: all in one sandbox."""
        limits = Limits(cpu=60, wall=120.0, **LIMITS | {"memory": 1 << 30})
        with patch.object(tiers, "view", _seen_by_sql):
            outcome = self.run(cage, "probes.probe:quiet", limits, SCIENTIFIC)
        assert outcome.status == "ok", outcome.log.decode()
        return results(outcome)

    def probed(self, cage: Cage) -> dict[str, str]:
        """How all probes ended in this tier: most in one sandbox, the deadly each in its own."""
        outcome = self.run(cage, "probes.probe:quiet", Limits(cpu=60, wall=120.0, **LIMITS))
        assert outcome.status == "ok", outcome.log.decode()
        deadly = [one for one in PROBES.values() if one.alone]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            ends = list(pool.map(lambda one: self._alone(cage, one), deadly))
        return results(outcome) | {one.name: end for one, end in zip(deadly, ends, strict=True)}

    def _alone(self, cage: Cage, probe: Probe) -> str:
        limits = Limits(cpu=1, wall=probe.wall, **LIMITS)
        outcome = self.run(cage, "probes.probe:alone", limits, name=probe.name)
        if outcome.status == "ok":
            return results(outcome)[probe.name]
        assert outcome.output == b""
        assert len(outcome.log) <= limits.log
        return outcome.status


def _seen_by_sql(tier: tiers.Tier, job: Job, view: Callable = tiers.view) -> tiers.View:
    """In tier C DuckDB starts only where it sees the bounds of its cgroup, as SQL algorithms do."""
    return view(tier, replace(job, kind="sql", entry="folder"))


def results(outcome: Outcome) -> dict[str, str]:
    """Name of a probe -> how it ended."""
    return json.loads(outputs.parse(outcome.output)["results"].content)
