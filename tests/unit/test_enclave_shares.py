"""Attacks on what goes into the enclave: terms, code, shares, consents. No sandbox runs here."""

from dataclasses import replace

import pytest

from enclave_host import enclave, environment
from enclave_host.shares import EARLIER
from protocol import codec, keys, shape
from protocol import enclave_wire as wire
from protocol.attestation import evidence
from protocol.dialogue import Done
from protocol.kinds import host as host_kinds
from protocol.kinds.agreement import AgreementOpening
from tests.enclave_drive import Door, Host, enclaves, refused
from tests.enclave_rig import Patient, Rig, rows_of, seed
from tests.enclave_vitals import CONTRACT


@pytest.fixture
def world(tmp_path):
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "numbers.py").write_text("one = 1\n")
    with enclaves(folder) as start:
        rig = Rig(environment.digest(folder))
        yield rig, start


@pytest.fixture
def host(world):
    rig, start = world
    return Host(rig, rig.host_1, Door(start())).join()


# --- agreement, code, evidence -------------------------------------------------------------------


def test_an_agreement_without_all_signatures_is_not_joined(world):
    rig, start = world
    other = Rig(seed("other environment"))
    halves = rig.opening.replace(other.id, rig.id)
    door = Door(start())
    assert door.ask(wire.Join(opening=halves), Done) == Done()
    cut = Rig(seed("cut"))
    cut.opening = cut.opening[:-1]
    refused("codec.malformed", door.ask, wire.Join(opening=cut.opening), Done)


def test_a_signature_under_another_document_does_not_join(world):
    rig, start = world
    other = Rig(seed("other environment"))
    document = replace_document(rig.opening, other.opening)
    refused("agreement.certificate", Door(start()).ask, wire.Join(opening=document), Done)


def replace_document(opening, other):
    """The signatures of one agreement under the document of another."""
    mine, theirs = (
        shape.read(AgreementOpening, codec.decode(raw, 1 << 20)) for raw in (opening, other)
    )
    return shape.encode(replace(mine, document=theirs.document))


def test_code_with_one_byte_changed_is_not_taken(host):
    altered = host.rig.bundle.replace(b"len(values)", b"len(valuez)")
    assert altered != host.rig.bundle
    request = wire.Provide(agreement=host.rig.id, blobs=(altered,))
    refused("run.code", host.door.ask, request, Done)


def test_nothing_is_served_before_join(world):
    rig, start = world
    request = wire.Provide(agreement=rig.id, blobs=(CONTRACT,))
    refused("topic.unknown", Door(start()).ask, request, Done)


def test_evidence_is_bound_to_the_verifiers_nonce(host):
    bundles = [
        shape.decode(evidence.EvidenceBundle, host.attest(nonce=seed(nonce)), 1 << 20)
        for nonce in ("one", "two")
    ]
    assert [bundle.binding.nonce for bundle in bundles] == [seed("one"), seed("two")]
    assert bundles[0].binding.keys == host.keys
    assert bundles[0].evidence != bundles[1].evidence


def test_evidence_for_a_host_that_is_no_candidate_is_not_made(host):
    request = wire.Attest(
        agreement=host.rig.id,
        host=host.rig.a.did,
        requester=host.rig.a.did,
        term=1,
        nonce=seed("n"),
    )
    refused("host.candidate", host.door.ask, request, wire.AttestAnswer)


# --- terms ---------------------------------------------------------------------------------------


def test_too_few_votes_appoint_nobody(host):
    certificate = host.rig.certificate(1, host.candidacy, voters=host.rig.quorum - 1)
    refused("decision.quorum", host.appoint, certificate)


def test_a_certificate_of_another_enclave_fences_this_one(host, world):
    rig, start = world
    other = Host(rig, rig.host_2, Door(start())).join()
    host.take_office(1)
    assert host.door.ask(wire.Beat(agreement=rig.id), wire.TokenAnswer).token
    certificate = rig.certificate(2, other.candidacy)
    request = wire.Appoint(agreement=rig.id, certificate=certificate, host=other.candidacy.raw)
    refused("term.fenced", host.door.ask, request, Done)
    refused("term.fenced", host.door.ask, wire.Beat(agreement=rig.id), wire.TokenAnswer)
    refused("term.fenced", host.begin, rig.share(rig.a, rows_of(1), host.keys))


