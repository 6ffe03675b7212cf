"""Jobs are checked before anything is started."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host import runners
from enclave_host.cage import BadJob, Job
from enclave_host.cage.job import MAX_PARAMETERS
from protocol.errors import ProtocolError

HERE = Path("/nowhere")


def job(entry: str = "cox.fit:run", parameters: bytes = b"{}") -> Job:
    return Job(environment=HERE, entry=entry, parameters=parameters)


@pytest.mark.parametrize("entry", ["a:b", "cox.fit:run", "_a._b.c9:_d"])
def test_entry_is_module_and_function(entry):
    assert job(entry).entry == entry


@pytest.mark.parametrize(
    "entry",
    ["", "a", "a:", ":b", "a:b:c", "a.:b", "a..b:c", "../a:b", "a/b:c", "a:b\n", "a:b()", "ä:b"],
)
def test_other_entries_are_refused(entry):
    with pytest.raises(BadJob, match="entry point"):
        job(entry)


def test_entry_is_bounded():
    with pytest.raises(BadJob, match="entry point"):
        job("a:" + "b" * 200)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=5))
def test_parameters_are_one_json_object(parameters):
    raw = json.dumps(parameters).encode()
    assert job(parameters=raw).parameters == raw


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"{", b"\xff", b'{"a": 1} x', b"[" * 60_000])
def test_other_parameters_are_refused(raw):
    with pytest.raises(BadJob, match="parameters"):
        job(parameters=raw)


def test_parameters_are_bounded():
    fits = b'{"a": "' + b"x" * (MAX_PARAMETERS - 9) + b'"}'
    assert job(parameters=fits)
    with pytest.raises(BadJob, match="longer"):
        job(parameters=fits + b" ")


@given(st.binary(max_size=50))
def test_only_a_protocol_error_escapes(raw):
    with suppress(ProtocolError):
        job(parameters=raw)


def test_each_runner_is_there_and_compiles():
    for kind in runners.RUNNERS:
        names = [name for name, _ in runners.sources(kind)]
        assert (names[0], names[-1]) == tuple(
            f"enclave_host.runners.{one}" for one in ("common", kind)
        )
        for name, source in runners.sources(kind):
            compile(source, name, "exec")


@pytest.mark.parametrize("kind", ["", "Python", "../python", "perl"])
def test_unknown_kinds_are_refused(kind):
    with pytest.raises(runners.UnknownKind, match="python"):
        runners.sources(kind)
