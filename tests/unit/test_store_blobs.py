"""Blobs and share streams: sealed, whole, bounded, and no damage goes unseen."""

import hashlib
import os
import stat

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from node.store import StoreError, StoreFault, StoreFull, StoreMissing, blobs
from node.store.blobs import Blobs, SealedShares
from node.store.small_shares import SMALL
from protocol import limits
from protocol.errors import Misuse

KEY = b"\x07" * 32
SHARE = b"s" * 32


def only_file(folder):
    (file,) = folder.iterdir()
    return file


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 250])
def test_a_blob_comes_back_for_every_way_its_chunks_end(tmp_path, monkeypatch, size):
    monkeypatch.setattr(blobs, "CHUNK", 100)
    kept = Blobs(tmp_path, KEY)
    data = bytes(range(250))[:size]
    digest = kept.put(data)
    assert digest == hashlib.sha256(data).digest()
    assert kept.get(digest) == data
    assert Blobs(tmp_path, KEY).get(digest) == data


def test_a_blob_is_sealed_at_rest_and_its_file_is_private(tmp_path):
    data = b"a sentence that must not stand on the disk" * 3
    Blobs(tmp_path, KEY).put(data)
    assert data[:20] not in only_file(tmp_path).read_bytes()
    assert stat.S_IMODE(only_file(tmp_path).stat().st_mode) == 0o600


def test_one_blob_sealed_twice_never_looks_the_same(tmp_path):
    kept = Blobs(tmp_path, KEY)
    digest = kept.put(b"same")
    first = only_file(tmp_path).read_bytes()
    kept.delete(digest)
    kept.put(b"same")
    assert only_file(tmp_path).read_bytes() != first


def test_every_altered_byte_of_a_blob_is_noticed(tmp_path):
    kept = Blobs(tmp_path, KEY)
    digest = kept.put(b"twenty bytes of data")
    file = only_file(tmp_path)
    whole = file.read_bytes()
    for position in range(len(whole)):
        altered = bytearray(whole)
        altered[position] ^= 1
        file.write_bytes(altered)
        with pytest.raises(StoreFault) as caught:
            kept.get(digest)
        assert caught.value.code == "blobs.damaged"


def test_a_cut_swapped_or_extended_blob_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(blobs, "CHUNK", 100)
    kept = Blobs(tmp_path, KEY)
    digest = kept.put(bytes(250))
    file = only_file(tmp_path)
    whole = file.read_bytes()
    first, second, third = whole[32:148], whole[148:264], whole[264:]
    for body in (first, first + second, second + first + third, first + second + third + b"x", b""):
        file.write_bytes(whole[:32] + body)
        with pytest.raises(StoreFault):
            kept.get(digest)
    file.write_bytes(whole[:20])
    with pytest.raises(StoreFault):
        kept.get(digest)


def test_the_cipher_alone_notices_a_cut_and_another_name(tmp_path, monkeypatch):
    monkeypatch.setattr(blobs, "CHUNK", 100)
    kept = Blobs(tmp_path, KEY)
    digest = kept.put(bytes(200))
    sealed = only_file(tmp_path).read_bytes()
    assert kept._open(digest, sealed) == bytes(200)
    with pytest.raises(InvalidTag):
        kept._open(digest, sealed[: 32 + 116])
    with pytest.raises(InvalidTag):
        kept._open(hashlib.sha256(b"other").digest(), sealed)


def test_a_blob_and_its_name_are_on_disk_before_put_returns(tmp_path, monkeypatch):
    kept = Blobs(tmp_path, KEY)
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode))
    )
    kept.put(b"data")
    assert synced == [stat.S_IFREG, stat.S_IFDIR]