def test_a_fenced_enclave_keeps_no_rows_and_no_keys(host, world):
    rig, start = world
    other = Host(rig, rig.host_2, Door(start())).join()
    host.take_office(1)
    share = rig.share(rig.a, rows_of(*range(50)), host.keys)
    ready = host.begin(share)
    for frame in share.frames[:3]:
        host.feed(ready.share, frame)
    assert host.door.enclave.room.used
    certificate = rig.certificate(2, other.candidacy)
    request = wire.Appoint(agreement=rig.id, certificate=certificate, host=other.candidacy.raw)
    refused("term.fenced", host.door.ask, request, Done)
    assert host.door.enclave.room.used == 0
    assert host.door.enclave.sessions[rig.id].shares.held == {}


def test_a_term_only_rises(host):
    host.take_office(2)
    host.appoint(host.certificate)  # again is no harm
    refused("term.fenced", host.appoint, host.rig.certificate(1, host.candidacy))
    standby = host.rig.certificate(2, host.candidacy, standbys=(host.candidacy,))
    refused("term.fenced", host.appoint, standby, (host.candidacy,))


def test_a_candidacy_that_the_appointment_does_not_name_lends_no_keys(host, world):
    rig, start = world
    other = Host(rig, rig.host_2, Door(start())).join()
    certificate = rig.certificate(1, host.candidacy)
    request = wire.Appoint(agreement=rig.id, certificate=certificate, host=other.candidacy.raw)
    refused("election.certificate", host.door.ask, request, Done)
    named = rig.certificate(1, host.candidacy, (other.candidacy,))
    refused("election.certificate", host.appoint, named, (host.candidacy,))


def test_a_heartbeat_needs_an_appointment(host):
    beat = wire.Beat(agreement=host.rig.id)
    refused("election.certificate", host.door.ask, beat, wire.TokenAnswer)


def test_a_standby_opens_nothing_before_its_own_appointment(world):
    rig, start = world
    first = Host(rig, rig.host_1, Door(start())).join()
    standby = Host(rig, rig.host_2, Door(start())).join()
    share = rig.share(rig.a, rows_of(1), first.keys, standby.keys)
    refused("election.certificate", standby.begin, share)
    standby.take_office(2)
    assert standby.begin(share).share == share.id


# --- shares of parties ---------------------------------------------------------------------------


@pytest.fixture
def office(host):
    return host.take_office()


def test_a_share_of_no_party_is_refused(office):
    rig = office.rig
    refused("record.author", office.begin, rig.share(rig.registrar, rows_of(1), office.keys))


def test_a_share_by_a_party_that_is_no_source_is_refused(office):
    rig = office.rig
    refused("share.provider", office.begin, rig.share(rig.sponsor, rows_of(1), office.keys))


@pytest.mark.parametrize(
    "change",
    [
        {"agreement": seed("other")},
        {"owner": seed("other")},
        {"dataset": "other"},
        {"contract": seed("other")},
    ],
)
def test_a_share_that_is_bound_to_something_else_is_refused(office, change):
    rig = office.rig
    refused("share.binding", office.begin, rig.share(rig.a, rows_of(1), office.keys, **change))


def test_a_share_sealed_to_another_enclave_does_not_open(office, world):
    rig, start = world
    other = Host(rig, rig.host_2, Door(start()))
    refused("share.wrap", office.begin, rig.share(rig.a, rows_of(1), other.keys))


def test_a_rewrap_by_its_owner_opens_it_and_nobody_elses_does(office, world):
    rig, start = world
    other = Host(rig, rig.host_2, Door(start()))
    share = rig.share(rig.a, rows_of(1), other.keys)
    forged = rig.rewrap(rig.b, share, office.keys)
    refused("share.binding", office.begin, share, rewraps=(forged,))
    assert office.begin(share, rewraps=(rig.rewrap(rig.a, share, office.keys),)).share == share.id


