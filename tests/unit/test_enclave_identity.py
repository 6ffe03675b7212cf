"""A host cannot hide from its enclave that a party took a key back, nor bring a key of its own."""

from dataclasses import replace

from protocol import enclave_wire as wire
from protocol import keys, limits, record, shape
from protocol.dialogue import Done
from protocol.identity import identity_topic
from protocol.kinds.agreement import AgreementOpening
from protocol.kinds.identity import Identity, Pin, RecordKey, RetiredKey
from protocol.record import Place
from tests.enclave_drive import Host
from tests.enclave_rig import AT, UNTIL, Actor, Pen, seed
from tests.unit.test_enclave_runs import office, refused, start

__all__ = ["start"]

NEW = seed("new key")


def renewed(who: Actor, *pins: Pin, root: bytes | None = None) -> bytes:
    """The next identity of a participant: its old key is stolen."""
    last = who.participant
    body = Identity(
        revision=1,
        name=who.name,
        nodes=last.nodes,
        records=(RecordKey(key=keys.public(NEW), vote=True, until=UNTIL),),
        sealing=last.sealing,
        until=UNTIL,
        retired=(RetiredKey(key=last.vote_key, reason="stolen", pins=pins),),
    )
    signing = root or seed(f"root {who.name}")
    return record.sign(
        signing,
        topic=identity_topic(keys.public(signing)),
        author=keys.public(signing),
        kind="identity",
        body=body,
        place=Place(seq=1, prev=last.id),
        at=AT,
        salt=bytes(16),
    ).raw


def signed(host: Host, who: Actor) -> Pin:
    """The signature under the agreement, which the owner of the key lets stand."""
    opening = shape.decode(AgreementOpening, host.rig.opening, limits.FRAME)
    mine = next(one for one in map(record.parse, opening.votes) if one.author == who.did)
    return Pin(topic=mine.topic, seq=mine.seq, head=mine.id)


def show(host: Host, *raws: bytes) -> None:
    host.door.ask(wire.Introduce(agreement=host.rig.id, identities=raws), Done)


def test_a_hidden_revocation_leaves_too_few_statements(start):
    host = office(start)
    rig, summons = host.rig, host.summon()
    raw = renewed(rig.lab, signed(host, rig.lab))
    known = (record.parse(raw).id,)
    # The thief states with the stolen key; the honest parties know better, and say so.
    statements = tuple(
        rig.statement(one, summons, identities=() if one is rig.lab else known)
        for one in rig.parties
    )
    error = refused("run.statements", host.prepare, 1, statements)
    assert "an identity that it names is not shown" in str(error)
    show(host, raw)
    assert host.prepare(1, statements).started  # without the thief's


def test_the_thiefs_statement_does_not_count_once_the_identity_is_shown(start):
    host = office(start)
    rig, summons = host.rig, host.summon()
    show(host, renewed(rig.a, signed(host, rig.a)))
    few = rig.parties[: rig.quorum]
    error = refused(
        "run.statements", host.prepare, 1, tuple(rig.statement(p, summons) for p in few)
    )
    assert f"{rig.quorum - 1} of {rig.quorum}" in str(error)


def test_the_new_key_states_and_votes(start):
    host = office(start)
    rig, summons = host.rig, host.summon()
    show(host, renewed(rig.a, signed(host, rig.a)))
    rig.pens[rig.a.name] = Pen(replace(rig.a, signing=NEW), rig.id)
    few = rig.parties[: rig.quorum]
    prepared = host.prepare(1, tuple(rig.statement(one, summons) for one in few))
    assert prepared.started


def test_only_the_own_root_renews_an_identity(start):
    host = office(start)
    rig, summons = host.rig, host.summon()
    refused("agreement.party", show, host, renewed(rig.a, root=seed("root stranger")))
    show(host, renewed(rig.a, root=seed(f"root {rig.lab.name}")))  # the lab speaks for itself alone
    assert host.prepare(1, rig.statements(summons)[: rig.quorum]).started


def test_a_vote_by_a_stolen_key_beyond_its_pins_is_no_vote(start):
    host = office(start)
    rig = host.rig
    certificate = rig.certificate(2, host.candidacy)
    show(host, renewed(rig.a, signed(host, rig.a)))
    refused("decision.quorum", host.appoint, certificate)


def test_nothing_runs_under_an_agreement_that_a_thief_signed(start):
    """Its owner, who knows nothing of the agreement, does not pin the thief's signature."""
    host = office(start)
    rig, summons = host.rig, host.summon()
    certificate = rig.certificate(2, host.candidacy)
    show(host, renewed(rig.a))
    refused("agreement.certificate", host.prepare, 1, rig.statements(summons))
    refused("agreement.certificate", host.appoint, certificate)
