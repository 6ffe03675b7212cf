"""What `village verify FILE` does: recognise a file, and check it as what it is."""

from protocol import keys, kinds, limits, record
from protocol.audit import bundle, receipt, verify
from protocol.audit.findings import Check, Ledger, Report
from protocol.errors import ProtocolError


def examine(data: bytes, now: int) -> Report:
    """Check an audit file, a receipt or a single record at unix time `now`. Never raises on
    hostile bytes: what is none of them is reported as an audit file that cannot be read.
    """
    match _recognise(data):
        case "receipt":
            return receipt.verify(data)
        case "record":
            return examine_record(data)
        case _:
            return verify.verify(data, now)


def examine_record(data: bytes) -> Report:
    """Check one record by itself."""
    ledger, headline = Ledger(), "the record does not verify"
    try:
        found = record.parse(data)
        kind = kinds.KINDS.get(found.kind)
        if kind is not None:
            kinds.check(found, min(kind.topics))
        who = keys.did_text(found.author)
        headline = f"a {found.kind} by {who}, number {found.seq} in its feed"
        ledger.prove(
            f"Key {keys.base58(found.key)} signed it, as record {keys.cid_text(found.id)}."
        )
    except ProtocolError as error:
        ledger.find(Check.RECORDS, error.code, f"the record is refused: {error}")
    ledger.limit("That its author was entitled to it: an audit file shows that.")
    return Report(
        kind="record",
        headline=headline,
        findings=tuple(ledger.findings),
        proofs=tuple(ledger.proofs),
        limits=tuple(ledger.limits),
    )


def _recognise(data: bytes) -> str:
    """What `data` claims to be; only an audit file may be larger than a blob."""
    if len(data) > limits.BLOB:
        return "audit"
    try:
        value = bundle.decode(data)
    except ProtocolError:
        return "audit"
    match value:
        case {"type": "receipt"}:
            return "receipt"
        case [list(), bytes() | None]:
            return "record"
        case _:
            return "audit"
