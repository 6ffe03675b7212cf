"""Confidential bundles: who opens them, and that nobody is shown another than is inside."""

from dataclasses import replace

import pytest

from protocol import limits, shape
from protocol.errors import Misuse, Refused
from protocol.kinds.agreement import Algorithm
from protocol.kinds.algorithm import Bundle, Entry, Manifest, Model, SealedBundle
from protocol.sealing import box, code, wrap
from tests.enclave_rig import seed, sha256

AUTHOR, READER, OTHER = seed("author"), seed("reader"), seed("other")
SECRET = b"def fit(tables, parameters): secret"


def bundle(**changes):
    manifest = Manifest(
        name="m",
        version="1",
        kind="python",
        author="lab",
        licence="none",
        environment=seed("environment"),
        inputs=(),
        entries=(Entry(name="fit", function="fit:fit", parameters=(), outputs=("model",)),),
        models=(Model(output="model", file="model.json"),),
        description="",
    )
    files = {"fit.py": SECRET, "model.json": b"{}"}
    return Bundle(manifest=replace(manifest, **changes), files=files)


RAW = shape.encode(bundle())
READERS = {did: wrap.public_key(did) for did in (AUTHOR, READER)}
SEALED = code.seal(RAW, READERS, seed("key"))


def refused(code_, act, *arguments):
    with pytest.raises(Refused) as caught:
        act(*arguments)
    assert caught.value.code == code_, str(caught.value)


def test_author_and_reviewers_open_it_and_nobody_else():
    for did in (AUTHOR, READER):
        assert code.open_(SEALED, did, did) == RAW
    refused("algorithm.reader", code.open_, SEALED, OTHER, OTHER)
    refused("share.wrap", code.open_, SEALED, READER, OTHER)


def test_members_see_what_the_manifest_names_and_no_code():
    data = shape.encode(SEALED)
    assert b"secret" not in data
    found = code.read(data, sha256(RAW))
    assert (found.manifest, found.documents) == (bundle().manifest, {"model.json": b"{}"})
    agreed = Algorithm(
        bundle=sha256(RAW), environment=seed("e"), provider=AUTHOR, entries=(), reviews_needed=1,
        reviewers=(READER,), sealed=sha256(data),
    )  # fmt: skip
    assert agreed.shown == sha256(data)
    assert code.interface(data, agreed).files == {"model.json": b"{}"}
    assert code.interface(RAW, replace(agreed, sealed=None)) == bundle()
    refused("algorithm.sealed", code.read, data, seed("another bundle"))


def forged(raw=RAW, digest=None, **changes):
    """A sealed bundle by a hostile author, who can seal anything."""
    digest = sha256(raw) if digest is None else digest
    wraps = [
        {"to": READER, "sealed": wrap.seal(seed("key"), wrap.public_key(READER), "bundle-key",
                                           digest, READER)}
    ]  # fmt: skip
    plain = {
        "manifest": shape.write(bundle().manifest),
        "documents": {"model.json": b"{}"},
        "digest": digest,
        "wraps": wraps,
        "sealed": box.seal(raw, seed("key"), "bundle", digest),
    }
    return shape.read(SealedBundle, plain | changes)


def test_what_a_reviewer_opens_is_what_everybody_is_shown():
    assert code.open_(forged(), READER, READER) == RAW
    other = shape.encode(bundle(version="2"))
    assert sha256(other) != sha256(RAW)
    refused("algorithm.sealed", code.open_, forged(raw=other), READER, READER)
    refused("algorithm.sealed", code.open_, forged(raw=other, digest=sha256(RAW)), READER, READER)
    refused("algorithm.sealed", code.open_, forged(documents={"model.json": b"[]"}), READER, READER)
    shown = shape.encode(forged(documents={"fit.py": b"harmless", "model.json": b"{}"}))
    refused("algorithm.sealed", code.read, shown, sha256(RAW))


def test_what_is_no_bundle_is_not_sealed():
    refused("shape.mismatch", code.seal, shape.encode(SEALED), READERS, seed("key"))
    refused("share.wrap", code.seal, RAW, {READER: bytes(1216)[1:]}, seed("key"))


def test_a_bundle_that_grows_too_large_by_sealing_is_refused():
    large = Bundle(
        manifest=bundle().manifest, files={**bundle().files, "data": bytes(limits.BLOB - 2000)}
    )
    raw = shape.encode(large)
    assert len(raw) <= limits.BLOB
    refused("codec.too-large", code.seal, raw, READERS, seed("key"))


def test_a_box_opens_by_its_key_in_its_context_alone():
    sealed = box.seal(b"plain", seed("key"), "lineage", b"a")
    assert len(sealed) == len(b"plain") + box.AROUND
    assert box.open_(sealed, seed("key"), "lineage", b"a") == b"plain"
    for key, context, binding in (
        (seed("other"), "lineage", b"a"),
        (seed("key"), "bundle", b"a"),
        (seed("key"), "lineage", b"b"),
    ):
        refused("share.wrap", box.open_, sealed, key, context, binding)
    refused("share.wrap", box.open_, sealed[:-1] + b"\x00\x01", seed("key"), "lineage", b"a")
    with pytest.raises(Misuse):
        box.seal(b"", b"short", "lineage")
