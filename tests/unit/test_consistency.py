"""What makes an agreement document contradictory, one fault each; what is said of a sound one."""

from dataclasses import replace

import pytest

from protocol import limits, shape
from protocol.consistency import check_document, faults, manifest_faults, notes
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement, Logs
from protocol.kinds.algorithm import Bundle, Entry, Manifest, Parameter
from protocol.kinds.attestation import NitroTerms
from tests.agreements import (
    DOCUMENT,
    HOST_1,
    LAB,
    SPONSOR,
    A,
    actor,
    seed,
    sources,
    with_rules,
)

FIRST = DOCUMENT.parties[0]
DATA = DOCUMENT.datasets[0]
PEOPLE = DOCUMENT.people
CODE = DOCUMENT.algorithm
MODEL, OWN = DOCUMENT.outputs
HOSTS = DOCUMENT.hosts
FIT = CODE.entries[0]


def other(part, **changes):
    return replace(DOCUMENT, **{part: replace(getattr(DOCUMENT, part), **changes)})


def parameter(**changes):
    entry = replace(FIT, parameters=(replace(FIT.parameters[0], **changes),))
    return other("algorithm", entries=(entry,))


NOISE = {"noise": "laplace", "epsilon": 10, "epsilon_total": 20}
UNSOUND = {
    "of noise, but there is none": with_rules(DOCUMENT, A, epsilon=1),
    "needs an epsilon": with_rules(DOCUMENT, A, **{**NOISE, "epsilon_total": 9}),
    "needs a delta": with_rules(DOCUMENT, A, **{**NOISE, "noise": "gaussian"}),
    "delta must be below 1": with_rules(DOCUMENT, A, **NOISE, delta=10**12),
    "so small an epsilon": with_rules(
        DOCUMENT, A, **{**NOISE, "noise": "gaussian", "epsilon": 1}, delta=1
    ),
    "more than 128 pairs": with_rules(
        replace(
            DOCUMENT,
            datasets=tuple(replace(DOCUMENT.datasets[0], id=f"lung-{n}") for n in range(65)),
        ),
        A,
        **NOISE,
    ),
    "what is logged has no noise": with_rules(
        replace(DOCUMENT, logs=Logs(to=(SPONSOR.did,), what="errors", bytes=100)), A, **NOISE
    ),
    "output_rows is 0": with_rules(DOCUMENT, A, output_rows=0),
    "noise is added to JSON for parties": with_rules(DOCUMENT, A, **NOISE),
    "a state is for nobody": replace(
        DOCUMENT, outputs=(replace(DOCUMENT.outputs[0], format="state"),)
    ),
    "has no schema": replace(DOCUMENT, outputs=(replace(DOCUMENT.outputs[0], schema=None),)),
    "only JSON is divided": replace(
        DOCUMENT, outputs=(replace(DOCUMENT.outputs[1], format="arrow"),)
    ),
    "text": other("purpose", text=""),
    "duration is 0": other("purpose", duration=0),
    "dpv:Combine": other("purpose", processing=("dpv:Analyse",)),
    "allowed are 1 to": replace(DOCUMENT, parties=()),
    "parties: something": replace(DOCUMENT, parties=(*DOCUMENT.parties, FIRST)),
    "needs roles": replace(DOCUMENT, parties=(replace(FIRST, roles=()), *DOCUMENT.parties[1:])),
    "no candidate": other("hosts", candidates=(), standbys=0),
    "2 standbys of 2": other("hosts", standbys=2),
    "the lease": other("hosts", lease=10),
    "hosts: something": other("hosts", candidates=HOSTS.candidates * 2),
    "a party has this name": other(
        "hosts", candidates=(replace(HOSTS.candidates[0], name="sponsor"), HOSTS.candidates[1])
    ),
    "host-1: a party cannot be a candidate host too": other(
        "hosts",
        candidates=(
            replace(HOSTS.candidates[0], did=A.did, identity=A.participant.id),
            HOSTS.candidates[1],
        ),
    ),
    "datasets: none": replace(DOCUMENT, datasets=()),
    "datasets: something": replace(DOCUMENT, datasets=(DATA, DATA)),
    "needs sources": replace(DOCUMENT, datasets=(replace(DATA, person=""),)),
    "sources: something": replace(
        DOCUMENT, datasets=(replace(DATA, sources=(*DATA.sources, DATA.sources[0])),)
    ),
    "is no party with role data-provider": replace(
        DOCUMENT,
        datasets=(
            replace(DATA, sources=(*DATA.sources, replace(DATA.sources[0], did=SPONSOR.did))),
        ),
    ),
    "cannot wait for people": replace(
        DOCUMENT,
        datasets=(
            replace(DATA, sources=(*DATA.sources[:2], replace(DATA.sources[2], waits=True))),
        ),
    ),
    "no legal basis": replace(
        DOCUMENT,
        datasets=(
            replace(DATA, sources=(*DATA.sources[1:], replace(DATA.sources[0], legal_basis=""))),
        ),
    ),
    "comes from people": replace(DOCUMENT, people=None, outputs=(MODEL,)),
    "is for people": replace(
        DOCUMENT, people=None, datasets=(replace(DATA, sources=DATA.sources[:2]),)
    ),
    "no dataset comes from them": replace(
        DOCUMENT, datasets=(replace(DATA, sources=DATA.sources[:2]),)
    ),
    "a window of runs": other("people", window=0),
    "role code-provider": other("algorithm", provider=SPONSOR.did),
    "own review": other("algorithm", reviewers=(LAB.did, A.did)),
    "3 reviews by 2": other("algorithm", reviews_needed=3),
    "no entry point": other("algorithm", entries=()),
    "entries: something": other("algorithm", entries=(FIT, FIT)),
    "needs choices": parameter(choices=()),
    "covariates: something": parameter(choices=("age", "age")),
    "needs low and high": parameter(type="integer"),
    "outputs: none": replace(DOCUMENT, outputs=()),
    "nobody gets it": replace(DOCUMENT, outputs=(replace(MODEL, to=()), OWN)),
    "role data-consumer": replace(DOCUMENT, outputs=(replace(MODEL, to=(A.did,)), OWN)),
    "min_contributors is 0": other("rules", min_contributors=0),
    "output_bytes must": other("rules", output_bytes=limits.OUTPUT + 1),
    "exactly one party": replace(DOCUMENT, rule_sources=DOCUMENT.rule_sources[1:]),
    "decided by no party": replace(DOCUMENT, rule_sources=sources(HOST_1)),
    "at least one": other("runs", at_most=0),
    "at most 1024": other("runs", at_most=limits.RUNS + 1),
    "ordered by no party": other("runs", by=(HOST_1.did,)),
    "attestation: ": other("attestation", simulated=None),
    "allowed are 49152": other("purpose", text="x" * limits.DOCUMENT),
}


