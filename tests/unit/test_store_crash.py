"""kill -9 at any moment: nothing half, and nothing lost that was acknowledged."""

import hashlib
import os
import signal
import subprocess
import sys

import pytest

from node.store.blobs import SealedShares
from node.store.journal import Journal

BATCH = 7
TOPIC = hashlib.sha256(b"topic").digest()
SHARE = b"s" * 32

JOURNAL_WRITER = """
import hashlib, sys
from pathlib import Path
from node.store import Entry
from node.store.journal import Journal
journal = Journal.open(Path(sys.argv[1]))
topic, key = hashlib.sha256(b"topic").digest(), b"k" * 32
for batch in range(100_000):
    entries = []
    for seq in range(batch * 7, batch * 7 + 7):
        raw = seq.to_bytes(8, "big") * 40
        entries.append(Entry(id=hashlib.sha256(raw).digest(), topic=topic, key=key, seq=seq,
                             prev=None, author=key, kind="vote", at=1, raw=raw))
    journal.commit(entries, {"batch": str(batch).encode()})
    print(batch, flush=True)
"""

SHARE_WRITER = """
import sys
from pathlib import Path
from node.store.blobs import SealedShares
with SealedShares(Path(sys.argv[1])).begin(b"s" * 32) as writer:
    while True:
        writer.append(writer.frames.to_bytes(8, "big") * 20_000)
        print(writer.frames - 1, flush=True)
"""


def run_and_kill(program, path, acknowledged):
    """Start the writer, kill it right after that many acknowledgements, return the last one."""
    with subprocess.Popen(  # noqa: S603 (our own program)
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        for _ in range(acknowledged):
            assert process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split("\n")
    assert process.returncode == -signal.SIGKILL
    complete = [int(line) for line in rest[:-1]]
    return complete[-1] if complete else acknowledged - 1


@pytest.mark.parametrize("acknowledged", [1, 40, 150])
def test_the_journal_has_whole_batches_and_all_acknowledged_ones(tmp_path, acknowledged):
    last = run_and_kill(JOURNAL_WRITER, tmp_path / "journal.db", acknowledged)
    journal = Journal.open(tmp_path / "journal.db")
    found = [int.from_bytes(raw[:8], "big") for raw in journal.records(TOPIC)]
    assert found == list(range(len(found)))
    assert len(found) % BATCH == 0
    assert len(found) >= (last + 1) * BATCH
    assert journal.state("batch") == str(len(found) // BATCH - 1).encode()
    assert journal._one("PRAGMA integrity_check") == "ok"
    journal.close()


@pytest.mark.parametrize("acknowledged", [1, 60])
def test_a_share_resumes_after_its_last_whole_frame(tmp_path, acknowledged):
    last = run_and_kill(SHARE_WRITER, tmp_path, acknowledged)
    shares = SealedShares(tmp_path)
    with shares.begin(SHARE) as writer:
        assert writer.frames >= last + 1
        kept = writer.frames
        writer.append(b"resumed")
        writer.finish()
    *old, new = shares.frames(SHARE)
    assert [int.from_bytes(frame[:8], "big") for frame in old] == list(range(kept))
    assert new == b"resumed"
