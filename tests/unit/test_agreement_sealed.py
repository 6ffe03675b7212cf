"""What an agreement says of logs, states and confidential code: file, faults, policy, words."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from node.config import ConfigError
from node.documents import agreement_file, policy_file
from protocol import diff, limits
from protocol.consistency import faults, manifest_faults
from protocol.kinds.agreement import Logs, Output, provision, recipients_of
from protocol.kinds.algorithm import CODE
from protocol.policy import Ask, AskWhen, Policy, judge
from tests.agreements import DOCUMENT as AGREED
from tests.agreements import LAB, SPONSOR, C, seed
from tests.enclave_rig import seed as rig_seed
from tests.sealed_rig import ConfidentialRig, SealedRig
from tests.unit.test_agreement_file import CAST, DEMO, SETTING
from tests.unit.test_policy import ALLOW, FACTS

RIG = SealedRig(rig_seed("environment"), logs={"what": "errors", "bytes": 4096})
DOCUMENT = RIG.document
SECRET = ConfidentialRig(rig_seed("environment"))


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "demo"
    shutil.copytree(DEMO, copy)
    return copy


def load(folder: Path, old: str, new: str, setting=SETTING):
    path = folder / "agreement.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return agreement_file.load(path, setting)


# --- the file ------------------------------------------------------------------------------------


def test_a_file_names_who_gets_logs(folder):
    found = load(folder, "rules:", "logs: { to: ['@biostat-lab'], what: all, bytes: 100 }\nrules:")
    assert found.document.logs == Logs(to=(CAST["biostat-lab"].did,), what="all", bytes=100)
    assert faults(found.document) == ()


def test_without_a_word_nobody_gets_logs_and_errors_are_the_default(folder):
    assert agreement_file.load(folder / "agreement.yaml", SETTING).document.logs is None
    found = load(folder, "rules:", "logs: { to: ['@biostat-lab'] }\nrules:").document.logs
    assert (found.what, found.bytes) == ("errors", limits.LOG)


@pytest.mark.parametrize("logs", ["{ to: ['@nobody'] }", "{ what: some, to: [] }", "{ size: 1 }"])
def test_logs_that_make_no_sense_are_named(folder, logs):
    with pytest.raises(ConfigError, match="logs"):
        load(folder, "rules:", f"logs: {logs}\nrules:")


def test_a_confidential_bundle_is_named_by_what_its_provider_published_and_is_no_blob(folder):
    plain = agreement_file.load(folder / "agreement.yaml", SETTING)
    digest = plain.document.algorithm.bundle
    sealed = {(CAST["biostat-lab"].did, digest): seed("sealed")}
    setting = replace(SETTING, sealed=sealed)
    found = load(folder, "algorithm:", "algorithm:\n  confidential: true", setting)
    algorithm = found.document.algorithm
    assert (algorithm.bundle, algorithm.sealed) == (digest, seed("sealed"))
    assert algorithm.shown == seed("sealed")
    assert set(found.blobs) == set(plain.blobs) - {digest}
    assert faults(found.document) == ()


def test_a_confidential_bundle_that_only_another_member_sealed_is_refused(folder):
    plain = agreement_file.load(folder / "agreement.yaml", SETTING)
    digest = plain.document.algorithm.bundle
    setting = replace(SETTING, sealed={(CAST["sponsor"].did, digest): seed("sealed")})
    with pytest.raises(ConfigError, match="Nobody published this bundle sealed"):
        load(folder, "algorithm:", "algorithm:\n  confidential: true", setting)


# --- faults --------------------------------------------------------------------------------------


def test_the_documents_of_the_rig_are_sound():
    assert faults(DOCUMENT) == ()
    assert faults(SECRET.document) == ()


LOG = Output(name="log", schema=seed("schema"), to=(RIG.sponsor.did,), subject=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"logs": Logs(to=(), what="errors", bytes=1)}, "one at least"),
        ({"logs": Logs(to=(RIG.host_1.did,), what="errors", bytes=1)}, "they go to parties"),
        ({"logs": Logs(to=(RIG.lab.did,) * 2, what="errors", bytes=1)}, "stands there twice"),
        ({"logs": Logs(to=(RIG.lab.did,), what="errors", bytes=0)}, "bytes must be"),
        ({"logs": Logs(to=(RIG.lab.did,), what="all", bytes=limits.LOG + 1)}, "bytes must be"),
        ({"outputs": (*DOCUMENT.outputs, LOG)}, "this is what a log is called"),
        ({"datasets": (replace(DOCUMENT.datasets[0], id=CODE),)}, "confidential code is called"),
    ],
)
def test_a_contradiction_is_a_fault(changes, said):
    assert said in "; ".join(faults(replace(DOCUMENT, **changes)))


def test_confidential_code_needs_a_reviewer_and_readers_of_its_logs():
    document = SECRET.document
    unread = replace(document.algorithm, reviews_needed=0)
    assert "nobody must have read it" in "; ".join(faults(replace(document, algorithm=unread)))
    for who, sound in ((SECRET.lab, True), (SECRET.a, True), (SECRET.sponsor, False)):
        logs = Logs(to=(who.did,), what="all", bytes=100)
        assert (faults(replace(document, logs=logs)) == ()) is sound
    errors = Logs(to=(SECRET.sponsor.did,), what="errors", bytes=100)
    assert faults(replace(document, logs=errors)) == ()


def test_a_state_that_is_read_must_be_one_of_the_agreement():
    bundle = RIG._bundle(rig_seed("environment"))
    assert manifest_faults(DOCUMENT, bundle) == ()
    without = tuple(one for one in DOCUMENT.outputs if one.name != "weights")
    found = "; ".join(manifest_faults(replace(DOCUMENT, outputs=without), bundle))
    assert "reads weights, which the agreement has not as a state" in found


def test_code_is_provided_by_its_provider_and_only_where_it_is_confidential():
    assert provision(DOCUMENT, CODE) is None
    bundle, lab = SECRET.document.algorithm.bundle, SECRET.lab.did
    assert provision(SECRET.document, CODE) == (bundle, frozenset({lab}))
    assert provision(DOCUMENT, "nothing") is None
    contract, who = provision(DOCUMENT, "vitals-v1")
    assert contract == DOCUMENT.datasets[0].contract
    assert who == {RIG.a.did, RIG.b.did, RIG.c.did, None}


# --- policy and words ----------------------------------------------------------------------------


def test_a_policy_may_ask_a_person_where_logs_leave():
    asking = Policy(
        allow=(replace(ALLOW, logs="errors"),), ask=(AskWhen(when=("logs leave",), remind=60),)
    )
    logs = Logs(to=(LAB.did,), what="errors", bytes=9)
    quiet = judge(asking, AGREED, FACTS, seed("fresh"))
    loud = judge(asking, replace(AGREED, logs=logs), FACTS, seed("fresh"))
    assert not isinstance(quiet, Ask)
    assert loud == Ask(ALLOW.name, (f"logs leave: errors to {LAB.name}",))


@pytest.mark.parametrize(
    ("may", "what", "to", "reasons"),
    [
        ("none", "errors", LAB, ["logs.what"]),
        ("errors", "all", LAB, ["logs.what"]),
        ("errors", "errors", LAB, []),
        ("all", "all", SPONSOR, []),
        ("all", "errors", C, ["logs.to"]),
    ],
)
def test_no_log_leaves_without_a_rule_for_it(may, what, to, reasons):
    rules = Policy(allow=(replace(ALLOW, logs=may),))
    logs = Logs(to=(to.did,), what=what, bytes=9)
    found = judge(rules, replace(AGREED, logs=logs), FACTS, seed("fresh"))
    assert [one.field for one in getattr(found, "reasons", ())] == reasons


def test_who_gets_a_log_is_a_recipient_that_a_consent_must_name():
    assert recipients_of(DOCUMENT) == {RIG.sponsor.did, RIG.b.did, RIG.lab.did}
    assert RIG.lab.did not in recipients_of(replace(DOCUMENT, logs=None))


def test_a_policy_file_knows_the_question():
    found = policy_file.parse(b'[[ask]]\nwhen = "logs leave"\nremind = "P1D"\n')
    assert found.ask == (AskWhen(when=("logs leave",), remind=86_400),)


def test_a_difference_in_logs_or_secrecy_is_told():
    before, after = replace(DOCUMENT, logs=None), DOCUMENT
    told = {one.field for one in diff.diff(before, after)}
    assert {"logs.to", "logs.what", "logs.bytes"} <= told
    told = {one.field for one in diff.diff(DOCUMENT, SECRET.document)}
    assert "algorithm.sealed" in told
