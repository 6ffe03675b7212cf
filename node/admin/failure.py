"""How the admin API says no: one shape for refusals, wrong calls and faults of the store."""

from typing import Final

from node.config import ConfigError
from node.connectors import SourceError
from node.store import StoreError, StoreMissing
from protocol.errors import ProtocolError, Refused

STATUS: Final = {
    "admin.method": 404,
    "admin.parameters": 400,
    "admin.permission": 403,
    "admin.waits": 504,
    "id.ambiguous": 409,
    "id.short": 400,
    "id.unknown": 404,
}
"""HTTP status of each code that this API adds; `Refused` is 422, what else fails is 500."""


class Failure(ProtocolError):
    """The admin API says no; `code` is a key of STATUS."""

    def __init__(self, code: str, detail: str, fix: str) -> None:
        """`detail` says what is wrong, `fix` what would do."""
        self.code = code
        self.detail = detail
        self.fix = fix
        super().__init__(f"{detail} {fix}")


def describe(error: ProtocolError) -> dict[str, str]:
    """An error for programs and people: code, message, rule, set_by, fix."""
    message, rule, set_by, fix = str(error), "", "", ""
    match error:
        case Refused():
            message = error.detail or error.rule.sentence
            rule, set_by, fix = error.rule.sentence, error.set_by, error.rule.fix
        case Failure() | StoreError() | SourceError():
            message, fix = error.detail, error.fix
        case _:
            pass
    return {"code": error.code, "message": message, "rule": rule, "set_by": set_by, "fix": fix}


def status(error: ProtocolError) -> int:
    """The HTTP status of an error."""
    match error:
        case Failure():
            return STATUS[error.code]
        case Refused() | ConfigError():
            return 422
        case StoreMissing():
            return 404
        case _:
            return 500
