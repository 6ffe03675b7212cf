"""The noise budget of a run: checked before anything opens, charged before the code starts."""

from collections.abc import Iterable

from enclave_host.parties import Parties
from protocol import budget
from protocol.kinds.algorithm import Entry
from protocol.kinds.run import Charge, Run


def charges(parties: Parties, entry: Entry, datasets: Iterable[str]) -> tuple[Charge, ...]:
    """What a run of this entry over these datasets is charged; what states of earlier runs rest on
    is not said, so who reads one is charged for every dataset.
    """
    document = parties.document
    to = [did for one in document.outputs if one.name in entry.outputs for did in one.to]
    every = [dataset.id for dataset in document.datasets]
    return budget.charges(document, every if entry.states else datasets, to)


def require(parties: Parties, entry: Entry, datasets: Iterable[str], runs: Iterable[Run]) -> None:
    """Refuse (gate.budget) a run for which too little is left; `runs` are certified."""
    budget.check(parties.document, charges(parties, entry, datasets), runs)
