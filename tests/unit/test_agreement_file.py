import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import ConfigError
from node.documents import agreement_file, policy_file, strict_yaml
from protocol import diff, limits, shape
from protocol.consistency import faults, manifest_faults
from protocol.kinds.agreement import models_of
from protocol.kinds.algorithm import unpack
from protocol.kinds.consent import Notice
from protocol.policy import Accept, Counter, Facts, judge
from tests.agreements import AT, actor, seed

DEMO = Path(__file__).parents[2] / "configs" / "demo"
ORGANIZATIONS = ("hospital-a", "hospital-b", "hospital-c", "hospital-d", "biostat-lab", "sponsor")
CAST = {name: actor(name) for name in (*ORGANIZATIONS, "host-1", "host-2", "registrar")}
SETTING = agreement_file.Setting(
    author=CAST["sponsor"].did,
    space=seed("space"),
    negotiation=seed("negotiation"),
    names={name: one.participant for name, one in CAST.items()},
    digests={"scientific": seed("environment"), "village-enclave": seed("software")},
    start=AT,
    salt=seed("salt"),
)


@pytest.fixture(scope="module")
def draft():
    return agreement_file.load(DEMO / "agreement.yaml", SETTING)


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "demo"
    shutil.copytree(DEMO, copy)
    return copy


def problems(folder, old, new):
    path = folder / "agreement.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as refusal:
        agreement_file.load(path, SETTING)
    return str(refusal.value)


def test_the_agreement_of_the_demo_is_sound(draft):
    document = draft.document
    assert faults(document) == ()
    assert manifest_faults(document, draft.bundle) == ()
    assert tuple(party.name for party in document.parties) == ORGANIZATIONS
    assert [host.name for host in document.hosts.candidates] == ["host-1", "host-2"]
    assert (document.hosts.lease, document.hosts.standbys) == (4000, 1)
    assert (document.rules.min_contributors, document.rules.min_change) == (5, 1)
    assert document.rules.small_cells == "refuse"
    assert document.runs.at_most == 12
    assert [entry.name for entry in document.algorithm.entries] == ["fit", "by-site"]
    assert document.outputs[0].to == (CAST["sponsor"].did, CAST["hospital-b"].did)
    assert document.outputs[1].subject
    assert document.people.registrar == CAST["registrar"].did
    assert document.people.registrar_keys == (CAST["registrar"].participant.vote_key,)
    assert document.purpose.approvals == ("ethics: MEC Amsterdam 2026-114",)
    assert document.datasets[0].sources[-1].did is None
    assert {source.party for source in document.rule_sources} == {CAST["sponsor"].did}
    assert len(shape.encode(document)) < limits.DOCUMENT / 2


def test_every_digest_in_the_document_has_its_blob(draft):
    document = draft.document
    named = {
        document.algorithm.bundle,
        document.people.notice,
        document.datasets[0].contract,
        *models_of(document),
    }
    assert set(draft.blobs) == named
    assert all(hashlib.sha256(blob).digest() == digest for digest, blob in draft.blobs.items())
    assert unpack(draft.blobs[document.algorithm.bundle]) == draft.bundle
    notice = shape.decode(Notice, draft.blobs[document.people.notice])
    assert notice.language == "nl"
    assert notice.text == (DEMO / "consent.nl.md").read_text()


def facts(name, bundle):
    contract = hashlib.sha256((DEMO / "contracts" / "lung-v1.odcs.yaml").read_bytes()).digest()
    registrar = CAST["registrar"].did
    return Facts(
        me=CAST[name].did,
        now=AT,
        names={who: one.did for who, one in CAST.items()},
        participants={one.did: one.participant for one in CAST.values()},
        contracts={contract: "lung-v1"},
        software=frozenset({seed("software")}),
        vouched={one.did: frozenset({registrar}) for one in CAST.values()},
        reviews={bundle: frozenset({CAST["hospital-a"].did})},
    )


