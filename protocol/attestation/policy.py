"""The appraisal policy of an agreement: which ones stand, and what a space's floors make of one.

Closed and deny by default. A policy that does not stand accepts nothing at all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, assert_never

from protocol import keys, limits, shape
from protocol.kinds.attestation import (
    Attestation,
    Floors,
    IntelFloors,
    NitroTerms,
    Registers,
    SevSnpFloors,
    SevSnpTerms,
    SgxTerms,
    SimulatedTerms,
    SnpFloor,
    TdxTerms,
    TpmTerms,
)

Terms = NitroTerms | SevSnpTerms | TdxTerms | SgxTerms | TpmTerms | SimulatedTerms
"""What a policy says about one technology."""

TECHNOLOGIES: Final = {
    "nitro": False,
    "sev-snp": False,
    "sgx": False,
    "simulated": True,
    "swtpm": True,
    "tdx": False,
    "tpm": False,
}
"""Technologies that a policy may name -> whether it is for tests only: it protects nothing."""

CONFIDENTIAL: Final = frozenset({"nitro", "sev-snp", "sgx", "tdx"})
"""Technologies that keep memory from who runs the machine; a TPM only shows what booted."""

_PCRS: Final = {f"pcr{number}": 32 for number in range(24)}

REGISTERS: Final[Mapping[str, Mapping[str, int]]] = {
    "nitro": {f"pcr{number}": 48 for number in range(16)},
    "sev-snp": {
        "measurement": 48,
        "host_data": 32,
        "id_key_digest": 48,
        "author_key_digest": 48,
        "report_id": 32,
    },
    "sgx": {"mrenclave": 32, "mrsigner": 32, "isv_prod_id": 2, "isv_svn": 2},
    "simulated": {"software": 32},
    "swtpm": _PCRS,
    "tdx": dict.fromkeys(
        (
            *("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"),
            *("mrconfigid", "mrowner", "mrownerconfig", "mrservicetd"),
        ),
        48,
    ),
    "tpm": _PCRS,
}
"""Technology -> its registers -> bytes of each."""

_TPM_NEEDS: Final = (frozenset({"pcr11"}), frozenset({"pcr4", "pcr9"}))

NEEDED: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "nitro": (frozenset({"pcr0"}),),
    "sev-snp": (frozenset({"measurement"}),),
    "sgx": (frozenset({"mrenclave"}),),
    "simulated": (frozenset({"software"}),),
    "swtpm": _TPM_NEEDS,
    # Firmware alone does not bind what runs on it: kernel, command line and initrd must be named.
    "tdx": (frozenset({"mrtd", "rtmr1", "rtmr2"}),),
    "tpm": _TPM_NEEDS,
}
"""Technology -> sets of registers, one of which each accepted environment must name."""

VMPL: Final = 3
"""The highest virtual machine privilege level of SEV-SNP."""


def named(policy: Attestation) -> dict[str, Terms]:
    """The technologies that a policy names, with what it says about each."""
    found = ((name, getattr(policy, field_of(name))) for name in TECHNOLOGIES)
    return {name: terms for name, terms in found if terms is not None}


def exposed(technologies: Iterable[str]) -> str:
    """What people must read first of these technologies; "" if all keep memory secret."""
    names = set(technologies) - CONFIDENTIAL
    if not names:
        return ""
    return "SIMULATED, NOT CONFIDENTIAL" if "simulated" in names else "NOT CONFIDENTIAL"


def field_of(technology: str) -> str:
    """The field of an Attestation that is about this technology."""
    return technology.replace("-", "_")


def digest(policy: Attestation) -> bytes:
    """The digest of a policy, as verdicts name it."""
    return keys.digest("attestation-policy", shape.encode(policy))


# --- which policies stand -----------------------------------------------------------------------


def lint(policy: Attestation) -> list[str]:
    """What is wrong with `policy`, in sentences; empty if nothing."""
    found = named(policy)
    faults = [fault for name, terms in found.items() for fault in _faults(name, terms)]
    if not found:
        faults.append("The policy accepts nothing: name technologies and measurements.")
    if len({TECHNOLOGIES[name] for name in found}) > 1:
        faults.append("A policy that asks for hardware must not accept a technology for tests.")
    return faults + list(_age(policy.max_age))


def lint_floors(floors: Floors) -> list[str]:
    """What is wrong with the floors of a charter, in sentences; empty if nothing."""
    faults = list(_age(floors.max_age))
    if floors.technologies is not None:
        faults += _listed("floors", "technologies", floors.technologies)
        unknown = sorted(set(floors.technologies) - TECHNOLOGIES.keys())
        faults += [f"The floors name an unknown technology: {name!r}." for name in unknown]
    if floors.sev_snp is not None:
        faults += _snp_floors(floors.sev_snp)
    for name, intel in (("tdx", floors.tdx), ("sgx", floors.sgx)):
        if intel is not None and intel.statuses is not None:
            faults += _listed(name, "statuses", intel.statuses)
    return faults


def _snp_floors(floors: SevSnpFloors) -> Iterator[str]:
    if floors.generations is not None:
        yield from _generations(floors.generations)
    yield from _vmpl(floors.vmpl)


def _age(seconds: int) -> Iterator[str]:
    if not 0 < seconds <= limits.EVIDENCE_AGE:
        yield f"max_age must be from 1 to {limits.EVIDENCE_AGE} seconds."


def _faults(technology: str, terms: Terms) -> Iterator[str]:
    yield from _listed(technology, "accept", [sorted(one.items()) for one in terms.accept])
    for registers in terms.accept:
        yield from _registers(technology, registers)
    yield from _own_faults(technology, terms)
    if not isinstance(terms, SimulatedTerms) and terms.platforms is not None:
        yield from _listed(technology, "platforms", terms.platforms)


def _own_faults(technology: str, terms: Terms) -> Iterator[str]:
    match terms:
        case SevSnpTerms():
            yield from _generations(terms.generations)
            yield from _vmpl(terms.vmpl)
        case TdxTerms() | SgxTerms():
            yield from _listed(technology, "statuses", terms.statuses)
            if not terms.evaluation:
                yield f"{technology}: evaluation must name the lowest data number accepted."
        case TpmTerms():
            yield from _listed(technology, "authorities", terms.authorities)
        case NitroTerms() | SimulatedTerms():
            return
        case _:
            assert_never(terms)


def _vmpl(vmpl: int) -> Iterator[str]:
    if vmpl > VMPL:
        yield f"sev-snp: vmpl must be from 0 to {VMPL}."


def _listed(technology: str, what: str, items: Sequence[object]) -> Iterator[str]:
    """An empty list would be "nothing" to one reader and "anything" to another."""
    if not items:
        yield f"{technology}: {what} is empty."
    if any(item in items[:at] for at, item in enumerate(items)):
        yield f"{technology}: {what} names something twice."


def _registers(technology: str, registers: Registers) -> Iterator[str]:
    known = REGISTERS[technology]
    for name, value in sorted(registers.items()):
        if name not in known:
            yield f"{technology}: the register {name!r} is unknown."
        elif len(value) != known[name]:
            yield f"{technology}: {name} has {len(value)} bytes instead of {known[name]}."
        if not any(value):
            yield f"{technology}: {name} is all zero: that measures nothing, or is debug mode."
    if not any(needed <= registers.keys() for needed in NEEDED[technology]):
        needs = " or ".join(" and ".join(sorted(one)) for one in NEEDED[technology])
        yield f"{technology}: an accepted environment must name {needs}."


def _generations(floors: tuple[SnpFloor, ...]) -> Iterator[str]:
    yield from _listed("sev-snp", "generations", tuple(floor.generation for floor in floors))
    for floor in floors:
        if not (floor.bootloader or floor.tee or floor.snp or floor.microcode):
            yield f"sev-snp: the floor of {floor.generation} asks nothing."
        if floor.fmc is not None and floor.generation != "turin":
            yield f"sev-snp: {floor.generation} has no fmc."


# --- floors of the space: strictest wins ----------------------------------------------------------


def merge(policy: Attestation, floors: Floors | None) -> Attestation:
    """`policy` made as strict as `floors`: it accepts only what both accept.

    A technology that can no longer be met is left out. Floors may be merged in any order.
    """
    if floors is None:
        return policy
    kept = {field_of(name): _stricter(terms, floors) for name, terms in named(policy).items()}
    allowed = floors.technologies
    for name in TECHNOLOGIES:
        if allowed is not None and name not in allowed:
            kept[field_of(name)] = None
    return replace(policy, max_age=min(policy.max_age, floors.max_age), **kept)  # type: ignore[arg-type]  # fields by their names


def _stricter(terms: Terms, floors: Floors) -> Terms | None:
    match terms:
        case SevSnpTerms() if floors.sev_snp is not None:
            return _stricter_snp(terms, floors.sev_snp)
        case TdxTerms() if floors.tdx is not None:
            return _stricter_intel(terms, floors.tdx)
        case SgxTerms() if floors.sgx is not None:
            return _stricter_intel(terms, floors.sgx)
        case _:
            return terms


def _stricter_snp(terms: SevSnpTerms, floors: SevSnpFloors) -> SevSnpTerms | None:
    generations = terms.generations
    if floors.generations is not None:
        least = {floor.generation: floor for floor in floors.generations}
        generations = tuple(
            _higher(one, least[one.generation]) for one in generations if one.generation in least
        )
    if not generations:
        return None
    return replace(
        terms,
        generations=generations,
        crl=terms.crl or floors.crl,
        require=tuple(sorted({*terms.require, *floors.require})),
        vmpl=min(terms.vmpl, floors.vmpl),
    )


def _higher(one: SnpFloor, other: SnpFloor) -> SnpFloor:
    counted = [fmc for fmc in (one.fmc, other.fmc) if fmc is not None]
    return replace(
        one,
        bootloader=max(one.bootloader, other.bootloader),
        tee=max(one.tee, other.tee),
        snp=max(one.snp, other.snp),
        microcode=max(one.microcode, other.microcode),
        fmc=max(counted, default=None),
    )


def _stricter_intel(terms: TdxTerms | SgxTerms, floors: IntelFloors) -> TdxTerms | SgxTerms | None:
    statuses = terms.statuses
    if floors.statuses is not None:
        statuses = tuple(status for status in statuses if status in floors.statuses)
    if not statuses:
        return None
    return replace(terms, statuses=statuses, evaluation=max(terms.evaluation, floors.evaluation))
