"""Policies: closed, deny by default, and with floors never weaker than either."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.attestation.policy import (
    NEEDED,
    REGISTERS,
    TECHNOLOGIES,
    digest,
    field_of,
    lint,
    lint_floors,
    merge,
    named,
)
from protocol.kinds.attestation import (
    Attestation,
    Floors,
    IntelFloors,
    NitroTerms,
    SevSnpFloors,
    SevSnpTerms,
    SgxTerms,
    SimulatedTerms,
    SnpFloor,
    TdxTerms,
    TpmTerms,
)


def environment(technology: str, mark: int = 1) -> dict[str, bytes]:
    """The least that the technology must name."""
    return {name: bytes([mark]) * REGISTERS[technology][name] for name in NEEDED[technology][0]}


GENOA = SnpFloor(generation="genoa", bootloader=9, tee=0, snp=23, microcode=72)
TERMS = {
    "nitro": NitroTerms(accept=(environment("nitro"),)),
    "sev-snp": SevSnpTerms(
        accept=(environment("sev-snp"),), generations=(GENOA,), crl=True, require=(), vmpl=0
    ),
    "sgx": SgxTerms(
        accept=(environment("sgx"),),
        statuses=("UpToDate",),
        evaluation=17,
        isv_prod_id=0,
        isv_svn=0,
    ),
    "simulated": SimulatedTerms(accept=(environment("simulated"),)),
    "swtpm": TpmTerms(accept=(environment("swtpm"),), authorities=(b"\x01" * 32,)),
    "tdx": TdxTerms(accept=(environment("tdx"),), statuses=("UpToDate",), evaluation=17),
    "tpm": TpmTerms(accept=(environment("tpm"),), authorities=(b"\x01" * 32,)),
}


def policy(technology: str, **changes: object) -> Attestation:
    terms = replace(TERMS[technology], **changes)  # type: ignore[type-var]
    return Attestation(max_age=3600, **{field_of(technology): terms})  # type: ignore[arg-type]


# --- which policies stand ------------------------------------------------------------------------


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_the_least_that_stands(technology: str) -> None:
    assert lint(policy(technology)) == []
    assert list(named(policy(technology))) == [technology]
    for registers in NEEDED[technology]:
        one = {name: b"\x01" * REGISTERS[technology][name] for name in registers}
        assert lint(policy(technology, accept=(one,))) == []
        for name in registers:
            less = {other: value for other, value in one.items() if other != name}
            assert any("must name" in fault for fault in lint(policy(technology, accept=(less,))))


@pytest.mark.parametrize("technology", TECHNOLOGIES)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda good: (), "accept is empty"),
        (lambda good: ({},), "must name"),
        (lambda good: (good, dict(reversed(good.items()))), "names something twice"),
        (lambda good: (good, good | {"pcr99": b"\x01" * 32}), "'pcr99' is unknown"),
        (lambda good: (good | {min(good): good[min(good)][:-1]},), "bytes instead of"),
        (lambda good: (good | {min(good): bytes(len(good[min(good)]))},), "is all zero"),
    ],
)
def test_environments_that_accept_too_much(technology, change, told) -> None:
    faults = lint(policy(technology, accept=change(environment(technology))))
    assert any(told in fault for fault in faults), faults
    assert all(fault.startswith(technology) for fault in faults)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Attestation(max_age=60), "accepts nothing"),
        (policy("nitro", platforms=()), "platforms is empty"),
        (policy("nitro", platforms=("i-1", "i-1")), "platforms names something twice"),
        (policy("sev-snp", generations=()), "generations is empty"),
        (policy("sev-snp", generations=(GENOA, GENOA)), "generations names something twice"),
        (
            policy("sev-snp", generations=(replace(GENOA, bootloader=0, snp=0, microcode=0),)),
            "asks nothing",
        ),
        (policy("sev-snp", generations=(replace(GENOA, fmc=1),)), "genoa has no fmc"),
        (policy("sev-snp", vmpl=4), "vmpl"),
        (policy("tdx", statuses=()), "statuses is empty"),
        (policy("sgx", evaluation=0), "lowest data number"),
        (policy("tpm", authorities=()), "authorities is empty"),
        (replace(policy("nitro"), max_age=0), "max_age"),
        (replace(policy("nitro"), max_age=limits.EVIDENCE_AGE + 1), "max_age"),
        (replace(policy("nitro"), simulated=TERMS["simulated"]), "hardware"),
        (replace(policy("tpm"), swtpm=TERMS["swtpm"]), "hardware"),
    ],
)
def test_policies_that_refuse_everything(found: Attestation, told: str) -> None:
    (fault,) = lint(found)
    assert told in fault


def test_policies_that_stand() -> None:
    hardware = {field_of(name): TERMS[name] for name, tests in TECHNOLOGIES.items() if not tests}
    assert lint(Attestation(max_age=60, **hardware)) == []
    tests = {field_of(name): TERMS[name] for name, tests in TECHNOLOGIES.items() if tests}
    assert lint(Attestation(max_age=60, **tests)) == []
    turin = SnpFloor(generation="turin", bootloader=1, tee=0, snp=1, microcode=1, fmc=1)
    assert lint(policy("sev-snp", generations=(GENOA, turin))) == []
    assert digest(policy("tdx")) != digest(policy("tdx", evaluation=18))


@pytest.mark.parametrize(
    ("floors", "told"),
    [
        (Floors(max_age=0), "max_age"),
        (Floors(max_age=60, technologies=()), "technologies is empty"),
        (Floors(max_age=60, technologies=("abacus",)), "'abacus'"),
        (Floors(max_age=60, tdx=IntelFloors(statuses=(), evaluation=0)), "tdx: statuses"),
        (
            Floors(max_age=60, sev_snp=SevSnpFloors(generations=(), crl=True, require=(), vmpl=0)),
            "generations is empty",
        ),
        (Floors(max_age=60, sev_snp=SevSnpFloors(crl=True, require=(), vmpl=9)), "vmpl"),
    ],
)
def test_floors_that_make_no_sense(floors: Floors, told: str) -> None:
    (fault,) = lint_floors(floors)
    assert told in fault


# --- strictest wins ------------------------------------------------------------------------------

SVN = st.integers(0, 3)
STATUSES = st.lists(
    st.sampled_from(["UpToDate", "SWHardeningNeeded"]), min_size=1, unique=True
).map(tuple)
REQUIRE = st.lists(st.sampled_from(["alias-check", "no-smt", "ecc"]), unique=True).map(tuple)


@st.composite
def generations(draw: st.DrawFn) -> tuple[SnpFloor, ...]:
    names = draw(st.lists(st.sampled_from(["milan", "genoa", "turin"]), min_size=1, unique=True))
    return tuple(
        SnpFloor(
            generation=name,
            bootloader=draw(st.integers(1, 3)),
            tee=draw(SVN),
            snp=draw(SVN),
            microcode=draw(SVN),
            fmc=draw(st.none() | SVN) if name == "turin" else None,
        )
        for name in names
    )


@st.composite
def policies(draw: st.DrawFn) -> Attestation:
    snp = st.builds(
        replace, st.just(TERMS["sev-snp"]), generations=generations(), crl=st.booleans(),
        require=REQUIRE, vmpl=SVN,
    )  # fmt: skip
    intel = {"statuses": STATUSES, "evaluation": st.integers(1, 3)}
    return Attestation(
        max_age=draw(st.integers(60, 70)),
        nitro=draw(st.none() | st.just(TERMS["nitro"])),
        sev_snp=draw(st.none() | snp),
        tdx=draw(st.none() | st.builds(replace, st.just(TERMS["tdx"]), **intel)),
        sgx=draw(st.none() | st.builds(replace, st.just(TERMS["sgx"]), **intel)),
    )


INTEL = st.builds(IntelFloors, statuses=st.none() | STATUSES, evaluation=SVN)
FLOORS = st.builds(
    Floors,
    technologies=st.none()
    | st.lists(st.sampled_from(sorted(TECHNOLOGIES)), min_size=1, unique=True).map(tuple),
    max_age=st.integers(60, 70),
    sev_snp=st.none()
    | st.builds(
        SevSnpFloors,
        generations=st.none() | generations(),
        crl=st.booleans(),
        require=REQUIRE,
        vmpl=SVN,
    ),
    tdx=st.none() | INTEL,
    sgx=st.none() | INTEL,
)


@given(policies(), FLOORS)
def test_merged_accepts_nothing_that_either_refuses(found: Attestation, floors: Floors) -> None:
    merged = merge(found, floors)
    assert merged.max_age == min(found.max_age, floors.max_age)
    assert named(merged).keys() <= named(found).keys()
    assert floors.technologies is None or named(merged).keys() <= set(floors.technologies)
    for technology, terms in named(merged).items():
        assert terms.accept == named(found)[technology].accept
    if merged.sev_snp is not None:
        check_snp(merged.sev_snp, found.sev_snp, floors.sev_snp)
    for name in ("tdx", "sgx"):
        terms, asked = getattr(merged, name), getattr(floors, name)
        if terms is not None and asked is not None:
            own = getattr(found, name)
            assert set(terms.statuses) <= set(own.statuses) & set(asked.statuses or terms.statuses)
            assert terms.evaluation == max(own.evaluation, asked.evaluation)
    assert lint(merged) in ([], ["The policy accepts nothing: name technologies and measurements."])


def check_snp(merged: SevSnpTerms, own: SevSnpTerms | None, floors: SevSnpFloors | None) -> None:
    assert own is not None
    if floors is None:
        assert merged == own
        return
    assert merged.crl == (own.crl or floors.crl)
    assert set(merged.require) == {*own.require, *floors.require}
    assert merged.vmpl == min(own.vmpl, floors.vmpl)
    for listed in (own.generations, floors.generations):
        least = {one.generation: one for one in listed or merged.generations}
        for one in merged.generations:
            other = least[one.generation]  # a generation that is not in both is not there
            for part in ("bootloader", "tee", "snp", "microcode"):
                assert getattr(one, part) >= getattr(other, part)
            assert (one.fmc or 0) >= (other.fmc or 0)


@given(policies(), FLOORS, FLOORS)
def test_floors_may_be_merged_in_any_order_and_again(
    found: Attestation, one: Floors, other: Floors
) -> None:
    assert merge(merge(found, one), other) == merge(merge(found, other), one)
    assert merge(merge(found, one), one) == merge(found, one)
    assert merge(found, None) == found


def test_floors_that_nothing_meets_leave_a_policy_that_accepts_nothing() -> None:
    floors = Floors(max_age=60, technologies=("tdx",))
    assert named(merge(policy("simulated"), floors)) == {}
    assert lint(merge(policy("simulated"), floors))
