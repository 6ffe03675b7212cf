"""The enclave's configuration: TOML, every error at once, each with its key and line."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enclave_host.attest.detect import TECHNOLOGIES, Source
from enclave_host.attest.tpm import TCTI
from enclave_host.cage import Limits
from enclave_host.cage.tiers import TIERS
from protocol import ceilings, limits
from protocol.errors import ProtocolError
from protocol.kinds.agreement import RunLimits

UNITS: Final = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SOCKET_PATH: Final = 107  # bytes that the kernel allows
FILE: Final = 64 * 1024
TOP: Final = {
    "enclave": {"socket", "environments", "tier"},
    "attestation": {"technology", "collateral", "tpm", "ek_certificate"},
    "limits": {"data", "memory", "cpu", "wall", "processes", "files", "tmp", "output", "log"},
}


class ConfigError(ProtocolError):
    """A configuration is refused; the text has every reason, one a line."""

    code = "config.refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Open shares take at most `data` bytes of memory, and a run up to three times that while its
    tables are put together; `environments` are directories that algorithms may import from;
    `ceilings` are the most that an agreement may let a run use, and what our own code in the
    sandbox may use; `source` says where evidence comes from.
    """

    socket: Path
    source: Source
    environments: tuple[Path, ...]
    tier: str | None
    data: int
    ceilings: RunLimits

    @property
    def limits(self) -> Limits:
        """For our own code, whose output is the tables that it puts together."""
        found = dict(ceilings.values(self.ceilings)) | {"output": self.data + limits.OUTPUT}
        del found["quantum"]
        return Limits(**found)


def load(file: Path, state: Path | None = None) -> Config:
    """Read `file`; relative paths in it are relative to `state` (default: the file's directory).

    Raises ConfigError.
    """
    try:
        text = file.read_bytes()[:FILE].decode()
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file.name}: {error}") from error
    return _Reader(file.name, text, document, state or file.parent).config()


class _Reader:
    """Reads value by value and collects what is wrong."""

    def __init__(self, name: str, text: str, document: dict[str, Any], base: Path) -> None:
        self.name, self.lines, self.base = name, text.splitlines(), base
        self.document = document
        self.faults: list[tuple[int, str]] = []

    def config(self) -> Config:
        self._unknown()
        data = self._size("limits", "data", 2 * 2**30)
        config = Config(
            socket=self._socket(),
            source=self._source(),
            environments=self._environments(),
            tier=self._choice("enclave", "tier", TIERS, optional=True),
            data=data,
            ceilings=self._ceilings(),
        )
        if self.faults:
            raise ConfigError(
                "\n".join(f"{self.name}:{line}: {why}" for line, why in sorted(self.faults))
            )
        return config

    def _ceilings(self) -> RunLimits:
        """Sizes, and whole numbers; how long an output waits (quantum) is for the agreement."""
        defaults = dict(ceilings.values(RunLimits()))
        return RunLimits(**{
            name: self._size("limits", name, default)
            if name in ceilings.BYTES
            else self._number("limits", name, default)
            for name, default in defaults.items()
            if name in TOP["limits"]
        })  # fmt: skip

    def _unknown(self) -> None:
        for table, values in self.document.items():
            if table not in TOP or not isinstance(values, dict):
                self._fault(table, None, f"unknown; there are {', '.join(TOP)}")
                continue
            for key in sorted(values.keys() - TOP[table]):
                self._fault(table, key, f"unknown; there are {', '.join(sorted(TOP[table]))}")

    def _get(self, table: str, key: str) -> Any:  # noqa: ANN401 (parsed TOML)
        values = self.document.get(table, {})
        return values.get(key) if isinstance(values, dict) else None

    def _source(self) -> Source:
        tcti = self._get("attestation", "tpm")
        if tcti is not None and (not isinstance(tcti, str) or not tcti):
            self._fault("attestation", "tpm", f"how tpm2-tools reach it, such as {TCTI!r}")
        return Source(
            technology=self._choice("attestation", "technology", TECHNOLOGIES) or "",
            collateral=self._optional_path("attestation", "collateral"),
            tcti=str(tcti or TCTI),
            ek_certificate=self._optional_path("attestation", "ek_certificate"),
        )

    def _optional_path(self, table: str, key: str) -> Path | None:
        return None if self._get(table, key) is None else self._path(table, key, None)

    def _socket(self) -> Path:
        path = self._path("enclave", "socket", None)
        if len(str(path).encode()) > SOCKET_PATH:
            self._fault("enclave", "socket", f"the path is longer than {SOCKET_PATH} bytes")
        return path

    def _path(self, table: str, key: str, default: str | None) -> Path:
        value = self._get(table, key)
        value = default if value is None else value
        if not isinstance(value, str) or not value:
            self._fault(table, key, "needs a path in quotes")
            return self.base
        return self.base / value

    def _environments(self) -> tuple[Path, ...]:
        value = self._get("enclave", "environments")
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            self._fault("enclave", "environments", "needs a list of directories")
            return ()
        found = tuple(self.base / one for one in value)
        for path in found:
            if not path.is_dir():
                self._fault("enclave", "environments", f"{path} is no directory; run make setup")
        return found

    def _choice(
        self, table: str, key: str, allowed: tuple[str, ...], *, optional: bool = False
    ) -> str | None:
        value = self._get(table, key)
        if value is None and optional:
            return None
        if value not in allowed:
            self._fault(table, key, f"one of {', '.join(allowed)}")
            return None
        return str(value)

    def _size(self, table: str, key: str, default: int) -> int:
        value = self._get(table, key)
        if value is None:
            return default
        match = re.fullmatch(
            r"([1-9]\d{0,5}) (KiB|MiB|GiB)", value if isinstance(value, str) else ""
        )
        if match is None:
            self._fault(table, key, 'a size such as "4 GiB"')
            return default
        return int(match[1]) * UNITS[match[2]]

    def _number(self, table: str, key: str, default: int) -> int:
        value = self._get(table, key)
        if value is None:
            return default
        if type(value) is not int or not 0 < value <= 86_400:
            self._fault(table, key, "a whole number from 1 to 86400")
            return default
        return value

    def _fault(self, table: str, key: str | None, why: str) -> None:
        self.faults.append((self._line(table, key), f"{table}{'.' + key if key else ''}: {why}"))

    def _line(self, table: str, key: str | None) -> int:
        """Where the key stands, else where its table begins, else 0."""
        inside, start = False, 0
        for number, line in enumerate(self.lines, 1):
            if line.strip().startswith("["):
                inside = line.strip().startswith(f"[{table}")
                start = number if inside else start
            elif inside and key and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
                return number
        return start
