"""village run queue, retry, cancel, event, schedule: what waits, and what gives cause."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.share import For
from node.cli.talk import USAGE, call

EVENT = 64 * 1024
"""Bytes of an event that are read at most; the agreement's bound is far below."""

Order = Annotated[str, typer.Argument(help="Short id of the order.")]


def add(app: typer.Typer) -> None:
    """Put these commands beside the others of `village run`."""
    app.command(epilog="Example: village run queue")(queue)
    app.command(epilog="Example: village run retry 9c1e --within 3600")(retry)
    app.command(epilog="Example: village run cancel 9c1e --reason 'wrong covariates'")(cancel)
    app.command(epilog="Example: village run event batch-arrived --json batch.json")(event)
    app.command(epilog="Example: village run schedule")(schedule)


def queue(agreement: For = None) -> None:
    """What runs, what waits in which order, and what ended without a result and why."""
    from node.cli.show import tell

    tell(call("run.queue", id=agreement), _queue_words)


def retry(
    order: Order,
    within: Annotated[int | None, typer.Option(help="Seconds in which it must start.")] = None,
    agreement: For = None,
) -> None:
    """Give an order once more that ended without a result."""
    from node.cli.show import tell

    tell(call("run.retry", order=order, within=within, id=agreement))


def cancel(
    order: Order,
    reason: Annotated[str, typer.Option(help="Why.")] = "not needed any more",
    agreement: For = None,
) -> None:
    """Take an own order back that did not start."""
    from node.cli.show import tell

    tell(call("run.cancel", order=order, reason=reason, id=agreement))


def event(
    name: Annotated[str, typer.Argument(help="The event, as the agreement names it.")],
    file: Annotated[str, typer.Option("--json", help="FILE with what happened; - reads it here.")],
    agreement: For = None,
) -> None:
    """Tell of an event that gives cause for a run."""
    from node.cli.show import tell

    tell(call("run.event", name=name, payload=_payload(file), id=agreement))


def schedule(agreement: For = None) -> None:
    """What comes next by the agreed time tables (UTC), and which events may give cause."""
    from node.cli.show import tell

    tell(call("run.schedule", id=agreement), _schedule_words)


def _payload(file: str) -> Any:  # noqa: ANN401 (any JSON)
    try:
        text = sys.stdin.read(EVENT) if file == "-" else _read(Path(file))
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        sys.stderr.write(f"no event: {error}\n")
        raise typer.Exit(USAGE) from error


def _read(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(EVENT)


def words(found: dict[str, Any]) -> Iterator[str]:
    """An order that has no run yet, in words."""
    from node.cli.show import date

    yield f"order {found['order'][:12]} of {found['name']}  {found['outcome']}"
    yield f"{found['entry']} {found['parameters']} ordered by {found['ordered_by']}"
    if found["trigger"]:
        due = f" due {date(found['due'])}" if found["due"] else ""
        told = f", told by {found['caller']}" if found["caller"] else ""
        yield f"by trigger {found['trigger']}{due}{told}"
    if found["deadline"]:
        yield f"must start by {date(found['deadline'])}"
    if found["number"]:
        yield f"run {found['number']}, attempt {found['attempts']} of {found['attempts_at_most']}"
    if found["again"]:
        yield f"repeats order {found['again'][:12]}"


def _queue_words(found: dict[str, Any]) -> Iterator[str]:
    from node.cli.show import date

    running = [found["running"]] if found["running"] else []
    for one in running:
        attempt = f"attempt {one['attempts']} of {one['attempts_at_most']}"
        yield f"runs    {one['order'][:12]}  run {one['number']}, {attempt}  {_what(one)}"
    for place, one in enumerate(found["waiting"], 1):
        until = f", until {date(one['deadline'])}" if one["deadline"] else ""
        early = f", due {date(one['due'])}" if one["outcome"] == "early" else ""
        yield f"waits {place:<2}{one['order'][:12]}  {_what(one)}{early}{until}"
    if not running and not found["waiting"]:
        yield "nothing runs, nothing waits"
    for number in found["again"]:
        yield f"again   run {number}: its result never came to somebody"
    for one in found["dead_letters"]:
        yield f"dead    {one['order'][:12]}  {_what(one)}: {one['outcome']}"
        yield f"  why     {one['code']}: {one['detail']}"
        yield f"  set by  {one['set_by']}"
        yield f"  fix     {one['fix']}"
    yield f"{found['runs_left']} runs are left"


def _what(one: dict[str, Any]) -> str:
    return f"{one['entry']} by {one['ordered_by']}"


def _schedule_words(found: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        yield "no trigger is agreed: runs are ordered on demand"
    for one in found:
        cause = f"at {one['cron']} UTC" if one["cron"] else f"event {one['event']}"
        yield f"{one['trigger']}: {cause}, {one['entry']} {one['parameters']}"
        yield f"  ordered by {', '.join(one['by'])}"
        for at in one["next"]:
            yield f"  {at}"
