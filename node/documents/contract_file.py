"""A data contract (ODCS v3): which id and version it says it has. The enclave reads all else."""

from pathlib import Path

from node.config import ConfigError, Problem
from node.documents import strict_yaml
from node.documents.fields import Problems
from protocol import limits

_ASKED = ("kind", "id", "version")
_PERSON = "personColumn"


def load(path: Path) -> bytes:
    """The bytes of a contract file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(limits.BLOB)
    except OSError as error:
        detail = f"Cannot read: {error.strerror}."
        raise ConfigError(path.name, [Problem(0, "", detail, "Check the path.")]) from error


def identify(data: bytes, name: str = "contract") -> tuple[str, str]:
    """Id and version of the contract in `data`. Raises ConfigError."""
    value, lines = strict_yaml.load(data, name)
    problems = Problems(name, lines)
    if isinstance(value, dict):
        value = {key: value[key] for key in _ASKED if key in value}
    top = problems.table(value)
    top.choice("kind", ("DataContract",))
    found = top.text("id"), top.text("version")
    problems.check()
    return found


def person(data: bytes) -> str | None:
    """The column that the contract marks as who a row is about (customProperties)."""
    try:
        value, _ = strict_yaml.load(data, "contract")
        found = [one["value"] for one in value["customProperties"] if one["property"] == _PERSON]
    except (ConfigError, TypeError, KeyError):
        return None
    return found[0] if found and isinstance(found[0], str) else None
