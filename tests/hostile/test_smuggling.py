"""Smuggling: a secret bit in the form of an output, where its model bounds only what it says.

Each way hides a bit in what an algorithm writes on its output descriptor, and finds it again there:
that is the control. After the gate nothing may differ between the two bits: not what leaves, not
the verdict, not the checks in the run record, which is open to all.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host.cage import Cage, Job, Limits
from enclave_host.contributors import Contributor
from enclave_host.gate import Gate, Passed
from enclave_host.lineage import Lineage
from enclave_host.output_model import OutputModel
from tests.enclave_rig import seed
from tests.framing import frames
from tests.unit.test_gate import rig_parties

pytestmark = pytest.mark.hostile

RIG, PARTIES = rig_parties()
ITEM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["n"],
    "properties": {
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
        "x": {"type": "number", "minimum": -1000, "maximum": 1000},
    },
}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["n", "mean"],
    "properties": {
        "n": {"type": "integer", "minimum": 0, "maximum": 10_000},
        "mean": {"type": "number", "minimum": -1000, "maximum": 1000},
        "name": {"type": "string", "maxLength": 20},
        "groups": {"type": "array", "maxItems": 10, "uniqueItems": True, "items": ITEM},
    },
}
MODELS = {
    "model": OutputModel("model", json.dumps(SCHEMA).encode()),
    "own-risk": OutputModel("own-risk", RIG.schemas["own-risk"]),
}
CROWD = {seed(f"row-{n}")[:16]: Contributor() for n in range(20)}
HONEST = '{"n":9,"mean":1.25}'


@dataclass(frozen=True)
class Way:
    """How to hide a bit in raw output, and find it; `passes` if the gate takes the hiding place
    away, else it refuses both.
    """

    name: str
    hide: Callable[[int], bytes]
    find: Callable[[bytes], int]
    passes: bool
    names: tuple[str, ...] = ("model",)


def written(text: str, form: str = "json") -> bytes:
    return frames([("model", form, text.encode("utf-8", "surrogatepass"))])


def texts(name: str, zero: str, one: str, passes: bool = True) -> Way:
    """The bit is which of two texts came."""
    return Way(
        name,
        lambda bit: written((zero, one)[bit]),
        lambda raw: int(raw.endswith(one.encode("utf-8", "surrogatepass"))),
        passes,
    )


def with_head(name: str, *heads: object, rest: bytes = b"{}") -> Way:
    """The bit is which of two heads came, neither of which is one."""

    def hide(bit: int) -> bytes:
        head = heads[bit]
        text = head if isinstance(head, bytes) else json.dumps(head).encode()
        return len(text).to_bytes(8, "big") + text + rest

    return Way(name, hide, lambda raw: int(raw == hide(1)), passes=False)


def raws(name: str, zero: bytes, one: bytes, passes: bool = False) -> Way:
    return Way(name, lambda bit: (zero, one)[bit], lambda raw: int(raw == one), passes)


def low_bits(bit: int) -> bytes:
    """Fifty bits of a number that nobody reads: here the last."""
    (whole,) = struct.unpack("<Q", struct.pack("<d", 1.25))
    (number,) = struct.unpack("<d", struct.pack("<Q", whole | bit))
    return written(f'{{"n":9,"mean":{number!r}}}')


def low_bit(raw: bytes) -> int:
    return struct.pack("<d", json.loads(raw[raw.rindex(b"{") :])["mean"])[0] & 1


def own_parts(*rows: int) -> bytes:
    parts = [{"row": row, "relative_risk": row / 8} for row in rows]
    return frames([("own-risk", "json", json.dumps(parts).encode())])


def named(*names: str) -> bytes:
    """The whole of an output's text under these names."""
    return frames([(name, "json", HONEST.encode()) for name in names])


HEAD = [["model", "json", len(HONEST)]]


def headed(head: bytes) -> bytes:
    return len(head).to_bytes(8, "big") + head + HONEST.encode()


DEEP = ("[" * 5_000 + "]" * 5_000, '{"a":' * 5_000 + "1" + "}" * 5_000)
NFC, NFD = "\u00e9", "e\u0301"

