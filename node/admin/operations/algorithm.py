"""algorithm.*: bundles of code, by digest; who reviewed them; which environments are known."""

import base64
from pathlib import Path
from typing import Annotated, Any, Literal

import trio

from node import confidential as sealing
from node import judgement, sql_faults
from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.space import SpaceName
from node.documents import algorithm_bundle
from node.documents.algorithm_bundle import Packed
from node.documents.fields import read_digest
from node.node import Node
from node.release import SOFTWARE, software
from protocol.identity import Participant
from protocol.kinds.algorithm import Bundle, Entry, Parameter, SealedBundle, unpack
from protocol.kinds.space import Artifact, Review
from protocol.machines.space import Publication, Space
from protocol.sealing import code

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


@METHODS.add("environments", "read")
async def environments(node: Node) -> list[dict[str, Any]]:
    """The environments that are known here by name."""
    return [{"name": name, "digest": one.hex()} for name, one in sorted(digests(node).items())]


def digests(node: Node) -> dict[str, bytes]:
    """Name -> digest: environments named here, and the enclave software of this release."""
    named = node.journal.states(ENVIRONMENT)
    known = {name.removeprefix(ENVIRONMENT): digest for name, digest in named.items()}
    return {**known, SOFTWARE: software()}


@METHODS.add("publish", "operate")
async def publish(
    node: Node,
    *,
    folder: Folder,
    note: Annotated[str | None, "Words for the members."] = None,
    space: SpaceName = None,
    confidential: Annotated[bool, "Only reviewers and enclaves see the code."] = False,
    reviewers: Annotated[tuple[str, ...], "Petnames of those who may read confidential code."] = (),
) -> dict[str, Any]:
    """Pack a folder and publish the bundle to a space, by its digest. Idempotent."""
    found = lookup.space_of(node, space)
    packed = await _pack(node, folder)
    readers = _readers(node, reviewers) if confidential or reviewers else ()
    if bool(readers) != confidential:
        fix = "--confidential and --reviewers go together."
        raise Failure("admin.parameters", "Nobody could review this code.", fix)
    for one in _algorithms(found):
        if one.artifact.blob == packed.digest and _is_read_by(node, one.artifact, readers):
            return {"already": True, "record": one.id.hex(), **_packed(packed)}
    blob = sealing.seal(packed.raw, node.keyring.me, readers) if readers else packed.raw
    digest = await trio.to_thread.run_sync(node.blobs.put, blob)
    body = Artifact(
        name=packed.manifest.name,
        version=packed.manifest.version,
        blob=packed.digest,
        sealed=digest if readers else None,
        size=len(packed.raw),
        note=note,
    )
    made = await node.pipeline.publish(found.id, "algorithm", body)
    return {"already": False, "record": made.id.hex(), **_packed(packed)}


@METHODS.add("open", "operate")
async def open_(node: Node, *, bundle: Which, space: SpaceName = None) -> dict[str, Any]:
    """The files of an algorithm, in base64, and the faults of its queries if it is SQL; of a
    confidential one for its author and reviewers.
    """
    found = lookup.space_of(node, space)
    one = _algorithm(found, bundle)
    opened = await _open(node, found, one)
    files = {name: base64.b64encode(data).decode() for name, data in opened.files.items()}
    return {
        "name": one.artifact.name,
        "bundle": one.artifact.blob.hex(),
        "files": files,
        "faults": [fault.words for fault in await sql_faults.find(opened)],
    }


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
    if one.artifact.sealed is not None:
        opened = await _open(node, found, one)  # nobody signs for what is closed to it, or another
        if verdict == "approved":  # the other parties, who see no query, rely on it
            await sql_faults.check(opened)
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
    unpacked = await _known(node, found, one)
    manifest = unpacked.manifest
    return {
        **_shown(node, found, one),
        "confidential": one.artifact.sealed is not None,
        "description": manifest.description,
        "author": manifest.author,
        "licence": manifest.licence,
        "kind": manifest.kind,
        "environment": manifest.environment.hex(),
        "inputs": list(manifest.inputs),
        "entries": [_entry(entry) for entry in manifest.entries],
        "contracts": {one.dataset: one.file for one in manifest.contracts},
        "models": {one.output: one.file for one in manifest.models},
        "files": {name: len(data) for name, data in unpacked.files.items()},
        "reviews": [
            {"by": node.world.name(r.author), "verdict": said.verdict, "text": said.text}
            for r, said in found.reviews
            if said.bundle == one.artifact.blob
        ],
    }


def _readers(node: Node, names: tuple[str, ...]) -> tuple[Participant, ...]:
    known = judgement.petnames(node)
    strange = [name for name in names if name.removeprefix("@") not in known]
    if strange:
        raise Failure(
            "admin.parameters", f"{strange[0][:64]!r} is nobody known here.", "A petname."
        )
    return tuple(known[name.removeprefix("@")] for name in names)


def _is_read_by(node: Node, artifact: Artifact, readers: tuple[Participant, ...]) -> bool:
    """Whether what is published suits: it is open, or sealed to all of these."""
    if artifact.sealed is None or not node.blobs.has(artifact.sealed):
        return artifact.sealed is None and not readers
    sealed = code.read(node.blobs.get(artifact.sealed), artifact.blob)
    return {one.did for one in readers} <= {wrap.to for wrap in sealed.wraps} and bool(readers)


async def _sealed(node: Node, space: Space, artifact: Artifact) -> SealedBundle:
    peers = node.spread.audience_peers(node.world.room(space.id))
    return await sealing.fetch(node.spread, artifact.sealed or b"", artifact.blob, peers)


async def _open(node: Node, space: Space, one: Publication) -> Bundle:
    """All of an algorithm. Raises Refused (algorithm.reader, algorithm.sealed, topic.unknown)."""
    if one.artifact.sealed is not None:
        return unpack(sealing.open_(await _sealed(node, space, one.artifact), node.keyring))
    peers = node.spread.audience_peers(node.world.room(space.id))
    return unpack(await node.spread.fetch_blob(one.artifact.blob, peers))


async def _known(node: Node, space: Space, one: Publication) -> Bundle:
    """What this participant may see of an algorithm: of others' confidential code the documents."""
    if one.artifact.sealed is None:
        return await _open(node, space, one)
    sealed = await _sealed(node, space, one.artifact)
    if node.keyring.did in {wrap.to for wrap in sealed.wraps}:
        return unpack(sealing.open_(sealed, node.keyring))
    return Bundle(manifest=sealed.manifest, files=sealed.documents)


async def _pack(node: Node, folder: str) -> Packed:
    return await trio.to_thread.run_sync(algorithm_bundle.pack, Path(folder), digests(node))


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "function": entry.function,
        "parameters": {one.name: _values(one) for one in entry.parameters},
        "outputs": list(entry.outputs),
        "states": list(entry.states),
    }


def _values(parameter: Parameter) -> str:
    """What a parameter may be, in words."""
    if parameter.type == "integer":
        return f"integer from {parameter.low} to {parameter.high}"
    return f"{parameter.type.replace('_', ' ')} {', '.join(parameter.choices)}"


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
