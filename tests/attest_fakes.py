"""Kernels and devices that give evidence, played by files; each can misbehave on request."""

import ctypes
import itertools
from pathlib import Path
from typing import Any

import cbor2

from enclave_host.attest.files import Folder
from enclave_host.attest.nitro import IOCTL, Message


class FakeTsm(Folder):
    """A folder of configfs-tsm. `meddle` writes by others after ours, for so many attempts."""

    provider = "sev_guest"
    table = b""
    meddle = 0
    writes: list[bytes] = []  # noqa: RUF012 (each test makes a class of its own)
    made: list[Path] = []  # noqa: RUF012

    def make(self) -> None:
        super().make()
        self.made.append(self.path)
        self._count, self._meddle = itertools.count(), self.meddle
        files = {"generation": b"0\n", "inblob": b"", "provider": self.provider.encode() + b"\n"}
        for name, data in files.items():
            (self.path / name).write_bytes(data)
        next(self._count)

    def remove(self) -> None:
        for file in self.path.iterdir():
            file.unlink()
        super().remove()

    def write(self, name: str, data: bytes) -> None:
        super().write(name, data)
        self.writes.append(data)
        self._answer(data)

    def read(self, name: str, most: int) -> bytes:
        found = super().read(name, most)
        if name == "outblob" and self._meddle:
            self._meddle -= 1
            self._answer(bytes(64))
        return found

    def _answer(self, data: bytes) -> None:
        """What the kernel does at each write to inblob."""
        (self.path / "outblob").write_bytes(self.report(data))
        (self.path / "auxblob").write_bytes(self.table)
        (self.path / "generation").write_text(f"{next(self._count)}\n")

    def report(self, data: bytes) -> bytes:
        return b"report over " + data


class FakeGramine(Folder):
    """A folder /dev/attestation; its quote is over what was written last."""

    def write(self, name: str, data: bytes) -> None:
        super().write(name, data)
        (self.path / "quote").write_bytes(self.quote(data))

    def quote(self, data: bytes) -> bytes:
        return bytes(368) + data + b"signature"


def gramine(root: Path, kind: str = "dcap") -> Path:
    """The files that a folder of Gramine has before anything is asked."""
    root.mkdir()
    (root / "attestation_type").write_text(kind)
    (root / "user_report_data").write_bytes(bytes(64))
    return root


class FakeNsm:
    """The ioctl of a Nitro Secure Module; `answer` is what it says, by default a document."""

    def __init__(self, answer: Any = None, size: int | None = None) -> None:
        self.answer, self.size = answer, size
        self.asked: list[Any] = []

    def __call__(self, device: int, code: int, message: Message) -> int:
        assert (device > 2, code) == (True, IOCTL)
        request = ctypes.string_at(message.request.base, message.request.size)
        self.asked.append(cbor2.loads(request))
        answer = self.answer
        if answer is None:
            said = self.asked[-1]["Attestation"]["user_data"]
            answer = {"Attestation": {"document": b"document over " + said}}
        if isinstance(answer, OSError):
            raise answer
        raw = answer if isinstance(answer, bytes) else cbor2.dumps(answer)
        ctypes.memmove(message.response.base, raw, len(raw))
        message.response.size = len(raw) if self.size is None else self.size
        return 0