WAYS = [
    # what is said twice in other words
    texts("order of names", HONEST, '{"mean":1.25,"n":9}'),
    texts("spaces", HONEST, '{"n": 9,"mean":1.25}'),
    texts("form of an integer", HONEST, '{"n":9.0,"mean":1.25}'),
    texts("exponent", HONEST, '{"n":9,"mean":125e-2}'),
    texts("zeros at the end", HONEST, '{"n":9,"mean":1.250000}'),
    texts("minus nothing", '{"n":0,"mean":0}', '{"n":0,"mean":-0.0}'),
    texts("too small to be seen", '{"n":0,"mean":0}', '{"n":0,"mean":-1e-300}'),
    texts("digits beyond precision", HONEST, '{"n":9,"mean":1.2500000001}'),
    texts("escapes in names", HONEST, '{"\\u006e":9,"mean":1.25}'),
    texts("escapes in texts", '{"n":9,"mean":1,"name":"a"}', '{"n":9,"mean":1,"name":"\\u0061"}'),
    texts(
        "order of a set",
        '{"n":9,"mean":1,"groups":[{"n":1},{"n":2}]}',
        '{"n":9,"mean":1,"groups":[{"n":2},{"n":1}]}',
    ),
    texts(
        "order of a set behind low bits",
        '{"n":9,"mean":1,"groups":[{"n":1,"x":0.5},{"n":1,"x":0.50000001}]}',
        '{"n":9,"mean":1,"groups":[{"n":1,"x":0.50000001},{"n":1,"x":0.5}]}',
    ),
    Way("low bits of a number", low_bits, low_bit, passes=True),
    Way(
        "order of what is for people",
        lambda bit: own_parts(*((1, 2), (2, 1))[bit]),
        lambda raw: int(raw == own_parts(2, 1)),
        passes=True,
        names=("own-risk",),
    ),
    # what the model does not know
    texts("another field", '{"n":9,"mean":1,"bit":0}', '{"n":9,"mean":1,"bit":1}', passes=False),
    texts(
        "a field of nothing", '{"n":9,"mean":1,"bit0":null}', '{"n":9,"mean":1,"bit1":null}', False
    ),
    texts("a field twice", '{"n":0,"n":9,"mean":1}', '{"n":1,"n":9,"mean":1}', passes=False),
    texts("not a number", '{"n":9,"mean":NaN}', '{"n":9,"mean":-NaN}', passes=False),
    texts("no end", '{"n":9,"mean":Infinity}', '{"n":9,"mean":-Infinity}', passes=False),
    texts("beyond doubles", '{"n":9,"mean":1e400}', '{"n":9,"mean":2e400}', passes=False),
    texts("beyond the maximum", '{"n":10001,"mean":1}', '{"n":10002,"mean":1}', passes=False),
    texts("huge integers", '{"n":1' + "0" * 5000 + "}", '{"n":1' + "0" * 4999 + "1}", passes=False),
    texts("a text for a number", '{"n":"0","mean":1}', '{"n":"1","mean":1}', passes=False),
    texts("deep nesting", *DEEP, passes=False),
    texts("another type", "[0]", "[1]", passes=False),
    texts("no JSON", "{0", "{1", passes=False),
    texts("after the end", HONEST + "0", HONEST + "1", passes=False),
    texts("comments", HONEST + "/*0*/", HONEST + "/*1*/", passes=False),
    texts("byte order mark", HONEST, "\ufeff" + HONEST),
    texts(
        "Unicode that is not normal",
        f'{{"n":9,"mean":1,"name":"{NFD}0"}}',
        f'{{"n":9,"mean":1,"name":"{NFD}1"}}',
        passes=False,
    ),
    texts(
        "half a character",
        '{"n":9,"mean":1,"name":"\\ud800"}',
        '{"n":9,"mean":1,"name":"\\udfff"}',
    ),
    Way(
        "names of more outputs",
        lambda bit: named("model", f"bit{bit}"),
        lambda raw: int(b"bit1" in raw),
        passes=False,
    ),
    Way(
        "number of more outputs",
        lambda bit: named("model", *"ab"[: bit + 1]),
        lambda raw: int(b'"b"' in raw),
        passes=False,
    ),
    Way("no output", lambda bit: named(*"a"[:bit]), lambda raw: int(b'"a"' in raw), passes=False),
    Way(
        "another format",
        lambda bit: written(HONEST, ("arrow", "state")[bit]),
        lambda raw: int(b"state" in raw),
        passes=False,
    ),
    # the frames around it
    Way(
        "spaces in the head",
        lambda bit: headed(json.dumps(HEAD, separators=((",", ":"), (", ", ": "))[bit]).encode()),
        lambda raw: int(b", " in raw[:40]),
        passes=True,
    ),
    with_head("an unknown format", [["model", "pickle", 2]], [["model", "csv", 2]]),
    with_head("a negative length", [["model", "json", -1]], [["model", "json", -2]]),
    with_head("a length beyond the end", [["model", "json", 3]], [["model", "json", 1 << 60]]),
    with_head("a length that is none", [["model", "json", True]], [["model", "json", 2.0]]),
    with_head("bytes that belong to nothing", [["model", "json", 1]], [["model", "json", 0]]),
    with_head("one output twice", [["model", "json", 1]] * 2, [["model", "json", 1]] * 3),
    with_head("a name too long", [["m" * 300, "json", 2]], [["m" * 301, "json", 2]]),
    with_head("more in the head", [["model", "json", 2, 0]], [["model", "json", 2, 1]]),
    with_head("a head that is no list", {"bit": 0}, {"bit": 1}),
    with_head("a head that is no JSON", b"[0", b"[1"),
    with_head("a deep head", *(text.encode() for text in DEEP)),
    raws("a head longer than all", (1 << 63).to_bytes(8, "big"), (1 << 62).to_bytes(8, "big")),
    raws("no head", b"", b"\0"),
    raws("a head of nothing", bytes(8), bytes(9)),
]


