from dataclasses import replace

import pytest

from protocol import diff
from protocol.kinds.agreement import Source
from protocol.kinds.attestation import SimulatedTerms
from tests.agreements import DOCUMENT, HOST_1, PARTIES, SPONSOR, A, B, C, actor, seed, with_rules


def only(after, before=DOCUMENT):
    (difference,) = diff.diff(before, after)
    return difference


def test_no_difference_in_a_fresh_salt():
    assert diff.diff(DOCUMENT, replace(DOCUMENT, salt=seed("other"))) == ()


def test_a_rule_says_what_changed_and_who_set_it():
    difference = only(with_rules(DOCUMENT, B, min_contributors=10))
    assert difference == diff.Difference(
        "rules.min_contributors",
        "at least 5 people per result, set by sponsor",
        "at least 10 people per result, set by hospital-b",
        ("everyone",),
    )
    assert diff.words(DOCUMENT, with_rules(DOCUMENT, B, min_contributors=10)) == (
        "rules.min_contributors: at least 5 people per result, set by sponsor -> "
        "at least 10 people per result, set by hospital-b (concerns everyone)",
    )


def test_a_new_recipient_is_named():
    model, own = DOCUMENT.outputs
    after = replace(DOCUMENT, outputs=(replace(model, to=(*model.to, C.did)), own))
    difference = only(after)
    assert (difference.field, difference.affects) == ("outputs.model.to", ("hospital-c",))
    assert difference.before == "sponsor, hospital-b"
    assert difference.after == "sponsor, hospital-b, hospital-c"


def test_a_source_that_leaves_is_the_one_concerned():
    (dataset,) = DOCUMENT.datasets
    after = replace(DOCUMENT, datasets=(replace(dataset, sources=dataset.sources[1:]),))
    assert {difference.affects for difference in diff.diff(DOCUMENT, after)} == {("hospital-a",)}
    changed = (Source(did=A.did, legal_basis="eu-gdpr:A9-2-a", waits=True), *dataset.sources[1:])
    after = replace(DOCUMENT, datasets=(replace(dataset, sources=changed),))
    assert only(after).field == "datasets.lung-v1.sources.hospital-a.legal_basis"
    assert only(after).affects == ("hospital-a",)


def test_people_and_runs_and_seconds():
    assert only(replace(DOCUMENT, people=replace(DOCUMENT.people, window=3))).affects == ("people",)
    assert only(replace(DOCUMENT, retention=60)).after == "60 s"
    runs = replace(DOCUMENT.runs, by=(SPONSOR.did, B.did))
    assert only(replace(DOCUMENT, runs=runs)).affects == ("hospital-b",)
    removed = diff.diff(DOCUMENT, replace(DOCUMENT, people=None))
    assert removed
    assert all(difference.after == "nothing" for difference in removed)


def test_the_second_of_two_equal_names_is_seen_too():
    one, other, third = ({"software": seed(name)} for name in "xyz")
    first = replace(DOCUMENT.attestation, simulated=SimulatedTerms(accept=(one, other)))
    second = replace(DOCUMENT.attestation, simulated=SimulatedTerms(accept=(one, third)))
    before, after = (replace(DOCUMENT, attestation=each) for each in (first, second))
    found = only(after, before)
    assert found.field == "attestation.simulated.accept.2.software"
    assert found.after == seed("z").hex() != found.before  # whole: a prefix is cheap to forge


def test_a_new_identity_is_shown():
    renewed = actor("hospital-a", key=seed("new record")).participant
    party = replace(DOCUMENT.parties[0], vote_key=renewed.vote_key, identity=renewed.id)
    after = replace(DOCUMENT, parties=(party, *DOCUMENT.parties[1:]))
    key, identity = diff.diff(DOCUMENT, after)
    assert (key.field, key.after) == ("parties.hospital-a.vote_key", renewed.vote_key.hex()[:8])
    assert (identity.field, identity.after) == (
        "parties.hospital-a.identity",
        renewed.id.hex()[:8],
    )
    assert key.affects == identity.affects == ("hospital-a",)


def test_a_text_cannot_write_on_the_terminal():
    purpose = replace(DOCUMENT.purpose, text="\x1b[2Jnothing to see\r\n")
    assert only(replace(DOCUMENT, purpose=purpose)).after == " [2Jnothing to see  "


@pytest.mark.parametrize("name", [one.name for one in PARTIES])
def test_whoever_leaves_is_named(name):
    rest = tuple(party for party in DOCUMENT.parties if party.name != name)
    differences = diff.diff(DOCUMENT, replace(DOCUMENT, parties=rest))
    assert {difference.affects for difference in differences} == {(name,)}


def test_a_host_is_named():
    hosts = replace(DOCUMENT.hosts, candidates=DOCUMENT.hosts.candidates[1:])
    differences = diff.diff(DOCUMENT, replace(DOCUMENT, hosts=hosts))
    assert {difference.affects for difference in differences} == {(HOST_1.name,)}