def test_a_key_that_its_header_does_not_commit_to_is_refused(office):
    rig = office.rig
    share = rig.share(rig.a, rows_of(1), office.keys, commitment=seed("other"))
    refused("share.commitment", office.begin, share)


def test_frames_must_come_in_order_unaltered_and_to_the_end(office):
    rig = office.rig
    share = rig.share(rig.a, rows_of(*range(50)), office.keys)
    ready = office.begin(share)
    segment, first, second, *rest = share.frames
    office.feed(ready.share, segment)
    refused("share.chunk", office.feed, ready.share, second)
    flipped = first[:-1] + bytes([first[-1] ^ 1])
    refused("share.chunk", office.feed, ready.share, flipped)
    office.feed(ready.share, first)
    refused("share.chunk", office.feed, ready.share, first)
    refused("share.unfinished", office.end, ready.share)
    refused("share.unfinished", office.feed, ready.share, rest[-1])
    again = office.begin(share)
    # It begins anew: the host shows it what the disk has.
    assert (again.chunks, again.chain, again.share) == (0, ready.chain, ready.share)


def test_a_frame_of_an_unknown_share_is_refused(office):
    refused("enclave.sequence", office.feed, seed("nothing"), b"\x01" + bytes(32))


def test_the_rows_of_an_unfinished_share_are_only_in_memory_and_bounded(office):
    rig, room = office.rig, office.door.enclave.room
    share = rig.share(rig.a, rows_of(*range(50)), office.keys)
    ready = office.begin(share)
    for frame in share.frames[:3]:
        office.feed(ready.share, frame)
    assert room.used == 1024
    room.capacity = 1100
    refused("enclave.full", office.feed, ready.share, share.frames[3])


def test_an_older_share_does_not_come_back(office):
    rig = office.rig
    old = rig.share(rig.a, rows_of(1), office.keys)
    new = rig.share(rig.a, rows_of(1, 2), office.keys)
    office.keep(new)
    refused("share.binding", office.begin, old)
    other = rig.share(rig.a, rows_of(1, 2, 3), office.keys)
    office.keep(other)
    refused("share.binding", office.begin, new)
    for one in (old, new):  # of use for what was computed from it, and for nothing else
        office.begin(one, stored=True)
    (session,) = office.door.enclave.sessions.values()
    assert [one.share.id for one in session.shares.usable()] == [other.id]
    assert session.shares.of_parties().keys() == {old.id, new.id, other.id}
    session.forget((old.id, new.id))
    assert session.shares.of_parties().keys() == {other.id}


def test_replaced_shares_without_end_fill_nothing(office):
    rig = office.rig
    (session,) = office.door.enclave.sessions.values()
    made = [rig.share(rig.a, rows_of(*range(n + 1)), office.keys) for n in range(EARLIER + 3)]
    for one in made:
        office.keep(one)
    assert len(session.shares.held) == 1
    kept = {one.id for one in [*made[:EARLIER], made[-1]]}
    assert session.shares.of_parties().keys() == kept


# --- people --------------------------------------------------------------------------------------

ANN, BOB = Patient("row-101"), Patient("row-102")


def test_a_person_with_consent_is_taken(office):
    share = office.rig.person_share(ANN, rows_of(101), office.keys)
    ready = office.begin(share)
    assert (ready.share, ready.owner) == (share.id, ANN.key)


def test_a_share_without_consent_is_refused(office):
    share = office.rig.person_share(ANN, rows_of(101), office.keys, consent_=b"")
    refused("consent.missing", office.begin, share)


def test_somebody_elses_consent_is_none(office):
    rig = office.rig
    share = rig.person_share(ANN, rows_of(101), office.keys, consent_=rig.consent(BOB))
    refused("consent.signature", office.begin, share)


