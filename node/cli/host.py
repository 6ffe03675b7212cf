"""village host: candidates and elections."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from node.cli.agreement import Which
from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Enclave hosts and elections.")


@app.command("list", epilog="Example: village host list")
def list_(agreement: Which = None) -> None:
    """The candidates, and what the voters found."""
    from node.cli.show import tell

    tell(call("host.list", id=agreement), _candidates)


def _candidates(found: list[dict[str, Any]]) -> Iterator[str]:
    for one in found:
        elected = "  ELECTED" if one["elected"] else ""
        yield f"{one['host']}  {one['region']}  {one['technology']}{elected}"
        yield f"  software   {one['software'][:12]}, {one['memory'] // 2**20} MiB"
        yield f"  eligible   by {one['eligible']} of {one['voters']} voters" + (
            f"; {', '.join(one['reasons'])}" if one["reasons"] else ""
        )
    if not found:
        yield "no candidate yet"


@app.command(epilog="Example: village host show")
def show(agreement: Which = None) -> None:
    """The host of the current term."""
    from node.cli.show import tell

    tell(call("host.show", id=agreement), _elected)


def _elected(found: dict[str, Any]) -> Iterator[str]:
    from protocol.attestation.policy import exposed

    if not found["host"]:
        yield "no host is elected yet: village host list"
        return
    yield f"{found['host']}  term {found['term']}  {found['operator'] or ''}  {found['region']}"
    if not found["confidential"]:
        yield f"{exposed([found['technology']])}: the host could read all data"
    yield f"  enclave      {found['enclave'][:12]}, {found['technology']}"
    yield f"  software     {found['software'][:12]}"
    yield f"  standbys     {', '.join(found['standbys']) or 'none'}"
    yield f"  votes        {', '.join(found['votes'])} ({found['needed']} needed)"
    yield f"  certificate  {found['certificate'][:12]}"
    if found["doubt"]:
        yield f"  DOUBT        this node gives it nothing: {found['doubt']}"
    for one in found["verdicts"]:
        yield from _verdict(one, "  ")


@app.command(epilog="Example: village host explain --term 1")
def explain(
    agreement: Which = None,
    term: Annotated[int | None, typer.Option(help="Default: the current one.")] = None,
) -> None:
    """An election in full: verdicts, votes, lapses."""
    from node.cli.show import tell

    tell(call("host.explain", id=agreement, term=term), words)


def words(found: dict[str, Any]) -> Iterator[str]:
    """An election in words: who verified whom, who voted, whose lease lapsed."""
    yield f"term {found['term']} elected {found['elected'] or 'nobody yet'}"
    yield f"  votes    {', '.join(found['votes']) or 'none'} ({found['needed']} needed)"
    if found["lapsed"]:
        yield f"  lapsed   the lease, say {', '.join(found['lapsed'])}"
    for candidate in dict.fromkeys(one["candidate"] for one in found["verdicts"]):
        yield f"  {candidate}"
        verdicts = [one for one in found["verdicts"] if one["candidate"] == candidate]
        for one in verdicts:
            yield from _verdict(one, "    ")


def _verdict(one: dict[str, Any], margin: str) -> Iterator[str]:
    """What a voter found, each reason with its sentence, and what the evidence claims."""
    verdict = "eligible" if one["eligible"] else ", ".join(one["reasons"]) or "no"
    evidence = f"  evidence {one['evidence'][:12]}" if one["evidence"] else ""
    yield f"{margin}{one['by']:<16} {one['technology']}  {verdict}{evidence}"
    for code, sentence in zip(one["reasons"], one["says"], strict=True):
        yield f"{margin}  {code}: {sentence}"
    claims = [f"{name} {value[:16]}" for name, value in one["measured"].items()]
    claims += [f"{name} {value}" for name, value in one["tcb"].items()]
    claims += [f"machine {one['platform'][:16]}"] if one["platform"] else []
    if claims:
        yield f"{margin}  claims {', '.join(claims)}"
