"""protocol/records.cddl says what the code reads: rule by rule, field by field, byte by byte."""

import builtins
import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pycddl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import people_wire
from protocol import codec, equivocation, kinds, merkle, record, shape, token
from protocol.attestation import evidence, simulated
from protocol.audit import bundle as audit_bundle
from protocol.audit import receipt as audit_receipt
from protocol.errors import Refused
from protocol.kinds import (
    advisory,
    agreement,
    algorithm,
    attestation,
    common,
    consent,
    host,
    identity,
    run,
    share,
    space,
)
from protocol.record import Place
from protocol.shape import Length, Max, Range
from tests.agreements import CAST, DOCUMENT, NEGOTIATION_RAW, identities, seed

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "protocol" / "records.cddl").read_text(encoding="utf-8")

# --- the file, read by a reader that knows just its style ---------------------------------------

CODE = re.sub(r"\s*;.*", "", TEXT)
MAPS = {
    name: {
        optional + field: type_
        for optional, field, type_ in re.findall(r'^  (\? )?"([\w-]+)": (.+),$', body, re.MULTILINE)
    }
    for name, body in re.findall(r"^([\w-]+) = \{\n(.*?)^\}$", CODE, re.MULTILINE | re.DOTALL)
}
"""Rule -> its fields as written ("? " before an optional one) -> type as written."""

ALIASES = {
    name: type_
    for name, type_ in re.findall(r"^([\w-]+) = (.+)$", CODE, re.MULTILINE)
    if not type_.startswith("{\n") and name not in MAPS
}

# --- the dataclasses ----------------------------------------------------------------------------

MODULES = (
    *(identity, common, space, agreement, algorithm, consent, host, share, run),
    *(attestation, advisory),
    *(record, equivocation, evidence, simulated, merkle, audit_receipt, audit_bundle),
)
NO_DOCUMENTS = {record.Record, record.Place, evidence.Claims, equivocation.Fork, algorithm.Fault}
"""Dataclasses that are never encoded."""

BY_HAND = {audit_bundle.Bundle: "audit-file", audit_bundle.TopicMaterial: "topic-material"}
"""Encoded without protocol.shape, because a file holds more items than a document may."""

NAMED = {
    audit_receipt.Receipt: "receipt-file",
    audit_bundle.Manifest: "audit-manifest",
}
"""Rules that are not called like their dataclass, because the name is taken."""

TOKENS = {
    "consent": consent.Consent,
    "stop": consent.Stop,
    "stop-right": consent.StopRight,
    "stop-receipt": consent.StopReceipt,
    "heartbeat": host.Heartbeat,
    "person": identity.PersonCredential,
    "presentation": identity.Presentation,
    "admission": identity.Admission,
    "share": share.Share,
    "enrolment": people_wire.EnrolmentProof,
    "admission-request": people_wire.AdmissionRequest,
    "mailbox": people_wire.MailboxProof,
    "key-request": identity.KeyRequest,
    "simulated-evidence": simulated.SimulatedReport,
    "audit-manifest": audit_bundle.Manifest,
}

NARROWER = {("header", "v"): ("1", "int")}
"""Fields that the schema bounds and the dataclass does not: (schema, code). Here R4 does."""


def rule_of(document: type[Any]) -> str:
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", document.__name__).lower()
    return NAMED.get(document, kebab)


def documents() -> list[type[Any]]:
    tokens = {document for document in TOKENS.values() if document.__module__ == "node.people_wire"}
    found = tokens | {
        one
        for module in MODULES
        for one in vars(module).values()
        if isinstance(one, type)
        and dataclasses.is_dataclass(one)
        and one.__module__ == module.__name__
        and not one.__name__.startswith("_")
    }
    return sorted(found - NO_DOCUMENTS - set(BY_HAND), key=rule_of)


DOCUMENTS = documents()