@pytest.mark.parametrize(
    "change",
    [
        {"agreement": seed("other")},
        {"notice": seed("other")},
        {"purpose": "dpv:Marketing"},
        {"recipients": ()},
        {"first": 2, "last": 1},
        {"first": 1, "last": 13},
    ],
)
def test_a_consent_to_something_else_is_none(office, change):
    rig = office.rig
    said = rig.consent(ANN, **change)
    refused(
        "consent.scope",
        office.begin,
        rig.person_share(ANN, rows_of(101), office.keys, consent_=said),
    )


def test_the_sealing_key_is_the_one_that_the_consent_names(office):
    share = office.rig.person_share(ANN, rows_of(101), office.keys, sealing=seed("of a gateway"))
    refused("consent.scope", office.begin, share)


def test_a_person_needs_an_admission_by_the_registrar_for_this_key(office):
    rig = office.rig
    forged = rig.admission(ANN, by=rig.a.signing)
    refused(
        "credential.issuer",
        office.begin,
        rig.person_share(ANN, rows_of(101), office.keys, admission=forged),
    )
    elsewhere = rig.admission(ANN, agreement=seed("other"))
    refused(
        "credential.subject",
        office.begin,
        rig.person_share(ANN, rows_of(101), office.keys, admission=elsewhere),
    )
    stolen = rig.admission(BOB)
    refused(
        "consent.signature",
        office.begin,
        rig.person_share(ANN, rows_of(101), office.keys, admission=stolen),
    )


def test_the_share_is_signed_by_the_person_who_consents(office):
    share = office.rig.person_share(ANN, rows_of(101), office.keys, signer=BOB.seed)
    refused("share.signature", office.begin, share)


def test_an_envelope_for_another_enclave_does_not_open(office, world):
    rig, start = world
    other = Host(rig, rig.host_2, Door(start()))
    refused("share.wrap", office.begin, rig.person_share(ANN, rows_of(101), other.keys))


def test_nobody_counts_twice_whatever_the_key(office):
    rig = office.rig
    office.keep(rig.person_share(ANN, rows_of(101), office.keys))
    twin = rig.admission(BOB, tag=seed(f"tag {ANN.value}"))
    share = rig.person_share(BOB, rows_of(102), office.keys, admission=twin)
    refused("person.duplicate", office.begin, share)


def test_a_withdrawn_consent_is_ended_for_ever(office):
    rig = office.rig
    share = rig.person_share(ANN, rows_of(101), office.keys)
    stop = rig.stop(ANN, share.consent)
    office.door.ask(wire.Stops(agreement=rig.id, stops=(stop,)), Done)
    refused("consent.withdrawn", office.begin, share)
    again = rig.consent(ANN, ordinal=2)
    assert office.begin(rig.person_share(ANN, rows_of(101), office.keys, consent_=again)).share


def test_somebody_elses_stop_ends_nothing(office):
    rig = office.rig
    share = rig.person_share(ANN, rows_of(101), office.keys)
    stop = rig.stop(BOB, share.consent)
    office.door.ask(wire.Stops(agreement=rig.id, stops=(stop,)), Done)
    assert office.begin(share).share == share.id


def test_an_older_consent_does_not_come_back(office):
    rig = office.rig
    first, second = (rig.consent(ANN, ordinal=n, last=6) for n in (1, 2))
    office.keep(rig.person_share(ANN, rows_of(101), office.keys, consent_=second))
    old = rig.person_share(ANN, rows_of(101), office.keys, consent_=first)
    refused("consent.scope", office.begin, old)


# --- the wire ------------------------------------------------------------------------------------


def test_every_request_has_an_answer(host):
    with_descriptors = {wire.ShareStream}
    assert set(enclave._ANSWERS) | with_descriptors == set(wire.REQUESTS.values())


def test_hello_names_keys_and_software(host):
    assert host.hello.keys == host.door.enclave.vault.keys
    assert host.hello.technology == "simulated"
    assert len(host.hello.software) == 32


def test_keys_are_new_at_each_boot(world):
    rig, start = world
    one, two = (Host(rig, rig.host_1, Door(start())) for _ in range(2))
    assert isinstance(one.keys, host_kinds.EnclaveKeys)
    assert one.keys != two.keys
    assert keys.public(one.door.enclave.seed) == one.keys.signing
