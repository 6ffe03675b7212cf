from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import policy, terms
from protocol.consistency import faults
from protocol.kinds.attestation import NitroTerms, SimulatedTerms
from protocol.policy import (
    Accept,
    Allow,
    Ask,
    AskWhen,
    Counter,
    Facts,
    Partners,
    Policy,
    Refuse,
    Reviewed,
    Technologies,
    judge,
)
from tests.agreements import (
    AT,
    CAST,
    DIDS,
    DOCUMENT,
    LAB,
    PARTIES,
    REGISTRAR,
    SPONSOR,
    A,
    B,
    C,
    actor,
    seed,
    with_rules,
)

SALT = seed("fresh")
DAY = 86_400

ALLOW = Allow(
    name="oncology research",
    purpose=("dpv:AcademicResearch", "dpv:NonCommercialResearch"),
    legal_basis=("eu-gdpr:A9-2-j", "eu-gdpr:A9-2-a"),
    datasets=("lung-v1",),
    partners=Partners(credential="registrar:nki"),
    recipients=("@sponsor", "data-subject"),
    algorithm=Reviewed(reviews_at_least=1, reviewers=("@hospital-a", "@hospital-b")),
    runs_max=12,
    ends_within=365 * DAY,
    retention=30 * DAY,
    jurisdiction=("EU", "EEA"),
    attestation=Technologies(test_only=("simulated",)),
    then="counter",
    min_contributors=5,
)
FACTS = Facts(
    me=B.did,
    now=AT,
    names={**DIDS, "nki": REGISTRAR.did},
    participants={one.did: one.participant for one in CAST.values()},
    contracts={seed("contract"): "lung-v1"},
    software=frozenset({seed("software")}),
    vouched={one.did: frozenset({REGISTRAR.did}) for one in CAST.values()},
    reviews={seed("bundle"): frozenset({A.did})},
)


def verdict(document=DOCUMENT, facts=FACTS, **changes):
    return judge(Policy(allow=(replace(ALLOW, **changes),)), document, facts, SALT)


def fields(found):
    assert isinstance(found, Refuse)
    return [reason.field for reason in found.reasons]


def test_all_fits():
    assert verdict() == Accept("oncology research")


def test_no_rule_no_yes():
    assert isinstance(judge(Policy(allow=()), DOCUMENT, FACTS, SALT), Refuse)


def test_counter_is_the_smallest_change():
    found = verdict(min_contributors=10, min_change=5, small_cells="refuse", precision=8)
    assert isinstance(found, Counter)
    expected = replace(
        DOCUMENT.rules, min_contributors=10, min_change=5, small_cells="refuse", precision=6
    )
    assert found.document == replace(
        DOCUMENT, rules=expected, rule_sources=found.document.rule_sources, salt=SALT
    )
    assert terms.misattributed(B.did, found.document, DOCUMENT) == ()
    assert found.changes == (
        "rules.min_contributors: at least 10 people per result (was 5)",
        "rules.min_change: two results differ by at least 5 people or by none (was 1)",
        "rules.small_cells: small cells: refuse (was suppress)",
    )
    # the other side of the table says yes to it
    assert verdict(document=found.document) == Accept("oncology research")


def test_counter_shortens_runs_duration_and_retention():
    found = verdict(runs_max=6, ends_within=30 * DAY, retention=DAY)
    assert isinstance(found, Counter)
    assert found.document.runs == replace(DOCUMENT.runs, at_most=6)
    assert found.document.purpose.duration == 30 * DAY
    assert found.document.retention == DAY
    assert len(found.changes) == 3


FLOORS = st.fixed_dictionaries(
    {
        "min_contributors": st.integers(1, 40),
        "min_change": st.integers(0, 40),
        "precision": st.integers(0, 15),
        "small_cells": st.sampled_from(["suppress", "refuse"]),
        "runs_max": st.integers(1, 40),
        "ends_within": st.integers(1, 1000 * DAY),
        "retention": st.integers(1, 1000 * DAY),
    }
)


@given(FLOORS, FLOORS)
def test_a_counter_never_loosens_and_always_suffices(mine, theirs):
    document = verdict(**theirs)
    document = document.document if isinstance(document, Counter) else DOCUMENT
    found = verdict(document=document, **mine)
    if isinstance(found, Counter):
        assert not terms.loosened(document.rules, found.document.rules)
        assert found.document.runs.at_most <= document.runs.at_most
        assert found.document.purpose.duration <= document.purpose.duration
        assert found.document.retention <= document.retention
        assert faults(found.document) == ()
        assert verdict(document=found.document, **mine) == Accept("oncology research")
        assert verdict(document=found.document, **theirs) == Accept("oncology research")
    else:
        assert found == Accept("oncology research")


