"""The appraisal policy as people write it, in an agreement or in a file of its own.

`attestation: {max_age: PT24H, sev-snp: {accept: [{measurement: HEX}], generations: [...]}}`: one
table for each technology, hexadecimal digits for bytes. What is left out is the strictest value.
The floors of a space have the same form without `accept`; there what is left out asks nothing.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args

from node.config import FILE, ConfigError, Problem
from node.documents import strict_yaml
from node.documents.fields import Problems, Table, read_digest
from protocol import limits
from protocol.attestation.policy import TECHNOLOGIES, VMPL, field_of, lint_floors
from protocol.kinds import attestation as k

T = TypeVar("T")

_MOST: Final = 2**31
_SVN: Final = 255


def load(path: Path) -> k.Attestation:
    """The policy in a file: what stands under `attestation`, or alone. Raises ConfigError.

    Whether it stands is for protocol.attestation.policy.lint.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE + 1)
    except OSError as error:
        detail = f"Cannot read: {error.strerror}."
        raise ConfigError(path.name, [Problem(0, "", detail, "Check the path.")]) from error
    return _whole(data, path.name, lambda table: read(table, {}))


def floors(data: bytes, name: str = "floors.yaml") -> k.Floors:
    """The floors in a file, as `load`. Raises ConfigError, also for floors that make no sense."""
    found = _whole(data, name, _floors)
    faults = lint_floors(found)
    if faults:
        raise ConfigError(name, [Problem(0, "attestation", fault, "") for fault in faults])
    return found


def _whole(data: bytes, name: str, reader: Callable[[Table], T]) -> T:
    value, lines = strict_yaml.load(data, name)
    problems = Problems(name, lines)
    table = problems.table(value)
    found = reader(table.table("attestation") if table.has("attestation") else table)
    problems.check()
    return found


def read(table: Table, digests: Mapping[str, bytes]) -> k.Attestation:
    """The policy in `table`; `digests` are names that may stand for a register's value."""
    terms = {
        field_of(name): _READERS[name](table.table(name), digests)
        for name in TECHNOLOGIES
        if table.has(name)
    }
    return k.Attestation(max_age=table.duration("max_age"), **terms)


def _accept(table: Table, digests: Mapping[str, bytes]) -> tuple[k.Registers, ...]:
    return tuple({name: _value(row, name, digests) for name in row} for row in table.rows("accept"))


def _value(row: Table, name: str, digests: Mapping[str, bytes]) -> bytes:
    text = row.text(name, size=256)
    found = digests.get(text) or read_digest(text) or _hex(text)
    if found is None and text:
        known = ", ".join(sorted(digests)) or "no name is known"
        row.problem(name, "This is no value of a register.", f"Hexadecimal digits, or: {known}.")
    return found or b""


def _hex(text: str) -> bytes | None:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if 0 < len(found) <= 64 else None


def _platforms(table: Table) -> tuple[str, ...] | None:
    return table.texts("platforms") if table.has("platforms") else None


def _some(table: Table, key: str, allowed: tuple[str, ...], default: tuple[str, ...] | None) -> Any:  # noqa: ANN401 (literals)
    texts = table.texts(key, default)
    if not set(allowed).issuperset(texts):
        table.problem(key, "A value is not allowed.", f"Of: {', '.join(allowed)}.")
    return tuple(text for text in texts if text in allowed)


def _nitro(table: Table, digests: Mapping[str, bytes]) -> k.NitroTerms:
    return k.NitroTerms(accept=_accept(table, digests), platforms=_platforms(table))


def _sev_snp(table: Table, digests: Mapping[str, bytes]) -> k.SevSnpTerms:
    return k.SevSnpTerms(
        accept=_accept(table, digests),
        generations=tuple(_floor(row) for row in table.rows("generations")),
        crl=table.flag("crl", default=True),
        require=_some(table, "require", get_args(k.Protection), ()),
        vmpl=table.number("vmpl", 0, VMPL, 0),
        platforms=_platforms(table),
    )


def _floor(row: Table) -> k.SnpFloor:
    return k.SnpFloor(
        generation=cast("k.Generation", row.choice("generation", get_args(k.Generation))),
        bootloader=row.number("bootloader", 0, _SVN),
        tee=row.number("tee", 0, _SVN),
        snp=row.number("snp", 0, _SVN),
        microcode=row.number("microcode", 0, _SVN),
        fmc=row.number("fmc", 0, _SVN) if row.has("fmc") else None,
    )


def _tdx(table: Table, digests: Mapping[str, bytes]) -> k.TdxTerms:
    return k.TdxTerms(
        accept=_accept(table, digests),
        statuses=_some(table, "statuses", get_args(k.Status), None),
        evaluation=table.number("evaluation", 1, _MOST),
        platforms=_platforms(table),
    )


def _sgx(table: Table, digests: Mapping[str, bytes]) -> k.SgxTerms:
    return k.SgxTerms(
        accept=_accept(table, digests),
        statuses=_some(table, "statuses", get_args(k.Status), None),
        evaluation=table.number("evaluation", 1, _MOST),
        isv_prod_id=table.number("isv_prod_id", 0, 2**16 - 1),
        isv_svn=table.number("isv_svn", 0, 2**16 - 1),
        platforms=_platforms(table),
    )


def _tpm(table: Table, digests: Mapping[str, bytes]) -> k.TpmTerms:
    authorities = []
    for text in table.texts("authorities"):
        found = read_digest(text) or _hex(text)
        if found is None or len(found) != 32:
            table.problem("authorities", "This is no digest.", "The SHA-256 of a root, in hex.")
        else:
            authorities.append(found)
    return k.TpmTerms(
        accept=_accept(table, digests),
        authorities=tuple(authorities),
        platforms=_platforms(table),
    )


def _simulated(table: Table, digests: Mapping[str, bytes]) -> k.SimulatedTerms:
    return k.SimulatedTerms(accept=_accept(table, digests))


def _floors(table: Table) -> k.Floors:
    return k.Floors(
        technologies=table.texts("technologies") if table.has("technologies") else None,
        max_age=table.duration("max_age") if table.has("max_age") else limits.EVIDENCE_AGE,
        sev_snp=_snp_floors(table.table("sev-snp")) if table.has("sev-snp") else None,
        tdx=_intel_floors(table.table("tdx")) if table.has("tdx") else None,
        sgx=_intel_floors(table.table("sgx")) if table.has("sgx") else None,
    )


def _snp_floors(table: Table) -> k.SevSnpFloors:
    rows = table.rows("generations") if table.has("generations") else None
    return k.SevSnpFloors(
        generations=None if rows is None else tuple(map(_floor, rows)),
        crl=table.flag("crl", default=False),
        require=_some(table, "require", get_args(k.Protection), ()),
        vmpl=table.number("vmpl", 0, VMPL, VMPL),
    )


def _intel_floors(table: Table) -> k.IntelFloors:
    known = get_args(k.Status)
    return k.IntelFloors(
        statuses=_some(table, "statuses", known, None) if table.has("statuses") else None,
        evaluation=table.number("evaluation", 0, _MOST, 0),
    )


_READERS: Final[Mapping[str, Callable[[Table, Mapping[str, bytes]], Any]]] = {
    "nitro": _nitro,
    "sev-snp": _sev_snp,
    "sgx": _sgx,
    "simulated": _simulated,
    "swtpm": _tpm,
    "tdx": _tdx,
    "tpm": _tpm,
}
