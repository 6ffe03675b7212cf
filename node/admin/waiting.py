"""What waits on me, and what waits on others: computed from the state, never stored."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from node import expiry
from node.admin import space_words
from node.node import Node
from protocol import limits
from protocol.machines.agreement import Collaboration
from protocol.machines.election import Elected, Election
from protocol.machines.negotiation import Negotiation
from protocol.machines.space import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that waits: kind, id behind it (hex), words, and the command that answers it."""

    kind: str
    id: str
    words: str
    command: str


def on_me(node: Node) -> list[dict[str, Any]]:
    """What only this participant's people can do."""
    found = [*_endings(node)]
    for space in node.world.spaces():
        found += _space(node, space)
    for negotiation in _open(node):
        found += _proposal(node, negotiation)
    for collaboration in node.world.collaborations():
        found += _shares(node, collaboration)
    return [asdict(item) for item in found]


def barred(node: Node) -> list[dict[str, Any]]:
    """Keys that signed two records for one place: whose, in which topic, and from where on all that
    they say is void. The proof is kept; only a decision of the members brings their owner back.
    """
    return [
        {
            "who": node.world.name(node.world.signer(room, fork.key) or fork.key),
            "key": fork.key.hex(),
            "topic": room.topic.hex(),
            "place": fork.seq,
        }
        for room in node.world.rooms.values()
        for fork in room.forks.values()
    ]


def on_others(node: Node) -> list[dict[str, str]]:
    """Where something is stuck until somebody else acts."""
    found = [
        _stuck(one["who"], "signed two different records for one place, and is barred")
        for one in barred(node)
    ]
    for space in node.world.spaces():
        if not space.founded:
            missing = _names(node, space.founders.keys() - space.charter_ballot.votes.keys())
            found.append(_stuck(space.charter.name, f"waits for signatures of {missing}"))
        bare = [did for did in space.members() if space.lacks_credential(did, int(time.time()))]
        if bare:
            why = f"no new agreement with {_names(node, bare)}: no credential in force"
            found.append(_stuck(space.charter.name, why))
    for negotiation in _open(node):
        newest = negotiation.newest
        if newest is not None:
            others = [did for did in negotiation.unsigned(newest) if did != node.keyring.did]
            if others:
                found.append(
                    _stuck(negotiation.document.name, f"waits for {_names(node, others)} to sign")
                )
    for collaboration in node.world.collaborations():
        found += [_stuck(collaboration.document.name, why) for why in _blocked(node, collaboration)]
    return found


def _open(node: Node) -> list[Negotiation]:
    """Negotiations without outcome; an agreement may arrive before the last signatures on it."""
    agreed = {one.document.negotiation for one in node.world.collaborations()}
    known = node.world.negotiations()
    return [one for one in known if one.agreed is None and one.id not in agreed]


def _stuck(about: str, why: str) -> dict[str, str]:
    return {"about": about, "why": why}


def _names(node: Node, dids: Iterable[bytes]) -> str:
    return ", ".join(sorted(node.world.name(did) for did in dids)) or "nobody"


def _endings(node: Node) -> Iterator[Item]:
    now = int(time.time())
    for one in expiry.soon(node, now):
        yield Item(kind=one.kind, id=one.id, words=one.words(now), command=one.command)


def _space(node: Node, space: Space) -> Iterator[Item]:
    me, now = node.keyring.did, int(time.time())
    if me in space.founders and me not in space.charter_ballot.votes:
        words = f"sign the charter of {space.charter.name}"
        yield Item(
            kind="charter", id=space.id.hex(), words=words, command="village space vote charter"
        )
    yield from _changes(node, space)
    for record, guest in space.waiting_joins(me):
        credential = space.credential(guest.did, now)
        vouched = credential.claims.legal_name if credential is not None else "no credential yet"
        yield Item(
            kind="join",
            id=record.id.hex(),
            words=f"{guest.name} asks to be admitted ({vouched})",
            command=f"village space vote {record.id.hex()[:8]}",
        )
    if me in space.members() and space.lacks_credential(me, now):
        yield Item(
            kind="credential",
            id=space.id.hex(),
            words=f"no valid credential in {space.charter.name}: nobody signs a new agreement",
            command="ask a registrar of the space",
        )


