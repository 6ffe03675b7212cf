from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import ConfigError
from node.documents import policy_file
from protocol.policy import AskWhen, Partners, Policy, Reviewed, Technologies

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "policies"

EXAMPLE = b"""
[[allow]]
name        = "oncology research"
purpose     = ["dpv:AcademicResearch"]
legal_basis = ["eu-gdpr:A9-2-j"]
datasets    = ["lung-v1"]
partners    = { credential = "registrar:nki", role = "any" }
recipients  = ["@sponsor", "data-subject"]
algorithm   = { reviews_at_least = 1, reviewers = ["@hospital-a", "@hospital-b"] }
runs_max    = 12
ends_within = "P1Y"
retention   = "P30D"
jurisdiction = ["EU", "EEA"]
min_contributors = 10
min_change  = 5
attestation = { hardware = ["sev-snp", "tdx"] }
then        = "counter"

[[ask]]
when   = ["new recipient", "new code"]
remind = "P3D"
"""


def test_the_example():
    policy = policy_file.parse(EXAMPLE)
    (rule,) = policy.allow
    assert rule.ends_within == 365 * 86_400
    assert rule.retention == 30 * 86_400
    assert (rule.min_contributors, rule.min_change) == (10, 5)
    assert (rule.precision, rule.small_cells) == (None, None)
    assert rule.partners == Partners(credential="registrar:nki", role="any")
    assert rule.attestation == Technologies(hardware=("sev-snp", "tdx"))
    assert rule.algorithm == Reviewed(reviews_at_least=1, reviewers=("@hospital-a", "@hospital-b"))
    assert policy.ask == (AskWhen(when=("new recipient", "new code"), remind=3 * 86_400),)


def test_an_empty_policy_allows_nothing():
    assert policy_file.parse(b"") == Policy(allow=())


@pytest.mark.parametrize("name", ["hospital", "hospital-b", "sponsor", "lab"])
def test_the_policies_of_the_demo(name):
    (rule,) = policy_file.load(DEMO / f"{name}.toml").allow
    assert rule.attestation == Technologies(test_only=("simulated",))
    stricter = (10, 5, "refuse") if name == "hospital-b" else None
    if stricter:
        assert (rule.min_contributors, rule.min_change, rule.small_cells) == stricter
        assert rule.then == "counter"


@pytest.mark.parametrize(
    ("old", "new", "key", "detail"),
    [
        (b"runs_max    = 12\n", b"", "runs_max", "missing"),
        (b"runs_max    = 12\n", b"run_max = 12\nruns_max = 1\n", "run_max", "runs_max?"),
        (b"runs_max    = 12", b"runs_max = 0", "runs_max", "From 1"),
        (b'"P1Y"', b'"P6M"', "ends_within", "not a duration"),
        (b'"counter"', b'"maybe"', "then", "accept, counter, ask"),
        (b'"sev-snp", "tdx"', b'"simulated"', "attestation.hardware", "does not belong"),
        (b'hardware = ["sev-snp", "tdx"]', b"", "attestation.hardware", "No technology"),
        (b'hardware = ["sev-snp"', b'test_only = ["sev-snp"', "attestation.test_only", "simul"),
        (b'"@sponsor"', b'"sponsor"', "recipients", "names nobody"),
        (b'"@hospital-a"', b'"data-subject"', "algorithm.reviewers", "names nobody"),
        (b"reviews_at_least = 1", b"reviews_at_least = 3", "reviews_at_least", "reviewers"),
        (b'"registrar:nki"', b'"nki"', "partners.credential", "registrar:nki"),
        (b'"registrar:nki"', b'"registrar:"', "partners.credential", "No registrar"),
        (b'"any"', b'"king"', "partners.role", "data-provider"),
        (b'"new code"', b'"run by hand"', "when", "new recipient"),
        (b"min_change  = 5", b'min_change = "5"', "min_change", "not a number"),
        (b'["lung-v1"]', b"[1]", "datasets", "list of texts"),
        (b'["EU", "EEA"]', b'["EU", "EU"]', "jurisdiction", "twice"),
        (b"[[ask]]", b"[other]\n[[ask]]", "other", "unknown"),
        (b'{ credential = "registrar:nki", role = "any" }', b'"all"', "partners", "table"),
    ],
)
def test_each_mistake_is_named(old, new, key, detail):
    assert old in EXAMPLE
    with pytest.raises(ConfigError) as refusal:
        policy_file.parse(EXAMPLE.replace(old, new, 1))
    assert any(
        problem.key.endswith(key) and detail in f"{problem.detail} {problem.fix}"
        for problem in refusal.value.problems
    ), str(refusal.value)


def test_all_mistakes_come_at_once():
    broken = EXAMPLE.replace(b'"P1Y"', b'"1y"').replace(b'"P30D"', b"30").replace(b"P3D", b"x")
    with pytest.raises(ConfigError) as refusal:
        policy_file.parse(broken)
    assert [problem.key for problem in refusal.value.problems] == [
        "allow[0].ends_within",
        "allow[0].retention",
        "ask[0].remind",
    ]


@pytest.mark.parametrize(
    "data", [b"[[allow]", b"\xff", b"a = " + b"[" * 50_000, b"#" * 300_000, b"x = " + b"9" * 9999]
)
def test_what_is_no_policy(data):
    with pytest.raises(ConfigError):
        policy_file.parse(data)


@given(st.binary(max_size=200))
def test_nothing_but_config_error_escapes(noise):
    for data in (noise, EXAMPLE[:150] + noise, EXAMPLE + noise):
        try:
            policy_file.parse(data)
        except ConfigError:
            continue


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read"):
        policy_file.load(tmp_path / "none.toml")


def test_noise_of_a_policy_is_read_in_the_words_of_an_agreement():
    said = (
        b'noise = { mechanism = "gaussian", in_all = "4", delta = "0.000001" }\noutput_rows = 9\n'
    )
    (rule,) = policy_file.parse(EXAMPLE.replace(b"min_change  = 5\n", said)).allow
    assert (rule.noise, rule.epsilon_total, rule.delta) == ("gaussian", 4_000_000, 1_000_000)
    assert rule.output_rows == 9
    with pytest.raises(ConfigError, match="decimal number"):
        policy_file.parse(EXAMPLE.replace(b"min_change  = 5\n", said.replace(b"4", b"1e9")))