def test_the_policies_of_the_demo_agree_after_one_counter_offer(draft):
    policies = {
        "hospital-a": "hospital",
        "hospital-b": "hospital-b",
        "hospital-c": "hospital",
        "hospital-d": "hospital",
        "biostat-lab": "lab",
        "sponsor": "sponsor",
    }
    loaded = {
        name: policy_file.load(DEMO / "policies" / f"{file}.toml")
        for name, file in policies.items()
    }
    bundle = draft.document.algorithm.bundle

    def verdicts(document):
        return {
            name: judge(policy, document, facts(name, bundle), seed("fresh"))
            for name, policy in loaded.items()
        }

    first = verdicts(draft.document)
    counter = first.pop("hospital-b")
    assert all(isinstance(verdict, Accept) for verdict in first.values()), first
    assert isinstance(counter, Counter)
    assert counter.changes == (
        "rules.min_contributors: at least 10 people per result (was 5)",
        "rules.min_change: two results differ by at least 5 people or by none (was 1)",
    )
    second = verdicts(counter.document)
    assert all(isinstance(verdict, Accept) for verdict in second.values()), second


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("purpose:  ", "purpos:  ", "purpose: This is missing"),
        ("  term: dpv", "  trem: dpv", "Did you mean term?"),
        ("duration: P1Y", "duration: P1M", "purpose.duration: This is not a duration"),
        ('"@hospital-c":  {', '"@hospital-x":  {', "'@hospital-x' is nobody known here"),
        ("[code-provider]", "[wizard]", "A role is unknown"),
        ('registrar: "@registrar"', "registrar: registrar", "nobody known"),
        ("notice: consent.nl.md", "notice: consent.md", "no language"),
        ("notice: consent.nl.md", "notice: consent.fr.md", "no such file"),
        ("window: 12", "window: many", "not a number"),
        ("contract: contracts/lung", "contract: ../../lung", "no such file beside"),
        ("contract: contracts/lung-v1.odcs.yaml", "contract: /etc/hostname", "no such file beside"),
        ("waits: true }   #", "waits: 1 }   #", "neither true nor false"),
        ("    person: person", "    overlap: both\n    person: person", "keep, vault, refuse"),
        ("bundle: algorithms/cox-ph", "bundle: algorithms/none", "no such file"),
        ("bundle: algorithms/cox-ph", "bundle: sha256:12", "algorithm.bundle: This is no digest"),
        ("environment: scientific", "environment: other", "scientific, village-enclave"),
        ("any_of: [age, sex, ph_ecog]", "any_off: [age]", "any_off: This key is unknown"),
        ("any_of: [age, sex, ph_ecog]", "integer: [9, 1]", "no bounds"),
        ("any_of: [age, sex, ph_ecog]", "any_of: [age], one_of: [sex]", "has one type"),
        ("small_cells: refuse", "small_cells: hide", "One of: suppress, refuse"),
        ("output: 1 MiB", "output: 1 MB", "not a size"),
        ("precision: 6", "precision: 6\n  noise: none", "rules.noise: This key is unknown"),
        ("at_most: 12", "at_most: 0", "runs.at_most"),
        ("max_age: PT24H", "max_age: 24", "not a text"),
        ("lease: PT4S", "lease: PT4S\n  quorum: 5", "host.quorum: This key is unknown"),
        ("end: { retention: P30D }", "end: P30D", "end: This is not a table"),
    ],
)
def test_mistakes_are_named(folder, old, new, told):
    assert told in problems(folder, old, new)


def test_all_mistakes_come_at_once_with_their_lines(folder):
    text = problems(folder, "  term: dpv:AcademicResearch\n", "\n")
    assert text.startswith("agreement.yaml:5: purpose.term: This is missing.")
    text = problems(folder, "at_most: 12", "at_most: none")
    assert len(text.splitlines()) == 2