def test_the_example_is_sound():
    assert faults(DOCUMENT) == ()
    check_document(DOCUMENT)


@pytest.mark.parametrize("fault", UNSOUND)
def test_what_is_wrong_is_said(fault):
    found = faults(UNSOUND[fault])
    assert any(fault in one for one in found), found
    with pytest.raises(Refused) as refusal:
        check_document(UNSOUND[fault])
    assert refusal.value.code == "agreement.document"
    assert fault in refusal.value.detail


def test_one_key_behind_two_parties_is_seen():
    twin = actor("hospital-d", key=A.signing)
    party = replace(FIRST, did=twin.did, name="hospital-d", identity=twin.participant.id)
    found = faults(replace(DOCUMENT, parties=(*DOCUMENT.parties, party)))
    assert found == ("voting keys: something stands there twice",)


def test_notes_tell_quorum_and_simulation():
    assert notes(DOCUMENT) == (
        "4 of 5 parties are needed for each run",
        "SIMULATED, NOT CONFIDENTIAL: the host can read all data",
    )
    real = NitroTerms(accept=({"pcr0": b"\x01" * 48},))
    small = other("attestation", simulated=None, nitro=real)
    small = replace(small, parties=DOCUMENT.parties[:3])
    assert len(notes(small)) == 2
    assert "no party may be absent" in notes(small)[1]


MANIFEST = Manifest(
    name="cox-ph",
    version="1.0.0",
    kind="python",
    author="@biostat-lab",
    licence="Apache-2.0",
    environment=CODE.environment,
    inputs=("lung-v1",),
    entries=(
        Entry(
            name="fit",
            function="cox:fit",
            parameters=(
                Parameter(name="covariates", type="any_of", choices=("age", "sex", "ph_ecog")),
            ),
            outputs=("model", "own-risk"),
        ),
    ),
    description="Cox",
)


def wide(**changes):
    return replace(MANIFEST, entries=(replace(MANIFEST.entries[0], **changes),))


@pytest.mark.parametrize(
    ("document", "manifest", "fault"),
    [
        (DOCUMENT, replace(MANIFEST, inputs=("heart-v1",)), "reads dataset heart-v1"),
        (DOCUMENT, replace(MANIFEST, environment=seed("x")), "another environment"),
        (DOCUMENT, replace(MANIFEST, entries=()), "has no entry fit"),
        (DOCUMENT, replace(MANIFEST, entries=MANIFEST.entries * 2), "entries of the bundle"),
        (DOCUMENT, wide(parameters=FIT.parameters * 2), "fit: parameters of the bundle"),
        (DOCUMENT, wide(outputs=("model", "own-risk", "model")), "fit: outputs of the bundle"),
        (parameter(choices=("inst",)), MANIFEST, "covariates is wider"),
        (parameter(type="one_of"), MANIFEST, "covariates is wider"),
        (parameter(name="k"), MANIFEST, "parameter k stands on one side only"),
        (replace(DOCUMENT, outputs=(MODEL,)), MANIFEST, "nobody gets its output own-risk"),
    ],
)
def test_a_document_goes_no_further_than_the_bundle(document, manifest, fault):
    assert manifest_faults(DOCUMENT, Bundle(manifest=MANIFEST, files={})) == ()
    found = manifest_faults(document, Bundle(manifest=manifest, files={}))
    assert any(fault in one for one in found), found


def test_document_survives_the_wire():
    assert shape.decode(Agreement, shape.encode(DOCUMENT), limits.DOCUMENT) == DOCUMENT
