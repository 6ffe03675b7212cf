"""What the first sandbox does with shares, run here: one table, tags, overlap, many small ones."""

import io
import itertools
import json
import os

import pyarrow as pa
import pyarrow.compute
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from enclave_host import contributors, outputs
from enclave_host.contract import Column, Contract
from enclave_host.inputs import Keys, _combined
from enclave_host.private import Room, shown
from enclave_host.runners import prepare
from protocol.errors import Refused
from protocol.kinds.agreement import Dataset

COLUMNS = (
    Column(name="person", type="string", required=True, unique=False),
    Column(name="note", type="string", required=False, unique=False),
    Column(name="n", type="integer", required=False, unique=True),
)
CONTRACT = Contract(columns=COLUMNS, rows=(0, 10_000_000))
KEYS = Keys(contributors.key(bytes(32)), outputs.person_key(b"run one"))
NUMBERS = itertools.count()


def arrow(rows, batch=None):
    """Rows (person, note) or (person, note, n) as a share."""
    rows = [row if len(row) == 3 else (*row, next(NUMBERS)) for row in rows]
    kinds = pa.schema([("n", pa.int32()), ("person", pa.string()), ("note", pa.string())])
    table = pa.table(
        {
            "n": pa.array([row[2] for row in rows], pa.int32()),
            "person": pa.array([row[0] for row in rows], pa.string()),
            "note": pa.array([row[1] for row in rows], pa.string()),
        },
        kinds,
    )
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return sink.getvalue()


def combine(*shares, overlap="keep", keys=KEYS, contract=CONTRACT, room=None):
    """`shares` are (whose own, or None; bytes)."""
    room = room or Room(64 << 20)
    dataset = Dataset(id="d", contract=bytes(32), person="person", sources=(), overlap=overlap)
    spools = [room.spool() for _ in shares]
    for spool, (_, plain) in zip(spools, shares, strict=True):
        spool.write(plain)
    table = room.spool()
    with shown(spools) as (inputs, extents):
        plan = {
            "task": "combine",
            "contract": contract.plain(),
            "person": "person",
            "overlap": overlap,
            "tag_key": keys.tag.hex(),
            "person_key": keys.row.hex(),
            "shares": [
                {"extent": extent, "person": person}
                for extent, (person, _) in zip(extents, shares, strict=True)
            ],
        }
        inputs["table"] = table.lend(8 << 20)
        plan = json.loads(json.dumps(plan))
        made = prepare.Table(pa, plan, prepare.Windows(inputs["table"]))
        head = json.loads(json.dumps(prepare.combine(pa, plan, inputs, made)))
    rest = bytes(made.tags + made.contents + made.left_out)
    found = _combined(contract, dataset, len(shares), head, rest, table)
    stream = os.pread(table.shown, head["size"], 0)
    room.close()
    return found, ipc.open_stream(stream).read_all()


def tag(person, key=KEYS.tag):
    return prepare.tag(key, person)


def test_the_table_has_persons_only_as_what_stands_for_them():
    found, table = combine(
        (None, arrow([("ann", "x"), ("bob", None)])), ("cy", arrow([("cy", "z")]))
    )
    assert table.column_names == ["note", "n", "_person"]
    assert table.column("note").to_pylist() == ["x", None, "z"]
    assert table.column("n").type == pa.int64()
    people = [tag(name, KEYS.row) for name in ("ann", "bob", "cy")]
    assert table.column("_person").to_pylist() == people
    assert found.tags == tuple(map(tag, ("ann", "bob", "cy")))
    assert not set(found.tags) & set(people)
    assert (found.rows, found.left_out) == ((2, 1), ((), ()))


def test_who_stands_for_a_person_is_the_same_in_one_run_and_another_in_the_next():
    ann = arrow([("ann", "x")])
    first, again = combine((None, ann)), combine((None, arrow([("ann", "y"), ("bob", "x")])))
    assert first[1].column("_person")[0] == again[1].column("_person")[0]
    later = combine((None, ann), keys=Keys(KEYS.tag, outputs.person_key(b"run two")))
    assert later[0].tags == first[0].tags
    assert later[1].column("_person")[0] != first[1].column("_person")[0]
    other = combine((None, ann), keys=Keys(contributors.key(b"\1" * 32), KEYS.row))
    assert other[0].tags != first[0].tags


def test_the_persons_own_rows_win_in_whatever_order_the_shares_come():
    own, theirs = arrow([("bob", "own")]), arrow([("ann", "a"), ("bob", "b1"), ("bob", "b2")])
    for shares in ([("bob", own), (None, theirs)], [(None, theirs), ("bob", own)]):
        found, table = combine(*shares, overlap="vault")
        assert sorted(table.column("note").to_pylist()) == ["a", "own"]
        assert len(found.tags) == 2
        place = shares.index((None, theirs))
        assert found.rows[place] == 1
        assert found.left_out[place] == (tag("bob"),)
        assert found.left_out[1 - place] == ()
    _, table = combine(("bob", own), (None, theirs), overlap="keep")
    assert table.num_rows == 4


