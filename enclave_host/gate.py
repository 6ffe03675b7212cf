"""The output gate: in a fixed order, outside the algorithm's process, and it fails closed.

Before the algorithm starts: contributors for every recipient, min_change. After it: output model,
small cells, rounding, quota. So nothing that the algorithm does is seen of a run whose people are
too few. What passed is rounded and canonical; what did not is a verdict with the rule and the party
that set it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from enclave_host import cells, contributors, outputs
from enclave_host.contributors import Contributors
from enclave_host.lineage import Lineage
from enclave_host.output_model import OutputModel
from enclave_host.parties import Parties
from protocol.errors import Refused
from protocol.kinds.agreement import Output
from protocol.kinds.run import GateCheck

ROW = "row"
"""In an output for its subjects, the property that says which input row an item is about."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What may leave: canonical JSON of each output for parties, and of each row's own part."""

    whole: Mapping[str, bytes]
    parts: Mapping[str, Mapping[int, bytes]]


@dataclass(frozen=True, slots=True)
class Stopped:
    """What the gate refused or held, and why; its last check says whose rule it is."""

    outcome: Literal["refused", "held"]
    code: str
    detail: str


@dataclass(slots=True)
class Gate:
    """The gate of one run. `checks` are its report, in the order in which it looked."""

    parties: Parties
    models: Mapping[str, OutputModel]
    names: Sequence[str]
    people: Contributors
    rows: int
    checks: list[GateCheck] = field(default_factory=list)

    def judge_people(self, lineage: Lineage) -> Stopped | None:
        """Look at whom the run rests on, beside all results released before."""
        try:
            self._contributors()
        except Refused as refused:
            return Stopped("refused", refused.code, refused.detail)
        try:
            self._min_change(lineage)
        except Refused as held:
            return Stopped("held", held.code, held.detail)
        return None

    def judge(self, raw: bytes) -> Passed | Stopped:
        """Look at what the algorithm returned, `raw`."""
        try:
            values = self._outputs(raw)
            self._small_cells(values)
            passed = self._canonical(values)
            self._quota(passed)
        except Refused as refused:
            return Stopped("refused", refused.code, refused.detail)
        return passed

    def _outputs(self, raw: bytes) -> dict[str, Any]:
        """The outputs by name: all that the entry point promises, each as its model says."""
        fault: Refused | None = None
        values: dict[str, Any] = {}
        try:
            values = outputs.parse(raw)
            if values.keys() != set(self.names):
                raise Refused("gate.recipient", "not the outputs of this entry point")
            for name, value in values.items():
                self.models[name].check(value)
        except Refused as refused:
            fault = refused
        # Never how many names came: the record is open to all, and that is the algorithm's choice.
        promised = len(set(self.names))
        self._note("output_model", promised, 0 if fault else promised, fault)
        return values

    def _contributors(self) -> None:
        """Enough people for every recipient, not counting those that it knows itself."""
        needed = self.parties.document.rules.min_contributors
        counts = [
            contributors.count_for(self.people, did)
            for output in self._agreed()
            for did in output.to
        ]
        if any(output.subject for output in self._agreed()):
            counts.append(contributors.count_for_subjects(self.people))
        fewest = min(counts, default=0)
        fault = None
        if fewest < needed:
            fault = self._refusal("gate.min-contributors", "min_contributors", f"{fewest} people")
        self._note("min_contributors", needed, fewest, fault)

    def _small_cells(self, values: dict[str, Any]) -> None:
        """Refuse or suppress the cells of tables; what is left must still be the model's."""
        rules = self.parties.document.rules
        found = {name: cells.find(value, self.models[name].cells) for name, value in values.items()}
        small = [
            cell
            for table in found.values()
            for cell in table
            if cell.count < rules.min_contributors
        ]
        fault = None
        if small and (rules.small_cells == "refuse" or not self._suppress(values, found)):
            total = sum(map(len, found.values()))
            detail = f"{len(small)} of {total} cells count fewer than {rules.min_contributors}"
            fault = self._refusal("gate.small-cells", "small_cells", detail)
        self._note("small_cells", 0, len(small), fault)

    def _suppress(self, values: dict[str, Any], found: Mapping[str, list[cells.Cell]]) -> bool:
        bound = self.parties.document.rules.min_contributors
        if not all(cells.suppress(table, bound) for table in found.values()):
            return False
        for name, value in values.items():
            self.models[name].check(value)
        return True

    def _canonical(self, values: Mapping[str, Any]) -> Passed:
        """Round to the agreed decimals; divide what goes to each person."""
        decimals = self.parties.document.rules.precision
        exact = {name: outputs.rounded(value, decimals) for name, value in values.items()}
        agreed = {output.name: output for output in self._agreed()}
        whole = {name: outputs.canonical(exact[name]) for name in exact if agreed[name].to}
        parts = {name: self._divide(exact[name]) for name in exact if agreed[name].subject}
        return Passed(whole, parts)

    def _divide(self, items: Any) -> dict[int, bytes]:  # noqa: ANN401 (JSON)
        """Row -> its own part, without the row number, which is nobody's business outside."""
        parts: dict[int, bytes] = {}
        fault = Refused("gate.schema", "an output for people needs one item for each row")
        for item in items if isinstance(items, list) else [None]:
            if not isinstance(item, dict):
                raise fault
            row = item.get(ROW)
            if type(row) is not int or not 0 <= row < self.rows or row in parts:
                raise fault
            rest = {name: value for name, value in item.items() if name != ROW}
            parts[row] = outputs.canonical(rest)
        return parts

    def _quota(self, passed: Passed) -> None:
        """The bytes of the largest output."""
        limit = self.parties.document.rules.output_bytes
        sizes = [len(value) for value in passed.whole.values()]
        sizes += [len(part) for parts in passed.parts.values() for part in parts.values()]
        largest = max(sizes, default=0)
        fault = None
        if largest > limit:
            fault = self._refusal("gate.quota", "output_bytes", f"{largest} bytes")
        self._note("output_bytes", limit, largest, fault)

    def _min_change(self, lineage: Lineage) -> None:
        """Against every released result: the same people, or enough others.

        Whatever its entry point and parameters: two different models of nearly the same people can
        tell a person apart as well as two equal ones.
        """
        limit = self.parties.document.rules.min_change
        changes = [
            (contributors.smallest_change(result.contributors(), self.people), result.number)
            for result in lineage.results
        ]
        least, number = min((one for one in changes if one[0]), default=(0, 0))
        fault = None
        if 0 < least < limit:
            people = "1 person" if least == 1 else f"{least} people"
            detail = f"differs from run {number} by {people}"
            fault = self._refusal("gate.min-change", "min_change", detail)
        self._note("min_change", limit, least, fault)

    def _agreed(self) -> list[Output]:
        return [output for output in self.parties.document.outputs if output.name in self.names]

    def _refusal(self, code: str, rule: str, detail: str) -> Refused:
        return Refused(code, detail, set_by=self.parties.name(self.parties.decider(rule)))

    def _note(self, rule: str, limit: int, measured: int, fault: Refused | None) -> None:
        """Write a check into the report, and stop at a fault."""
        self.checks.append(
            GateCheck(
                rule=rule,
                set_by=self.parties.decider(rule),
                limit=limit,
                measured=measured,
                passed=fault is None,
            )
        )
        if fault is not None:
            raise fault
