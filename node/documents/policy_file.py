"""The acceptance policy: TOML -> protocol.policy.Policy, with all errors at once."""

import tomllib
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from node.config import FILE, ConfigError, Problem
from node.documents.agreement_rules import read_parts
from node.documents.fields import Problems, Table
from protocol import policy
from protocol.attestation.policy import TECHNOLOGIES
from protocol.budget import MILLION, TRILLION
from protocol.errors import Refused
from protocol.keys import did_parse
from protocol.kinds.identity import Role
from protocol.policy import Allow, AskWhen, News, Partners, Policy, Reviewed, Technologies
from protocol.terms import NOISE, SMALL_CELLS

_THEN: Final = ("accept", "counter", "ask")
_NEWS: Final = get_args(News)
_ROLES: Final = ("any", *get_args(Role))
_RUNS: Final = 1_000_000
_PEOPLE: Final = 1_000_000_000


def load(path: Path) -> Policy:
    """Read a policy file. Raises ConfigError with every problem."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE + 1)
    except OSError as error:
        detail = f"Cannot read: {error.strerror}."
        raise ConfigError(path.name, [Problem(0, "", detail, "Check the path.")]) from error
    return parse(data, path.name)


def parse(data: bytes, name: str = "policy.toml") -> Policy:
    """The policy in `data`. Raises ConfigError with every problem."""
    problems = Problems(name, {})
    top = problems.table(_tables(data, name))
    allow = tuple(_allow(rule) for rule in top.rows("allow", optional=True))
    ask = tuple(_ask(row) for row in top.rows("ask", optional=True))
    problems.check()
    return Policy(allow=allow, ask=ask)


def _tables(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > FILE:
        raise ConfigError(name, [Problem(0, "", "The file is too large.", f"At most {FILE}.")])
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, nested too deep
        detail = f"This is not TOML: {str(error)[:80]!a}."
        raise ConfigError(name, [Problem(0, "", detail, "See toml.io.")]) from error


def _allow(rule: Table) -> Allow:
    return Allow(
        name=rule.text("name"),
        purpose=rule.texts("purpose"),
        legal_basis=rule.texts("legal_basis"),
        datasets=rule.texts("datasets"),
        partners=_partners(rule.table("partners")),
        recipients=_participants(rule, "recipients"),
        algorithm=_algorithm(rule.table("algorithm")),
        runs_max=rule.number("runs_max", 1, _RUNS),
        ends_within=rule.duration("ends_within"),
        retention=rule.duration("retention"),
        jurisdiction=rule.texts("jurisdiction"),
        attestation=_attestation(rule.table("attestation")),
        then=cast("Literal['accept', 'counter', 'ask']", rule.choice("then", _THEN)),
        min_contributors=_floor(rule, "min_contributors", 1, _PEOPLE),
        min_change=_floor(rule, "min_change", 0, _PEOPLE),
        precision=_floor(rule, "precision", 0, 15),
        small_cells=_small_cells(rule),
        logs=cast("Literal['none', 'errors', 'all']", rule.choice("logs", policy.LOGS, "none")),
        output_rows=_floor(rule, "output_rows", 1, _PEOPLE),
        **_noise(rule),
        attempts_max=_floor(rule, "attempts_max", 1, _RUNS),
        order_deadline=rule.duration("order_deadline") if rule.has("order_deadline") else None,
        run_within=rule.duration("run_within") if rule.has("run_within") else None,
    )


def _floor(rule: Table, key: str, low: int, high: int) -> int | None:
    return rule.number(key, low, high) if rule.has(key) else None


def _small_cells(rule: Table) -> Literal["suppress", "refuse"] | None:
    if not rule.has("small_cells"):
        return None
    return cast("Literal['suppress', 'refuse']", rule.choice("small_cells", SMALL_CELLS))


def _noise(rule: Table) -> dict[str, Any]:
    """As in `noise = { mechanism = "laplace", in_all = "4" }`: at least this, at most that."""
    if not rule.has("noise"):
        return {}
    table = rule.table("noise")
    found: dict[str, Any] = {"noise": table.choice("mechanism", NOISE)}
    if table.has("in_all"):
        found["epsilon_total"] = read_parts(table, "in_all", MILLION)
    if table.has("delta"):
        found["delta"] = read_parts(table, "delta", TRILLION)
    return found


def _partners(table: Table) -> Partners:
    credential = table.text("credential")
    if credential and not credential.removeprefix("registrar:"):
        table.problem("credential", "No registrar is named.", 'As in "registrar:nki".')
    if credential and not credential.startswith("registrar:"):
        table.problem("credential", "A credential is one by a registrar.", 'As in "registrar:nki".')
    role = cast("Role | Literal['any']", table.choice("role", _ROLES, "any"))
    return Partners(credential=credential, role=role)


def _algorithm(table: Table) -> Reviewed:
    reviewers = _participants(table, "reviewers")
    needed = table.number("reviews_at_least", 0, 64)
    if needed > len(reviewers):
        table.problem("reviews_at_least", "More reviews than reviewers.", "Name more reviewers.")
    return Reviewed(reviews_at_least=needed, reviewers=reviewers)


def _participants(table: Table, key: str) -> tuple[str, ...]:
    """Petnames "@name", did:keys, and for recipients the data subject."""
    names = table.texts(key)
    for name in names:
        known = name == policy.SUBJECT and key == "recipients"
        if not (known or (name.startswith("@") and len(name) > 1) or _is_did(name)):
            table.problem(key, f"{name[:40]!r} names nobody.", 'As in "@sponsor" or a did:key.')
    return names


def _is_did(name: str) -> bool:
    try:
        did_parse(name)
    except Refused:
        return False
    return True


def _attestation(table: Table) -> Technologies:
    hardware, test_only = table.texts("hardware", ()), table.texts("test_only", ())
    for key, names, protects in (("hardware", hardware, True), ("test_only", test_only, False)):
        allowed = [name for name, only_test in TECHNOLOGIES.items() if only_test is not protects]
        for name in sorted(set(names) - set(allowed)):
            fix = f"One of: {', '.join(allowed)}."
            table.problem(key, f"{name[:40]!r} does not belong here.", fix)
    if not hardware and not test_only:
        table.problem("hardware", "No technology is named.", "Name those that you trust.")
    return Technologies(hardware=hardware, test_only=test_only)


def _ask(row: Table) -> AskWhen:
    when = row.texts("when")
    for news in sorted(set(when) - set(_NEWS)):
        row.problem("when", f"{news[:40]!r} is not known.", f"One of: {', '.join(_NEWS)}.")
    known = cast("tuple[News, ...]", when)
    return AskWhen(when=known, remind=row.duration("remind"))