def test_two_organizations_with_one_person_keep_both_under_vault():
    shares = [(None, arrow([("ann", "a")])), (None, arrow([("ann", "b")]))]
    assert combine(*shares, overlap="vault")[1].num_rows == 2


@pytest.mark.parametrize("own", [None, "ann"])
def test_refuse_finds_one_person_in_two_shares(own):
    twice = arrow([("ann", "a"), ("ann", "b")]) if own is None else arrow([("ann", "a")])
    assert combine((own, twice), (None, arrow([("bob", "b")])), overlap="refuse")[1].num_rows > 1
    with pytest.raises(Refused, match="in dataset d") as refused:
        combine((None, arrow([("x", "y"), ("ann", "a")])), (own, twice), overlap="refuse")
    assert refused.value.code == "run.overlap"


def test_a_share_of_one_person_is_about_that_person():
    for rows in ([("bob", "b")], [("ann", "a"), ("bob", "b")], []):
        with pytest.raises(Refused, match=r"person\.other"):
            combine(("ann", arrow(rows)))


def test_a_fault_in_any_share_leaves_no_table():
    with pytest.raises(Refused, match=r"share\.contract: share\.contract n\.unique"):
        combine((None, arrow([("a", "b")])), (None, arrow([("x", "", 7), ("y", "", 7)], batch=1)))
    with pytest.raises(Refused, match=r"table\.format"):
        combine((None, b"no arrow"))
    with pytest.raises(Refused, match=r"table\.format"):
        combine((None, arrow([("a", "b")]) + b"more"))


def test_a_thousand_shares_of_one_row_are_one_batch_in_two_files():
    shares = [(f"p{n}", arrow([(f"p{n}", "x" * (n % 50))])) for n in range(1000)]
    room = Room(64 << 20)
    before = len(os.listdir("/proc/self/fd"))
    spools = [room.spool() for _ in shares]
    for spool, (_, plain) in zip(spools, shares, strict=True):
        spool.write(plain)
    assert len(os.listdir("/proc/self/fd")) == before
    with shown(spools) as (inputs, extents):
        assert (len(inputs), len(extents)) == (1, 1000)
        assert all(not spool.small for spool in spools)  # their memory is taken once
    room.close()
    found, table = combine(*shares)
    assert found.tags == tuple(tag(person) for person, _ in shares)
    assert table.column("note").num_chunks == 1


def test_a_large_share_has_a_file_of_its_own_and_is_read_as_a_stream(monkeypatch):
    monkeypatch.setattr(prepare, "AT_ONCE", 1 << 10)
    monkeypatch.setattr(prepare, "WINDOW", 1 << 16)
    monkeypatch.setattr(prepare, "BATCH", (500, 1 << 20))
    rows = [(f"p{n}", "note " * 300) for n in range(2000)]
    found, table = combine((None, arrow(rows, batch=100)), (None, arrow([("last", "one")])))
    assert table.column("note").to_pylist() == [note for _, note in rows] + ["one"]
    assert found.rows == (2000, 1)


def test_a_table_beyond_the_room_is_too_much_memory():
    with pytest.raises(MemoryError):
        combine((None, arrow([("a", "x" * 1000)] * 9000)), room=Room(64 << 20), contract=CONTRACT)


def test_a_file_that_was_lent_ends_where_the_job_wrote_last():
    """Its readers map all of it."""
    room = Room(100)
    spool = room.spool()
    os.pwrite(spool.lend(1 << 40), b"ten bytes!", 0)
    spool.kept(10)
    assert (os.fstat(spool.shown).st_size, room.used) == (10, 10)
    spool.wipe()
    assert room.used == 0
    other = room.spool()
    other.lend(1 << 40)
    other.wipe()  # ends: nothing of what was only lent is overwritten


texts = st.none() | st.text("\x00\x1f\x1eab1", max_size=4)


@settings(max_examples=60)
@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=12))
def test_only_equal_rows_have_equal_contents(rows):
    columns = [pa.array([row[place] for row in rows], pa.string()) for place in (0, 1)]
    found = prepare.contents(pa, columns, len(rows))
    for one, other in itertools.combinations(range(len(rows)), 2):
        assert (found[one] == found[other]) == (rows[one] == rows[other])


def test_different_bytes_are_different_contents():
    (first, second, third) = prepare.contents(pa, [pa.array([b"\xff", b"\xff", b"\xfe"])], 3)
    assert first == second != third


@pytest.mark.parametrize(
    "lie",
    [
        {"size": -1},
        {"size": True},
        {"rows": [1, 1]},
        {"rows": [-1, 2]},
        {"left_out": [5]},
        {"rows": ["1"]},
        {"rows": [0, 1], "left_out": [0, 0]},
    ],
    ids=str,
)
def test_a_head_that_does_not_add_up_is_refused(lie):
    head = {"fault": None, "rows": [1], "left_out": [0], "size": 10} | lie
    dataset = Dataset(id="d", contract=bytes(32), person="person", sources=())
    room = Room(100)
    with pytest.raises(Refused, match="do not add up"):
        _combined(CONTRACT, dataset, 1, head, bytes(32), room.spool())
    assert room.used == 0