def written(kind: Any) -> str:
    """The CDDL type of an annotation, with all names but those of maps resolved."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return rule_of(kind)
    match origin, arguments:
        case None, _:
            return {str: "text", bytes: "bytes", int: "int", bool: "bool"}[kind]
        case typing.Literal, choices:
            return " / ".join(f'"{choice}"' for choice in choices)
        case builtins.tuple, (item, builtins.Ellipsis):
            return f"[0*1024 {written(item)}]"
        case builtins.dict, (builtins.str, item):
            return "{ 0*1024 tstr => " + written(item) + " }"
        case typing.Annotated, (base, bound):
            return bounded(written(base), bound)
        case _, (one, none) if none is type(None):
            return written(one)
    raise AssertionError(kind)


def bounded(base: str, bound: object) -> str:
    match bound:
        case Length(size):
            return f"{base} .size {size}"
        case Max(size) if base.startswith("["):
            return base.replace("0*1024", f"0*{size}", 1)
        case Max(size):
            return f"{base} .size (0..{size})"
        case Range(low, high):
            return f"{low}..{high}"
    raise AssertionError(bound)


def resolved(type_: str) -> str:
    """A type as the file writes it, with all names but those of maps replaced by their type."""
    word = re.compile(r'"[^"]*"|[A-Za-z][\w-]*')
    whole = word.sub(
        lambda found: resolved(ALIASES[found[0]]) if found[0] in ALIASES else found[0], type_
    )
    # pycddl takes the choices of a name inside a list only in brackets; they mean nothing more.
    return re.sub(r'\(("[^()]*")\)', r"\1", whole)


# --- neither can drift --------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=rule_of)
def test_a_rule_has_the_fields_of_its_dataclass(document):
    hints = typing.get_type_hints(document, include_extras=True)
    rule = rule_of(document)
    fields = {
        f"{'? ' if field.default is None else ''}{field.name}": written(hints[field.name])
        for field in dataclasses.fields(document)
    }
    for (narrowed, name), (schema, code) in NARROWER.items():
        if narrowed == rule:
            assert fields[name] == code
            fields[name] = schema
    assert {name: resolved(type_) for name, type_ in MAPS[rule].items()} == fields


def test_every_map_of_the_file_is_a_document():
    rules = {rule_of(document) for document in DOCUMENTS}
    assert len(rules) == len(DOCUMENTS)
    assert set(MAPS) == rules | set(BY_HAND.values()) | {"record-bodies", "token-bodies"}


def test_every_kind_of_record_has_its_body():
    bodies = {f"? {name}": rule_of(kind.document) for name, kind in kinds.KINDS.items()}
    assert MAPS["record-bodies"] == bodies


def test_every_kind_of_token_has_its_payload():
    assert MAPS["token-bodies"] == {f"? {name}": rule_of(d) for name, d in TOKENS.items()}


def test_every_token_that_the_code_signs_or_opens_is_listed():
    call = re.compile(r'token\.(?:sign|open_)\(\s*[\w.()]+,\s*(?:"([\w-]+)"|(\w+))')
    named = {"MANIFEST": audit_bundle.MANIFEST}
    found = {
        literal or named.get(constant, constant)
        for package in ("protocol", "node", "enclave_host")
        for file in (ROOT / package).rglob("*.py")
        for literal, constant in call.findall(file.read_text(encoding="utf-8"))
    }
    assert found == set(TOKENS)


# --- the rules, run against real encodings -------------------------------------------------------


def schema(rule: str) -> pycddl.Schema:
    return pycddl.Schema(f"root = {rule}\n{TEXT}")


SCHEMAS = {rule_of(document): schema(rule_of(document)) for document in DOCUMENTS}


def accepts(schema: pycddl.Schema, value: object) -> bool:
    try:
        schema.validate_cbor(codec.encode(value))
    except pycddl.ValidationError:
        return False
    return True


def sample(kind: Any, *, whole: bool) -> Any:
    """A value that fits an annotation; with all optional fields if `whole`, else with none."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(
            **{
                field.name: 1 if (kind, field.name) == (record.Header, "v") else sample(
                    hints[field.name], whole=whole
                )
                for field in dataclasses.fields(kind)
                if whole or field.default is not None
            }
        )  # fmt: skip
    match origin, arguments:
        case None, _:
            return kind()
        case typing.Literal, choices:
            return choices[-1 if whole else 0]
        case builtins.tuple, (item, _):
            return (sample(item, whole=whole),) * (2 if whole else 0)
        case builtins.dict, (_, item):
            return {"key": sample(item, whole=whole)} if whole else {}
        case typing.Annotated, (base, bound):
            return sample_bounded(base, bound, whole=whole)
        case _:
            return sample(arguments[0], whole=whole)


