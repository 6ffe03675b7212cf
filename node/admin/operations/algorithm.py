"""algorithm.*: bundles of code, by digest; who reviewed them; which environments are known."""

from pathlib import Path
from typing import Annotated, Any, Literal

import trio

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.space import SpaceName
from node.documents import algorithm_bundle
from node.documents.algorithm_bundle import Packed
from node.documents.fields import read_digest
from node.node import Node
from node.release import SOFTWARE, software
from protocol.kinds.algorithm import unpack
from protocol.kinds.space import Artifact, Review
from protocol.machines.space import Publication, Space

METHODS = Methods("algorithm")

ENVIRONMENT = "digest/"
"""State of the journal: digests of environments by name."""

Folder = Annotated[str, "Folder with manifest.yaml, absolute, on the node's machine."]
Which = Annotated[str, "Name, short id of the bundle, or short id of its record."]


@METHODS.add("env", "operate")
async def env(
    node: Node,
    *,
    name: Annotated[str, "How manifests and agreements call the environment."],
    digest: Annotated[str, "What `village-enclave measure --environment` prints for it."],
) -> dict[str, Any]:
    """Name an environment, so that files need not hold its digest."""
    found = read_digest(digest if digest.startswith("sha256:") else f"sha256:{digest}")
    if found is None:
        raise Failure("admin.parameters", "This is no digest.", "64 hexadecimal characters.")
    node.journal.put_state(f"{ENVIRONMENT}{name}", found)
    return {"name": name, "digest": found.hex()}


def digests(node: Node) -> dict[str, bytes]:
    """Name -> digest: environments named here, and the enclave software of this release."""
    named = node.journal.states(ENVIRONMENT)
    known = {name.removeprefix(ENVIRONMENT): digest for name, digest in named.items()}
    return {**known, SOFTWARE: software()}


@METHODS.add("pack", "operate")
async def pack(node: Node, *, folder: Folder) -> dict[str, Any]:
    """Pack a folder and say its digest; nothing is published."""
    return _packed(await _pack(node, folder))


@METHODS.add("publish", "operate")
async def publish(
    node: Node,
    *,
    folder: Folder,
    note: Annotated[str | None, "Words for the members."] = None,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Pack a folder and publish the bundle to a space, by its digest. Idempotent."""
    found = lookup.space_of(node, space)
    packed = await _pack(node, folder)
    for one in _algorithms(found):
        if one.artifact.blob == packed.digest:
            return {"already": True, "record": one.id.hex(), **_packed(packed)}
    await trio.to_thread.run_sync(node.blobs.put, packed.raw)
    body = Artifact(
        name=packed.manifest.name,
        version=packed.manifest.version,
        blob=packed.digest,
        size=len(packed.raw),
        note=note,
    )
    made = await node.pipeline.publish(found.id, "algorithm", body)
    return {"already": False, "record": made.id.hex(), **_packed(packed)}


@METHODS.add("review", "govern")
async def review(
    node: Node,
    *,
    bundle: Which,
    verdict: Annotated[Literal["approved", "rejected"], "The outcome."],
    text: Annotated[str, "What was looked at, and found."],
    space: SpaceName = None,
) -> dict[str, Any]:
    """Sign a review of an algorithm bundle."""
    found = lookup.space_of(node, space)
    one = _algorithm(found, bundle)
    body = Review(bundle=one.artifact.blob, verdict=verdict, text=text)
    made = await node.pipeline.publish(found.id, "review", body)
    return {"bundle": one.artifact.blob.hex(), "verdict": verdict, "record": made.id.hex()}


@METHODS.add("list", "read")
async def list_(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """The algorithms of a space, and who approved them."""
    found = lookup.space_of(node, space)
    return [_shown(node, found, one) for one in _algorithms(found)]


@METHODS.add("show", "read")
async def show(node: Node, *, bundle: Which, space: SpaceName = None) -> dict[str, Any]:
    """An algorithm: manifest, files, reviews; the bundle is fetched if it is not here."""
    found = lookup.space_of(node, space)
    one = _algorithm(found, bundle)
    peers = node.spread.audience_peers(node.world.room(found.id))
    unpacked = unpack(await node.spread.fetch_blob(one.artifact.blob, peers))
    manifest = unpacked.manifest
    return {
        **_shown(node, found, one),
        "description": manifest.description,
        "author": manifest.author,
        "licence": manifest.licence,
        "environment": manifest.environment.hex(),
        "inputs": list(manifest.inputs),
        "entries": [{"name": e.name, "outputs": list(e.outputs)} for e in manifest.entries],
        "files": {name: len(data) for name, data in unpacked.files.items()},
        "reviews": [
            {"by": node.world.name(r.author), "verdict": said.verdict, "text": said.text}
            for r, said in found.reviews
            if said.bundle == one.artifact.blob
        ],
    }


async def _pack(node: Node, folder: str) -> Packed:
    return await trio.to_thread.run_sync(algorithm_bundle.pack, Path(folder), digests(node))


def _packed(packed: Packed) -> dict[str, Any]:
    manifest = packed.manifest
    return {
        "bundle": packed.digest.hex(),
        "size": len(packed.raw),
        "name": manifest.name,
        "version": manifest.version,
        "entries": [entry.name for entry in manifest.entries],
    }


def _algorithms(space: Space) -> list[Publication]:
    return [one for one in space.publications.values() if one.kind == "algorithm"]


def _algorithm(space: Space, text: str) -> Publication:
    known = _algorithms(space)
    named = [one for one in known if one.artifact.name == text]
    if len(named) == 1:
        return named[0]
    aliases = {one.artifact.blob: one for one in known} | {one.id: one for one in known}
    return aliases[lookup.one_of(aliases, text, "algorithm")]


def _shown(node: Node, space: Space, one: Publication) -> dict[str, Any]:
    return {
        "bundle": one.artifact.blob.hex(),
        "name": one.artifact.name,
        "version": one.artifact.version,
        "by": node.world.name(one.author),
        "record": one.id.hex(),
        "approved": [node.world.name(did) for did in space.approvals(one.artifact.blob)],
    }
