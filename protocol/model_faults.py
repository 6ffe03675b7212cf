"""Whether the output models and contexts of an agreement say enough: looked at before signing, by
every party alike, and again by the enclave before anything opens.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from protocol import context, output_model
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement, Output
from protocol.output_model import NOISE, Model, Place

_NORMS: Final = {"laplace": "l1", "gaussian": "l2"}


def faults(document: Agreement, blobs: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Every fault of the JSON models and contexts that `document` names; `blobs` by digest. What is
    not in `blobs` is left out.
    """
    return tuple(fault for output in document.outputs for fault in _output(document, output, blobs))


def _output(document: Agreement, output: Output, blobs: Mapping[bytes, bytes]) -> Iterator[str]:
    if output.format != "json" or output.schema is None or output.schema not in blobs:
        return
    try:
        model = output_model.read(output.name, blobs[output.schema])
    except Refused as refused:
        yield refused.detail
        return
    if output.context is not None and output.context in blobs:
        yield from context.faults(model, blobs[output.context])
    norm = _NORMS.get(document.rules.noise or "")
    if norm is not None:
        for place in model.places:
            yield from _unsaid(model, place, norm)


def _unsaid(model: Model, place: Place, norm: str) -> Iterator[str]:
    """What of a place would leave without noise, though the model does not say that it is public.

    Numbers need a sensitivity. Texts, choices, and how many items or which properties there are
    can be as telling, and noise cannot help there.
    """
    where, mark = f"output {model.name}: {place.name}", place.mark
    if mark is None:
        fault = _unmarked(place.schema)
        if fault is not None:
            yield f"{where}: {fault}, and {NOISE} does not call it public"
    elif mark.norm not in (None, norm):
        yield f"{where}: its noise needs the sensitivity as {norm}, the model says {mark.norm}"


def _unmarked(schema: Mapping[str, Any]) -> str | None:
    """What differs from run to run at a place without mark."""
    if "const" in schema or schema.get("type") == "null":
        return None
    if "enum" in schema:
        return "a choice" if len(schema["enum"]) > 1 else None
    match schema.get("type"):
        case "object":
            optional = schema.get("properties", {}).keys() - set(schema.get("required", ()))
            return f"{min(optional)} may be left out" if optional else None
        case "array":
            fixed = schema.get("minItems") == schema["maxItems"]
            return None if fixed else "the number of items is not fixed"
        case "integer" | "number":
            return "the number has no sensitivity"
        case kind:
            return f"a {kind} can say anything"