def test_a_digest_stands_for_a_file(folder):
    path = folder / "agreement.yaml"
    digest = "sha256:" + seed("contract").hex()
    text = path.read_text().replace("contracts/lung-v1.odcs.yaml", digest)
    path.write_text(text.replace("bundle: algorithms/cox-ph", f"bundle: {digest}"))
    draft = agreement_file.load(path, SETTING)
    assert draft.document.datasets[0].contract == seed("contract")
    assert draft.document.algorithm.bundle == seed("contract")
    assert draft.bundle is None
    assert seed("contract") not in draft.blobs


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    outside = tmp_path / "secret.md"
    outside.write_text("secret")
    (folder / "consent.xx.md").symlink_to(outside)
    assert "no such file" in problems(folder, "consent.nl.md", "consent.xx.md")


# --- strict YAML ----------------------------------------------------------------------------

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, ":1: This is not the YAML used here: Anchors"),
        ("a: *b", "Anchors"),
        ("[" * 100_000, "Nested too deep"),
        ("a:\n " + "- " * 1000 + "x", "Nested too deep"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", ":2: This is not the YAML used here"),
        ("a: !x b", "means something else"),
        ("a: 1\na: 2", ":2: This is not the YAML used here: key 'a' stands here twice"),
        ("<<: {a: 1}", "a key that is no text"),
        ("? [a]\n: b", "a key that is no text"),
        ("a: 1.5", "put it in quotes"),
        ("a: 12:30", "put it in quotes"),
        ("a: NO", "put it in quotes"),
        ("a: 0777", "put it in quotes"),
        ("a: 2026-11-24", "put it in quotes"),
        ("a:", "put it in quotes"),
        ("a: " + "9" * 5000, "put it in quotes"),
        ("a: 1\n---\nb: 2", "This is not the YAML"),
        ("a: [", "This is not the YAML"),
        ("a: \x00", "This is not YAML"),
        ("#" * 300_000, "larger than"),
    ],
)
def test_yaml_that_surprises_is_refused(text, told):
    with pytest.raises(ConfigError) as refusal:
        strict_yaml.load(text.encode(), "x.yaml")
    assert told in str(refusal.value)


def test_yaml_and_its_lines():
    value, lines = strict_yaml.load(b"a:\n  b: [1, true, 'no']\nyes: x\n", "x.yaml")
    assert value == {"a": {"b": [1, True, "no"]}, "yes": "x"}
    assert (lines["a"], lines["a.b"], lines["yes"]) == (1, 2, 3)
    assert strict_yaml.load(b"", "x.yaml") == ({}, {})


@given(st.binary(max_size=100) | st.text("ab:-[]{}&*!|>\n #?\"'", max_size=60).map(str.encode))
def test_only_config_error_escapes(data):
    try:
        value, _ = strict_yaml.load(data, "x.yaml")
    except ConfigError:
        return
    assert isinstance(value, dict | list | str | int | bool)


def loaded(folder, *changes):
    path = folder / "agreement.yaml"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return agreement_file.load(path, SETTING).document