def leaves(way: Way, raw: bytes) -> tuple:
    """All that anybody can know of a run that returned `raw`."""
    gate = Gate(PARTIES, MODELS, way.names, CROWD, 20)
    assert gate.judge_people(Lineage()) is None
    return gate.judge(raw), tuple(gate.checks)


@pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
def test_the_control_finds_the_bit_where_there_is_no_gate(way):
    assert [way.find(way.hide(bit)) for bit in (0, 1)] == [0, 1]


@pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
def test_the_gate_leaves_no_difference(way):
    zero, one = (leaves(way, way.hide(bit)) for bit in (0, 1))
    assert zero == one
    assert isinstance(zero[0], Passed) == way.passes


# --- what leaves is a function of the data and the order alone ------------------------------------

NUMBERS = st.floats(-1000, 1000) | st.integers(-1000, 1000)
VALUES = st.fixed_dictionaries(
    {"n": st.integers(0, 10_000), "mean": NUMBERS},
    optional={
        "name": st.text(st.characters(codec="ascii"), max_size=20),
        "groups": st.lists(
            st.fixed_dictionaries({"n": st.integers(0, 99)}, optional={"x": NUMBERS}),
            max_size=5,
            unique_by=lambda item: json.dumps(item, sort_keys=True),
        ),
    },
)


def spelt(value: object, chance: st.DataObject) -> str:
    """One of the many JSON texts of a value."""
    gap = chance.draw(st.sampled_from(["", " ", "\n", "\t "]))
    match value:
        case dict():
            names = chance.draw(st.permutations(list(value)))
            inner = [f"{json.dumps(name)}{gap}:{spelt(value[name], chance)}" for name in names]
            return "{" + f"{gap},".join(inner) + gap + "}"
        case list():
            items = chance.draw(st.permutations(value))  # the only lists here are sets
            return "[" + f",{gap}".join(spelt(item, chance) for item in items) + "]"
        case str():
            return json.dumps(value, ensure_ascii=chance.draw(st.booleans()))
        case int() if chance.draw(st.booleans()):
            return f"{value}.0"
        case int() | float():
            return chance.draw(st.sampled_from([repr(value), f"{value:.17e}"]))
    raise TypeError(value)


@given(VALUES, st.data())
def test_one_value_leaves_in_one_form_however_it_is_spelt(value, data):
    raws_ = [written(spelt(value, data)) for _ in range(3)]
    assert len({repr(leaves(WAYS[0], raw)) for raw in raws_}) == 1


@given(VALUES)
def test_the_gate_has_no_memory_and_takes_its_own_answer_again(value):
    first = leaves(WAYS[0], written(json.dumps(value)))
    again = leaves(WAYS[0], written(json.dumps(value)))
    assert first == again
    if isinstance(first[0], Passed):
        whole = first[0].whole["model"]
        assert leaves(WAYS[0], frames([("model", "json", whole)]))[0] == first[0]


@given(st.binary(max_size=200) | st.tuples(st.binary(max_size=60), st.binary(max_size=60)).map(
    lambda both: len(both[0]).to_bytes(8, "big") + both[0] + both[1]
))  # fmt: skip
def test_any_bytes_are_judged_and_never_break_the_gate(raw):
    leaves(WAYS[0], raw)


# --- what is seen of the process itself -----------------------------------------------------------

ENDS = {
    "exit code": "import os; os._exit(40 + bit)",
    "signal": "import ctypes; ctypes.string_at(0) if bit else ctypes.CDLL(None).abort()",
    "error text": "raise ValueError(f'the bit is {bit}')",
    "written, then failed": "import os; os.write(3, b'%d' % bit); raise ValueError",
    "exit as if all was well": "raise SystemExit(bit)",
    "length of the log": "print('x' * 100000 * bit); raise ValueError",
}


@pytest.mark.parametrize("way", ENDS)
def test_how_a_run_failed_is_not_seen(way):
    code = "def go(tables, parameters):\n    bit = parameters['bit']\n    " + ENDS[way]
    outcomes = [
        Cage.probe().run(
            Job(
                code={"smuggler.py": code.encode()},
                entry="smuggler:go",
                parameters=json.dumps({"bit": bit}).encode(),
                limits=Limits(wall=60.0, log=4096),
            )
        )
        for bit in (0, 1)
    ]
    zero, one = (replace(outcome, log=b"") for outcome in outcomes)
    assert zero == one
    assert (zero.status, bytes(zero.output)) == ("failed", b"")
