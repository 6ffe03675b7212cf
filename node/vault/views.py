"""What a vault shows, as plain JSON values: for the command line and for programs alike."""

import json
import time
from dataclasses import fields
from typing import Any

from node import people_wire as pw
from node.store.blobs import Blobs
from node.vault import endings
from node.vault.checks import Check, Dossier
from node.vault.contents import Contents, Given, Participation, Result, Use
from node.vault.light import Shown
from node.vault.standing import Standing
from protocol import token
from protocol.kinds.consent import Consent
from protocol.kinds.run import LOG
from protocol.terms import DIRECTIONS

Json = dict[str, Any]


def offer(one: pw.Offer) -> Json:
    """An offer of a gateway, not verified."""
    return {
        "agreement": one.agreement.hex(),
        "name": one.name,
        "purpose": one.purpose,
        "category": one.category,
    }


def shown(found: Shown) -> Json:
    """Everything to read before a yes or no."""
    dossier, document = found.dossier, found.dossier.document
    manifest = found.material.bundle.manifest
    return {
        "agreement": dossier.id.hex(),
        "name": document.name,
        "purpose": document.purpose.text,
        "term_of_purpose": document.purpose.term,
        "language": found.material.notice.language,
        "notice": found.material.notice.text,
        "notice_digest": dossier.people.notice.hex(),
        "dataset": dossier.dataset.id,
        "categories": list(found.material.categories),
        "code": {
            "name": manifest.name,
            "version": manifest.version,
            "bundle": document.algorithm.bundle.hex(),
            "approved_by": list(dossier.reviewers),
        },
        "recipients": _recipients(dossier),
        "own_result": any(output.subject for output in document.outputs),
        "rules": _rules(dossier),
        "first": found.window[0],
        "last": found.window[1],
        "until": document.start + document.purpose.duration,
        "term": found.term,
        "checks": [check(one) for one in found.checks],
        "suspended": dossier.machine.runs.suspended,
        "standing": standing(found.standing) if found.standing else None,
    }


def check(one: Check) -> Json:
    """One line of what was verified."""
    return {"name": one.name, "words": one.words}


def standing(found: Standing) -> Json:
    """Where a consent stands."""
    return {
        "state": found.state,
        "words": found.words,
        "first": found.first,
        "last": found.last,
        "confirmed": found.parties,
        "needed": found.needed,
        "from_run": found.bound,
    }


def participation(part: Participation, standings: list[Standing]) -> Json:
    """One agreement, and every consent to it."""
    consents = [consent(given, found) for given, found in zip(part.given, standings, strict=True)]
    if consents:
        state = consents[-1]["words"]
    else:
        state = "refused" if part.refused is not None else "asked"
    return {
        "agreement": part.agreement.hex(),
        "name": part.name,
        "state": state,
        "gateway": part.address,
        "consents": consents,
    }


def consent(given: Given, found: Standing) -> Json:
    """One consent."""
    body = token.open_(given.consent, "consent", Consent)
    return {
        "id": body.id.hex(),
        "ordinal": given.ordinal,
        "told": body.body.told,
        "at": given.at,
        **standing(found),
    }


def use(one: Use) -> Json:
    """What a run did with the share."""
    return {
        "run": one.number,
        "id": one.run.hex(),
        "used": one.used,
        "outcome": one.outcome,
        "at": one.at,
    }


def result(one: Result, blobs: Blobs) -> Json:
    """An own result, opened."""
    return {
        "run": one.number,
        "id": one.run.hex(),
        "name": one.name,
        "at": one.at,
        "result": json.loads(blobs.get(one.blob)),
    }


def contents(found: Contents) -> Json:
    """A vault in short: no key, no data; with what ends soon."""
    return {
        "vault": found.name,
        "enrolled": found.enrolment is not None,
        "data": [{"dataset": row.dataset, "file": row.file, "at": row.at} for row in found.rows],
        "agreements": [part.agreement.hex() for part in found.participations],
        "ends": [
            {"what": one.words, "until": one.until, "renew": one.command}
            for one in endings.near(found, int(time.time()))
        ],
    }


def diary(found: Contents) -> list[Json]:
    """Everything that the vault did and learned, oldest first."""
    return [
        {
            "at": line.at,
            "event": line.event,
            "agreement": line.agreement.hex() if line.agreement else None,
            "detail": line.detail,
        }
        for line in found.diary
    ]


def _recipients(dossier: Dossier) -> list[Json]:
    return [
        {"output": output.name, "to": [dossier.name(did) for did in output.to]}
        for output in dossier.document.outputs
        if output.to
    ] + _logs(dossier)


def _logs(dossier: Dossier) -> list[Json]:
    logs = dossier.document.logs
    return [] if logs is None else [{"output": LOG, "to": [dossier.name(did) for did in logs.to]}]


def _rules(dossier: Dossier) -> list[Json]:
    rules = dossier.document.rules
    set_by = {source.rule: source.party for source in dossier.document.rule_sources}
    return [
        {
            "rule": one.name,
            "words": DIRECTIONS[one.name].words(value),
            "set_by": dossier.name(set_by[one.name]) if one.name in set_by else "",
        }
        for one in fields(rules)
        if (value := getattr(rules, one.name)) is not None
    ]
