"""What this node's policy says to a proposal, from everything the node knows; and signing it."""

import hashlib
import secrets
import time
from collections.abc import Iterable

from node import sql_faults, table_faults
from node.documents import contract_file
from node.node import Node
from node.release import software
from protocol import model_faults, policy
from protocol.consistency import manifest_faults
from protocol.effects import Effect, Publish
from protocol.errors import Refused
from protocol.identity import Participant
from protocol.kinds.agreement import Agreement, events_of, models_of, recipients_of
from protocol.kinds.algorithm import unpack
from protocol.machines.negotiation import Negotiation, Version
from protocol.machines.space import Space
from protocol.policy import Facts, Policy, Verdict
from protocol.sealing import code


def blobs_of(document: Agreement) -> list[bytes]:
    """Digests of everything that a document names and that its readers must have."""
    people = [document.people.notice] if document.people is not None else []
    contracts = [dataset.contract for dataset in document.datasets]
    models = [*models_of(document), *events_of(document)]
    return [document.algorithm.shown, *contracts, *models, *people]


async def fetch(node: Node, negotiation: Negotiation, document: Agreement) -> None:
    """Have every blob of a document here. Raises Refused (topic.unknown) while nobody gives one."""
    peers = node.spread.audience_peers(node.world.room(negotiation.id))
    for digest in blobs_of(document):
        await node.spread.fetch_blob(digest, peers)


async def judge(node: Node, rules: Policy, negotiation: Negotiation, version: Version) -> Verdict:
    """The policy's verdict. Raises Refused (topic.unknown) until the version's blobs are here."""
    await fetch(node, negotiation, version.document)
    faults = await _code_faults(node, version.document)
    facts = _facts(node, negotiation, version.document, faults)
    return policy.judge(rules, version.document, facts, secrets.token_bytes(32))


async def check_code(node: Node, document: Agreement) -> None:
    """Refuse (algorithm.sql) to sign for queries that do more than read their inputs."""
    if document.algorithm.sealed is None:
        await sql_faults.check(unpack(node.blobs.get(document.algorithm.bundle)))


async def check_models(node: Node, document: Agreement) -> None:
    """Refuse (agreement.document) to sign for models that let out more than noise allows, or for
    contexts that do not say what a result means.
    """
    found = await _model_faults(node, document)
    if found:
        raise Refused("agreement.document", "; ".join(found))


def check_reviews(node: Node, document: Agreement) -> None:
    """Refuse (algorithm.review) to sign before the agreed reviews are there."""
    algorithm = document.algorithm
    space = node.world.space(document.space)
    given = set(space.approvals(algorithm.bundle)) & set(algorithm.reviewers)
    if len(given) < algorithm.reviews_needed:
        raise Refused("algorithm.review", f"{len(given)} of {algorithm.reviews_needed}")


def check_credentials(node: Node, document: Agreement) -> None:
    """Refuse (space.member, space.credential) an agreement with a party or candidate host that is
    no member now, or that no registrar of the space vouches for now: both may have ended since.
    """
    space, now = node.world.space(document.space), int(time.time())
    hosts = [host.did for host in document.hosts.candidates]
    for did in (*(party.did for party in document.parties), *hosts):
        if did not in space.members():
            raise Refused("space.member", f"{node.world.name(did)} left, or was never admitted")
        if space.lacks_credential(did, now):
            raise Refused("space.credential", f"{node.world.name(did)} has none in force")


async def sign(node: Node, negotiation: Negotiation, digest: bytes) -> bool:
    """Sign the newest version; False if it is signed already.

    Raises Refused (agreement.*, algorithm.*, space.credential, topic.unknown).
    """
    effects = negotiation.accept(digest)
    version = negotiation.newest
    if not effects or version is None:
        return False
    await fetch(node, negotiation, version.document)
    await check_code(node, version.document)
    await check_models(node, version.document)
    check_reviews(node, version.document)
    check_credentials(node, version.document)
    await publish(node, negotiation.id, effects)
    return True


async def publish(node: Node, topic: bytes, effects: Iterable[Effect]) -> None:
    """Publish the records that a machine asks for. Raises Refused."""
    for effect in effects:
        if isinstance(effect, Publish):
            await node.pipeline.publish(topic, effect.kind, effect.body)


async def _code_faults(node: Node, document: Agreement) -> tuple[str, ...]:
    """What is wrong with the code for this document; of confidential code the manifest is known."""
    raw = node.blobs.get(document.algorithm.shown)
    faults = manifest_faults(document, code.interface(raw, document.algorithm))
    faults += await _model_faults(node, document)
    if document.algorithm.sealed is not None:
        return faults
    return faults + tuple(one.words for one in await sql_faults.find(unpack(raw)))


async def _model_faults(node: Node, document: Agreement) -> tuple[str, ...]:
    blobs = {digest: node.blobs.get(digest) for digest in models_of(document)}
    return model_faults.faults(document, blobs) + await table_faults.find(document, blobs)


def _facts(
    node: Node, negotiation: Negotiation, document: Agreement, faults: tuple[str, ...]
) -> Facts:
    space = node.world.space(negotiation.document.space)
    signed = [one.document for one in node.world.collaborations()]
    known = node.world.participants()
    return Facts(
        me=node.keyring.did,
        now=int(time.time()),
        names={name: one.did for name, one in petnames(node).items()},
        participants=known,
        contracts=_contracts(node, space),
        software=frozenset({software()}),
        vouched=_vouched(space),
        reviews={document.algorithm.bundle: frozenset(space.approvals(document.algorithm.bundle))},
        used_code=frozenset(one.algorithm.bundle for one in signed),
        used_recipients=frozenset(did for one in signed for did in recipients_of(one)),
        faults=faults,
        countered=sum(
            version.author == node.keyring.did and version.depth > 0
            for version in negotiation.versions.values()
        ),
    )


def petnames(node: Node) -> dict[str, Participant]:
    """Petname -> participant, where the name means one only: myself, then members, then guests.

    A guest cannot take the name of a member, and a name that two members have means nobody.
    """
    world = node.world
    members = {d: m.participant for space in world.spaces() for d, m in space.members().items()}
    sure = _unique(members.values())
    found = {**_unique(world.participants().values()), **sure}
    for name in {member.name for member in members.values()} - sure.keys():
        found.pop(name, None)
    found[world.me.name] = world.me
    return found


def _unique(participants: Iterable[Participant]) -> dict[str, Participant]:
    by_name: dict[str, dict[bytes, Participant]] = {}
    for one in participants:
        by_name.setdefault(one.name, {})[one.did] = one
    return {name: next(iter(all_.values())) for name, all_ in by_name.items() if len(all_) == 1}


def _contracts(node: Node, space: Space) -> dict[bytes, str]:
    """Digest -> id: the contracts of the space; of an id that is a source here, only our own file.

    Else anybody could publish another contract under a name that our data have.
    """
    own: dict[bytes, str] = {}
    for source in node.config.sources.values():
        data = contract_file.load(source.contract)
        own[hashlib.sha256(data).digest()] = contract_file.identify(data, source.contract.name)[0]
    found = {
        one.artifact.blob: one.artifact.name
        for one in space.publications.values()
        if one.kind == "contract" and one.artifact.name not in own.values()
    }
    return {**found, **own}


def _vouched(space: Space) -> dict[bytes, frozenset[bytes]]:
    now = time.time()
    found: dict[bytes, set[bytes]] = {}
    for record, credential in space.credentials.values():
        if credential.until > now and not space.revoked(record.id):
            found.setdefault(credential.subject, set()).add(record.author)
    return {did: frozenset(registrars) for did, registrars in found.items()}
