"""Command line of the enclave runtime: village-enclave."""

import argparse
import ctypes
import importlib.metadata
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

from enclave_host import config, doctor, environment, measure, server, trial
from enclave_host.attest import detect
from enclave_host.cage import Cage
from enclave_host.config import Config
from enclave_host.enclave import Enclave
from enclave_host.inputs import Datacage
from enclave_host.private import Room
from protocol import enclave_wire as wire
from protocol.errors import ProtocolError, Refused

FAILED, USAGE, REFUSED = 1, 2, 3
PR_SET_DUMPABLE: Final = 4


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code of docs/cli.md."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    except Refused as error:
        sys.stderr.write(f"{error}\n{error.rule.fix}\n")
        return FAILED
    except ProtocolError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="village-enclave", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve the host's node until SIGTERM")
    run.add_argument("--config", type=Path, required=True)
    run.add_argument("--state", type=Path, help="what relative paths in FILE are relative to")
    run.set_defaults(command=_run)
    look = commands.add_parser(
        "doctor", help="whether this machine is fit for open data, why not, and what to do"
    )
    look.add_argument("--config", type=Path, help="look at what it names, too")
    look.add_argument("--state", type=Path, help="what relative paths in FILE are relative to")
    look.add_argument("--json", action="store_true")
    look.set_defaults(command=_doctor)
    digest = commands.add_parser("measure", help="the digests that an agreement names")
    digest.add_argument("--environment", type=Path, action="append", default=[])
    digest.add_argument("--config", type=Path, help="an enclave's configuration: its environments")
    digest.add_argument("--state", type=Path, help="what relative paths in FILE are relative to")
    digest.add_argument("--json", action="store_true")
    digest.set_defaults(command=_measure)
    sample = commands.add_parser("sample", help="evidence of this machine, to read registers from")
    sample.add_argument("--config", type=Path, required=True)
    sample.add_argument("--state", type=Path, help="what relative paths in FILE are relative to")
    sample.add_argument("--out", type=Path, required=True, help="a folder for evidence and more")
    sample.set_defaults(command=_sample)
    evidence = commands.add_parser("attest", help="ask a running enclave for evidence")
    evidence.add_argument("--socket", type=Path, required=True)
    for name in ("agreement", "host", "requester", "nonce"):
        evidence.add_argument(f"--{name}", type=_hex, required=True, metavar="HEX")
    evidence.add_argument("--term", type=int, required=True)
    evidence.set_defaults(command=_attest)
    trial.add_commands(commands)
    version = commands.add_parser("version", help="the version")
    version.set_defaults(command=_version)
    return parser


def _hex(text: str) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != 32:
        raise ValueError
    return value


def _run(options: argparse.Namespace) -> int:
    settings = config.load(options.config, options.state)
    keep_memory_private()
    allow_many_files()
    with server.claim(settings.socket):
        room = Room(settings.data)
        try:
            _serve(settings, room)
        finally:
            room.close()
    return 0


def _serve(settings: Config, room: Room) -> None:
    enclave = boot(settings, room)
    door = server.Server(settings.socket, enclave.answer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: door.stop())
    technology = enclave.attester.technology
    shown = detect.LABELS.get(technology, technology)
    ready = {"ready": str(settings.socket), "tier": enclave.tier, "technology": shown}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    door.serve()


def boot(settings: Config, room: Room) -> Enclave:
    """An enclave with new keys. Raises NoTier, Refused (run.environment, enclave.attester)."""
    cage = Cage.probe(settings.tier)
    environments = {
        environment.digest(path): Datacage(cage, room, path, settings.limits)
        for path in settings.environments
    }
    attester = detect.choose(settings.source, measure.software())
    return Enclave(attester, room, cage.tier, environments, settings.ceilings)


def keep_memory_private() -> None:
    """No core dump, no debugger of the same user, no file of ours open to others by mistake."""
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_many_files() -> None:
    """Each larger share that is open for a run has a memory file: as many as the machine allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _doctor(options: argparse.Namespace) -> int:
    """Exit code 0 if nothing is wrong, 1 if something must be mended before a run."""
    settings = config.load(options.config, options.state) if options.config else None
    report = doctor.examine(settings)
    text = json.dumps(report.plain()) if options.json else "\n".join(report.lines())
    sys.stdout.write(text + "\n")
    return 0 if report.fit else FAILED


def _measure(options: argparse.Namespace) -> int:
    paths = list(options.environment)
    if options.config is not None:
        paths += config.load(options.config, options.state).environments
    software = measure.software().hex()
    environments = {str(path): environment.digest(path).hex() for path in paths}
    if options.json:
        found = {
            "software": software,
            "environments": environments,
            "registers": measure.registers(),
        }
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    sys.stdout.write(f"software     {software}\n")
    for path, digest in environments.items():
        sys.stdout.write(f"environment  {digest}  {path}\n")
    for technology, sets in measure.registers().items():
        needed = " or ".join(" + ".join(names) for names in sets)
        sys.stdout.write(f"register     {technology:<9}  {needed}\n")
    return 0


def _sample(options: argparse.Namespace) -> int:
    """Bound to nothing, so no agreement takes it: for `village evidence verify` only."""
    source = config.load(options.config, options.state).source
    attester = detect.choose(source, measure.software())
    found = attester.evidence(b"sample")
    options.out.mkdir(parents=True, exist_ok=True)
    for name, data in {"evidence": found.raw, **found.endorsements}.items():
        (options.out / name).write_bytes(data)
    sys.stdout.write(f"{attester.technology}: {', '.join(['evidence', *found.endorsements])}\n")
    return 0


def _attest(options: argparse.Namespace) -> int:
    client = server.Client(options.socket)
    request = wire.Attest(
        agreement=options.agreement,
        host=options.host,
        requester=options.requester,
        term=options.term,
        nonce=options.nonce,
    )
    sys.stdout.buffer.write(client.ask(request, wire.AttestAnswer).bundle)
    client.close()
    return 0


def _version(_: argparse.Namespace) -> int:
    sys.stdout.write(importlib.metadata.version("village-node") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