def test_another_key_or_another_name_opens_nothing(tmp_path):
    kept = Blobs(tmp_path, KEY)
    digest = kept.put(b"data")
    with pytest.raises(StoreFault):
        Blobs(tmp_path, b"\x08" * 32).get(digest)
    other = hashlib.sha256(b"other").digest()
    only_file(tmp_path).rename(tmp_path / other.hex())
    with pytest.raises(StoreFault):
        kept.get(other)
    with pytest.raises(StoreMissing):
        kept.get(digest)


def test_blobs_are_bounded_and_room_comes_back(tmp_path, monkeypatch):
    kept = Blobs(tmp_path, KEY, limit=200)
    digest = kept.put(bytes(100))
    assert kept.put(bytes(100)) == digest
    for again in (kept, Blobs(tmp_path, KEY, limit=200)):
        with pytest.raises(StoreFull):
            again.put(b"x" * 100)
    assert kept.delete(digest)
    assert not kept.delete(digest)
    assert kept.has(kept.put(b"x" * 100))
    monkeypatch.setattr(limits, "BLOB", 10)
    with pytest.raises(StoreFull):
        kept.put(b"y" * 11)


def test_what_a_crash_left_is_removed_at_start(tmp_path):
    digest = Blobs(tmp_path, KEY).put(b"data")
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"half")
    kept = Blobs(tmp_path, KEY)
    assert only_file(tmp_path).name == digest.hex()
    assert kept.get(digest) == b"data"


def test_misuse_is_named(tmp_path):
    with pytest.raises(Misuse):
        Blobs(tmp_path, b"short")
    with pytest.raises(Misuse):
        Blobs(tmp_path, KEY).get(b"../../etc/passwd")


def test_a_share_grows_frame_by_frame_and_is_finished(tmp_path):
    shares = SealedShares(tmp_path)
    with shares.begin(SHARE) as writer:
        writer.append(b"one")
        writer.append(b"three")
        assert list(shares.frames(SHARE)) == [b"one", b"three"]
        assert shares.shares() == {SHARE: False}
        writer.finish()
    assert shares.finished(SHARE)
    assert shares.size(SHARE) == 8
    assert list(shares.frames(SHARE)) == [b"one", b"three"]
    assert SealedShares(tmp_path).shares() == {SHARE: True}
    with pytest.raises(StoreError) as caught:
        shares.begin(SHARE)
    assert caught.value.code == "shares.finished"
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("size", "suffixes"), [(SMALL - 8, {".db"}), (SMALL - 7, {".share"})], ids=["row", "file"]
)
def test_a_small_share_is_a_row_and_a_larger_one_a_file(tmp_path, size, suffixes):
    shares = SealedShares(tmp_path)
    frames = [b"1", bytes(size - 1)]
    with shares.begin(SHARE) as writer:
        for frame in frames:
            writer.append(frame)
        writer.finish()
    room = SealedShares(tmp_path, limit=10**6).room()
    assert room == 10**6 - size - 8
    for here in (shares, SealedShares(tmp_path)):
        assert {file.suffix for file in tmp_path.iterdir()} - {".db-shm", ".db-wal"} == suffixes
        assert (here.finished(SHARE), here.size(SHARE)) == (True, size)
        assert list(here.frames(SHARE)) == frames
        with here.open(SHARE) as file:
            content = os.pread(file.fileno(), size + 8, 0)
        assert content == b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    assert shares.delete(SHARE)
    assert SealedShares(tmp_path).shares() == {}
    assert not any(bytes(100) in file.read_bytes() for file in tmp_path.glob("*.share"))


def test_what_is_erased_of_a_small_share_is_overwritten(tmp_path):
    shares = SealedShares(tmp_path)
    with shares.begin(SHARE) as writer:
        writer.append(b"ciphertext" * 50)
        writer.finish()
    files = [tmp_path / "small.db", tmp_path / "small.db-wal"]
    assert any(b"ciphertext" in file.read_bytes() for file in files)
    assert shares.delete(SHARE)
    assert not any(b"ciphertext" in file.read_bytes() for file in files)


