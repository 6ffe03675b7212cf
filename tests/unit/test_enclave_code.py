"""Confidential code as it comes to the enclave: what is taken, kept, and forgotten."""

import pytest

from enclave_host import environment
from protocol import enclave_wire as wire
from protocol import limits, shape
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds.algorithm import CODE
from protocol.kinds.share import Receipt
from tests.enclave_drive import Door, Host, booted, refused
from tests.enclave_rig import rows_of
from tests.sealed_rig import ConfidentialRig, SealedRig


@pytest.fixture
def start(tmp_path):
    with booted(tmp_path) as boot:
        yield boot


def office(start, kind=ConfidentialRig):
    rig = kind(environment.digest(start.folder))
    host = Host(rig, rig.host_1, Door(start())).join().take_office()
    for who, numbers in ((rig.a, (1, 2, 3)), (rig.b, (4, 5, 6))):
        host.keep(rig.share(who, rows_of(*numbers), host.keys))
    return host


@pytest.fixture
def host(start):
    return office(start)


def verdict(receipt):
    return shape.read(Receipt, dict(receipt.body or {})).verdict


def prepare(host):
    return host.prepare(1, host.rig.statements(host.summon(1, host.rig.order("train", {}))))


def session(host):
    return host.door.enclave.sessions[host.rig.id]


def test_nothing_starts_before_the_code_is_here_and_its_provider_is_named(host):
    found = refused("run.share-missing", prepare, host)
    assert (found.set_by, "confidential code" in found.detail) == ("lab", True)
    assert verdict(host.push(host.rig.code_share(host.keys))) == "kept"
    prepared = prepare(host)
    assert len(prepared.shares) == 2  # of the hospitals; code is not read again at each run


def test_the_code_is_taken_as_a_share_and_counts_in_memory(host):
    used = host.door.enclave.room.used
    host.push(host.rig.code_share(host.keys))
    assert host.door.enclave.room.used == used + len(host.rig.bundle)
    assert session(host).bundle().files["vitals.py"] == host.rig.code


@pytest.mark.parametrize("change", [b"", b"x", None])
def test_what_is_not_the_agreed_code_is_refused_whatever_it_is(host, change):
    plain = shape.encode({}) if change is None else host.rig.bundle[:-1] + change
    share = host.rig.code_share(host.keys, plain=plain)
    assert verdict(host.push(share)) == "run.code"
    assert host.door.enclave.room.used == 0
    refused("run.share-missing", prepare, host)
    refused("share.contract", host.begin, share)


def test_code_by_anybody_but_its_provider_is_refused(host):
    rig = host.rig
    share = rig.share(
        rig.a, [], host.keys, plain=rig.bundle, dataset=CODE, contract=rig.document.algorithm.bundle
    )
    refused("share.provider", host.begin, share)
    other = rig.share(rig.lab, [], host.keys, plain=rig.bundle, dataset=CODE)
    refused("share.binding", host.begin, other)


def test_open_code_does_not_come_as_a_share_nor_confidential_code_as_a_blob(start):
    host = office(start, SealedRig)
    refused("share.binding", host.begin, host.rig.code_share(host.keys))
    host = office(start)
    provide = wire.Provide(agreement=host.rig.id, blobs=(host.rig.bundle,))
    refused("run.code", host.door.ask, provide, Done)


def test_no_more_than_a_bundle_may_have_is_kept(host):
    share = host.rig.code_share(host.keys, plain=bytes(limits.BLOB + 1))
    with pytest.raises(Refused, match=r"share\.chunk"):
        host.push(share)


def test_an_enclave_that_lost_office_forgets_the_code(start, host):
    host.push(host.rig.code_share(host.keys))
    other = Host(host.rig, host.rig.host_2, Door(start())).join()
    certificate = host.rig.certificate(2, other.candidacy)
    request = wire.Appoint(agreement=host.rig.id, certificate=certificate, host=other.candidacy.raw)
    refused("term.fenced", host.door.ask, request, Done)
    assert session(host).code is None
    assert host.door.enclave.room.used == 0


def test_code_that_the_host_erased_is_forgotten(host):
    share = host.rig.code_share(host.keys)
    host.push(share)
    host.door.ask(wire.Forget(agreement=host.rig.id, shares=(share.id,)), Done)
    assert (session(host).code, host.door.enclave.room.used) == (None, 0)
    refused("run.share-missing", prepare, host)


def test_a_standby_is_shown_all_of_it_again(start, host):
    other = Host(host.rig, host.rig.host_2, Door(start())).join()
    share = host.rig.code_share(host.keys, other.keys)
    host.push(share)
    other.take_office(2)
    ready = other.begin(share, stored=True)
    assert (ready.chunks, session(other).code) == (0, None)  # stored or not: every frame again
    assert verdict(other.push(share)) == "kept"
    again = other.begin(share, stored=True)
    assert again.chain == share.frames[-1][1:33]  # the host sees that nothing is lacking
    assert session(other).bundle().files["vitals.py"] == host.rig.code
