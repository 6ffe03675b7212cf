"""Audit files of agreements in which keys came and went."""

from dataclasses import replace
from typing import Any

import pytest

from protocol import limits, record, shape
from protocol.audit import receipt
from protocol.audit.findings import Check
from protocol.audit.verify import verify
from protocol.errors import Refused
from protocol.kinds.host import Lapse
from protocol.kinds.identity import Keys, Pin
from protocol.kinds.run import RunCertificate
from tests.agreements import renewed
from tests.audit_rig import NOW, A, Enclave, Story, Topic, seed
from tests.audit_rig import Actor as Teller

NEW = seed("new key")


class Renewing(Topic):
    """From `renew` on, everything by A is signed with its newest key."""

    newest: Teller | None = None

    @property
    def newest_key(self) -> bytes:
        return self.newest.participant.vote_key

    def write(self, who: Teller | Enclave, *rest: Any, **more: Any) -> Any:
        return super().write(self.newest if self.newest and who == A else who, *rest, **more)


class Rotating(Story):
    """Between the runs A gets another key; with `stolen`, a thief goes on with the old one."""

    stolen = False
    signed = True

    def withdraw(self) -> None:
        super().withdraw()
        topic = self.agreement
        topic.__class__ = Renewing
        pins = self._pin() if self.stolen else None
        made = renewed(A, NEW, "stolen" if self.stolen else "rotated", pins)
        topic.newest = Teller(A.name, A.root, NEW, made.participant)
        topic.must(A, "keys", Keys(identity=made.participant.raw))
        if self.stolen:
            Topic.write(topic, A, "lapse", Lapse(term=2, reason="thief"))

    def _pin(self) -> tuple[Pin, ...]:
        topics = (self.agreement, self.negotiation) if self.signed else (self.agreement,)
        heads = [
            [one for one in topic.records if one.key == A.participant.vote_key][-1]
            for topic in topics
        ]
        return tuple(Pin(topic=one.topic, seq=one.seq, head=one.id) for one in heads)


class Stolen(Rotating):
    stolen = True


def test_votes_before_and_after_a_rotation_are_valid() -> None:
    story = Rotating().tell()
    report = verify(story.export(), NOW)
    assert report.findings == ()
    keys_of_a = {one.key for one in story.agreement.records if one.author == A.did}
    assert len(keys_of_a) == 2
    assert any("complete up to run 2" in part for part in (report.headline, *report.proofs))


def test_what_a_thief_signed_counts_for_nothing_and_is_told() -> None:
    report = verify(Stolen().tell().export(), NOW)
    assert report.findings == ()
    assert any("took back are void" in limit for limit in report.limits)


def test_an_agreement_that_a_thief_signed_is_found() -> None:
    class Signed(Stolen):
        signed = False

    report = verify(Signed().tell().export(), NOW)
    assert (Check.FILE, "agreement.certificate") in {(f.check, f.code) for f in report.findings}


def test_a_key_that_no_root_delegated_is_found() -> None:
    class Forged(Rotating):
        def withdraw(self) -> None:
            Story.withdraw(self)
            topic = self.agreement
            topic.__class__ = Renewing
            topic.newest = Teller(A.name, A.root, NEW, A.participant)

    report = verify(Forged().tell().export(), NOW)
    assert (Check.AUTHORS, "record.author") in {(f.check, f.code) for f in report.findings}


def test_a_receipt_brings_the_identities_that_its_votes_need_and_no_more() -> None:
    story = Rotating().tell()
    topic, mine = story.agreement, story.patient
    whole = shape.decode(RunCertificate, story.certificate(2), limits.FRAME)
    votes = sorted(whole.votes, key=lambda raw: record.parse(raw).key != topic.newest_key)
    few = shape.encode(replace(whole, votes=tuple(votes[:4])))  # a quorum only with A's new key
    runs = [(few, story.leaves[2])]
    document, known = shape.encode(story.document), [topic.newest.participant.raw]
    with pytest.raises(Refused) as caught:
        receipt.build(document, runs, mine.consents, mine.stops)
    assert caught.value.code == "decision.voter"
    file = receipt.build(document, runs, mine.consents, mine.stops, known)
    assert receipt.verify(file).findings == ()
    assert shape.decode(receipt.Receipt, file, len(file)).identities == tuple(known)
    first = [(story.certificate(1), story.leaves[1])]
    plain = receipt.build(document, first, mine.consents, mine.stops, known)
    assert shape.decode(receipt.Receipt, plain, len(plain)).identities == ()