def test_a_kill_between_row_and_file_leaves_one_of_them(tmp_path, monkeypatch):
    shares = SealedShares(tmp_path)
    with shares.begin(SHARE) as writer, monkeypatch.context() as killed:
        writer.append(b"one")
        killed.setattr("pathlib.Path.unlink", lambda _: None)
        writer.finish()
    assert (tmp_path / f"{SHARE.hex()}.part").exists()
    again = SealedShares(tmp_path)
    assert again.shares() == {SHARE: True}
    assert not list(tmp_path.glob("*.part"))


@given(
    frames=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cut=st.integers(0, 300),
)
def test_any_torn_tail_resumes_after_the_last_whole_frame(tmp_path_factory, frames, cut):
    folder = tmp_path_factory.mktemp("torn")
    with SealedShares(folder).begin(SHARE) as writer:
        for frame in frames:
            writer.append(frame)
    file = only_file(folder)
    file.write_bytes(file.read_bytes()[:cut])
    whole = sum(sum(4 + len(f) for f in frames[: n + 1]) <= cut for n in range(len(frames)))
    shares = SealedShares(folder)
    with shares.begin(SHARE) as writer:
        assert writer.frames == whole
        assert writer.size == sum(map(len, frames[:whole]))
        writer.append(b"next")
        writer.finish()
    assert list(shares.frames(SHARE)) == [*frames[:whole], b"next"]


def test_an_impossible_length_is_a_torn_tail(tmp_path):
    with SealedShares(tmp_path).begin(SHARE) as writer:
        writer.append(b"one")
    with only_file(tmp_path).open("ab") as file:
        file.write(b"\xff" * 5000)
    with SealedShares(tmp_path).begin(SHARE) as writer:
        assert (writer.frames, writer.size) == (1, 3)


def test_zeros_after_a_power_loss_are_a_torn_tail(tmp_path):
    with SealedShares(tmp_path).begin(SHARE) as writer:
        writer.append(b"one")
    with only_file(tmp_path).open("ab") as file:
        file.write(bytes(5000))
    with SealedShares(tmp_path).begin(SHARE) as writer:
        assert (writer.frames, writer.size) == (1, 3)


def test_a_damaged_complete_share_is_a_fault(tmp_path):
    shares = SealedShares(tmp_path)
    with shares.begin(SHARE) as writer:
        writer.append(bytes(SMALL))
        writer.finish()
    with only_file(tmp_path).open("ab") as file:
        file.write(b"\0\0")
    with pytest.raises(StoreFault) as caught:
        list(shares.frames(SHARE))
    assert caught.value.code == "shares.damaged"


def test_one_writer_at_a_time(tmp_path):
    shares = SealedShares(tmp_path)
    with shares.begin(SHARE):
        for act in (shares.begin, shares.delete):
            with pytest.raises(StoreError) as caught:
                act(SHARE)
            assert caught.value.code == "shares.busy"
    shares.begin(SHARE).close()
    assert shares.delete(SHARE)
    assert not shares.delete(SHARE)
    with pytest.raises(StoreMissing):
        shares.size(SHARE)
    with pytest.raises(StoreMissing):
        list(shares.frames(SHARE))


def test_shares_are_bounded_and_room_comes_back(tmp_path):
    shares = SealedShares(tmp_path, limit=30)
    with shares.begin(SHARE) as writer:
        writer.append(bytes(20))
        with pytest.raises(StoreFull):
            writer.append(bytes(20))
        writer.append(b"12")
        assert writer.frames == 2
    shares.delete(SHARE)
    with shares.begin(b"t" * 32) as writer:
        writer.append(bytes(20))


@pytest.mark.parametrize("size", [0, limits.FRAME + 1])
def test_a_frame_has_a_size(tmp_path, size):
    with SealedShares(tmp_path).begin(SHARE) as writer, pytest.raises(Misuse):
        writer.append(bytes(size))
