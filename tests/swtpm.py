"""A software TPM (swtpm) with an own authority, as a process; ended by its id."""

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

START = 60.0


@dataclass(frozen=True)
class SoftwareTpm:
    """`tcti` is how tools reach it, `collateral` a folder with its chain, `authority` its root."""

    tcti: str
    collateral: Path
    authority: bytes


def missing() -> list[str]:
    """Programs of Debian's swtpm, swtpm-tools and tpm2-tools that are not here."""
    return [name for name in ("swtpm", "swtpm_setup", "tpm2_quote") if shutil.which(name) is None]


@contextmanager
def software_tpm() -> Iterator[SoftwareTpm]:
    """Manufacture and run one. Its folder has a short absolute name: a socket lies in it."""
    folder = Path(tempfile.mkdtemp(prefix="vtpm-"))
    try:
        _manufacture(folder)
        socket = folder / "tpm.sock"
        with subprocess.Popen(  # noqa: S603 a fixed program
            [
                *("/usr/bin/swtpm", "socket", "--tpm2", "--flags", "startup-clear"),
                *("--tpmstate", f"dir={folder / 'state'}"),
                *("--ctrl", f"type=unixio,path={socket}.ctrl"),
                *("--server", f"type=unixio,path={socket}"),
            ],
            stderr=subprocess.DEVNULL,  # it names every connection
        ) as process:
            try:
                _await(socket)
                yield SoftwareTpm(f"swtpm:path={socket}", *_chain(folder))
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder)


def extend(tpm: SoftwareTpm, register: int, measured: bytes) -> bytes:
    """Measure something, as the firmware of a real machine does; the register's new value."""
    value = hashlib.sha256(measured).digest()
    subprocess.run(  # noqa: S603 a fixed program
        ["/usr/bin/tpm2_pcrextend", f"{register}:sha256={value.hex()}"],
        env={"TPM2TOOLS_TCTI": tpm.tcti},
        check=True,
        timeout=START,
    )
    return hashlib.sha256(bytes(32) + value).digest()


def _manufacture(folder: Path) -> None:
    """State of a new TPM, with a certificate of its endorsement key by an authority of ours."""
    (folder / "state").mkdir()
    (folder / "ca").mkdir()
    files = {
        "setup.conf": f"create_certs_tool=/usr/bin/swtpm_localca\n"
        f"create_certs_tool_config={folder}/ca.conf\n"
        f"create_certs_tool_options={folder}/ca.options\n",
        "ca.conf": f"statedir = {folder}/ca\nsigningkey = {folder}/ca/key.pem\n"
        f"issuercert = {folder}/ca/issuer.pem\ncertserial = {folder}/ca/serial\n",
        "ca.options": "--platform-manufacturer Test\n--platform-version 2.0\n"
        "--platform-model vTPM\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    subprocess.run(  # noqa: S603 a fixed program
        [
            *("/usr/bin/swtpm_setup", "--tpm2", "--create-ek-cert", "--pcr-banks", "sha256"),
            *("--tpmstate", folder / "state", "--config", folder / "setup.conf"),
        ],
        check=True,
        capture_output=True,
        timeout=START,
    )


def _chain(folder: Path) -> tuple[Path, bytes]:
    root = folder / "ca/swtpm-localca-rootca-cert.pem"
    collateral = folder / "collateral"
    collateral.mkdir()
    chain = b"".join(path.read_bytes() for path in (folder / "ca/issuer.pem", root))
    (collateral / "ek_chain.pem").write_bytes(chain)
    der = x509.load_pem_x509_certificate(root.read_bytes()).public_bytes(serialization.Encoding.DER)
    return collateral, hashlib.sha256(der).digest()


def _await(path: Path) -> None:
    deadline = time.monotonic() + START
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)
