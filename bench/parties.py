"""A provider's node, a consumer's, a host's and its enclave, each a process, in earnest.

They found a space, agree on one computation over a contract of one binary column (and the person
whom a row is about), and elect the host. What a share then costs is what it costs everybody.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import ipc

from node.admin.client import AdminClient, AdminError
from node.demo.processes import Process, Troupe, listens, wait_until
from node.demo.stage import ENVIRONMENTS, PROJECT
from protocol.sealing.stream import END_BYTES

VALUE: Final = 64 * 1024
"""Bytes of one row's value."""

ROWS: Final = 64
"""Rows of one batch of the file: 4 MiB."""

ROLES: Final = {
    "provider": ["data-provider", "code-provider"],
    "lab": ["data-consumer"],
    "host": ["enclave-host"],
}
"""The nodes, and what each is in the space."""

PATIENCE: Final = 60.0
"""Seconds for whatever the parties wait for before a share."""

_NODE: Final = """\
[node]
name = "{name}"
state = "state"
[keys]
unlock = "file:passphrase"
[network]
dial = "both"
listen = ["/ip4/127.0.0.1/tcp/{port}"]
{network}
[admin]
socket = "admin.sock"
"""
_PROVIDER: Final = """
[sources.scans]
contract = "../scans.odcs.yaml"
file = "scans.arrow"
"""
_HOST: Final = """
[enclave]
socket = "enclave.sock"
technology = "simulated"
"""
_ENCLAVE: Final = """\
[enclave]
socket = "enclave.sock"
environments = ["{environments}/scientific"]
[attestation]
technology = "simulated"
"""
_CONTRACT: Final = """\
apiVersion: v3.0.2
kind: DataContract
id: scans-v1
version: 1.0.0
status: active
customProperties:
  - { property: personColumn, value: person }
schema:
  - name: scans
    properties:
      - { name: person, logicalType: string, required: true }
      - name: scan
        logicalType: string
        logicalTypeOptions: { format: binary }
        required: true
"""
_AGREEMENT: Final = """\
agreement: scans
purpose:
  text: How fast is a share?
  term: dpv:AcademicResearch
  processing: ["dpv:Combine"]
  jurisdiction: EU
  duration: P30D
parties:
  "@provider": { roles: [data-provider, code-provider], gdpr: "dpv:JointDataControllers" }
  "@lab": { roles: [data-consumer], gdpr: "dpv:JointDataControllers" }
data:
  scans-v1:
    contract: scans.odcs.yaml
    person: person
    from:
      "@provider": { legal_basis: "eu-gdpr:A9-2-j", waits: true }
algorithm:
  bundle: algorithms/mean-height
  environment: scientific
  provider: "@provider"
  reviews: { at_least: 1, by: ["@lab"] }
  entry:
    mean: {}
outputs:
  mean:
    schema: algorithms/mean-height/mean.schema.json
    to: ["@lab"]
rules:
  min_contributors: 5
  min_change: 1
  small_cells: suppress
  precision: 2
  output: 1 KiB
runs: { by: ["@lab"], at_most: 3, attempts: 3 }
attestation:
  simulated:
    accept: [{ software: village-enclave }]
  max_age: PT24H
host:
  candidates:
    "@host": { region: NL }
  lease: PT10S
  standbys: 0
end: { retention: P30D }
"""


def free_port() -> int:
    """A port that nobody listens on: a node must be where it was when it starts again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def eventually(ready: Callable[[], Any], seconds: float = PATIENCE) -> Any:  # noqa: ANN401 (any JSON)
    """The first true value of `ready`. Raises RuntimeError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(AdminError):
            found = ready()
            if found:
                return found
        time.sleep(0.05)
    raise RuntimeError(f"not within {seconds:g} s")


