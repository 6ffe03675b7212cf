"""The budget of noise: what a run is charged, and what is left, from certified run records.

One budget for each dataset and recipient of an agreement. laplace: epsilons add up (pure
differential privacy). gaussian: a run is charged rho of zero-concentrated differential privacy
(Bun, Steinke 2016), and rhos add up; rho of an epsilon at the agreed delta is the largest for which
rho + 2 sqrt(rho ln(1/delta)) <= epsilon. What was charged stays charged, whatever came of the run:
that it was refused was seen too.
"""

from collections.abc import Iterable, Iterator
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Final

from protocol import terms
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement, Rules
from protocol.kinds.run import Charge, Run

MILLION: Final = 10**6
"""Parts of one epsilon."""

TRILLION: Final = 10**12
"""Parts of one rho and of a delta of 1."""

_EXACT: Final = Context(prec=60)
_DOWN: Final = Decimal(1) - Decimal("1e-50")
"""Takes away more than rounding to 60 digits can have added."""


def cost(rules: Rules) -> int:
    """What one run is charged: millionths of epsilon (laplace) or 10^-12 of rho (gaussian)."""
    return _amount(rules, rules.epsilon or 0)


def allowance(rules: Rules) -> int:
    """What all runs together may be charged, in the same unit."""
    return _amount(rules, rules.epsilon_total or 0)


def share(rules: Rules, places: int) -> Fraction:
    """The epsilon (laplace) or rho (gaussian) of each of so many places of one run."""
    unit = MILLION if rules.noise == "laplace" else TRILLION
    return Fraction(cost(rules), unit * places)


def rho(epsilon: int, delta: int) -> int:
    """The rho, in 10^-12 and rounded down, of `epsilon` (millionths) at `delta` (10^-12)."""
    said = _EXACT.divide(Decimal(epsilon), Decimal(MILLION))
    log = _EXACT.ln(_EXACT.divide(Decimal(TRILLION), Decimal(delta)))
    # (sqrt(L + e) - sqrt(L))^2, written without the difference of two near numbers.
    roots = _EXACT.add(_EXACT.sqrt(_EXACT.add(log, said)), _EXACT.sqrt(log))
    found = _EXACT.power(_EXACT.divide(said, roots), 2)
    exact = _EXACT.multiply(_EXACT.multiply(found, Decimal(TRILLION)), _DOWN)
    return int(exact.to_integral_value(ROUND_FLOOR))


def charges(
    document: Agreement, datasets: Iterable[str], to: Iterable[bytes]
) -> tuple[Charge, ...]:
    """What a run over these datasets, with outputs to these parties, is charged."""
    if document.rules.noise is None:
        return ()
    amount, parties = cost(document.rules), sorted(set(to))
    pairs = ((dataset, did) for dataset in sorted(set(datasets)) for did in parties)
    return tuple(Charge(dataset=dataset, to=did, amount=amount) for dataset, did in pairs)


def spent(runs: Iterable[Run]) -> dict[tuple[str, bytes], int]:
    """(dataset, recipient) -> what these certified runs were charged together."""
    found: dict[tuple[str, bytes], int] = {}
    for run in runs:
        for charge in run.charges:
            key = (charge.dataset, charge.to)
            found[key] = found.get(key, 0) + charge.amount
    return found


def check(document: Agreement, due: Iterable[Charge], runs: Iterable[Run]) -> None:
    """Refuse (gate.budget) charges for which too little is left after `runs`."""
    faults = sorted(_short(document, due, runs))
    if not faults:
        return
    names = {party.did: party.name for party in document.parties}
    decided = terms.decider(document, "epsilon_total")
    by = names.get(decided or b"", "agreement")
    raise Refused("gate.budget", faults[0], set_by=by)


def _short(document: Agreement, due: Iterable[Charge], runs: Iterable[Run]) -> Iterator[str]:
    """What is left, and what would fit: one sentence for each budget that is used up."""
    rules, already = document.rules, spent(runs)
    names = {party.did: party.name for party in document.parties}
    for charge in due:
        left = allowance(rules) - already.get((charge.dataset, charge.to), 0)
        if charge.amount <= left:
            continue
        run, whole = words(rules, charge.amount), words(rules, allowance(rules))
        who = names.get(charge.to, charge.to.hex()[:8])
        rest = words(rules, max(left, 0))
        yield (
            f"{who} has {rest} of {whole} left on {charge.dataset}, and a run takes {run}; "
            + (f"a run may use {rest}" if left > 0 else "no run of this agreement may use more")
        )


def fits(document: Agreement, run: Run, earlier: Iterable[Run]) -> bool:
    """Whether a run record is charged as agreed, and within what `earlier` runs left: how parties
    judge it before they vote, and auditors after.
    """
    datasets = {charge.dataset for charge in run.charges}
    to = {charge.to for charge in run.charges}
    if run.charges != charges(document, datasets, to):
        return False
    named = {output.to for output in run.outputs} & {party.did for party in document.parties}
    known = {dataset.id for dataset in document.datasets}
    if document.rules.noise is not None and not named <= to:
        return False
    return datasets <= known and not any(_short(document, run.charges, earlier))


def words(rules: Rules, amount: int) -> str:
    """An amount for people: "0.5 epsilon", or rho for gaussian noise."""
    if rules.noise == "gaussian":
        return f"{terms.decimal(amount, TRILLION)} rho"
    return f"{terms.decimal(amount, MILLION)} epsilon"


def _amount(rules: Rules, epsilon: int) -> int:
    if rules.noise == "gaussian":
        return rho(epsilon, rules.delta or 1)
    return epsilon
