"""The output gate: in a fixed order, outside the algorithm's process, and it fails closed.

Before the algorithm starts (`judge_people`): contributors for every recipient, min_change. After it
(`judge`): output model, noise, small cells, rounding, quota. So nothing that the algorithm does is
seen of a run whose people are too few. Where there is noise, small cells are judged by the noised
counts, and it is charged whatever comes after. What did not pass is a verdict with the rule, the
party that set it, what was measured, and what would release it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

from enclave_host import cells, contributors, outputs
from enclave_host.contributors import Contributors
from enclave_host.lineage import Lineage
from enclave_host.noising import Noising
from enclave_host.output_model import OutputModel
from enclave_host.parties import Parties
from enclave_host.tables import Cleaned, Tables
from protocol.errors import Refused
from protocol.kinds.agreement import Output
from protocol.kinds.run import GateCheck
from protocol.told import EXACT, told, words

ROW = "row"
"""In an output for its subjects, the property that says which input row an item is about."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What may leave: the one form of each output for parties (JSON text or Arrow stream), and of
    each row's own part; and states, which stay with the enclaves.
    """

    whole: Mapping[str, bytes]
    parts: Mapping[str, Mapping[int, bytes]]
    states: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Stopped:
    """What the gate refused or held, and why; its last check says whose rule it is."""

    outcome: Literal["refused", "held"]
    code: str
    detail: str


@dataclass(slots=True)
class Draft:
    """The outputs on their way through the gate, by name; each step leaves less in them."""

    values: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Cleaned] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Gate:
    """The gate of one run. `people` are all whom it rests on; where it reads states, `parts` are
    the people of its own rows and of each run behind a state. `noise` is there where the agreement
    has noise; `checks` are the gate's report, in the order in which it looked.
    """

    parties: Parties
    models: Mapping[str, OutputModel]
    names: Sequence[str]
    people: Contributors
    rows: int
    tables: Tables | None = None
    noise: Noising | None = None
    parts: Sequence[Contributors] = ()
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
            draft = self._outputs(raw)
            self._noise(draft)
            self._small_cells(draft)
            passed = self._canonical(draft)
            self._rows(draft)
            self._quota(passed)
        except Refused as refused:
            return Stopped("refused", refused.code, refused.detail)
        return passed

    # --- before the algorithm ------------------------------------------------------------------

    def _contributors(self) -> None:
        """Enough people for every recipient, not counting those that it knows itself."""
        needed = self.parties.document.rules.min_contributors
        counts = [
            (count, who)
            for people in (self.people, *self.parts)
            for who, count in self._counts(people).items()
        ]
        fewest, who = min(counts, default=(0, "nobody"))
        fault = None
        if fewest < needed:
            more = _people(needed - fewest, "more")
            detail = f"{_people(fewest)} for {who}; {more} would release it"
            fault = self._refusal("gate.min-contributors", "min_contributors", detail)
        self._note("min_contributors", needed, fewest, fault)

    def _counts(self, people: Contributors) -> dict[str, int]:
        """How many people count for each who gets something."""
        agreed = self._agreed()
        states = any(output.format == "state" for output in agreed)
        counts = {"the next run": len(people)} if states else {}
        counts |= {
            self.parties.name(did): contributors.count_for(people, did)
            for output in agreed
            for did in output.to
        }
        if any(output.subject for output in agreed):
            counts["each person"] = contributors.count_for_subjects(people)
        return counts

    def _min_change(self, lineage: Lineage) -> None:
        """Against every released result: the same people, or enough others.

        Whatever its entry point and parameters: two different models of nearly the same people can
        tell a person apart as well as two equal ones. And whatever it reads: code that looks at its
        rows alone, or at a state alone, must not tell apart what all together would hide.
        """
        limit = self.parties.document.rules.min_change
        mine = [self.people, *self.parts]
        changes = [
            (contributors.smallest_change(theirs, one), f"run {result.number}")
            for result in lineage.results
            for theirs in lineage.bodies(result)
            for one in mine
        ]
        changes += [
            (contributors.smallest_change(one, other), "a state that it reads")
            for one, other in combinations(mine, 2)
        ]
        least, what = min((one for one in changes if one[0]), default=(0, ""))
        fault = None
        if 0 < least < limit:
            more = _people(limit - least, "more")
            detail = f"differs from {what} by {_people(least)}; {more} would release it"
            fault = self._refusal("gate.min-change", "min_change", detail)
        self._note("min_change", limit, least, fault)

    # --- after it ------------------------------------------------------------------------------

    def _outputs(self, raw: bytes) -> Draft:
        """The outputs by name: all that the entry point promises, each as its model says."""
        fault: Refused | None = None
        draft = Draft()
        try:
            draft = self._read(outputs.parse(raw))
        except Refused as refused:
            fault = refused
        # Never how many names came: the record is open to all, and that is the algorithm's choice.
        promised = len(set(self.names))
        self._note("output_model", promised, 0 if fault else promised, fault)
        return draft

    def _read(self, returned: Mapping[str, outputs.Returned]) -> Draft:
        if returned.keys() != set(self.names):
            raise Refused("gate.recipient", "not the outputs of this entry point")
        draft, rules = Draft(), self.parties.document.rules
        for output in self._agreed():
            found = returned[output.name]
            if found.format != output.format:
                raise Refused("gate.schema", f"output {output.name} is not of its agreed format")
            match output.format:
                case "json":
                    value = outputs.read_json(found.content)
                    self.models[output.name].check(value)
                    draft.values[output.name] = value
                case "arrow":
                    if self.tables is None:
                        raise Refused("gate.schema", f"output {output.name} cannot be read")
                    clean = self.tables.clean(output.name, found.content, rules)
                    draft.tables[output.name] = clean
                case "state":
                    draft.states[output.name] = found.content
        return draft

    def _noise(self, draft: Draft) -> None:
        """Noise on every number that its model marks."""
        if self.noise is None:
            return
        for name, value in draft.values.items():
            draft.values[name] = self.noise.add(self.models[name].model, value)
        epsilon = self.parties.document.rules.epsilon or 0
        self._note("epsilon", epsilon, epsilon, None)

    def _small_cells(self, draft: Draft) -> None:
        """Refuse or suppress the cells of tables; what is left must still be the model's."""
        rules = self.parties.document.rules
        found = {
            name: cells.find(value, self.models[name].cells) for name, value in draft.values.items()
        }
        counts = [cell.count for table in found.values() for cell in table]
        small = sum(count < rules.min_contributors for count in counts)
        small += sum(table.small for table in draft.tables.values())
        total = len(counts) + sum(table.cells for table in draft.tables.values())
        fault = None
        if small and (rules.small_cells == "refuse" or not self._suppress(draft, found)):
            detail = f"{words(small)} of {words(total)} cells count fewer than "
            detail += f"{rules.min_contributors}; "
            detail += "a coarser table would release it"
            fault = self._refusal("gate.small-cells", "small_cells", detail)
        self._note("small_cells", 0, told(small), fault)

    def _suppress(self, draft: Draft, found: Mapping[str, list[cells.Cell]]) -> bool:
        """The worker of tables did the same with them."""
        bound = self.parties.document.rules.min_contributors
        if any(table.content is None for table in draft.tables.values()):
            return False
        if not all(cells.suppress(table, bound) for table in found.values()):
            return False
        for name, value in draft.values.items():
            self.models[name].check(value)
        return True

    def _canonical(self, draft: Draft) -> Passed:
        """Round to the agreed decimals; divide what goes to each person."""
        decimals = self.parties.document.rules.precision
        exact = {
            name: outputs.ordered(outputs.rounded(value, decimals), self.models[name].model.sets)
            for name, value in draft.values.items()
        }
        agreed = {output.name: output for output in self._agreed()}
        whole = {name: outputs.canonical(exact[name]) for name in exact if agreed[name].to}
        whole |= {
            name: table.content for name, table in draft.tables.items() if table.content is not None
        }
        parts = {name: self._divide(exact[name]) for name in exact if agreed[name].subject}
        return Passed(whole, parts, draft.states)

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

    def _rows(self, draft: Draft) -> None:
        """The rows of the largest table, the items of the longest list; not what is for people."""
        limit = self.parties.document.rules.output_rows
        if limit is None:
            return
        whole = [one.name for one in self._agreed() if one.format == "json" and one.to]
        counts = [outputs.longest(draft.values[name]) for name in whole]
        counts += [table.rows for table in draft.tables.values()]
        self._at_most("output_rows", limit, max(counts, default=0), "rows")

    def _quota(self, passed: Passed) -> None:
        """The bytes of the largest output."""
        limit = self.parties.document.rules.output_bytes
        sizes = [len(value) for value in passed.whole.values()]
        sizes += [len(part) for parts in passed.parts.values() for part in parts.values()]
        self._at_most("output_bytes", limit, max(sizes, default=0), "bytes")

    def _at_most(self, rule: str, limit: int, most: int, unit: str) -> None:
        fault = None
        if most > limit:
            fault = self._refusal("gate.quota", rule, _over(most, limit, unit))
        self._note(rule, limit, told(most, limit), fault)

    # --- the report ----------------------------------------------------------------------------

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


def _over(count: int, limit: int, unit: str) -> str:
    """How much too much the algorithm returned: as exactly as it may be told."""
    if count <= EXACT:
        return f"{count} {unit}; {count - limit} fewer would release it"
    return f"{words(count)} {unit}; at most {limit} may leave"


def _people(count: int, word: str = "") -> str:
    many = "person" if count == 1 else "people"
    return " ".join(part for part in (str(count), word, many) if part)
