"""A TPM 2.0 through tpm2-tools: each step is a short process with a bounded time.

At start the attester makes its keys: the endorsement key, and under it an attestation key of this
boot, whose private part never leaves the TPM. What the tools keep between two steps are contexts
that the TPM encrypted for itself.
"""

import base64
import hashlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from enclave_host.attest import CODE, Attester, Evidence
from enclave_host.attest.files import endorsements, read
from protocol import limits
from protocol.attestation.chain import CERTIFICATE
from protocol.attestation.tpm_structures import PCRS
from protocol.errors import Refused

TCTI: Final = "device:/dev/tpmrm0"
"""How tpm2-tools reach the TPM: through the kernel's resource manager."""

TOOLS: Final = Path("/usr/bin")
KEPT: Final = frozenset({"ek_chain"})
NV_CERTIFICATE: Final = "0x1c00002"
"""Where a TPM keeps the certificate of its RSA key (EK credential profile, 2.2.1.4)."""

START_TIME: Final = 120.0
"""Seconds for a step at start: a TPM may search long for the primes of a key."""

STEP_TIME: Final = 20.0
"""Seconds for any other step."""

SMALL: Final = 8 * 1024
"""Bytes of a file that a step leaves."""

_ALL: Final = "sha256:" + ",".join(str(place) for place in range(PCRS))


class TpmAttester(Attester):
    """Evidence of the machine's TPM. `technology` is tpm, or swtpm for one in software."""

    activates = True

    def __init__(
        self,
        technology: str,
        tcti: str = TCTI,
        certificate: Path | None = None,
        collateral: Path | None = None,
        tools: Path = TOOLS,
    ) -> None:
        """Make the keys. `certificate` is a file with the endorsement key's certificate (DER) for a
        TPM that does not hold it itself. Raises Refused (enclave.attester).
        """
        kind, _, device = tcti.partition(":")
        if kind == "device" and not Path(device).exists():
            raise Refused(CODE, f"{device} is not there: this machine has no TPM")
        self._technology, self._collateral = technology, collateral
        self._tools, self._tcti = tools, tcti
        self._lock = threading.Lock()
        self._kept: dict[str, bytes] = {}
        with self._steps() as steps:
            steps.run("createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub", seconds=START_TIME)
            steps.run("flushcontext", "-t")
            self._make_key(steps)
            steps.run("flushcontext", "-t")
            if certificate is None:
                steps.run("nvread", NV_CERTIFICATE, "-C", "o", "-o", "ek.der")
            held = steps.file("ek.der") if certificate is None else read(certificate, CERTIFICATE)
            names = ("ek.ctx", "ak.ctx")
            self._public = steps.file("ak.pub")
            self._kept = {name: steps.file(name) for name in names}
        self._certificate = without_padding(held)

    @property
    def technology(self) -> str:
        """tpm or swtpm."""
        return self._technology

    def evidence(self, preimage: bytes) -> Evidence:
        """A quote over all registers, with the SHA-256 of `preimage`."""
        data = hashlib.sha256(preimage).hexdigest()
        outputs = ("-m", "message", "-s", "signature", "-o", "pcrs")
        with self._steps() as steps:
            steps.run("quote", "-c", "ak.ctx", "-l", _ALL, "-q", data, "-g", "sha256", *outputs)
            parts = {name: steps.file(name) for name in ("message", "signature", "pcrs")}
        parts |= {"ak_public": self._public, "ek_certificate": self._certificate}
        document = {name: base64.b64encode(part).decode() for name, part in parts.items()}
        return Evidence(json.dumps(document).encode(), endorsements(self._collateral, KEPT))

    def activate(self, credential: bytes) -> bytes:
        """The secret in a credential for this TPM's two keys."""
        with self._steps() as steps:
            steps.write("credential", credential)
            steps.run("startauthsession", "--policy-session", "-S", "session")
            try:
                steps.run("policysecret", "-S", "session", "-c", "e")
                keys = ("-c", "ak.ctx", "-C", "ek.ctx", "-P", "session:session")
                steps.run("activatecredential", *keys, "-i", "credential", "-o", "secret")
            finally:
                steps.run("flushcontext", "session")
            return steps.file("secret")

    def _make_key(self, steps: "_Steps") -> None:
        kind = ("-G", "ecc", "-g", "sha256", "-s", "ecdsa")
        files = ("-c", "ak.ctx", "-u", "ak.pub", "-n", "ak.name")
        steps.run("createak", "-C", "ek.ctx", *kind, *files, seconds=START_TIME)

    @contextmanager
    def _steps(self) -> Iterator["_Steps"]:
        """Steps in a folder of their own, which ends with them; one sequence at a time."""
        with self._lock, tempfile.TemporaryDirectory(prefix="village-tpm-") as folder:
            steps = _Steps(Path(folder), self._tools, self._tcti)
            for name, data in self._kept.items():
                steps.write(name, data)
            steps.run("flushcontext", "-t")  # what a step that broke off left in the TPM
            yield steps


class _Steps:
    """Runs tpm2-tools in one folder."""

    def __init__(self, folder: Path, tools: Path, tcti: str) -> None:
        self._folder, self._tools = folder, tools
        self._environment = {"PATH": str(tools), "TPM2TOOLS_TCTI": tcti, "TSS2_LOG": "all+error"}

    def run(self, step: str, *arguments: str, seconds: float = STEP_TIME) -> None:
        """Run tpm2_STEP. Raises Refused (enclave.attester)."""
        try:
            done = subprocess.run(  # noqa: S603 a fixed tool, our own arguments
                [self._tools / f"tpm2_{step}", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=seconds,
                check=False,
            )
        except OSError as error:
            missing = f"tpm2_{step} cannot be started: {error.strerror}; install tpm2-tools"
            raise Refused(CODE, missing) from error
        except subprocess.TimeoutExpired as error:
            raise Refused(CODE, f"tpm2_{step} took longer than {seconds:g} s") from error
        if done.returncode != 0:
            said = " ".join(done.stderr[-300:].decode(errors="replace").split())
            raise Refused(CODE, f"tpm2_{step} failed: {said or done.returncode}")

    def file(self, name: str) -> bytes:
        """What a step left in a file."""
        return read(self._folder / name, SMALL)

    def write(self, name: str, data: bytes) -> None:
        """Put a file into the folder."""
        if len(data) > SMALL:
            raise Refused(CODE, f"{name} of {len(data)} bytes; at most {limits.CREDENTIAL}")
        (self._folder / name).write_bytes(data)


def without_padding(certificate: bytes) -> bytes:
    """The DER alone: a TPM may keep it in a larger place, filled up. Raises Refused."""
    head, size = certificate[:4], int.from_bytes(certificate[2:4], "big") + 4
    if head[:2] != b"\x30\x82" or len(certificate) < size:
        raise Refused(CODE, "the endorsement key's certificate is not DER")
    return certificate[:size]
