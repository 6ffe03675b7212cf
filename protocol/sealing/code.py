"""Confidential bundles: sealed for the members of a space, readable for an author and reviewers.

What may leave and what goes in (manifest, output models, data contracts) is in clear: all parties
judge it. The code is not: they approve its digest, on the word of reviewers who opened it.
"""

import hashlib
from collections.abc import Mapping

from protocol import limits, shape
from protocol.errors import Refused
from protocol.kinds.agreement import Algorithm
from protocol.kinds.algorithm import Bundle, Manifest, ReaderWrap, SealedBundle, unpack
from protocol.sealing import box, wrap

CONTEXT = "bundle"
"""Of the bundle under its key."""

KEY_CONTEXT = "bundle-key"
"""Of that key, wrapped to a reader."""


def seal(raw: bytes, readers: Mapping[bytes, bytes], key: bytes) -> SealedBundle:
    """The bundle `raw` for these readers (did -> public sealing key); `key`: 32 fresh random bytes.

    Raises Refused (share.wrap, codec.too-large, and those of a bundle that is none).
    """
    bundle, digest = unpack(raw), hashlib.sha256(raw).digest()
    wraps = tuple(
        ReaderWrap(to=did, sealed=wrap.seal(key, public, KEY_CONTEXT, digest, did))
        for did, public in sorted(readers.items())
    )
    sealed = SealedBundle(
        manifest=bundle.manifest,
        documents=_documents(bundle),
        digest=digest,
        wraps=wraps,
        sealed=box.seal(raw, key, CONTEXT, digest),
    )
    if len(shape.encode(sealed)) > limits.BLOB:
        raise Refused("codec.too-large", f"sealed, more than {limits.BLOB} bytes")
    return sealed


def read(data: bytes, digest: bytes) -> SealedBundle:
    """The sealed form of the bundle `digest`. Raises Refused (algorithm.sealed, codec.*, shape.*).

    That manifest and documents are those of the bundle, only `open_` can tell.
    """
    found = shape.decode(SealedBundle, data, limits.BLOB)
    if found.digest != digest:
        raise Refused("algorithm.sealed", "it is about another bundle")
    if found.documents.keys() != set(_named(found.manifest)):
        raise Refused("algorithm.sealed", "not the documents that its manifest names")
    return found


def open_(found: SealedBundle, did: bytes, seed: bytes) -> bytes:
    """The exact bytes of the bundle, for the reader `did` with the sealing key of `seed`.

    Raises Refused (algorithm.reader, algorithm.sealed, share.wrap).
    """
    mine = next((one.sealed for one in found.wraps if one.to == did), None)
    if mine is None:
        raise Refused("algorithm.reader")
    key = wrap.open_(mine, seed, KEY_CONTEXT, found.digest, did)
    if len(key) != wrap.KEY_BYTES:
        raise Refused("algorithm.sealed", "its key has another length")
    raw = box.open_(found.sealed, key, CONTEXT, found.digest)
    if hashlib.sha256(raw).digest() != found.digest:
        raise Refused("algorithm.sealed", "what is inside has another digest")
    bundle = unpack(raw)
    if (bundle.manifest, _documents(bundle)) != (found.manifest, found.documents):
        raise Refused("algorithm.sealed", "inside is another manifest, or other documents")
    return raw


def interface(data: bytes, algorithm: Algorithm) -> Bundle:
    """What every party may know of the agreed code, from the blob `algorithm.shown`: all of it, or
    of a confidential bundle the manifest and the documents that it names.

    Raises Refused (algorithm.*, codec.*, shape.mismatch).
    """
    if algorithm.sealed is None:
        return unpack(data)
    found = read(data, algorithm.bundle)
    return Bundle(manifest=found.manifest, files=found.documents)


def _named(manifest: Manifest) -> list[str]:
    """The files that a manifest names: contracts of inputs, models of outputs."""
    return [one.file for one in manifest.contracts] + [one.file for one in manifest.models]


def _documents(bundle: Bundle) -> dict[str, bytes]:
    return {file: bundle.files[file] for file in _named(bundle.manifest)}
