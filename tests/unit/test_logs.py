"""What leaves of a log, written by code that is not trusted and wants to tell something."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host import logs, outputs
from enclave_host.cage import Outcome
from enclave_host.contributors import Contributor
from protocol import limits
from protocol.kinds.agreement import Logs
from protocol.kinds.algorithm import Bundle
from protocol.kinds.run import output_digest
from tests.enclave_rig import seed
from tests.sealed_rig import SealedRig

FILES = {"stats.py": b"a\nb\nc", "queries/by_site/table.sql": b"SELECT 1", "README": b""}
TRACEBACK = """some output
Traceback (most recent call last):
  File "<runner>", line 40, in finish
    work()
  File "/algorithm/stats.py", line 2, in fit
    return inner(person)
           ^^^^^^^^^^^^^
  File "/somewhere/site-packages/numpy/core.py", line 77, in mean
  File "/algorithm/stats.py", line 3, in inner
    secret of row-001
ValueError: row-001 is 63 years old
"""
PEOPLE = {bytes([n]) * 16: Contributor(organizations=frozenset({b"a"})) for n in range(5)}


@pytest.fixture(scope="module")
def parties():
    from enclave_host.parties import read_agreement

    rig = SealedRig(seed("environment"), logs={"what": "errors", "bytes": 4096})
    return read_agreement(rig.opening)


def given_logs(parties, **changes):
    document = replace(parties.document, logs=replace(parties.document.logs, **changes))
    return replace(parties, document=document)


def leaving(parties, text, status="failed", people=PEOPLE):
    bundle = Bundle(manifest=None, files=FILES)
    text = text if isinstance(text, bytes) else text.encode()
    people = people if isinstance(people, list) else [people]
    return logs.leaving(parties, bundle, people, Outcome(status, b"", text), seed("salts"))


# --- errors --------------------------------------------------------------------------------------


def test_errors_are_class_file_and_line_and_no_word_of_data(parties):
    first, second = leaving(parties, TRACEBACK)
    assert {first.to, second.to} == set(parties.document.logs.to)
    assert json.loads(first.content) == {
        "class": "ValueError",
        "frames": [{"file": "stats.py", "line": 2}, {"file": "stats.py", "line": 3}],
    }
    assert first.salt != second.salt
    (told, _) = outputs.commitments(seed("agreement"), (first, second), 4096)
    assert told.digest == output_digest(first.salt, first.content)
    assert (told.name, told.to, told.size) == ("log", first.to, 128)


def test_a_query_is_named_as_the_sql_runner_says_it():
    text = f"{logs._TRACEBACK}\nRuntimeError: queries/by_site/table.sql: Binder Error: row-001\n"
    assert logs.errors(text, FILES) == {
        "class": "RuntimeError",
        "frames": [{"file": "queries/by_site/table.sql", "line": 1}],
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ValueError: row-001",
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\nsecret row-001\n",
        'Traceback (most recent call last):\n  File "/algorithm/stats.py", line 4, in f\n1\n',
        'Traceback (most recent call last):\n  File "/algorithm/../stats.py", line 1, in f\n1\n',
        'Traceback (most recent call last):\n  File "/algorithm/row-001.py", line 1, in f\n1\n',
        'Traceback (most recent call last):\n  File "/algorithm/stats.py", line 0, in f\n1\n',
        'Traceback (most recent call last):\n  File "/algorithm/stats.py", line \u0663, in f\n1\n',
    ],
)
def test_what_is_no_traceback_of_the_bundle_says_nothing(text):
    assert logs.errors(text, FILES) == {"class": None, "frames": []}


@pytest.mark.parametrize("name", ["row_001", "secret.Row001", "ValueErrorRow001", "_"])
def test_a_class_of_its_own_is_an_exception_like_any(name):
    found = logs.errors(f"{logs._TRACEBACK}\n{name}: 1\n", FILES)
    assert found == {"class": logs.OTHER, "frames": []}


def test_an_algorithm_that_ended_well_tells_no_errors(parties):
    assert leaving(parties, TRACEBACK, status="ok") == ()


SMUGGLED = st.lists(
    st.one_of(
        st.text(max_size=80),
        st.just(logs._TRACEBACK),
        st.builds(
            lambda f, n: f'  File "/algorithm/{f}", line {n}, in x',
            st.one_of(st.sampled_from(sorted(FILES)), st.text(max_size=8)),
            st.integers(-1, 10),
        ),
        st.builds(lambda c, t: f"{c}: {t}", st.text("aE.r", max_size=9), st.text(max_size=20)),
    ),
    max_size=40,
)


@given(SMUGGLED)
def test_whatever_is_printed_only_choices_from_closed_lists_leave(lines):
    found = logs.errors("\n".join(lines), FILES)
    assert found.keys() == {"class", "frames"}
    assert found["class"] in logs.CLASSES | {None}
    assert len(found["frames"]) <= limits.LOG_FRAMES
    for frame in found["frames"]:
        assert frame.keys() == {"file", "line"}
        assert type(frame["line"]) is int
        assert 1 <= frame["line"] <= FILES[frame["file"]].count(b"\n") + 1


def test_the_channel_of_errors_is_as_narrow_as_the_lines_of_the_bundle():
    """A hostile algorithm that forges its own traceback chooses among all these and no more."""
    lines = sum(content.count(b"\n") + 1 for content in FILES.values())
    bits = math.log2(len(logs.CLASSES) + 1) + limits.LOG_FRAMES * math.log2(lines + 1)
    assert bits < 32
    thousand = math.log2(len(logs.CLASSES) + 1) + limits.LOG_FRAMES * math.log2(1001)
    assert thousand < 90  # of a bundle of a thousand lines: eleven bytes for each run
    frames = [f'  File "/algorithm/stats.py", line {n % 3 + 1}, in f' for n in range(60)]
    found = logs.errors("\n".join([logs._TRACEBACK, *frames, "KeyError: 'x'"]), FILES)
    assert len(found["frames"]) == limits.LOG_FRAMES


# --- all -----------------------------------------------------------------------------------------


def test_all_is_the_end_of_what_was_printed_and_writes_nowhere_else(parties):
    text = b"first\n\x1b[2Jsecond \xff\x00\ttab\r\nline\xe2\x80\xae"
    (found, _) = leaving(given_logs(parties, what="all"), text, status="ok")
    said = json.loads(found.content)["text"]
    assert said.startswith("first\n")
    assert all(c.isprintable() or c in "\n\t" for c in said)
    assert "\x1b" not in said


@given(st.binary(max_size=300), st.integers(1, 200))
def test_all_is_never_longer_than_agreed(text, most):
    found = logs._printed(text.decode("utf-8", "replace"), most)
    assert found is None or len(found) <= most
    if found is not None:
        assert found == outputs.canonical(json.loads(found))


def test_errors_too_are_never_longer_than_agreed(parties):
    (found, _) = leaving(given_logs(parties, bytes=70), TRACEBACK)
    assert json.loads(found.content)["frames"] == [{"file": "stats.py", "line": 3}]
    assert leaving(given_logs(parties, bytes=10), TRACEBACK) == ()


# --- to whom -------------------------------------------------------------------------------------


def test_nobody_gets_a_log_where_the_agreement_says_nothing(parties):
    silent = replace(parties, document=replace(parties.document, logs=None))
    assert leaving(silent, TRACEBACK) == ()


def test_a_log_needs_enough_people_for_each_who_gets_it(parties):
    lab, sponsor = parties.document.logs.to
    assert leaving(parties, TRACEBACK, people={}) == ()
    known = {person: replace(one, organizations=frozenset({lab})) for person, one in PEOPLE.items()}
    assert [one.to for one in leaving(parties, TRACEBACK, people=known)] == [sponsor]
    assert leaving(parties, TRACEBACK, people=[PEOPLE, {}]) == ()  # nobody in the rows alone


def test_logs_say_who_and_how_much(parties):
    assert parties.document.logs == Logs(to=parties.document.logs.to, what="errors", bytes=4096)
