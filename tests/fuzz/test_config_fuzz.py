"""Any bytes are a configuration or a ConfigError, in bounded time; nothing else escapes."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import FILE, LINE, PROBLEMS, Config, ConfigError, describe, parse

BASE = Path("/etc/village")
SECONDS = 10  # far above what is measured; a quadratic parser takes minutes

keys = st.sampled_from(sorted({one.key for one in describe()})) | st.text(max_size=8)
sections = st.sampled_from(sorted({one.section for one in describe()} - {"sources.NAME"}))
texts = st.sampled_from(
    ["prompt", "both", "50 GiB", "127.0.0.1:80", "/ip4/127.0.0.1/tcp/1", "[::1]:1", "file:x"]
) | st.text(max_size=20)
values = st.recursive(
    st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=6,
)


def read(data):
    """What the door gives back: a Config, or the ConfigError it raised."""
    try:
        return parse(data, BASE)
    except ConfigError as error:
        outcome = error
    assert 0 < len(outcome.problems) <= PROBLEMS
    assert all(problem.fix for problem in outcome.problems)
    assert all(line.isprintable() for line in str(outcome).split("\n"))
    return outcome


def toml(value):
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case _:
            return repr(value)


@given(st.binary(max_size=400))
def test_any_bytes(data):
    read(data)


@given(st.text(st.sampled_from("[]{}=\"'\\.,#\n \x00\ta1-_"), max_size=200))
def test_any_toml_like_text(text):
    read(text.encode())


@given(st.dictionaries(sections, st.dictionaries(keys, values, max_size=4), max_size=5))
def test_any_values_under_any_keys(tables):
    lines = []
    for section, table in tables.items():
        lines += [f"[{section}]", *(f"{toml(key)} = {toml(value)}" for key, value in table.items())]
    read("\n".join(lines).encode())


@given(st.integers(0, 300), st.binary(max_size=3))
def test_any_damage_to_a_good_file(position, damage):
    good = b'[node]\nname = "b"\nstate = "s"\n[network]\ndial = "outbound"\nlisten = []\n'
    assert isinstance(read(good), Config)
    read(good[:position] + damage + good[position + 1 :])


@pytest.mark.parametrize(
    "line",
    [
        b"a." * (LINE // 2 - 8) + b"a = 1",
        b"[" + b"a." * (LINE // 2 - 8) + b"a]",
        b"a = " + b"[" * (LINE - 10),
        b"a = " + b"{a=" * (LINE // 3 - 3),
        b"a = " + b"9" * (LINE - 10),
        b"a = 0x" + b"f" * (LINE - 10),
        b'a = "' + b"\\" * (LINE - 10),
        b'"' + b"\\u0041" * (LINE // 6 - 8) + b'" = 1',
        b" " * (LINE - 1),
        b"-" * (LINE - 1),
        b"[",
        b"[[a]]",
        b'a = """',
        b"",
    ],
    ids=range(14),
)
def test_a_file_as_large_as_allowed_takes_bounded_time(line):
    count = FILE // (len(line) + 8)
    data = b"".join(line.replace(b"a", b"k%d" % n, 1) + b"\n" for n in range(count))[:FILE]
    start = time.perf_counter()
    assert all(len(row) <= LINE for row in data.split(b"\n"))  # so the parser sees it
    read(data)
    assert time.perf_counter() - start < SECONDS