@pytest.mark.parametrize(
    ("changes", "field", "wanted", "found"),
    [
        (
            {"purpose": ("dpv:CommercialResearch",)},
            "purpose.term",
            "dpv:CommercialResearch",
            "dpv:AcademicResearch",
        ),
        (
            {"legal_basis": ("eu-gdpr:A9-2-j",)},
            "datasets.lung-v1",
            "eu-gdpr:A9-2-j",
            "eu-gdpr:A9-2-a",
        ),
        ({"datasets": ("heart-v1",)}, "datasets", "heart-v1", "lung-v1"),
        ({"recipients": ("data-subject",)}, "outputs.model.to", "data-subject", "@sponsor"),
        ({"recipients": ("@sponsor",)}, "outputs.own-risk.to", "@sponsor", "data-subject"),
        (
            {"recipients": ("@someone", "data-subject")},
            "outputs.model.to",
            "one of @someone, data-subject",
            "@sponsor",
        ),
        (
            {"algorithm": Reviewed(reviews_at_least=1, reviewers=("@hospital-b",))},
            "algorithm.bundle",
            "1 approving reviews by @hospital-b",
            "0",
        ),
        ({"jurisdiction": ("US",)}, "hosts.candidates.host-1", "US", "NL"),
        (
            {"attestation": Technologies(hardware=("sev-snp", "tdx"))},
            "attestation",
            "one of sev-snp, tdx",
            "simulated",
        ),
        (
            {"attestation": Technologies(hardware=("simulated",))},
            "attestation",
            "simulated",
            "simulated",
        ),
    ],
)
def test_reasons_name_field_wanted_and_found(changes, field, wanted, found):
    refused = verdict(**changes)
    assert isinstance(refused, Refuse)
    assert policy.Reason(field, wanted, found) in refused.reasons
    assert refused.reasons[0].words == f"{refused.reasons[0].field}: wanted {wanted}, found {found}"


def test_partners_need_a_credential_and_a_role():
    vouched = {**FACTS.vouched, C.did: frozenset({seed("other registrar")})}
    assert fields(verdict(facts=replace(FACTS, vouched=vouched))) == ["parties.hospital-c"]
    partners = Partners(credential="registrar:nki", role="data-provider")
    assert fields(verdict(partners=partners)) == ["parties.biostat-lab", "parties.sponsor"]
    unknown = Partners(credential="registrar:nobody")
    assert fields(verdict(partners=unknown)) == [
        *(f"parties.{one.name}" for one in PARTIES if one is not B),
        "hosts.candidates.host-1",
        "hosts.candidates.host-2",
        "people.registrar",
    ]
    # no credential is needed to talk to oneself
    without_me = {did: found for did, found in FACTS.vouched.items() if did != B.did}
    assert verdict(facts=replace(FACTS, vouched=without_me)) == Accept("oncology research")


def test_a_known_name_over_another_contract_is_refused():
    other = replace(DOCUMENT.datasets[0], contract=seed("mine"))
    document = replace(DOCUMENT, datasets=(other,))
    assert fields(verdict(document=document)) == ["datasets.lung-v1.contract"]


def test_an_identity_that_was_replaced_is_refused():
    renewed = actor("hospital-c", key=seed("new")).participant
    known = {**FACTS.participants, C.did: renewed}
    assert fields(verdict(facts=replace(FACTS, participants=known))) == [
        "parties.hospital-c.identity"
    ]
    unknown = {did: one for did, one in FACTS.participants.items() if did != C.did}
    assert fields(verdict(facts=replace(FACTS, participants=unknown))) == [
        "parties.hospital-c.identity"
    ]


def test_people_are_admitted_by_the_trusted_registrar_only():
    people = DOCUMENT.people
    impostor = replace(DOCUMENT, people=replace(people, registrar=SPONSOR.did))
    assert fields(verdict(document=impostor)) == ["people.registrar"]
    keys = (*people.registrar_keys, SPONSOR.participant.vote_key)
    minted = replace(DOCUMENT, people=replace(people, registrar_keys=keys))
    assert fields(verdict(document=minted)) == ["people.registrar_keys"]


def test_enclave_software_that_nobody_here_trusts_is_refused():
    evil = SimulatedTerms(accept=({"software": seed("software")}, {"software": seed("evil")}))
    document = replace(DOCUMENT, attestation=replace(DOCUMENT.attestation, simulated=evil))
    assert fields(verdict(document=document)) == ["attestation.simulated.accept"]


def test_a_late_start_does_not_stretch_the_end():
    late = replace(DOCUMENT, start=AT + policy.START + 1)
    assert fields(verdict(document=late)) == ["start"]
    assert verdict(document=replace(DOCUMENT, start=AT + policy.START)) == Accept(ALLOW.name)