@dataclass(slots=True)
class Parties:
    """All of them, once an enclave is elected."""

    folder: Path
    troupe: Troupe
    network: str
    ready: dict[str, Process] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """The provider's file."""
        return self.folder / "provider" / "scans.arrow"

    def call(self, name: str, method: str, /, **parameters: object) -> Any:  # noqa: ANN401 (any JSON)
        """Ask a node by its admin socket. Raises AdminError."""
        return AdminClient(self.folder / name / "admin.sock").call(method, **parameters)

    def push(self, **named: object) -> dict[str, Any]:
        """Push the source; returns at the share receipt."""
        found: dict[str, Any] = self.call("provider", "share.push", **named)
        return found

    def stored_chain(self, share: str) -> str:
        """The chain digest in the final frame of what the host stored, in hex."""
        (file,) = (self.folder / "host" / "state").rglob(f"*{share}*")
        with file.open("rb") as stored:
            stored.seek(1 - END_BYTES, os.SEEK_END)
            return stored.read(32).hex()

    def start(self, name: str) -> Process:
        """Start a node, or start it again after it was killed."""
        config = str(self.folder / name / "node.toml")
        command = [sys.executable, "-m", "node.cli", "node", "run", "--config", config]
        return self._start(name, command, lambda: self.call(name, "node.status"))

    def start_enclave(self) -> Process:
        """Start the enclave, or start it again."""
        home = self.folder / "host"
        command = [sys.executable, "-m", "enclave_host.main", "run"]
        command += ["--config", str(self.folder / "enclave.toml"), "--state", str(home)]
        return self._start("enclave", command, lambda: listens(home / "enclave.sock"))

    def _start(self, name: str, command: list[str], ready: Callable[[], Any]) -> Process:
        process = self.troupe.start(self.label(name), command, PROJECT)

        def is_ready() -> bool:
            try:
                return bool(ready())
            except AdminError:
                return False

        wait_until(is_ready, process, PATIENCE)
        return process

    def label(self, name: str) -> str:
        """The name of one of these processes among all."""
        return f"{self.folder.name}-{name}"

    def write(self, size: int, mark: str) -> None:
        """Fill the provider's file with random values of `size` bytes in all."""
        schema = pa.schema([("person", pa.string()), ("scan", pa.binary())])
        fresh = self.source.with_suffix(".new")
        with ipc.new_stream(fresh, schema) as writer:
            for start in range(0, size // VALUE, ROWS):
                count = min(ROWS, size // VALUE - start)
                people = [f"{mark}-{start + n}" for n in range(count)]
                values = [os.urandom(VALUE) for _ in range(count)]
                columns = [pa.array(people), pa.array(values, pa.binary())]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        fresh.replace(self.source)


@contextlib.contextmanager
def parties(folder: Path, network: str = "") -> Iterator[Parties]:
    """Parties in `folder` (its path must be short); `network` are more lines of [network]."""
    folder.mkdir(parents=True)
    with Troupe(folder / "logs", dict(os.environ)) as troupe:
        found = Parties(folder, troupe, network)
        _lay_out(found)
        _agree(found)
        yield found


def _lay_out(found: Parties) -> None:
    """Configure and start everything."""
    (found.folder / "scans.odcs.yaml").write_text(_CONTRACT)
    algorithms = PROJECT / "configs" / "two-machines" / "algorithms"
    shutil.copytree(algorithms, found.folder / "algorithms")
    manifest = found.folder / "algorithms" / "mean-height" / "manifest.yaml"
    manifest.write_text(
        manifest.read_text().replace("heights-v1", "scans-v1").replace("hospital-a", "provider")
    )
    (found.folder / "agreement.yaml").write_text(_AGREEMENT)
    (found.folder / "enclave.toml").write_text(_ENCLAVE.format(environments=ENVIRONMENTS))
    for name, more in (("provider", _PROVIDER), ("lab", ""), ("host", _HOST)):
        home = found.folder / name
        home.mkdir(mode=0o700)
        (home / "passphrase").touch(0o600)
        (home / "passphrase").write_text("correct horse battery staple\n")
        config = home / "node.toml"
        node = _NODE.format(name=name, network=found.network, port=free_port())
        config.write_text(node + more)
        init = [sys.executable, "-m", "node.cli", "node", "init", "--config", str(config)]
        subprocess.run(init, check=True, capture_output=True, cwd=PROJECT)
    found.start_enclave()
    for name in ROLES:
        found.start(name)


def _agree(found: Parties) -> None:
    """From two strangers to an elected host."""
    call, algorithm = found.call, found.folder / "algorithms" / "mean-height"
    founders = [{"card": call(n, "key.export")["card"], "roles": r} for n, r in ROLES.items()]
    made = call(
        "provider", "space.new", name="scans", purpose="Speed", founders=founders, registrars=[]
    )
    for name in ("lab", "host"):
        call(name, "space.join", file=made["file"])
    eventually(lambda: all(one["founded"] for name in ROLES for one in call(name, "space.list")))
    measure = [sys.executable, "-m", "enclave_host.main", "measure"]
    measure += ["--environment", str(ENVIRONMENTS / "scientific")]
    said = subprocess.run(measure, check=True, capture_output=True, text=True, cwd=PROJECT).stdout
    digest = next(line.split()[1] for line in said.splitlines() if line.startswith("environment"))
    for name in ROLES:
        call(name, "algorithm.env", name="scientific", digest=digest)
    call("provider", "contract.publish", file=(found.folder / "scans.odcs.yaml").read_bytes())
    bundle = call("provider", "algorithm.publish", folder=str(algorithm))["bundle"]
    eventually(lambda: [one for one in call("lab", "algorithm.list") if one["bundle"] == bundle])
    call("lab", "algorithm.review", bundle=bundle, verdict="approved", text="Read in full.")
    eventually(lambda: any(one["approved"] for one in call("provider", "algorithm.list")))
    call("provider", "agreement.propose", path=str(found.folder / "agreement.yaml"))
    read = eventually(lambda: call("lab", "agreement.show")["digest"])
    call("lab", "agreement.accept", digest=read)
    eventually(lambda: call("provider", "host.show")["host"] == "host")
