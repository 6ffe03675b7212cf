from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import terms
from protocol.errors import Refused
from protocol.kinds.agreement import Rules
from protocol.terms import Merged
from tests.agreements import DOCUMENT, RULES, SPONSOR, A, B, sources, with_rules

WISHES = st.fixed_dictionaries(
    {
        "min_contributors": st.integers(1, 50),
        "min_change": st.integers(0, 50),
        "small_cells": st.sampled_from(["suppress", "refuse"]),
        "precision": st.integers(0, 15),
        "output_bytes": st.integers(1, 1000),
    },
    optional={
        "output_rows": st.integers(1, 1000),
        "noise": st.sampled_from(["gaussian", "laplace"]),
        "epsilon": st.integers(1, 10**6),
        "epsilon_total": st.integers(1, 10**7),
        "delta": st.integers(1, 10**6),
    },
)
DIDS = st.binary(min_size=32, max_size=32)


def test_every_rule_has_a_direction():
    assert set(terms.DIRECTIONS) == {field.name for field in fields(Rules)}


def test_the_strictest_party_decides_each_rule():
    merged = terms.merge(
        {
            SPONSOR.did: asdict(RULES),
            B.did: {"min_contributors": 10, "small_cells": "refuse", "precision": 8},
            A.did: {"min_contributors": 7, "precision": 4, "output_bytes": 65536},
        }
    )
    assert merged.rules == replace(RULES, min_contributors=10, small_cells="refuse", precision=4)
    decided = {source.rule: source.party for source in merged.sources}
    assert decided["min_contributors"] == decided["small_cells"] == B.did
    assert decided["precision"] == A.did
    assert decided["min_change"] == SPONSOR.did


@given(st.dictionaries(DIDS, WISHES, min_size=1, max_size=5))
def test_no_party_gets_less_than_it_asked_for(wishes):
    merged = terms.merge(wishes).rules
    for rules in wishes.values():
        assert not terms.loosened(Rules(**rules), merged)
        for rule, value in rules.items():
            assert not terms.stricter(rule, value, getattr(merged, rule))
    # and nothing is stricter than the strictest wish
    for rule in terms.DIRECTIONS:
        assert getattr(merged, rule) in {rules.get(rule) for rules in wishes.values()}


@given(st.dictionaries(DIDS, WISHES, min_size=2, max_size=5))
def test_order_of_parties_does_not_matter(wishes):
    assert terms.merge(wishes) == terms.merge(dict(reversed(wishes.items())))


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        ({**asdict(RULES), "colour": 1}, "rules.unknown"),
        ({**asdict(RULES), "noise": 1}, "shape.mismatch"),
        ({"precision": 3}, "rules.incomplete"),
        ({**asdict(RULES), "small_cells": "hide"}, "shape.mismatch"),
        ({**asdict(RULES), "precision": "6"}, "shape.mismatch"),
        ({**asdict(RULES), "min_change": "6"}, "shape.mismatch"),
        ({**asdict(RULES), "min_change": True}, "shape.mismatch"),
        ({**asdict(RULES), "precision": 16, "min_change": -1}, "shape.mismatch"),
    ],
)
def test_what_cannot_be_merged_is_refused(wishes, code):
    with pytest.raises(Refused) as refusal:
        terms.merge({A.did: wishes})
    assert refusal.value.code == code


def test_tighten_keeps_what_is_strict_enough_and_its_source():
    base = Merged(RULES, sources(SPONSOR))
    after = terms.tighten(base, B.did, {"min_contributors": 10, "min_change": 0, "precision": 9})
    assert after.rules == replace(RULES, min_contributors=10)
    decided = {source.rule: source.party for source in after.sources}
    assert [rule for rule, party in decided.items() if party == B.did] == ["min_contributors"]
    with pytest.raises(Refused, match=r"rules\.unknown"):
        terms.tighten(base, B.did, {"colour": 1})


def test_nobody_puts_a_value_into_anothers_mouth():
    stricter = with_rules(DOCUMENT, B, min_contributors=10)
    assert terms.misattributed(SPONSOR.did, DOCUMENT, None) == ()
    assert terms.misattributed(B.did, stricter, DOCUMENT) == ()
    assert terms.misattributed(A.did, stricter, DOCUMENT) == ("min_contributors",)
    assert len(terms.misattributed(A.did, DOCUMENT, None)) == len(terms.DIRECTIONS)
    unchanged = with_rules(DOCUMENT, B, min_contributors=5)
    assert terms.misattributed(B.did, unchanged, DOCUMENT) == ("min_contributors",)


def test_decider_names_who_set_a_rule():
    assert terms.decider(with_rules(DOCUMENT, B, min_change=5), "min_change") == B.did
    assert terms.decider(DOCUMENT, "min_change") == SPONSOR.did
    assert terms.decider(DOCUMENT, "colour") is None


def test_no_value_is_the_mildest_value():
    base = Merged(RULES, sources(SPONSOR))
    after = terms.tighten(base, B.did, {"noise": "gaussian", "epsilon": 10**6})
    assert after.rules == replace(RULES, noise="gaussian", epsilon=10**6)
    assert terms.loosened(after.rules, RULES) == ("noise", "epsilon")
    assert terms.tighten(after, A.did, {"noise": "gaussian"}).sources == after.sources
    assert terms.stricter("noise", "laplace", "gaussian")
    assert terms.stricter("noise", "laplace", None)
    assert not terms.stricter("epsilon", None, 10**6)


def test_parts_read_as_decimals():
    said = {rule: terms.DIRECTIONS[rule] for rule in terms.DIRECTIONS}
    assert said["epsilon"].words(1_500_000) == "at most 1.5 epsilon per run"
    assert said["epsilon_total"].words(4_000_000) == "at most 4 epsilon in all"
    assert said["delta"].words(10**6) == "delta at most 0.000001"
    assert said["noise"].words(None) == "no noise"
    assert said["noise"].words("laplace") == "noise: laplace"