def test_noise_formats_and_contexts_are_read(folder):
    noise = 'noise: { mechanism: gaussian, epsilon: "0.5", in_all: "4", delta: "0.000001" }'
    document = loaded(
        folder,
        ("rules:  ", f"{noise}\nrules:  "),
        ("  output: 1 MiB", "  output: 1 MiB\n  output_rows: 9"),
        ("  own-risk:", "  weights: { format: state }\n  own-risk:"),
        ("  table:\n", "  table:\n    format: arrow\n"),
    )
    rules = document.rules
    assert (rules.noise, rules.epsilon, rules.epsilon_total) == ("gaussian", 500_000, 4_000_000)
    assert (rules.delta, rules.output_rows) == (1_000_000, 9)
    formats = {one.name: (one.format, one.schema is None, one.to) for one in document.outputs}
    assert formats["weights"] == ("state", True, ())
    assert formats["table"][:2] == ("arrow", False)
    assert document.outputs[0].context is not None
    assert faults(document) == (
        "output own-risk: noise is added to JSON for parties, and to nothing else",
        "output table: noise is added to JSON for parties, and to nothing else",
    )


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        ('{ mechanism: uniform, epsilon: "1", in_all: "1" }', "not allowed"),
        ('{ mechanism: laplace, epsilon: "-1", in_all: "1" }', "decimal number"),
        ('{ mechanism: laplace, epsilon: "NaN", in_all: "1" }', "decimal number"),
        ('{ mechanism: laplace, epsilon: "1e99999999", in_all: "1" }', "decimal number"),
        ('{ mechanism: laplace, epsilon: "0.00000001", in_all: "1" }', "decimal number"),
        ('{ mechanism: laplace, epsilon: "1" }', "missing"),
        ('{ mechanism: gaussian, epsilon: "1", in_all: "1" }', "missing"),
        ('{ mechanism: laplace, epsilon: "1", in_all: "1", delta: "0" }', "unknown"),
    ],
)
def test_noise_that_says_nothing_is_no_noise(folder, noise, said):
    assert said in problems(folder, "rules:  ", f"noise: {noise}\nrules:  ")


def with_model(folder, file):
    manifest = folder / "algorithms" / "cox-ph" / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("by-site.schema.json", file))


SCHEMA = "    schema: algorithms/cox-ph/by-site.schema.json\n"


def test_a_schema_that_is_left_out_is_the_bundles_own(folder):
    path = folder / "agreement.yaml"
    path.write_text(path.read_text().replace(SCHEMA, ""))
    draft = agreement_file.load(path, SETTING)
    table = next(one for one in draft.document.outputs if one.name == "table")
    model = (folder / "algorithms" / "cox-ph" / "by-site.schema.json").read_bytes()
    assert draft.blobs[table.schema] == model
    assert manifest_faults(draft.document, draft.bundle) == ()


def test_a_schema_stands_in_the_bundle_or_in_the_file(folder):
    manifest = folder / "algorithms" / "cox-ph" / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("  table: by-site.schema.json\n", ""))
    assert "outputs.table.schema: This is missing" in problems(folder, SCHEMA, "")


def test_another_schema_than_the_bundles_is_a_fault(folder):
    with_model(folder, "own-risk.schema.json")
    draft = agreement_file.load(folder / "agreement.yaml", SETTING)
    (fault,) = manifest_faults(draft.document, draft.bundle)
    assert fault == "output table: its schema is not own-risk.schema.json of the bundle"


def test_another_format_than_the_bundles_is_a_fault(folder):
    with_model(folder, "table.odcs.yaml")
    (folder / "algorithms" / "cox-ph" / "table.odcs.yaml").touch()
    draft = agreement_file.load(folder / "agreement.yaml", SETTING)
    (fault,) = manifest_faults(draft.document, draft.bundle)
    assert fault == "output table: is json, in the bundle arrow"


@pytest.mark.parametrize("overlap", ["vault", "refuse"])
def test_what_counts_of_a_person_in_two_shares_is_agreed(folder, overlap):
    path = folder / "agreement.yaml"
    before = agreement_file.load(path, SETTING).document
    assert before.datasets[0].overlap == "keep"
    text = path.read_text()
    path.write_text(
        text.replace("    person: person", f"    overlap: {overlap}\n    person: person")
    )
    after = agreement_file.load(path, SETTING).document
    assert after.datasets[0].overlap == overlap
    assert faults(after) == ()
    told = [one for one in diff.words(before, after) if "overlap" in one]
    assert len(told) == 1
    assert f"overlap: keep -> {overlap}" in told[0]
    alone = replace(after.datasets[0], sources=after.datasets[0].sources[:-1])
    found = " ".join(faults(replace(after, datasets=(alone,))))
    assert ("no people give rows of their own" in found) == (overlap == "vault")
