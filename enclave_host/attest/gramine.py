"""Intel SGX under Gramine, which shows the enclave's quotes as files in /dev/attestation."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from enclave_host.attest import CODE, Attester, Evidence
from enclave_host.attest.files import Folder, endorsements
from protocol.errors import Refused

ROOT: Final = Path("/dev/attestation")
KEPT: Final = frozenset({"collateral"})
QUOTE: Final = 16 * 1024
"""Bytes of a quote with its certificates; Gramine's buffer has as many."""

_DATA: Final = slice(48 + 320, 48 + 384)
"""Where a quote of version 3 holds its report data: a header of 48 bytes, then the report."""


class GramineAttester(Attester):
    """Evidence of an SGX enclave. `open_folder` is an argument for tests."""

    technology = "sgx"

    def __init__(
        self,
        root: Path = ROOT,
        collateral: Path | None = None,
        open_folder: Callable[[Path], Folder] = Folder,
    ) -> None:
        """Raises Refused (enclave.attester) unless Gramine offers DCAP quotes."""
        self._files, self._collateral = open_folder(root), collateral
        self._lock = threading.Lock()
        kind = self._files.text("attestation_type")
        if kind != "dcap":
            raise Refused(CODE, f"Gramine attests by {kind!r}; its manifest must say dcap")

    def evidence(self, preimage: bytes) -> Evidence:
        """A quote over the SHA-512 of `preimage`."""
        data = hashlib.sha512(preimage).digest()
        with self._lock:
            self._files.write("user_report_data", data)
            quote = self._files.read("quote", QUOTE)
        if quote[_DATA] != data:
            raise Refused(CODE, "the quote is over other data than ours")
        return Evidence(quote, endorsements(self._collateral, KEPT))
