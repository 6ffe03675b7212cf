"""AMD SEV-SNP and Intel TDX through configfs-tsm, the one interface of Linux for both.

Documentation/ABI/testing/configfs-tsm of the kernel: make a folder, write at most 64 bytes to
`inblob`, read `outblob`. Anybody with the right to may write in between; `generation` counts every
write, so a count other than ours means that the report answers another question.
"""

import hashlib
import secrets
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from enclave_host.attest import CODE, Attester, Evidence
from enclave_host.attest.files import Folder, endorsements
from protocol.errors import Refused

T = TypeVar("T")

ROOT: Final = Path("/sys/kernel/config/tsm/report")
PROVIDERS: Final = {"sev_guest": "sev-snp", "tdx_guest": "tdx"}
KEPT: Final = {
    "sev-snp": frozenset({"vcek", "vlek", "ask", "crl"}),
    "tdx": frozenset({"collateral"}),
}
"""Endorsements that an operator may keep in the folder of collateral."""

REPORT: Final = 32 * 1024
"""Bytes of a report, of a quote with its certificates, or of a table of certificates."""

ATTEMPTS: Final = 4
GUIDS: Final = {
    "63da758d-e664-4564-adc5-f4b93be8accd": "vcek",
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "vlek",
    "4ab7b379-bbac-4fe4-a02f-05aef327c782": "ask",
    "92f81bc3-5811-4d3d-97ff-d19f88dc67ea": "crl",
}
"""Names of certificates in a table (GHCB specification, SNP extended guest request)."""

_ENTRY: Final = 24
"""Bytes of an entry in a table: name, offset, length."""


class ConfigfsAttester(Attester):
    """Evidence of a confidential virtual machine. `open_folder` is an argument for tests."""

    def __init__(
        self,
        root: Path = ROOT,
        collateral: Path | None = None,
        open_folder: Callable[[Path], Folder] = Folder,
    ) -> None:
        """Find out which technology the kernel offers. Raises Refused (enclave.attester)."""
        self._root, self._collateral, self._open = root, collateral, open_folder
        self._lock = threading.Lock()
        if not root.is_dir():
            raise Refused(CODE, f"{root} is not there: this kernel offers no configfs-tsm")
        provider = self._within(lambda folder: folder.text("provider"))
        if provider not in PROVIDERS:
            raise Refused(CODE, f"{root} is of the unknown provider {provider!r}")
        self._technology = PROVIDERS[provider]

    @property
    def technology(self) -> str:
        """sev-snp or tdx."""
        return self._technology

    def evidence(self, preimage: bytes) -> Evidence:
        """A report over the SHA-512 of `preimage`, with the certificates that the host gave."""
        data = hashlib.sha512(preimage).digest()
        with self._lock:
            raw, table = self._within(lambda folder: self._report(folder, data))
        known = KEPT[self.technology]
        given = certificates(table) if self.technology == "sev-snp" else {}
        kept = endorsements(self._collateral, known)
        return Evidence(raw, {**given, **kept})

    def _within(self, use: Callable[[Folder], T]) -> T:
        """Use a folder of our own; whatever happens, it is removed."""
        folder = self._open(self._root / f"village-{secrets.token_hex(8)}")
        folder.make()
        try:
            return use(folder)
        finally:
            folder.remove()

    def _report(self, folder: Folder, data: bytes) -> tuple[bytes, bytes]:
        """Report and table of certificates, both of one generation: that of our own write."""
        for _ in range(ATTEMPTS):
            before = _generation(folder)
            folder.write("inblob", data)
            raw = folder.read("outblob", REPORT)
            table = folder.read("auxblob", REPORT) if self.technology == "sev-snp" else b""
            provider = folder.text("provider")
            if PROVIDERS.get(provider) != self.technology:
                raise Refused(CODE, f"the provider became {provider!r}")
            if _generation(folder) == before + 1:
                return raw, table
        raise Refused(CODE, f"others wrote to {folder.path} at each of {ATTEMPTS} attempts")


def certificates(table: bytes) -> dict[str, bytes]:
    """What a table of certificates holds, by the names of endorsements. Raises Refused.

    Entries of 16 bytes name (big-endian UUID), 4 offset, 4 length (little-endian) to one of zeros.
    What it holds is checked by those who verify.
    """
    found: dict[str, bytes] = {}
    for place in range(0, len(table) - _ENTRY + 1, _ENTRY):
        entry = table[place : place + _ENTRY]
        if not any(entry):
            return found
        start, size = (int.from_bytes(entry[at : at + 4], "little") for at in (16, 20))
        name = GUIDS.get(str(uuid.UUID(bytes=entry[:16])))
        if start + size > len(table):
            raise Refused(CODE, "the table of certificates is cut off")
        if name is not None:
            found[name] = table[start : start + size]
    if table.strip(b"\0"):
        raise Refused(CODE, "the table of certificates has no end")
    return found


def _generation(folder: Folder) -> int:
    text = folder.text("generation")
    if not text.isdecimal():
        raise Refused(CODE, f"{folder.path} has the generation {text!r}")
    return int(text)
