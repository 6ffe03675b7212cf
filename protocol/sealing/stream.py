"""Sealed streams: a share as frames that open one by one, in order, completely, or not at all.

A frame is one byte of type and a payload:
  1 segment  32-byte random salt
  2 chunk    8-byte index, ciphertext and tag of at most 1 MiB
  3 end      32-byte chain digest, 8-byte number of chunks, 8-byte number of people left out, and
             HMAC-SHA256 of these 48 bytes
Chunks are AES-256-GCM with nonce = 8-byte index and 4-byte last flag (0 or 1), AAD = header digest,
key = HKDF(share key, "chunk" | header digest | salt of the segment). A sender that starts again
begins a segment with a new salt, so no key and nonce ever seal twice. The chain starts at the
header digest; each chunk makes it SHA-256(chain | tag). The key of the HMAC is HKDF(share key,
"end" | header digest): only who has the share key says what the whole stream is. The construction
is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar 2015) with segments.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import assert_never

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol import keys, limits, shape
from protocol.errors import Misuse, Refused
from protocol.kinds.share import ShareHeader
from protocol.sealing import wrap

SALT_BYTES = 32
"""A segment's salt: fresh and random, the sender's only duty."""

TAG_BYTES = 16
"""The AES-GCM tag at the end of each chunk."""

_HEAD = 9
_MOST = 2**53  # as far as a record counts (protocol.shape.Count)
AROUND = _HEAD + TAG_BYTES
"""Bytes of a chunk's frame beside the plain ones: type and index before, the tag after."""

END_BYTES = 1 + 32 + 8 + 8 + 32
"""Bytes of the final frame."""

Bytes = bytes | memoryview
"""A frame, or a part of one; of a large one a view spares the copy."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Frame 1: from here on chunks are under a new key."""

    salt: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frame 2: the sealed chunk at `index`."""

    index: int
    sealed: Bytes


@dataclass(frozen=True, slots=True)
class End:
    """Frame 3: what the sender sent in all, and how many people it left out."""

    chain: bytes
    chunks: int
    excluded: int
    mac: bytes


Frame = Segment | Chunk | End


def read_frame(raw: Bytes) -> Frame:
    """The frame in `raw`, not yet verified. Raises Refused (share.chunk)."""
    payload = raw[1:]
    match bytes(raw[:1]), len(payload):
        case b"\x01", 32:
            return Segment(bytes(payload))
        case b"\x02", size if 8 + TAG_BYTES <= size <= 8 + limits.CHUNK + TAG_BYTES:
            return Chunk(int.from_bytes(payload[:8], "big"), payload[8:])
        case b"\x03", 80:
            chunks, excluded = (int.from_bytes(payload[at : at + 8], "big") for at in (32, 40))
            return End(bytes(payload[:32]), chunks, excluded, bytes(payload[48:]))
        case _:
            type_ = bytes(raw[:1]).hex()
            raise Refused("share.chunk", f"no frame of {len(raw)} bytes and type {type_}")


def header_digest(header: bytes) -> bytes:
    """The digest of a share header's exact bytes: AAD of every chunk, start of the chain."""
    return keys.digest("share-header", header)


class Sealer:
    """The owner's end: makes the frames of one share. Who goes on with a broken stream makes the
    first ones again, with the salts that they had: the same plain bytes give the same chain.
    """

    def __init__(self, share_key: bytes, header: bytes) -> None:
        """Raises Refused (share.commitment, shape.mismatch) if the header is not for this key."""
        self._share_key = share_key
        self._header = _open_header(share_key, header)
        self._cipher: AESGCM | None = None
        self._left = 0
        self._ended = False
        self.chunks = 0
        self.chain = self._header

    @property
    def open(self) -> bool:
        """Whether a chunk may come: a segment was begun, and has room."""
        return self._left > 0

    def segment(self, salt: bytes) -> bytes:
        """Begin a segment: at the start, after every restart, every limits.SEGMENT_CHUNKS chunks.

        `salt` are 32 fresh random bytes: used twice, they would break the encryption, unless what
        is sealed with them again leaves this process no second time.
        """
        if len(salt) != SALT_BYTES:
            raise Misuse("a segment salt is 32 bytes")
        self._cipher = _cipher(self._share_key, self._header, salt)
        self._left = limits.SEGMENT_CHUNKS
        return b"\x01" + salt

    def chunk(self, plain: Bytes, last: bool = False) -> bytes:
        """Seal the next chunk. Only the last may be empty; nothing but `end` comes after it."""
        return bytes(self.chunk_into(memoryview(bytearray(len(plain) + AROUND)), plain, last))

    def chunk_into(self, frame: memoryview, plain: Bytes, last: bool = False) -> memoryview:
        """As `chunk`, into the start of a buffer that has AROUND bytes more than `plain`."""
        if self._cipher is None or not self._left or self._ended:
            raise Misuse("begin a segment first; after the last chunk there is none")
        if len(plain) > limits.CHUNK or not (plain or last):
            raise Misuse("a chunk is 1 byte to 1 MiB, or empty and the last")
        frame = frame[: len(plain) + AROUND]
        frame[:_HEAD] = b"\x02" + self.chunks.to_bytes(8, "big")
        nonce = _nonce(self.chunks, last)
        self._cipher.encrypt_into(nonce, plain, self._header, frame[_HEAD:])
        self.chain = _next(self.chain, frame)
        self.chunks += 1
        self._left -= 1
        self._ended = last
        return frame

    def end(self, excluded: int = 0) -> bytes:
        """The final frame, after the last chunk: `excluded` people were left out."""
        if not self._ended:
            raise Misuse("the last chunk must say so")
        said = _said(self.chain, self.chunks, excluded)
        return b"\x03" + said + _mac(self._share_key, self._header, said)


