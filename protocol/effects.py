"""What a machine may ask for. Frozen values, one union; node/effects.py performs each.

Machines are level-triggered: an effect is asked again until its result is seen as an event, so a
crash between commit and effect loses nothing, and every effect is safe to repeat.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Publish:
    """Sign `body` (a document of `kind`) into this machine's topic and send it."""

    kind: str
    body: object


@dataclass(frozen=True, slots=True)
class Challenge:
    """Ask a candidate's enclave for evidence with an own nonce, appraise it, answer Appraised."""

    candidacy: bytes
    term: int


@dataclass(frozen=True, slots=True)
class OpenAgreement:
    """All parties signed: open the agreement's topic with this opening (raw) and tell the hosts."""

    opening: bytes


@dataclass(frozen=True, slots=True)
class Appoint:
    """Host: show the enclave the election certificate (raw) that appoints it."""

    certificate: bytes


@dataclass(frozen=True, slots=True)
class Summon:
    """Host: have the enclave summon statements for run `number`, ordered by record `order`."""

    number: int
    term: int
    order: bytes


@dataclass(frozen=True, slots=True)
class Execute:
    """Host: give the enclave the statements (raw records) and let it check, run and gate."""

    number: int
    term: int
    statements: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Host: show the enclave the run certificate (raw); deliver what it hands out."""

    number: int
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Inherit:
    """Host: show the enclave of `term` the sealed lineage with digest `lineage`, which the newest
    run pins: it wraps the key to its standbys, or says that it is lost.
    """

    term: int
    lineage: bytes


@dataclass(frozen=True, slots=True)
class Rewrap:
    """Owner: wrap the key of the own share to the enclave of `candidacy`, newly elected."""

    share: bytes
    candidacy: bytes


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the operator: a line for the event log, with the id of the record behind it."""

    event: str
    subject: bytes


Effect = (
    Publish
    | Challenge
    | OpenAgreement
    | Appoint
    | Summon
    | Execute
    | Release
    | Inherit
    | Rewrap
    | Tell
)
