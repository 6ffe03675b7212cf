"""Whether an agreement document says one thing only: its faults, and what a reader should note.

Every check is about the document alone, so that all parties come to the same answer. What an
acceptance policy thinks of a sound document is protocol.policy's business.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from protocol import budget, ceilings, decision, limits, schedule, shape
from protocol.attestation import policy as attestation
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement, Dataset, Output, Rules, Trigger
from protocol.kinds.algorithm import CODE, Bundle, Entry, Parameter
from protocol.kinds.run import LOG
from protocol.parameters import check_parameters
from protocol.terms import DIRECTIONS

COMBINE: Final = "dpv:Combine"
"""The DPV processing without which data of several organizations must not meet."""

LEASE: Final = range(1_000, 3_600_001)
"""Milliseconds of a host lease: below, networks flap; above, a dead host blocks for too long."""


CHARGES: Final = 128
"""Noise budgets of one agreement: a run record names each that it is charged to."""


def check_document(document: Agreement) -> None:
    """Raise Refused (agreement.document) with every fault of `document`."""
    found = faults(document)
    if found:
        raise Refused("agreement.document", "; ".join(found))


def faults(document: Agreement) -> tuple[str, ...]:
    """Every contradiction and gap in `document`, in words; empty if it is sound."""
    return tuple(fault for check in _CHECKS for fault in check(document))


def notes(document: Agreement) -> tuple[str, ...]:
    """What is sound, yet should be known before signing."""
    n = len(document.parties)
    absent = decision.tolerated(n)
    found = [f"{decision.quorum(n)} of {n} parties are needed for each run"]
    if not absent:
        found.append("no party may be absent: with 3 parties or fewer every one is needed")
    label = attestation.exposed(attestation.named(document.attestation))
    if label:
        found.append(f"{label}: the host can read all data")
    return tuple(found)


def manifest_faults(document: Agreement, bundle: Bundle) -> tuple[str, ...]:
    """Where `document` goes beyond its own algorithm bundle, or says otherwise, in words."""
    manifest = bundle.manifest
    algorithm, datasets = document.algorithm, {dataset.id for dataset in document.datasets}
    found = [
        f"algorithm: the bundle reads dataset {name}, which the agreement lacks"
        for name in manifest.inputs
        if name not in datasets
    ]
    if manifest.environment != algorithm.environment:
        found.append("algorithm: the bundle was made for another environment")
    # A second entry of one name could be checked here and not be the one that runs.
    found += _unique("algorithm: entries of the bundle", (e.name for e in manifest.entries))
    entries = {entry.name: entry for entry in manifest.entries}
    for agreed in algorithm.entries:
        if agreed.name not in entries:
            found.append(f"algorithm: the bundle has no entry {agreed.name}")
        else:
            found += _wider(entries[agreed.name], agreed.parameters, document)
    return (*found, *_other_models(document, bundle))


def _other_models(document: Agreement, bundle: Bundle) -> Iterator[str]:
    """What the author says may leave, and what the parties say, is one document."""
    shipped = {model.output: model for model in bundle.manifest.models}
    for output in document.outputs:
        model = shipped.get(output.name)
        if model is None:
            continue
        if output.format != model.format:
            yield f"output {output.name}: is {output.format}, in the bundle {model.format}"
        elif hashlib.sha256(bundle.files[model.file]).digest() != output.schema:
            yield f"output {output.name}: its schema is not {model.file} of the bundle"


def _wider(entry: Entry, parameters: Iterable[Parameter], document: Agreement) -> Iterator[str]:
    names = (parameter.name for parameter in entry.parameters)
    yield from _unique(f"entry {entry.name}: parameters of the bundle", names)
    yield from _unique(f"entry {entry.name}: outputs of the bundle", entry.outputs)
    declared = {parameter.name: parameter for parameter in entry.parameters}
    agreed = {parameter.name: parameter for parameter in parameters}
    for name in sorted(declared.keys() ^ agreed.keys()):
        yield f"entry {entry.name}: parameter {name} stands on one side only"
    for name in sorted(declared.keys() & agreed.keys()):
        if not _within(agreed[name], declared[name]):
            yield f"entry {entry.name}: parameter {name} is wider than the bundle allows"
    outputs = {output.name for output in document.outputs}
    for name in entry.outputs:
        if name not in outputs:
            yield f"entry {entry.name}: nobody gets its output {name}"
    states = {output.name for output in document.outputs if output.format == "state"}
    for name in entry.states:
        if name not in states:
            yield f"entry {entry.name}: reads {name}, which the agreement has not as a state"


def _within(agreed: Parameter, declared: Parameter) -> bool:
    return (
        agreed.type == declared.type
        and set(agreed.choices) <= set(declared.choices)
        and declared.low <= agreed.low
        and agreed.high <= declared.high
    )


# --- checks: each yields the faults of one part -----------------------------------------------


def _size(document: Agreement) -> Iterator[str]:
    size = len(shape.encode(document))
    if size > limits.DOCUMENT:
        yield f"the document has {size} bytes, allowed are {limits.DOCUMENT}"


def _purpose(document: Agreement) -> Iterator[str]:
    purpose = document.purpose
    if not (document.name and purpose.text and purpose.term and purpose.processing):
        yield "purpose: name, text, term and processing must say something"
    if not purpose.duration:
        yield "purpose: the duration is 0"
    organizations = {source.did for data in document.datasets for source in data.sources}
    if len(organizations) > 1 and COMBINE not in purpose.processing:
        yield f"purpose: data of several sources meet, but processing lacks {COMBINE}"


def _parties(document: Agreement) -> Iterator[str]:
    parties = document.parties
    if not 0 < len(parties) <= limits.PARTIES:
        yield f"parties: {len(parties)}, allowed are 1 to {limits.PARTIES}"
    yield from _unique("parties", (party.did for party in parties))
    yield from _unique("parties", (party.name for party in parties))
    for party in parties:
        if not party.roles or len(set(party.roles)) < len(party.roles):
            yield f"party {party.name}: needs roles, each once"
    # One key behind two parties would let one signer vote twice.
    yield from _unique("voting keys", (party.vote_key for party in parties))


def _hosts(document: Agreement) -> Iterator[str]:
    hosts = document.hosts
    parties = {party.did: party.name for party in document.parties}
    # Who hosts must not judge its own evidence, and all voters must count alike (E2).
    mixed = sorted(host.name for host in hosts.candidates if host.did in parties)
    if mixed:
        yield f"hosts: {', '.join(mixed)}: a party cannot be a candidate host too"
    if not hosts.candidates:
        yield "hosts: no candidate"
    if hosts.standbys and hosts.standbys >= len(hosts.candidates):
        yield f"hosts: {hosts.standbys} standbys of {len(hosts.candidates)} candidates"
    if hosts.lease not in LEASE:
        yield f"hosts: the lease must be from {LEASE.start} to {LEASE.stop - 1} ms"
    yield from _unique("hosts", (host.did for host in hosts.candidates))
    yield from _unique("hosts", (host.name for host in hosts.candidates))
    for host in hosts.candidates:
        if host.did not in parties and host.name in parties.values():
            yield f"host {host.name}: a party has this name"


def _datasets(document: Agreement) -> Iterator[str]:
    if not document.datasets:
        yield "datasets: none"
    yield from _unique("datasets", (dataset.id for dataset in document.datasets))
    for dataset in document.datasets:
        yield from _sources(document, dataset)
        if dataset.id == CODE:
            yield f"dataset {CODE}: this is what confidential code is called"


def _sources(document: Agreement, dataset: Dataset) -> Iterator[str]:
    where = f"dataset {dataset.id}"
    providers = {party.did for party in document.parties if "data-provider" in party.roles}
    if not dataset.sources or not dataset.person:
        yield f"{where}: needs sources and the column of the person"
    yield from _unique(f"{where}: sources", (source.did for source in dataset.sources))
    for source in dataset.sources:
        if source.did is None and document.people is None:
            yield f"{where}: comes from people, but the agreement has no people"
        if source.did is None and source.waits:
            yield f"{where}: a run cannot wait for people, only for parties"
        if source.did is not None and source.did not in providers:
            yield f"{where}: a source is no party with role data-provider"
        if not source.legal_basis:
            yield f"{where}: a source has no legal basis"
    if dataset.overlap == "vault" and None not in {source.did for source in dataset.sources}:
        yield f"{where}: overlap is vault, but no people give rows of their own"


def _people(document: Agreement) -> Iterator[str]:
    people = document.people
    if people is None:
        return
    sources = {source.did for dataset in document.datasets for source in dataset.sources}
    if None not in sources:
        yield "people: no dataset comes from them"
    if not people.registrar_keys or not people.window:
        yield "people: need keys of the registrar and a window of runs"
    yield from _unique("people: registrar keys", people.registrar_keys)


def _algorithm(document: Agreement) -> Iterator[str]:
    algorithm = document.algorithm
    authors = {party.did for party in document.parties if "code-provider" in party.roles}
    if algorithm.provider not in authors:
        yield "algorithm: its provider is no party with role code-provider"
    if algorithm.provider in algorithm.reviewers:
        yield "algorithm: an author's own review does not count"
    if algorithm.reviews_needed > len(algorithm.reviewers):
        yield f"algorithm: {algorithm.reviews_needed} reviews by {len(algorithm.reviewers)}"
    if algorithm.sealed is not None and not algorithm.reviews_needed:
        yield "algorithm: it is confidential, and nobody must have read it"
    yield from _unique("algorithm: reviewers", algorithm.reviewers)
    if not algorithm.entries:
        yield "algorithm: no entry point"
    yield from _unique("algorithm: entries", (entry.name for entry in algorithm.entries))
    for entry in algorithm.entries:
        names = (parameter.name for parameter in entry.parameters)
        yield from _unique(f"entry {entry.name}: parameters", names)
        for parameter in entry.parameters:
            yield from _parameter(f"entry {entry.name}: parameter {parameter.name}", parameter)


def _parameter(where: str, parameter: Parameter) -> Iterator[str]:
    if parameter.type == "integer":
        if parameter.low > parameter.high or parameter.choices:
            yield f"{where}: needs low and high, and no choices"
        return
    if not parameter.choices or parameter.low or parameter.high:
        yield f"{where}: needs choices, and neither low nor high"
    yield from _unique(where, parameter.choices)


def _outputs(document: Agreement) -> Iterator[str]:
    consumers = {party.did for party in document.parties if "data-consumer" in party.roles}
    if not document.outputs:
        yield "outputs: none"
    yield from _unique("outputs", (output.name for output in document.outputs))
    for output in document.outputs:
        where = f"output {output.name}"
        yield from _unique(f"{where}: recipients", output.to)
        yield from _form(where, output)
        if not consumers.issuperset(output.to):
            yield f"{where}: a recipient is no party with role data-consumer"
        if output.subject and document.people is None:
            yield f"{where}: is for people, but the agreement has no people"


def _form(where: str, output: Output) -> Iterator[str]:
    if output.format == "state":
        if output.to or output.subject or output.schema or output.context:
            yield f"{where}: a state is for nobody, and has neither schema nor context"
        return
    if not output.to and not output.subject:
        yield f"{where}: nobody gets it"
    if output.schema is None:
        yield f"{where}: has no schema, so it could be anything"
    if output.format == "arrow" and (output.subject or output.context):
        yield f"{where}: only JSON is divided among people, or has a context"


def _logs(document: Agreement) -> Iterator[str]:
    logs = document.logs
    if logs is None:
        return
    if not logs.to or not {party.did for party in document.parties}.issuperset(logs.to):
        yield "logs: they go to parties, and to one at least"
    yield from _unique("logs: recipients", logs.to)
    if not 0 < logs.bytes <= limits.LOG:
        yield f"logs: bytes must be from 1 to {limits.LOG}"
    readers = {document.algorithm.provider, *document.algorithm.reviewers}
    if (
        document.algorithm.sealed is not None
        and logs.what == "all"
        and not readers.issuperset(logs.to)
    ):
        yield "logs: all that is printed could show confidential code to who may not read it"
    if LOG in {output.name for output in document.outputs}:
        yield f"output {LOG}: this is what a log is called"


def _rules(document: Agreement) -> Iterator[str]:
    rules, parties = document.rules, {party.did for party in document.parties}
    if not rules.min_contributors:
        yield "rules: min_contributors is 0"
    if not 0 < rules.output_bytes <= limits.OUTPUT:
        yield f"rules: output_bytes must be from 1 to {limits.OUTPUT}"
    if rules.output_rows == 0:
        yield "rules: output_rows is 0"
    if sorted(source.rule for source in document.rule_sources) != sorted(DIRECTIONS):
        yield "rules: every rule needs exactly one party that decided it"
    if not parties.issuperset(source.party for source in document.rule_sources):
        yield "rules: a rule was decided by no party"


def _noise(document: Agreement) -> Iterator[str]:
    rules = document.rules
    if rules.noise is None:
        if (rules.epsilon, rules.epsilon_total, rules.delta) != (None, None, None):
            yield "rules: epsilon and delta are of noise, but there is none"
        return
    yield from _strength(rules)
    recipients = {did for output in document.outputs for did in output.to}
    if len(document.datasets) * len(recipients) > CHARGES:
        yield f"rules: noise for more than {CHARGES} pairs of dataset and recipient"
    if document.logs is not None:
        yield "logs: what is logged has no noise"
    for output in document.outputs:
        if output.subject or output.format == "arrow":
            yield f"output {output.name}: noise is added to JSON for parties, and to nothing else"


def _strength(rules: Rules) -> Iterator[str]:
    if not rules.epsilon or not rules.epsilon_total or rules.epsilon > rules.epsilon_total:
        yield "rules: noise needs an epsilon for one run, and in all at least as much"
    elif rules.noise == "gaussian" and not rules.delta:
        yield "rules: gaussian noise needs a delta above 0"
    elif rules.delta is not None and rules.delta >= budget.TRILLION:
        yield "rules: delta must be below 1"
    elif not budget.cost(rules):
        yield "rules: so small an epsilon is none"


def _runs(document: Agreement) -> Iterator[str]:
    runs, parties = document.runs, {party.did for party in document.parties}
    orders = (*runs.by, *(did for trigger in runs.triggers for did in trigger.by))
    if not orders or not runs.at_most or not runs.attempts:
        yield "runs: somebody must be able to order at least one"
    if runs.at_most > limits.RUNS:
        yield f"runs: at most {limits.RUNS} in one agreement"
    if not parties.issuperset(orders):
        yield "runs: ordered by no party"
    yield from _unique("runs: by", runs.by)
    if runs.deadline == 0 or runs.within == 0:
        yield "runs: deadline and within must be above 0"
    yield from _unique("runs: triggers", (trigger.name for trigger in runs.triggers))
    events = [trigger.event for trigger in runs.triggers if trigger.event is not None]
    yield from _unique("runs: events", events)
    for trigger in runs.triggers:
        yield from (f"trigger {trigger.name}: {fault}" for fault in _trigger(document, trigger))


def _trigger(document: Agreement, trigger: Trigger) -> Iterator[str]:
    if not trigger.by:
        yield "nobody may order by it"
    yield from _unique("by", trigger.by)
    if (trigger.cron is None) == (trigger.event is None):
        yield "is either a time table or an event"
    if (trigger.event is None) != (trigger.schema is None):
        yield "an event needs the schema of its payload, and nothing else has one"
    if trigger.cron is not None and (fault := schedule.fault(trigger.cron)):
        yield fault
    entries = {entry.name: entry for entry in document.algorithm.entries}
    if trigger.entry not in entries:
        yield f"the agreement has no entry {trigger.entry}"
        return
    entry = entries[trigger.entry]
    try:
        check_parameters(entry, trigger.parameters, partly=trigger.event is not None)
    except Refused as refused:
        yield refused.detail


def _attestation(document: Agreement) -> Iterator[str]:
    for fault in attestation.lint(document.attestation):
        yield f"attestation: {fault}"


_CHECKS: Final[tuple[Callable[[Agreement], Iterator[str]], ...]] = (
    _size,
    _purpose,
    _parties,
    _hosts,
    _datasets,
    _people,
    _algorithm,
    _outputs,
    _logs,
    ceilings.faults,
    _rules,
    _noise,
    _runs,
    _attestation,
)


def _unique(what: str, items: Iterable[object]) -> Iterator[str]:
    listed = list(items)
    if len(set(listed)) < len(listed):
        yield f"{what}: something stands there twice"
