"""Sealed streams: a known answer, resuming, and one fault per test."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits, shape
from protocol.errors import Misuse, Refused
from protocol.kinds.share import ShareHeader
from protocol.sealing import wrap
from protocol.sealing.stream import Chunk, End, Opener, Sealer, Segment, header_digest, read_frame
from tests.strategies import flipped

VECTOR = json.loads((Path(__file__).parents[1] / "vectors/stream.json").read_text())
KEY = b"k" * 32
SALT = b"s" * 32


def header_for(key: bytes, dataset: str = "lung") -> bytes:
    return shape.encode(
        ShareHeader(
            agreement=b"a" * 32,
            owner=b"o" * 32,
            dataset=dataset,
            contract=b"c" * 32,
            commitment=wrap.commitment(key),
            salt=bytes(32),
        )
    )


HEADER = header_for(KEY)


def seal(*chunks: bytes, key: bytes = KEY, header: bytes = HEADER) -> list[bytes]:
    return seal_with(SALT, *chunks, key=key, header=header)


def seal_with(salt: bytes, *chunks: bytes, key: bytes = KEY, header: bytes = HEADER) -> list[bytes]:
    sealer = Sealer(key, header)
    frames = [sealer.segment(salt)]
    frames += [sealer.chunk(plain, last=at == len(chunks)) for at, plain in enumerate(chunks, 1)]
    return [*frames, sealer.end()]


FRAMES = seal(b"first", b"second", b"third")


def open_all(frames: list[bytes]) -> bytes:
    opener = Opener(KEY, HEADER)
    plain = b"".join([bytes(opener.feed(frame)) for frame in frames])
    opener.digest()
    return plain


def refused(frames: list[bytes], code: str = "share.chunk") -> None:
    with pytest.raises(Refused) as caught:
        open_all(frames)
    assert caught.value.code == code


def by_nobody(chain: bytes, chunks: int) -> bytes:
    """A final frame by somebody without the key."""
    return b"\x03" + chain + chunks.to_bytes(8, "big") + bytes(8 + 32)


def seal_by_hand(vector: dict[str, str], chunks: list[str]) -> list[str]:
    """The format as its documentation says, written out."""
    key, header = bytes.fromhex(vector["key"]), bytes.fromhex(vector["header"])
    salt = bytes.fromhex(vector["salt"])
    tagged = b"village/share-header/v1\x00" + len(header).to_bytes(8, "big") + header
    digest = chain = hashlib.sha256(tagged).digest()
    extracted = hmac.digest(bytes(32), key, "sha256")
    cipher = AESGCM(hmac.digest(extracted, b"chunk" + digest + salt + b"\x01", "sha256"))
    frames = [b"\x01" + salt]
    for index, plain in enumerate(chunks):
        flag = int(index == len(chunks) - 1).to_bytes(4, "big")
        place = index.to_bytes(8, "big")
        sealed = cipher.encrypt(place + flag, bytes.fromhex(plain), digest)
        chain = hashlib.sha256(chain + sealed[-16:]).digest()
        frames.append(b"\x02" + place + sealed)
    said = chain + len(chunks).to_bytes(8, "big") + (3).to_bytes(8, "big")
    sign = hmac.digest(extracted, b"end" + digest + b"\x01", "sha256")
    frames.append(b"\x03" + said + hmac.digest(sign, said, "sha256"))
    return [frame.hex() for frame in frames]


def test_known_answer() -> None:
    key, header = bytes.fromhex(VECTOR["key"]), bytes.fromhex(VECTOR["header"])
    chunks = [bytes.fromhex(chunk) for chunk in VECTOR["chunks"]]
    sealer = Sealer(key, header)
    frames = [sealer.segment(bytes.fromhex(VECTOR["salt"]))]
    frames += [sealer.chunk(chunks[0]), sealer.chunk(chunks[1], last=True), sealer.end(3)]
    assert [frame.hex() for frame in frames] == VECTOR["frames"]
    assert seal_by_hand(VECTOR, VECTOR["chunks"]) == VECTOR["frames"]
    opener = Opener(key, header)
    assert [bytes(opener.feed(frame)) for frame in frames] == [b"", *chunks, b""]
    assert opener.excluded == 3


@given(st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=6))
def test_round_trip(chunks: list[bytes]) -> None:
    opener = Opener(KEY, HEADER)
    frames = seal(*chunks)
    assert b"".join([bytes(opener.feed(frame)) for frame in frames]) == b"".join(chunks)
    assert opener.finished
    assert (opener.chunks, opener.size) == (len(chunks), len(b"".join(chunks)))
    assert opener.digest() == opener.chain == frames[-1][1:33]


def test_empty_share() -> None:
    assert open_all(seal(b"")) == b""


def test_a_full_chunk_fits_a_frame() -> None:
    plain = bytes(limits.CHUNK)
    frames = seal(plain)
    assert len(frames[1]) == 1 + 8 + limits.CHUNK + 16 <= limits.FRAME
    assert open_all(frames) == plain


def test_frames_are_readable_without_a_key() -> None:
    assert read_frame(FRAMES[0]) == Segment(SALT)
    assert read_frame(FRAMES[2]) == Chunk(1, FRAMES[2][9:])
    assert read_frame(FRAMES[-1]) == End(FRAMES[-1][1:33], 3, 0, FRAMES[-1][49:])


# --- resuming ------------------------------------------------------------------------------------


def test_a_new_sealer_goes_on_where_the_opener_stands() -> None:
    opener = Opener(KEY, HEADER)
    assert [bytes(opener.feed(frame)) for frame in FRAMES[:2]] == [b"", b"first"]
    sealer = Sealer(KEY, HEADER)
    assert [sealer.segment(SALT), sealer.chunk(b"first")] == FRAMES[:2]
    assert sealer.chain == opener.chain
    frames = [sealer.segment(b"t" * 32), sealer.chunk(b"other", last=True), sealer.end()]
    assert [bytes(opener.feed(frame)) for frame in frames] == [b"", b"other", b""]
    assert open_all([*FRAMES[:2], *frames]) == b"firstother"  # and so does a replay of the store


def test_a_refused_frame_changes_nothing() -> None:
    opener = Opener(KEY, HEADER)
    opener.feed(FRAMES[0])
    for bad in (FRAMES[2], FRAMES[1][:-1], FRAMES[-1], b"", b"\x01short"):
        with pytest.raises(Refused):
            opener.feed(bad)
    assert (opener.chunks, opener.size) == (0, 0)
    assert opener.chain == header_digest(HEADER)
    assert [bytes(opener.feed(frame)) for frame in FRAMES[1:]] == [
        b"first",
        b"second",
        b"third",
        b"",
    ]


def test_resumed_after_other_bytes() -> None:
    opener = Opener(KEY, HEADER)
    opener.feed(FRAMES[0])
    opener.feed(FRAMES[1])
    sealer = Sealer(KEY, HEADER)
    sealer.segment(SALT)
    sealer.chunk(b"other")
    opener.feed(sealer.segment(b"t" * 32))
    opener.feed(sealer.chunk(b"x", last=True))
    with pytest.raises(Refused) as caught:
        opener.feed(sealer.end())
    assert caught.value.code == "share.chunk"


# --- one fault each ------------------------------------------------------------------------------


@given(flipped(FRAMES[2][1:]))
def test_flipped_bit_in_a_chunk(bad: bytes) -> None:
    refused([*FRAMES[:2], b"\x02" + bad, *FRAMES[3:]])


@given(flipped(FRAMES[0][1:]))
def test_flipped_bit_in_a_salt(bad: bytes) -> None:
    refused([b"\x01" + bad, *FRAMES[1:]])


@given(flipped(FRAMES[-1][1:]))
def test_flipped_bit_in_the_end(bad: bytes) -> None:
    refused([*FRAMES[:-1], b"\x03" + bad])


@pytest.mark.parametrize("type_", [0, 1, 3, 4, 255])
def test_other_type(type_: int) -> None:
    refused([*FRAMES[:2], bytes([type_]) + FRAMES[2][1:], *FRAMES[3:]])


@given(st.data())
def test_truncated_frame(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(FRAMES) - 1))
    size = data.draw(st.integers(0, len(FRAMES[at]) - 1))
    refused([*FRAMES[:at], FRAMES[at][:size], *FRAMES[at + 1 :]])


def test_extended_frame() -> None:
    refused([*FRAMES[:1], FRAMES[1] + b"\x00", *FRAMES[2:]])


def test_reordered() -> None:
    refused([FRAMES[0], FRAMES[2], FRAMES[1], *FRAMES[3:]])


def test_reordered_with_indexes_rewritten() -> None:
    first, second = FRAMES[1][:9] + FRAMES[2][9:], FRAMES[2][:9] + FRAMES[1][9:]
    refused([FRAMES[0], first, second, *FRAMES[3:]])


def test_repeated() -> None:
    refused([*FRAMES[:2], FRAMES[1], *FRAMES[2:]])


def test_left_out() -> None:
    refused([*FRAMES[:2], *FRAMES[3:]])


def test_without_a_segment() -> None:
    refused(FRAMES[1:])


def test_chunk_of_another_share() -> None:
    other = seal(b"first", header=header_for(KEY, dataset="other"))
    refused([FRAMES[0], other[1], *FRAMES[2:]])


def test_other_header() -> None:
    opener = Opener(KEY, header_for(KEY, dataset="other"))
    opener.feed(FRAMES[0])
    with pytest.raises(Refused) as caught:
        opener.feed(FRAMES[1])
    assert caught.value.code == "share.chunk"


def test_key_that_the_header_does_not_commit_to() -> None:
    for end in (Opener, Sealer):
        with pytest.raises(Refused) as caught:
            end(b"x" * 32, HEADER)
        assert caught.value.code == "share.commitment"


@pytest.mark.parametrize("header", [b"", b"\xa0", HEADER[:-1], HEADER + b"\x00"])
def test_malformed_header(header: bytes) -> None:
    with pytest.raises(Refused):
        Opener(KEY, header)


def test_oversize_chunk() -> None:
    refused([FRAMES[0], b"\x02" + bytes(8 + limits.CHUNK + 16 + 1)])
    sealer = Sealer(KEY, HEADER)
    sealer.segment(SALT)
    with pytest.raises(Misuse):
        sealer.chunk(bytes(limits.CHUNK + 1))


def test_oversize_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SHARE", len(b"firstsecond"))
    opener = Opener(KEY, HEADER)
    for frame in FRAMES[:3]:
        opener.feed(frame)
    with pytest.raises(Refused) as caught:
        opener.feed(FRAMES[3])
    assert caught.value.code == "share.chunk"


def test_too_many_chunks_under_one_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT_CHUNKS", 2)
    refused(FRAMES)
    sealer = Sealer(KEY, HEADER)
    frames = [sealer.segment(SALT), sealer.chunk(b"first"), sealer.chunk(b"second")]
    with pytest.raises(Misuse):
        sealer.chunk(b"third", last=True)
    frames += [sealer.segment(b"t" * 32), sealer.chunk(b"third", last=True), sealer.end()]
    assert open_all(frames) == b"firstsecondthird"


def test_missing_end() -> None:
    refused(FRAMES[:-1], "share.unfinished")


def test_cut_off_with_an_end_that_fits() -> None:
    """Anybody can compute the chain of a prefix; only the owner seals a last chunk, and an end."""
    chain = header_digest(HEADER)
    for frame in FRAMES[1:3]:
        chain = hashlib.sha256(chain + frame[-16:]).digest()
    refused([*FRAMES[:3], by_nobody(chain, 2)], "share.unfinished")


def test_an_end_that_fits_by_somebody_without_the_key() -> None:
    """A host that was sent two streams under one key could else make a third of them."""
    other = seal(b"uno", b"due", b"tre")
    resealed = [b"\x01" + b"t" * 32, *seal_with(b"t" * 32, b"uno", b"due", b"tre")[1:4]]
    mixed = [*FRAMES[:2], resealed[0], *resealed[2:]]
    opener = Opener(KEY, HEADER)
    assert b"".join([bytes(opener.feed(frame)) for frame in mixed]) == b"firstduetre"
    for end in (by_nobody(opener.chain, 3), FRAMES[-1], other[-1]):
        with pytest.raises(Refused) as caught:
            opener.feed(end)
        assert caught.value.code == "share.chunk"


def test_no_number_of_people_that_no_record_could_hold() -> None:
    sealer = Sealer(KEY, HEADER)
    frames = [sealer.segment(SALT), sealer.chunk(b"only", last=True)]
    open_all([*frames, sealer.end(2**53)])
    refused([*frames, sealer.end(2**53 + 1)])


def test_last_flag_missing() -> None:
    sealer = Sealer(KEY, HEADER)
    frames = [sealer.segment(SALT), sealer.chunk(b"only")]
    with pytest.raises(Misuse):
        sealer.end()
    refused([*frames, by_nobody(sealer.chain, sealer.chunks)], "share.unfinished")


def test_chunk_after_the_last() -> None:
    sealer = Sealer(KEY, HEADER)
    sealer.segment(SALT)
    with pytest.raises(Misuse):
        [sealer.chunk(b"one", last=True), sealer.chunk(b"two")]
    more = seal(b"first", b"second", b"third", b"fourth")
    refused([*FRAMES[:4], more[4]])


def test_segment_after_the_last() -> None:
    refused([*FRAMES[:4], b"\x01" + b"t" * 32, FRAMES[4]])


@pytest.mark.parametrize("at", range(len(FRAMES)))
def test_frames_after_the_end(at: int) -> None:
    refused([*FRAMES, FRAMES[at]])


def test_empty_chunk_in_the_middle() -> None:
    with pytest.raises(Misuse):
        seal(b"first", b"", b"third")
    digest = header_digest(HEADER)
    cipher = AESGCM(wrap.derive(KEY, b"chunk" + digest + SALT))
    refused([FRAMES[0], b"\x02" + bytes(8) + cipher.encrypt(bytes(12), b"", digest)])


# --- one ciphertext, two keys --------------------------------------------------------------------


def multiply(x: int, y: int) -> int:
    """GF(2^128) as GCM has it (NIST SP 800-38D section 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def inverse(x: int) -> int:
    result = 1 << 127
    for bit in range(127, -1, -1):
        result = multiply(result, result)
        if bit:  # the exponent is 2^128 - 2
            result = multiply(result, x)
    return result


def block(key: bytes, plain: bytes) -> int:
    return int.from_bytes(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(plain))  # noqa: S305


def two_faced(one: bytes, two: bytes, nonce: bytes, aad: bytes) -> bytes:
    """A ciphertext with a tag that opens under both keys: one free block makes the tags agree."""
    body = [int.from_bytes(hashlib.sha256(b"any").digest()[:16])]
    blocks = [int.from_bytes(aad[:16]), int.from_bytes(aad[16:]), *body]
    lengths = len(aad) * 8 << 64 | (len(body) + 1) * 128

    def tag_without(key: bytes) -> tuple[int, int]:
        power, total = block(key, bytes(16)), 0
        for each in [*blocks, 0, lengths]:
            total = multiply(total ^ each, power)
        return total ^ block(key, nonce + b"\x00\x00\x00\x01"), multiply(power, power)

    (tag_one, power_one), (tag_two, power_two) = tag_without(one), tag_without(two)
    free = multiply(tag_one ^ tag_two, inverse(power_one ^ power_two))
    tag = tag_one ^ multiply(free, power_one)
    return b"".join(each.to_bytes(16) for each in [*body, free, tag])


def test_other_key_for_the_same_ciphertext() -> None:
    other, digest = b"x" * 32, header_digest(HEADER)
    chunk_keys = [wrap.derive(key, b"chunk" + digest + SALT) for key in (KEY, other)]
    nonce = bytes(11) + b"\x01"
    sealed = two_faced(chunk_keys[0], chunk_keys[1], nonce, digest)
    opened = [AESGCM(key).decrypt(nonce, sealed, digest) for key in chunk_keys]
    assert opened[0] != opened[1]  # AES-GCM alone takes both
    opener = Opener(KEY, HEADER)
    opener.feed(FRAMES[0])
    assert opener.feed(b"\x02" + bytes(8) + sealed) == opened[0]
    with pytest.raises(Refused) as caught:
        Opener(other, HEADER)
    assert caught.value.code == "share.commitment"