def sample_bounded(base: Any, bound: object, *, whole: bool) -> Any:
    match bound:
        case Length(size):
            return bytes(size)
        case Range(low, high):
            return high if whole else low
        case Max(size) if base is str and whole:
            return "é" * (size // 2) + "x" * (size % 2)
        case _:
            return sample(base, whole=whole)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("document", DOCUMENTS, ids=rule_of)
def test_what_the_code_writes_the_schema_accepts(document, whole):
    value = sample(document, whole=whole)
    assert shape.read(document, shape.write(value)) == value
    assert accepts(SCHEMAS[rule_of(document)], shape.write(value))


OTHERS: dict[type[Any], list[object]] = {
    bool: [None, 0, "yes", []],
    int: [-1, 0, 15, 16, 2**40, 2**40 + 1, 2**53, 2**53 + 1],
    str: ["", "xx", "x" * 128, "x" * 129, "é" * 64, "é" * 65, "é" * 4096, "é" * 4097],
    bytes: [b"", *(bytes(size) for size in (31, 32, 33, 64, 1024, 1025, 1168, 1216, 65537))],
    list: [{}, [], [None]],
    dict: [[], {}, {"key": bytes(32)}, {"other": [1]}],
}
"""Other values for a field, of the type that it has: pycddl 0.6.4 forgets the type before `.size`
and `..`, so values of another type are left to the comparison of the rules above."""


@settings(max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("document", DOCUMENTS, ids=rule_of)
def test_schema_and_code_refuse_the_same(document, data):
    """One field with another value, missing, or added: both say yes, or both say no."""
    value = shape.write(sample(document, whole=True))
    name = data.draw(st.sampled_from([*value, "added"]))
    if name == "added":
        value[name] = 1
    elif data.draw(st.booleans()):
        del value[name]
    else:
        value[name] = data.draw(st.sampled_from(OTHERS[type(value.get(name))]))
    try:
        shape.read(document, value)
        read = value.get("v", 1) == 1 or document is not record.Header
    except Refused:
        read = False
    assert accepts(SCHEMAS[rule_of(document)], value) == read


@pytest.mark.parametrize(
    ("document", "change"),
    [
        (common.Vote, {"choice": "maybe"}),
        (common.Vote, {"subject": bytes(31)}),
        (identity.Identity, {"sealing": bytes(1215)}),
        (share.Wrap, {"sealed": bytes(1167)}),
        (run.Run, {"outcome": "lost"}),
        (consent.Stop, {"what": "suspension"}),
        (agreement.Rules, {"precision": 16}),
        (agreement.Rules, {"noise": "none"}),
        (merkle.Inclusion, {"path": [bytes(32)] * 65}),
        (algorithm.Bundle, {"files": {"a.py": ["text"]}}),
        (simulated.SimulatedReport, {"label": "CONFIDENTIAL"}),
    ],
)
def test_mutants_are_refused(document, change):
    value = shape.write(sample(document, whole=True))
    assert accepts(SCHEMAS[rule_of(document)], value)
    assert not accepts(SCHEMAS[rule_of(document)], value | change)


# --- whole records, tokens, openings, files ------------------------------------------------------

AUTHOR = CAST["sponsor"]


def signed(name: str) -> record.Record:
    return record.sign(
        AUTHOR.signing,
        topic=seed("topic"),
        author=AUTHOR.did,
        kind=name,
        body=sample(kinds.KINDS[name].document, whole=False),
        place=Place(seq=1, prev=seed("before")),
        at=1,
        salt=bytes(16),
    )


@pytest.mark.parametrize("name", kinds.KINDS)
def test_a_record_of_every_kind(name):
    made = signed(name)
    envelope, body = codec.decode(made.raw)
    assert accepts(schema("record"), [envelope, body])
    assert accepts(schema("protected-header"), codec.decode(envelope[0]))
    assert accepts(SCHEMAS["header"], codec.decode(envelope[2]))
    content = codec.decode(body[16:])
    assert accepts(schema(MAPS["record-bodies"][f"? {name}"]), content)
    assert accepts(schema("record-bodies"), {name: content})
    assert not accepts(schema("record-bodies"), {name: {"other": 1}})


def test_records_that_are_none():
    envelope, body = codec.decode(signed("vote").raw)
    rule = schema("record")
    assert accepts(rule, codec.decode(record.redact(signed("vote").raw)))
    assert not accepts(rule, [envelope])
    assert not accepts(rule, [envelope, body, body])
    assert not accepts(rule, [[*envelope[:3], envelope[3][:63]], body])
    assert not accepts(schema("protected-header"), {1: -8, 4: AUTHOR.did})
    assert not accepts(schema("protected-header"), {1: -19})


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_of_every_kind(name):
    raw = token.sign(AUTHOR.signing, name, sample(TOKENS[name], whole=True))
    envelope = codec.decode(raw)
    assert accepts(schema("token"), envelope)
    assert accepts(schema("token-bodies"), {name: codec.decode(envelope[2])})


def test_the_sound_agreement_and_the_openings():
    assert accepts(SCHEMAS["agreement"], shape.write(DOCUMENT))
    assert accepts(schema("opening"), codec.decode(NEGOTIATION_RAW))
    assert accepts(schema("opening"), shape.write(sample(space.Charter, whole=True)))
    opening = agreement.AgreementOpening(
        document=shape.encode(DOCUMENT),
        votes=(signed("vote").raw,),
        identities=identities(DOCUMENT),
    )
    assert accepts(schema("opening"), shape.write(opening))
    assert not accepts(schema("opening"), shape.write(DOCUMENT))


def test_an_audit_file():
    identity_raw = AUTHOR.participant.raw
    raw = audit_bundle.build(
        [audit_bundle.TopicMaterial(opening=NEGOTIATION_RAW, records=())],
        evidence=[b"evidence"],
        leaves=[bytes(32)],
        seed=AUTHOR.signing,
        identity=identity_raw,
        at=1,
    )
    whole = codec.decode(raw)
    rule = schema("audit-file")
    assert accepts(rule, whole)
    assert accepts(rule, {name: part for name, part in whole.items() if name != "manifest"})
    assert not accepts(rule, whole | {"type": "receipt"})
    assert not accepts(rule, whole | {"consents": []})
    assert not accepts(rule, whole | {"topics": [{"opening": NEGOTIATION_RAW}]})
