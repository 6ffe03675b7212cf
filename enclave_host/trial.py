"""`village-enclave try`: an author's own rows through the same sandboxes and the same gate.

There is no enclave, no agreement and no other party, and it says so. So the author sees what nobody
sees of a run: the whole log with its traces, what the code returned, and each check of the gate.
"""

import argparse
import base64
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from enclave_host import computation, outputs, sql, trial_task
from enclave_host.cage import Cage, Outcome
from enclave_host.computation import Task
from enclave_host.contract import read_table
from enclave_host.gate import Passed, Stopped
from enclave_host.inputs import Combined
from enclave_host.output_model import OutputModel
from enclave_host.private import Room
from enclave_host.table_model import read_table_model
from enclave_host.trial_task import Trial
from protocol import limits
from protocol.errors import RULES, Refused
from protocol.kinds import agreement as k
from protocol.kinds import algorithm
from protocol.kinds.algorithm import Bundle

WARNING: Final = "SIMULATED, NO ENCLAVE: the same sandbox and gate, on rows of your own."


def add_commands(commands: Any) -> None:  # noqa: ANN401 (argparse has no public name for it)
    """Add `check`, `models` and `try` to the command line."""
    check_ = commands.add_parser("check", help="the documents of a bundle (standard input)")
    check_.set_defaults(command=_check)
    models_ = commands.add_parser(
        "models", help="models of tables by name, base64 (standard input)"
    )
    models_.set_defaults(command=_models)
    trial = commands.add_parser("try", help="run a bundle (standard input) on rows of one's own")
    trial.add_argument("--environment", type=Path, required=True)
    trial.add_argument("--entry", required=True)
    trial.add_argument("--parameters", default="{}", help="JSON object")
    for name, words in (
        ("table", "DATASET=FILE: an Arrow stream"),
        ("contract", "DATASET=FILE instead of the bundle's own"),
        ("person", "DATASET=COLUMN: who a row is about"),
        ("state", "NAME=FILE: what an earlier run wrote"),
    ):
        trial.add_argument(f"--{name}", action="append", default=[], help=words, type=_pair)
    trial.add_argument("--min-contributors", type=int, default=10)
    trial.add_argument("--precision", type=int, default=6)
    trial.add_argument("--out", type=Path, help="a folder for what the gate lets through")
    trial.set_defaults(command=_try)


def check(bundle: Bundle) -> list[dict[str, str]]:
    """What the enclave would refuse of a bundle's contracts and models: file, detail, fix."""
    found = []
    for one in bundle.manifest.contracts:
        found += _faults(one.file, read_table, bundle)
    for model in bundle.manifest.models:
        read = read_table_model if model.format == "arrow" else OutputModel
        found += _faults(model.file, lambda blob, n=model.output, r=read: r(n, blob), bundle)
    return found


def run(trial: Trial, cage: Cage) -> tuple[dict[str, Any], Passed | None]:
    """Try it: an answer for the author, and what the gate let through.

    Raises Refused (run.*, share.contract, gate.schema, algorithm.sql), Broken.
    """
    room = Room(trial_task.ROOM)
    try:
        task = trial_task.make(trial, cage, room)
        if trial.bundle.manifest.kind == "sql":
            sql.check(task.datacage, trial.bundle)
        return _run(trial, task, cage.tier)
    finally:
        room.close()


def _run(trial: Trial, task: Task, tier: str) -> tuple[dict[str, Any], Passed | None]:
    combined = computation.combine_shares(task)
    try:
        return _judged(trial, task, tier, combined)
    finally:
        computation.forget(combined)