class Opener:
    """The enclave's end: verifies and opens frame by frame; memory does not grow with the share.

    `chunks` and `chain` say where a sender that resumes must go on; `size` counts plain bytes, and
    `excluded`, after the final frame, people who were left out. A frame that is refused changes
    nothing.
    """

    def __init__(self, share_key: bytes, header: bytes) -> None:
        """Raises Refused (share.commitment, codec.*, shape.mismatch)."""
        self._share_key = share_key
        self._header = _open_header(share_key, header)
        self._cipher: AESGCM | None = None
        self._plain = memoryview(bytearray())
        self._left = 0
        self._last_seen = False
        self.chunks = 0
        self.size = 0
        self.excluded = 0
        self.chain = self._header
        self.finished = False

    def feed(self, frame: Bytes) -> memoryview:
        """The plain bytes that `frame` adds: a view of a buffer that the next call writes over.

        Raises Refused (share.chunk, share.unfinished).
        """
        if self.finished:
            raise Refused("share.chunk", "a frame after the final one")
        match read_frame(frame):
            case Segment(salt):
                self._begin(salt)
                return self._plain[:0]
            case Chunk() as chunk:
                return self._open(chunk)
            case End() as end:
                self._end(end)
                return self._plain[:0]
            case other:
                assert_never(other)

    def digest(self) -> bytes:
        """The chain digest of the whole share. Raises Refused (share.unfinished)."""
        if not self.finished:
            raise Refused("share.unfinished", f"{self.chunks} chunks so far")
        return self.chain

    def _begin(self, salt: bytes) -> None:
        if self._last_seen:
            raise Refused("share.chunk", "a segment after the last chunk")
        self._cipher = _cipher(self._share_key, self._header, salt)
        self._left = limits.SEGMENT_CHUNKS

    def _open(self, chunk: Chunk) -> memoryview:
        if self._last_seen or self._cipher is None or not self._left:
            raise Refused("share.chunk", "no chunk may stand here")
        if chunk.index != self.chunks:
            raise Refused("share.chunk", f"chunk {chunk.index}, expected {self.chunks}")
        plain, last = self._decrypt(self._cipher, chunk)
        if self.size + len(plain) > limits.SHARE or not (plain or last):
            raise Refused("share.chunk", "the share is too large, or a chunk is empty")
        self.chain = _next(self.chain, chunk.sealed)
        self.chunks += 1
        self.size += len(plain)
        self._left -= 1
        self._last_seen = last
        return plain

    def _decrypt(self, cipher: AESGCM, chunk: Chunk) -> tuple[memoryview, bool]:
        """The last flag is not sent, only sealed in: both are tried, in this order everywhere."""
        size = len(chunk.sealed) - TAG_BYTES
        if size > len(self._plain):
            self._plain = memoryview(bytearray(size))
        plain = self._plain[:size]
        for last in (False, True):
            try:
                cipher.decrypt_into(_nonce(chunk.index, last), chunk.sealed, self._header, plain)
            except InvalidTag:
                plain[:] = bytes(len(plain))  # what does not verify is seen by nobody
                continue
            return plain, last
        raise Refused("share.chunk", f"chunk {chunk.index} does not verify")

    def _end(self, end: End) -> None:
        if not self._last_seen:
            raise Refused("share.unfinished", "the final frame came before the last chunk")
        if end.chunks != self.chunks or not hmac.compare_digest(end.chain, self.chain):
            raise Refused("share.chunk", "the final frame tells of other chunks")
        said = _said(end.chain, end.chunks, end.excluded)
        if not hmac.compare_digest(end.mac, _mac(self._share_key, self._header, said)):
            raise Refused("share.chunk", "the final frame is not by who sealed the share")
        if end.excluded > _MOST:
            raise Refused("share.chunk", f"{end.excluded} people were left out")
        self.finished = True
        self.excluded = end.excluded
        self._plain = memoryview(bytearray())


def _open_header(share_key: bytes, header: bytes) -> bytes:
    """The header's digest, once it is known to be about this very key."""
    promised = shape.decode(ShareHeader, header).commitment
    if not hmac.compare_digest(promised, wrap.commitment(share_key)):
        raise Refused("share.commitment")
    return header_digest(header)


def _cipher(share_key: bytes, header: bytes, salt: bytes) -> AESGCM:
    return AESGCM(wrap.derive(share_key, b"chunk" + header + salt))


def _said(chain: bytes, chunks: int, excluded: int) -> bytes:
    return chain + chunks.to_bytes(8, "big") + excluded.to_bytes(8, "big")


def _mac(share_key: bytes, header: bytes, said: bytes) -> bytes:
    return hmac.digest(wrap.derive(share_key, b"end" + header), said, "sha256")


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(8, "big") + int(last).to_bytes(4, "big")


def _next(chain: bytes, sealed: Bytes) -> bytes:
    return hashlib.sha256(chain + bytes(sealed[-TAG_BYTES:])).digest()
