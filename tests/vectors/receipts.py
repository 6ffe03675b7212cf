"""Vectors about a person's receipt: certificates of runs, and proofs of use and absence."""

from collections.abc import Iterator
from dataclasses import replace

from protocol import shape, token
from protocol.audit import receipt
from protocol.audit.receipt import Proof, Receipt
from protocol.kinds.consent import Consent
from protocol.merkle import Inclusion
from tests.audit_rig import Story
from tests.vectors.identities import FIRST, Named


def receipts() -> Iterator[Named]:
    """One person with two consents and a withdrawal, in a story of two runs."""
    story = Story().tell()
    mine, other = story.patient, story.people[0]
    document = shape.encode(story.document)
    runs = [(story.certificate(number), story.leaves[number]) for number in (1, 2)]
    good = receipt.build(document, runs, mine.consents, mine.stops)
    whole = shape.decode(Receipt, good, len(good))
    first, second = whole.runs

    def changed(name: str, expect: str, comment: str, **fields: object) -> Named:
        return name, expect, comment, shape.encode(replace(whole, **fields))  # type: ignore[arg-type]

    yield "absent-then-used", "ok", "not in run 1, in run 2", good
    yield "used", "ok", "in run 1 and 2", receipt.build(document, runs, other.consents)
    proof, quorum, signature = "run.proof", "decision.quorum", "consent.signature"
    few = replace(first.certificate, votes=first.certificate.votes[1:])
    yield changed("few", quorum, "three votes of five", runs=(replace(first, certificate=few),))
    moved = replace(second.certificate, votes=first.certificate.votes)
    moved_ = (replace(second, certificate=moved),)
    yield changed("moved", "decision.subject", "the votes are for another run", runs=moved_)
    swapped = (replace(first, proofs=second.proofs), replace(second, proofs=first.proofs))
    yield changed("swapped", proof, "the proofs are of another run", runs=swapped)
    less = (replace(first, proofs=first.proofs[1:]),)
    yield changed("lacking", proof, "a proof is lacking", runs=less)
    neither = (replace(first, proofs=(Proof(), Proof())),)
    yield changed("neither", proof, "a proof of nothing", runs=neither)
    shown = next(one for one in second.proofs if one.inclusion is not None)
    yield changed("path", proof, "one sibling is another", runs=(_bent(second, shown),))
    yield changed("no-runs", "audit.malformed", "about no run", runs=())
    both = (mine.consents[0], other.consents[0])
    yield changed("two-people", signature, "consents of two people", consents=both)
    yield changed("nobody", signature, "no consent", consents=(), stops=())
    turned = tuple(reversed(mine.consents))
    yield changed("order", "consent.scope", "the consents in another order", consents=turned)
    another = shape.encode(replace(story.document, name="another"))
    scope = "consent.scope"
    yield changed("agreement", scope, "the consents are for another", agreement=another)
    body = token.open_(mine.consents[0], "consent", Consent).body
    forged = token.sign(bytes(32), "consent", body)
    yield changed("forged", signature, "a consent by another key", consents=(forged,))
    yield changed("stranger", "agreement.party", "an identity of no party", identities=(FIRST.raw,))


def _bent(run: receipt.ReceiptRun, shown: Proof) -> receipt.ReceiptRun:
    """The run with another sibling in one proof of use."""
    found = shown.inclusion
    assert isinstance(found, Inclusion)
    path = (bytes(32), *found.path[1:])
    bent = Proof(inclusion=replace(found, path=path))
    return replace(run, proofs=tuple(bent if one is shown else one for one in run.proofs))