def test_an_authors_own_review_does_not_count():
    reviewed = Reviewed(reviews_at_least=1, reviewers=("@biostat-lab",))
    facts = replace(FACTS, reviews={seed("bundle"): frozenset({LAB.did})})
    assert fields(verdict(facts=facts, algorithm=reviewed)) == ["algorithm.bundle"]


def test_hardware_and_tests_never_mix():
    real = NitroTerms(accept=({"pcr0": seed("software")},))
    document = replace(DOCUMENT, attestation=replace(DOCUMENT.attestation, nitro=real))
    technologies = Technologies(hardware=("nitro",), test_only=("simulated",))
    assert fields(verdict(document=document, attestation=technologies)) == ["attestation"]


def test_narrower_purposes_and_regions_fit():
    assert verdict(purpose=("dpv:ResearchAndDevelopment",)) == Accept("oncology research")
    assert verdict(purpose=("dpv:Purpose",), jurisdiction=("NL",)) == Accept("oncology research")
    assert fields(verdict(purpose=("dpv:PublicBenefit",))) == ["purpose.term"]
    candidates = tuple(replace(c, region="") for c in DOCUMENT.hosts.candidates)
    document = replace(DOCUMENT, hosts=replace(DOCUMENT.hosts, candidates=candidates))
    assert len(fields(verdict(document=document))) == 2


def test_then_decides_what_a_small_change_leads_to():
    assert fields(verdict(then="accept", min_contributors=10)) == ["rules.min_contributors"]
    assert isinstance(verdict(then="ask"), Ask)
    assert isinstance(verdict(then="ask", min_contributors=10), Ask)
    assert isinstance(verdict(then="accept"), Accept)


def test_two_policies_never_duel_for_ever():
    facts = replace(FACTS, countered=policy.COUNTERS)
    assert isinstance(verdict(min_contributors=10, facts=facts), Ask)


def test_what_the_node_found_wrong_is_refused():
    facts = replace(FACTS, faults=("algorithm: the bundle has no entry fit",))
    assert fields(verdict(facts=facts)) == ["document"]


def test_news_goes_to_a_person():
    ask = (AskWhen(when=("new code", "new recipient"), remind=3 * DAY),)
    asking = Policy(allow=(ALLOW,), ask=ask)
    found = judge(asking, DOCUMENT, FACTS, SALT)
    assert isinstance(found, Ask)
    assert found.why == (
        "new code: no earlier agreement ran this algorithm",
        "new recipient: sponsor",
    )
    known = replace(
        FACTS, used_code=frozenset({seed("bundle")}), used_recipients=frozenset({SPONSOR.did})
    )
    assert judge(asking, DOCUMENT, known, SALT) == Accept("oncology research")


def test_the_best_rule_answers():
    strict = replace(ALLOW, name="strict", purpose=("dpv:EnforceSecurity",))
    countering = replace(ALLOW, name="countering", min_contributors=10)
    both = Policy(allow=(strict, countering))
    assert isinstance(judge(both, DOCUMENT, FACTS, SALT), Counter)
    assert judge(Policy(allow=(*both.allow, ALLOW)), DOCUMENT, FACTS, SALT) == Accept(ALLOW.name)
    worse = replace(strict, name="worse", datasets=())
    refused = judge(Policy(allow=(worse, strict)), DOCUMENT, FACTS, SALT)
    assert isinstance(refused, Refuse)
    assert refused.rule == "strict"


def test_a_stricter_document_needs_no_counter():
    document = with_rules(DOCUMENT, A, min_contributors=20)
    assert verdict(document=document, min_contributors=10) == Accept("oncology research")


NOISE = {"noise": "gaussian", "epsilon": 3, "epsilon_total": 9, "delta": 8}


def test_noise_that_is_missing_is_no_matter_for_a_counter_offer():
    found = verdict(noise="laplace", then="counter")
    assert isinstance(found, Refuse)
    assert [one.words for one in found.reasons] == [
        "rules.noise: wanted laplace, found none"
    ]  # fmt: skip
    weaker = with_rules(DOCUMENT, A, **NOISE)
    assert isinstance(verdict(noise="laplace", document=weaker), Refuse)
    assert not isinstance(verdict(noise="gaussian", document=weaker), Refuse)


def test_a_smaller_budget_of_noise_is_offered():
    agreed = with_rules(DOCUMENT, A, **NOISE)
    found = verdict(epsilon_total=2, delta=5, output_rows=7, document=agreed)
    assert isinstance(found, Counter)
    rules = found.document.rules
    assert (rules.epsilon, rules.epsilon_total, rules.delta, rules.output_rows) == (2, 2, 5, 7)
    assert "rules.epsilon_total: at most 0.000002 epsilon in all (was 9)" in found.changes
    without = verdict(epsilon_total=2, delta=5)
    assert not isinstance(without, Counter)  # nothing to make smaller
