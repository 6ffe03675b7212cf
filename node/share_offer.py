"""What somebody offers to a host: a party's share or a person's, and whether this peer may."""

from node import wire
from node.pipeline import Pipeline
from node.share_index import Kept
from protocol import record
from protocol.errors import Refused
from protocol.kinds.consent import PersonShare


async def read_offer(pipeline: Pipeline, request: object, peer: str) -> Kept:
    """The share in an offer. Raises Refused (share.*, record.*, session.*, topic.unknown)."""
    match request:
        case wire.OfferShare(agreement=agreement, share=raw):
            return await _of_party(pipeline, agreement, raw, peer)
        case wire.OfferPersonShare(person=person):
            return _of_person(pipeline, person, peer)
        case _:
            raise Refused("session.request", "an offer comes first")


async def _of_party(pipeline: Pipeline, agreement: bytes, raw: bytes, peer: str) -> Kept:
    """A party pushes its own share, from its own node, by its own record in the topic."""
    world = pipeline.world
    collaboration = world.collaboration(agreement)
    found = record.parse(raw)
    if (found.topic, found.kind) != (agreement, "share"):
        raise Refused("share.binding", "the record is no share of this agreement")
    if found.author not in world.owners_of(peer):
        raise Refused("share.signature", "the peer is not the node of the share's owner")
    if found.id not in collaboration.shares:
        taken = await pipeline.take([raw], found.author)
        if found.id not in collaboration.shares:
            raise Refused(taken.refused[0] if taken.refused else "record.gap")
    return Kept(agreement=agreement, share=found.id, owner=found.author, record=raw)


def _of_person(pipeline: Pipeline, person: PersonShare, peer: str) -> Kept:
    """A person's share comes through any member's node; what it is, the enclave finds out."""
    world = pipeline.world
    if not world.owners_of(peer):
        raise Refused("session.audience", "people push through the node of a member")
    if world.collaboration(person.agreement).document.people is None:
        raise Refused("share.provider", "the agreement has no people")
    return Kept(agreement=person.agreement, share=person.share, owner=person.owner, person=person)
