"""JSON-LD contexts: what the names in a JSON result mean, agreed by digest with the output model.

A small, closed part of JSON-LD 1.1 is allowed, so that every reader comes to the same triples and
none ever fetches anything: one inline context; terms that are an IRI, null (means nothing), or an
object of @id, @type (a datatype, or @id) and @container (@list or @set). Every property of the
output model is a term: mapped, or null on purpose.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from protocol import limits
from protocol.errors import Refused
from protocol.output_model import Model
from protocol.strict_json import no_repeats

Term = str | Mapping[str, str] | None
"""The definition of a term; None says that its property has no meaning outside."""

_KEYS: Final = {"@id", "@type", "@container"}
_CONTAINERS: Final = {"@list", "@set"}
_DELIMITERS: Final = ":/?#[]@"
_SCHEMES: Final = ("http://", "https://", "urn:", "tag:")


def read(blob: bytes) -> dict[str, Term]:
    """Term -> its definition. Raises Refused (agreement.context)."""
    if len(blob) > limits.CONTRACT:
        raise Refused("agreement.context", f"it has {len(blob)} bytes")
    try:
        found = json.loads(blob, object_pairs_hook=no_repeats)
    except (ValueError, RecursionError) as error:
        raise Refused("agreement.context", "it is no JSON") from error
    if not isinstance(found, dict) or found.keys() != {"@context"}:
        raise Refused("agreement.context", "it is no object with @context alone")
    terms = found["@context"]
    if not isinstance(terms, dict) or len(terms) > limits.ITEMS:
        raise Refused("agreement.context", "its @context is no object: nothing is fetched")
    if terms.pop("@version", 1.1) != 1.1:
        raise Refused("agreement.context", "its @version is not 1.1")
    for name, term in terms.items():
        fault = _fault(name, term, terms)
        if fault is not None:
            raise Refused("agreement.context", f"{name[:40]!r}: {fault}")
    return terms


def faults(model: Model, blob: bytes) -> Iterator[str]:
    """Why the context does not fit the model."""
    try:
        terms = read(blob)
    except Refused as refused:
        yield f"output {model.name}: its context: {refused.detail}"
        return
    if model.places[0].schema.get("type") != "object":
        yield f"output {model.name}: only an object has a context"
    names = sorted({step for place in model.places for step in place.path if step != "*"})
    for name in names:
        if name.startswith("@") or ":" in name:
            yield f"output {model.name}: no context can map the property {name}"
        elif name not in terms:
            yield f"output {model.name}: its context does not say what {name} means; null: nothing"


def expanded(iri: str, terms: Mapping[str, Term]) -> str | None:
    """The absolute IRI that `iri` (absolute, or prefix:rest) means; None if it means none."""
    if iri.startswith(_SCHEMES):
        return iri if _plain(iri) else None
    prefix, colon, rest = iri.partition(":")
    base = terms.get(prefix)
    if not colon or not isinstance(base, str) or not base.startswith(_SCHEMES):
        return None
    if base[-1] not in _DELIMITERS:  # to JSON-LD it is no prefix then
        return None
    return base + rest if _plain(base + rest) else None


def _fault(name: str, term: Any, terms: Mapping[str, Any]) -> str | None:  # noqa: ANN401 (JSON)
    if name.startswith("@") or ":" in name or not name:
        return "no keyword and no IRI is a term here"
    match term:
        case None:
            return None
        case str():
            return None if expanded(term, terms) else "its IRI is not absolute"
        case dict() if term.keys() <= _KEYS and all(isinstance(v, str) for v in term.values()):
            return _fault_of_parts(term, terms)
        case _:
            return "it is an IRI, null, or an object of @id, @type and @container"


def _fault_of_parts(term: Mapping[str, str], terms: Mapping[str, Any]) -> str | None:
    if expanded(term.get("@id", ""), terms) is None:
        return "its @id is not absolute"
    if term.get("@type", "@id") != "@id" and expanded(term["@type"], terms) is None:
        return "its @type is neither a datatype nor @id"
    if term.get("@container", "@set") not in _CONTAINERS:
        return "its @container is neither @list nor @set"
    return None


def _plain(iri: str) -> bool:
    """Only what an IRI may have, so that it stays one in every notation."""
    return iri.isprintable() and not set(iri) & set('<>"{}|\\^` ')
