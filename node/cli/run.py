"""village run: order runs, and read what became of them."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from node.cli import run_queue
from node.cli.share import For
from node.cli.talk import REFUSED, call, parameters

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Runs.")

run_queue.add(app)

Seconds = Annotated[int, typer.Option(help="Seconds to wait.")]


@app.command(epilog='Example: village run start fit -p \'covariates=["age","sex"]\' --wait')
def start(
    entry: Annotated[str | None, typer.Argument(help="Entry point; default: the only one.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", help="NAME=VALUE.")] = None,
    given: Annotated[str | None, typer.Option("--parameters", help="A JSON object.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run record.")] = False,
    seconds: Seconds = 600,
    within: Annotated[int | None, typer.Option(help="Seconds in which it must start.")] = None,
    agreement: For = None,
) -> None:
    """Order a run."""
    from node.cli.show import tell

    values = parameters(parameter or [], given)
    found = call("run.start", entry=entry, parameters=values, within=within, id=agreement)
    if not wait:
        tell(found)
        return
    _finish(call("run.wait", order=found["order"], seconds=seconds, id=agreement))


@app.command(epilog="Example: village run wait 9c1e --seconds 60")
def wait(
    order: Annotated[str, typer.Argument(help="Short id of the order.")],
    seconds: Seconds = 600,
    agreement: For = None,
) -> None:
    """Wait for the run record of an order; exit code 6 if it takes longer."""
    _finish(call("run.wait", order=order, seconds=seconds, id=agreement))


def _finish(found: dict[str, Any]) -> None:
    """Print a run; what a rule held back is exit code 3."""
    from node.cli.show import tell

    tell(found, words)
    if found["outcome"] != "released":
        raise typer.Exit(REFUSED)


@app.command("list", epilog="Example: village run list")
def list_(agreement: For = None) -> None:
    """All runs, and the orders that wait."""
    from node.cli.show import tell

    tell(call("run.list", id=agreement))


@app.command(epilog="Example: village run show 2")
def show(
    run: Annotated[str | None, typer.Argument(help="Number or short id; default: newest.")] = None,
    agreement: For = None,
) -> None:
    """A run record in words, or an order that waits."""
    from node.cli.show import tell

    found = call("run.show", run=run, id=agreement)
    tell(found, words if "gate" in found else run_queue.words)


@app.command(epilog="Example: village run log 2")
def log(
    run: Annotated[str | None, typer.Argument(help="Number or short id; default: newest.")] = None,
) -> None:
    """What came here of the algorithm's log, where the agreement says so."""
    from node.cli.show import as_json, tell

    found = call("run.log", run=run)
    head = f"log of run {found['number']} of {found['agreement']}"
    body = found["result"].get("text")
    tell(found, lambda one: [head, *(body or as_json(one["result"])).splitlines()])


def words(found: dict[str, Any]) -> Iterator[str]:
    """A run in words."""
    from protocol.attestation.policy import exposed

    yield f"run {found['number']} of {found['name']}  {found['outcome']}  {found['run'][:12]}"
    if not found["confidential"]:
        yield f"{exposed([found['technology']])}: the host could read all data"
    yield f"{found['entry']} {found['parameters']} ordered by {found['ordered_by']}"
    yield from _circumstances(found)
    yield f"host {found['host']}, term {found['term']}; {found['statements']} statements"
    yield (
        f"{found['contributors']} contributors, {found['rows']} rows:"
        f" {found['shares']} shares of organizations, {found['people']} of people"
    )
    if found["code"]:
        yield f"{found['code']}: {found['detail'] or found['rule']}"
        yield f"  rule    {found['rule']}"
        yield f"  set by  {found['set_by'] or 'the protocol'}"
        yield f"  fix     {found['fix']}"
    yield from checks(found)
    for state in found["states"]:
        said = "read" if state["used"] else "dropped: a consent behind it was withdrawn"
        yield f"  state {state['name']} of run {state['of_run']} {said}"
    for output in found["outputs"]:
        size = "kept by the enclaves" if output["to"] == "later runs" else f"{output['size']} bytes"
        yield f"  {output['name']} to {output['to']}, {size}"
    if found["logs"]:
        yield f"  log to {', '.join(found['logs'])}"
    yield f"decided by the votes of {', '.join(found['votes'])} ({found['needed']} needed)"


def checks(found: dict[str, Any]) -> Iterator[str]:
    """The gate's report: each rule, what was measured, whose rule it is, and what was charged."""
    from protocol.terms import decimal

    for check in found["gate"]:
        mark = "ok" if check["passed"] else "no"
        by = f", set by {check['set_by']}" if check["set_by"] else ""
        measured, limit = (decimal(check[name], check["unit"]) for name in ("measured", "limit"))
        yield f"  {mark} {check['rule']}: {measured} (limit {limit}{by})"
    for charge in found["charges"]:
        yield (
            f"  charged {charge['to']} {charge['amount']} on {charge['dataset']},"
            f" {charge['left']} of {charge['in_all']} left"
        )


def _circumstances(found: dict[str, Any]) -> Iterator[str]:
    if found["trigger"]:
        yield f"by trigger {found['trigger']}"
    if found["withheld"]:
        yield f"nothing left in this term: {found['withheld']}"