def _judged(
    trial: Trial, task: Task, tier: str, combined: Mapping[str, Combined]
) -> tuple[dict[str, Any], Passed | None]:
    people = computation.people_in(task, combined)
    rows = sum(len(one.tags) for one in combined.values())
    gate = computation.gate_for(task, trial.point.outputs, people, rows)
    stopped = gate.judge_people(task.lineage)  # an enclave would stop here; an author goes on
    begun = time.monotonic()
    outcome = computation.run_code(task, combined)
    answer = {
        "simulated": WARNING,
        "tier": tier,
        "entry": trial.entry,
        "parameters": json.loads(trial.parameters),
        "rows": {name: len(one.tags) for name, one in combined.items()},
        "people": len(people),
        "status": outcome.status,
        "seconds": round(time.monotonic() - begun, 3),
        "log": outcome.log.decode("utf-8", "replace"),
        "returned": _returned(outcome),
    }
    verdict = gate.judge(outcome.output) if outcome.status == "ok" else None
    passed = verdict if isinstance(verdict, Passed) and stopped is None else None
    stopped = stopped or (verdict if isinstance(verdict, Stopped) else None)
    checks = [
        {"rule": one.rule, "limit": one.limit, "measured": one.measured, "passed": one.passed}
        for one in gate.checks
    ]
    answer["gate"] = {"passed": passed is not None, "checks": checks, **_why(stopped)}
    answer["released"] = {} if passed is None else _released(trial, passed)
    return answer, passed


def _why(stopped: Stopped | None) -> dict[str, str]:
    if stopped is None:
        return {}
    return {"code": stopped.code, "detail": stopped.detail, "fix": RULES[stopped.code].fix}


def _returned(outcome: Outcome) -> dict[str, Any]:
    """What the code gave to the gate: JSON as it is, of others the size."""
    if outcome.status != "ok":
        return {}
    try:
        found = outputs.parse(outcome.output)
        return {
            name: outputs.read_json(one.content)
            if one.format == "json"
            else {"format": one.format, "bytes": len(one.content)}
            for name, one in found.items()
        }
    except Refused:
        return {}  # the gate's verdict says why


def _released(trial: Trial, passed: Passed) -> dict[str, Any]:
    formats = {one.output: one.format for one in trial.bundle.manifest.models}
    return {
        name: {"format": "arrow", "bytes": len(content)}
        if formats.get(name) == "arrow"
        else json.loads(content)
        for name, content in passed.whole.items()
    } | {name: {"format": "state", "bytes": len(one)} for name, one in passed.states.items()}


# --- the command line ---------------------------------------------------------------------------


def _check(_: argparse.Namespace) -> int:
    found = check(algorithm.unpack(sys.stdin.buffer.read(limits.BLOB + 1)))
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _models(_: argparse.Namespace) -> int:
    asked = json.loads(sys.stdin.buffer.read(limits.BLOB * limits.ITEMS))
    found = []
    for name, model in sorted(asked.items()):
        try:
            read_table_model(name, base64.b64decode(model))
        except Refused as refused:
            found.append(refused.detail)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _try(options: argparse.Namespace) -> int:
    trial = Trial(
        bundle=algorithm.unpack(sys.stdin.buffer.read(limits.BLOB + 1)),
        environment=options.environment.resolve(),
        entry=options.entry,
        parameters=options.parameters,
        tables={name: Path(file) for name, file in options.table},
        contracts={name: Path(file).read_bytes() for name, file in options.contract},
        persons=dict(options.person),
        states={name: Path(file).read_bytes() for name, file in options.state},
        rules=k.Rules(
            min_contributors=options.min_contributors,
            min_change=0,
            small_cells="suppress",
            precision=options.precision,
            output_bytes=limits.OUTPUT,
        ),
    )
    missing = set(trial.bundle.manifest.inputs) - trial.tables.keys()
    if missing:
        raise Refused("run.order", f"no table {min(missing)}: --table {min(missing)}=FILE")
    answer, passed = run(trial, Cage.probe(None))
    if options.out is not None and passed is not None:
        _write(trial, passed, options.out)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _write(trial: Trial, passed: Passed, folder: Path) -> None:
    """What may leave as NAME.json or NAME.arrow, and states, which would stay, as NAME.state."""
    values, _ = trial_task.models(trial)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in passed.whole.items():
        (folder / f"{name}.{'json' if name in values else 'arrow'}").write_bytes(content)
    for name, content in passed.states.items():
        (folder / f"{name}.state").write_bytes(content)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise argparse.ArgumentTypeError(f"{text} is not DATASET=VALUE")
    return name, value


def _faults(file: str, read: Any, bundle: Bundle) -> list[dict[str, str]]:  # noqa: ANN401
    try:
        read(bundle.files[file])
    except Refused as refused:
        return [{"file": file, "detail": refused.detail, "fix": refused.rule.fix}]
    return []
