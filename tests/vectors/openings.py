"""Vectors about what opens a topic: a space, a negotiation, an agreement."""

from collections.abc import Iterator
from dataclasses import replace

from protocol import codec, shape
from protocol.kinds.space import Founder
from tests import agreements, in_force
from tests.vectors.identities import Named
from tests.vectors.spaces import CHARTER, FIRST, HEIR


def openings() -> Iterator[Named]:
    """What opens a topic."""
    not_ = "topic.opening"
    yield "space", "ok", "a charter of four founders", shape.encode(CHARTER)
    twice = replace(CHARTER, founders=(*CHARTER.founders, CHARTER.founders[0]))
    yield "space-twice", not_, "one founds twice", shape.encode(twice)
    nobody = replace(CHARTER, founders=())
    yield "space-nobody", not_, "nobody founds it", shape.encode(nobody)
    thief = Founder(identity=b"", roles=())
    empty = replace(CHARTER, founders=(thief,))
    yield "space-identity", "codec.malformed", "a founder without identity", shape.encode(empty)
    yield "negotiation", "ok", "a negotiation of five", agreements.NEGOTIATION_RAW
    yield "type", not_, "a type that nobody knows", codec.encode({"type": "poem"})
    yield "list", not_, "no map", codec.encode(["space"])
    yield "field", "shape.mismatch", "a charter with a field more", codec.encode(
        {**shape.write(CHARTER), "extra": 1}
    )  # fmt: skip
    yield from _agreements()


def _agreements() -> Iterator[Named]:
    votes, document = "agreement.certificate", "agreement.document"
    good = codec.decode(in_force.OPENING, 2**20)

    def changed(name: str, expect: str, comment: str, **fields: object) -> Named:
        return f"agreement-{name}", expect, comment, codec.encode({**good, **fields})

    signed, named = good["votes"], good["identities"]
    yield changed("signed", "ok", "signed by all five parties")
    yield changed("few", votes, "signed by four of five", votes=signed[:4])
    yield changed("twice", votes, "one party signed twice", votes=[*signed[:4], signed[0]])
    other = shape.encode(replace(agreements.DOCUMENT, name="another"))
    yield changed("other", votes, "the votes are for another document", document=other)
    swapped = [named[1], named[0], *named[2:]]
    yield changed("swapped", document, "two identities change places", identities=swapped)
    yield changed("unnamed", document, "an identity is lacking", identities=named[:-1])
    stranger = [FIRST[HEIR].raw, *named[1:]]
    yield changed("stranger", document, "another one's identity", identities=stranger)