def _changes(node: Node, space: Space) -> Iterator[Item]:
    """Changes of the space to vote on: what each alters, in words."""
    me, rounds = node.keyring.did, space.chain.current
    round_ = rounds.round_for(me) if me in space.epoch.seats and me in space.members() else None
    if round_ is None or rounds.certificate() is not None:
        return
    for record, change in space.chain.proposed():
        altered = "; ".join(space_words.diff(space.epoch, change, node.world.name))
        again = f", round {round_}: nothing had enough votes" if round_ else ""
        why = f" ({change.reason})" if change.reason else ""
        by = node.world.name(record.author)
        yield Item(
            kind="change",
            id=record.id.hex(),
            words=f"{by} proposes for {space.charter.name}{again}: {altered}{why}",
            command=f"village space vote {record.id.hex()[:8]}",
        )


def _proposal(node: Node, negotiation: Negotiation) -> Iterator[Item]:
    newest = negotiation.newest
    if newest is None or not negotiation.pending():
        return
    author = node.world.name(newest.author)
    digest = newest.digest.hex()[:8]
    yield Item(
        kind="proposal",
        id=newest.digest.hex(),
        words=f"{negotiation.document.name}: version {digest} by {author} waits for your answer",
        command=f"village agreement accept {digest}",
    )


def _shares(node: Node, collaboration: Collaboration) -> Iterator[Item]:
    me = node.keyring.did
    if collaboration.election.elected() is None or collaboration.ended(int(time.time())):
        return
    current = collaboration.current_shares()
    for dataset in collaboration.document.datasets:
        mine = any(source.did == me for source in dataset.sources)
        if mine and (dataset.id, me) not in current:
            yield Item(
                kind="share",
                id=collaboration.id.hex(),
                words=f"{collaboration.document.name}: your share of {dataset.id} is not pushed",
                command="village share push SOURCE",
            )


def _blocked(node: Node, collaboration: Collaboration) -> Iterator[str]:
    election, runs = collaboration.election, collaboration.runs
    if collaboration.ended(int(time.time())):
        return
    suspended = [did for did, on in runs.suspensions.items() if on]
    if suspended:
        yield f"suspended by {_names(node, suspended)}"
    if len(runs.stops) > limits.STOPS:
        yield f"more than {limits.STOPS} withdrawals: make a new agreement"
    elected = election.elected()
    if elected is None:
        yield _no_host(node, election)
    elif (step := runs.next_step(elected.term, int(time.time()))) is not None:
        yield _run_step(node, collaboration, elected, step[0])


def _no_host(node: Node, election: Election) -> str:
    found = [
        f"{node.world.name(did)}: {', '.join(codes) or 'no quorum of verdicts yet'}"
        for did, codes in election.reasons().items()
    ]
    return f"no host in term {election.term} ({'; '.join(found) or 'no candidate has come'})"


def _run_step(node: Node, collaboration: Collaboration, elected: Elected, number: int) -> str:
    runs = collaboration.runs
    place = (number, elected.term)
    host = node.world.name(elected.appointment.host)
    answers = runs.statements.get(place, {})
    if place not in runs.summons:
        return f"run {place[0]}: waits for {host} to summon statements"
    if len(answers) < runs.rule.needed:
        silent = _names(node, runs.rule.voters.keys() - answers.keys())
        return f"run {place[0]}: waits for statements of {silent}"
    if place not in runs.proposals:
        return f"run {place[0]}: the enclave of {host} computes"
    ballot = runs.ballots.get(place)
    voted = ballot.votes.keys() if ballot is not None else set()
    return f"run {place[0]}: waits for votes of {_names(node, runs.rule.voters.keys() - voted)}"
