"""A person's receipt: what it says, what it refuses, and how large it is."""

import random
from dataclasses import replace

import pytest

from protocol import shape, token
from protocol.audit import receipt
from protocol.audit.examine import examine
from protocol.audit.receipt import Proof, Receipt
from protocol.errors import Refused
from protocol.kinds.consent import Consent
from tests.audit_rig import NOW, PARTIES, Person, Story, seed

STORY = Story().tell()
DOCUMENT = shape.encode(STORY.document)
RUNS = [(STORY.certificate(number), STORY.leaves[number]) for number in (1, 2)]


def build(person: Person, runs: list[tuple[bytes, bytes]] = RUNS) -> bytes:
    return receipt.build(DOCUMENT, runs, person.consents, person.stops)


FILE = build(STORY.patient)


def codes(data: bytes) -> set[str]:
    return {finding.code for finding in receipt.verify(data).findings}


def changed(**values: object) -> bytes:
    return shape.encode(replace(shape.decode(Receipt, FILE, len(FILE)), **values))


def test_the_patient_who_withdrew_and_came_back() -> None:
    report = receipt.verify(FILE)
    assert report.findings == ()
    assert report.headline == "not in run 1 · in run 2, under consent #2"
    assert examine(FILE, NOW) == report


@pytest.mark.parametrize(
    ("number", "headline"),
    [
        (1, "in run 1, under consent #1 · in run 2, under consent #1"),
        (3, "in run 1, under consent #1 · not in run 2"),
        (12, "not in run 1 · in run 2, under consent #1"),
    ],
)
def test_other_patients(number: int, headline: str) -> None:
    assert receipt.verify(build(STORY.people[number - 1])).headline == headline


class Same(Person):
    """One receipt secret for all consents, as a vault has it."""

    def secret(self, ordinal: int) -> bytes:
        del ordinal
        return seed(f"the secret of {self.number}")


def test_consents_with_one_secret_take_one_proof() -> None:
    story = Story()
    story.people[6] = Same(7)
    story.tell()
    runs = [(story.certificate(number), story.leaves[number]) for number in (1, 2)]
    mine = story.patient
    file = receipt.build(shape.encode(story.document), runs, mine.consents, mine.stops)
    assert receipt.verify(file).headline == "not in run 1 · in run 2, under consent #2"
    whole = shape.decode(Receipt, file, len(file))
    assert [len(run.proofs) for run in whole.runs] == [1, 1]
    twice = replace(whole.runs[1], proofs=whole.runs[1].proofs * 2)
    assert codes(shape.encode(replace(whole, runs=(twice,)))) == {"run.proof"}


def test_it_names_nobody_else() -> None:
    others = [person for person in STORY.people if person is not STORY.patient]
    for person in others:
        assert all(raw not in FILE for raw in person.consents)
        assert token.open_(person.consents[0], "consent", Consent).key not in FILE


@pytest.mark.parametrize(("runs", "size"), [(1, 7_700), (2, 11_300), (4, 18_500)])
def test_its_size(runs: int, size: int) -> None:
    """Measured with five parties and one consent: 7.6 kB for one run, 11.2 kB for two, 18.4 kB for
    four. Of that the agreement document has 3.5 kB, the consent 0.5 kB, each run 3.6 kB (its record
    1.6 kB, four votes 1.7 kB, the proof 0.2 kB).
    """
    some = [RUNS[at % len(RUNS)] for at in range(runs)]
    assert size - 400 < len(build(STORY.people[0], some)) <= size


def test_a_receipt_about_one_run_has_less_than_10_kb() -> None:
    """Two consents and a withdrawal add 1.4 kB."""
    assert all(len(build(person, RUNS[:1])) < 10_000 for person in STORY.people)


def test_use_outside_of_the_consent_s_window() -> None:
    story = Story().tell()
    late = Person(1)
    late.consent(story.agreement.id, story.document, first=2)
    runs = [(story.certificate(1), story.leaves[1])]
    with pytest.raises(Refused, match=r"consent\.scope: run 1 used the share"):
        receipt.build(shape.encode(story.document), runs, late.consents)


def test_use_after_the_withdrawal_incriminates_the_run() -> None:
    class Ignoring(Story):
        def in_run(self, number: int):
            return ((person, len(person.consents)) for person in self.people[:10])

    story = Ignoring().tell()
    third = story.people[2]
    runs = [(story.certificate(2), story.leaves[2])]
    with pytest.raises(Refused, match=r"consent\.withdrawn: run 2 names the withdrawal"):
        receipt.build(shape.encode(story.document), runs, third.consents, third.stops)


def test_votes_of_less_than_a_quorum() -> None:
    whole = shape.decode(Receipt, FILE, len(FILE))
    run = whole.runs[0]
    fewer = replace(run.certificate, votes=run.certificate.votes[1:])
    assert codes(changed(runs=(replace(run, certificate=fewer),))) == {"decision.quorum"}
    assert len(run.certificate.votes) == 4 < len(PARTIES)


def test_proofs_of_another_run_or_of_nothing() -> None:
    first, second = shape.decode(Receipt, FILE, len(FILE)).runs
    swapped = (replace(first, proofs=second.proofs), replace(second, proofs=first.proofs))
    assert codes(changed(runs=swapped)) == {"run.proof"}
    assert codes(changed(runs=(replace(first, proofs=first.proofs[1:]),))) == {"run.proof"}
    assert codes(changed(runs=(replace(first, proofs=(Proof(), Proof())),))) == {"run.proof"}
    assert codes(changed(runs=())) == {"audit.malformed"}


def test_consents_of_somebody_else() -> None:
    mine, other = STORY.patient.consents, STORY.people[0].consents
    assert codes(changed(consents=(mine[0], other[0]))) == {"consent.signature"}
    assert codes(changed(consents=())) == {"consent.signature"}
    assert codes(changed(consents=(mine[1], mine[0]))) == {"consent.scope"}
    assert codes(changed(consents=tuple(other), stops=())) == {"run.proof"}


def test_a_consent_for_another_agreement_or_notice() -> None:
    person = Person(7)
    person.consent(seed("another agreement"), STORY.document)
    assert codes(changed(consents=tuple(person.consents), stops=())) == {"consent.scope"}
    assert STORY.document.people is not None
    people = replace(STORY.document.people, notice=seed("another notice"))
    person = Person(7)
    person.consent(STORY.agreement.id, replace(STORY.document, people=people))
    assert codes(changed(consents=tuple(person.consents), stops=())) == {"consent.scope"}


def test_another_agreement() -> None:
    other = shape.encode(replace(STORY.document, name="another"))
    assert codes(changed(agreement=other)) == {"consent.scope"}


def test_every_flipped_bit_is_found() -> None:
    chance = random.Random(7)  # noqa: S311 (not for secrets)
    for _ in range(200):
        at = chance.randrange(len(FILE) * 8)
        flipped = bytearray(FILE)
        flipped[at // 8] ^= 1 << at % 8
        assert receipt.verify(bytes(flipped)).findings, f"bit {at}"
