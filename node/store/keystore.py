"""Keys at rest: one file of named 32-byte seeds, sealed with a passphrase. Nodes and vaults use it.

File = header | AES-256-GCM(key, nonce, seeds, AAD = header) | SHA-256 of all before it.
Header = magic | opslimit | memlimit | salt | nonce. Key = Argon2id (RFC 9106) of the passphrase.
The seeds are a deterministic CBOR map. The digest only tells a damaged file from a wrong
passphrase; security rests on the AEAD.
"""

import getpass
import hashlib
import os
import re
import secrets
import stat
import struct
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

import nacl.exceptions
import nacl.pwhash.argon2id as argon2id
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from node.store import StoreError, StoreMissing, disk_faults, write_durably
from protocol import codec
from protocol.errors import Misuse, ProtocolError

OPSLIMIT: Final = 3
"""Passes of Argon2id for a new file."""

MEMLIMIT: Final = 64 * 1024 * 1024
"""Bytes of memory of Argon2id for a new file."""

SEEDS: Final = 256
"""Seeds in one keystore: a vault has some per agreement."""

PASSPHRASE: Final = range(8, 1025)
"""Allowed lengths of a passphrase in bytes."""

_FILE: Final = 64 * 1024
_MAGIC: Final = b"village-keys/1\n\0"
_HEADER: Final = struct.Struct(">16sII16s12s")
_DIGEST: Final = 32
_OPS_READ: Final = range(1, 17)
_MEM_READ: Final = range(8 * 1024, 256 * 1024 * 1024 + 1)
_SEED_NAME: Final = re.compile(r"[a-z0-9][a-z0-9/_.-]{0,127}")
_CREDENTIAL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def create(path: Path, passphrase: bytes, seeds: Mapping[str, bytes]) -> None:
    """Write a new keystore (0600, in a folder of 0700 if it has to be made).

    Raises StoreError: "keystore.exists", "keystore.weak" (passphrase too short or long),
    "keystore.permissions" (others may write to the folder).
    """
    with disk_faults("Cannot make the folder of the keystore"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & 0o022:
            raise _permissions(path.parent, "0700")
    sealed = seal(passphrase, seeds)
    with disk_faults("Cannot write the keystore"):
        try:
            write_durably(path, sealed, replace=False)
        except FileExistsError as error:
            raise StoreError(
                "keystore.exists",
                f"{path.name} exists already.",
                "Keep it: another key would be another identity. Move it away to start anew.",
            ) from error


def open(path: Path, passphrase: bytes) -> dict[str, bytes]:  # noqa: A001 (keystore.open)
    """Return the seeds by name.

    Raises StoreMissing ("keystore.missing") or StoreError: "keystore.passphrase" (wrong),
    "keystore.damaged", "keystore.permissions" (others may read the file).
    """
    return unseal(_read(path), passphrase)


def replace(path: Path, passphrase: bytes, seeds: Mapping[str, bytes]) -> None:
    """Replace the seeds of a keystore, whole or not at all. Raises as `open` does."""
    open(path, passphrase)
    with disk_faults("Cannot write the keystore"):
        write_durably(path, seal(passphrase, seeds))


def change_passphrase(path: Path, old: bytes, new: bytes) -> None:
    """Seal the same seeds under another passphrase, whole or not at all. Raises as `open` does."""
    seeds = open(path, old)
    with disk_faults("Cannot write the keystore"):
        write_durably(path, seal(new, seeds))


def seal(passphrase: bytes, seeds: Mapping[str, bytes]) -> bytes:
    """The bytes of a keystore. Raises StoreError (keystore.weak)."""
    if len(passphrase) not in PASSPHRASE:
        raise StoreError(
            "keystore.weak",
            f"A passphrase has {PASSPHRASE.start} to {PASSPHRASE.stop - 1} bytes.",
            "Take several words, or random bytes.",
        )
    if not _are_seeds(dict(seeds)):
        raise Misuse("a keystore holds named seeds of 32 bytes")
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = _HEADER.pack(_MAGIC, OPSLIMIT, MEMLIMIT, salt, nonce)
    key = _derive(passphrase, salt, OPSLIMIT, MEMLIMIT)
    body = header + AESGCM(key).encrypt(nonce, codec.encode(dict(seeds)), header)
    return body + hashlib.sha256(body).digest()


def unseal(data: bytes, passphrase: bytes) -> dict[str, bytes]:
    """The seeds in the bytes of a keystore. Raises StoreError (keystore.*)."""
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if not _HEADER.size + _DIGEST < len(data) <= _FILE or hashlib.sha256(body).digest() != digest:
        raise _damaged()
    magic, opslimit, memlimit, salt, nonce = _HEADER.unpack_from(body)
    if magic != _MAGIC or opslimit not in _OPS_READ or memlimit not in _MEM_READ:
        raise _damaged()
    key = _derive(passphrase, salt, opslimit, memlimit)
    try:
        plain = AESGCM(key).decrypt(nonce, body[_HEADER.size :], body[: _HEADER.size])
        seeds = codec.decode(plain, _FILE)
    except InvalidTag as error:
        raise StoreError(
            "keystore.passphrase",
            "The passphrase does not open this keystore.",
            "Try again; without the passphrase nobody can open it.",
        ) from error
    except ProtocolError as error:
        raise _damaged() from error
    if not _are_seeds(seeds):
        raise _damaged()
    return dict(seeds)


def _derive(passphrase: bytes, salt: bytes, opslimit: int, memlimit: int) -> bytes:
    try:
        return argon2id.kdf(32, passphrase, salt, opslimit=opslimit, memlimit=memlimit)
    except (nacl.exceptions.CryptoError, MemoryError) as error:
        raise StoreError(
            "keystore.memory",
            f"Opening a keystore takes {memlimit} bytes of memory.",
            "Give the process more memory.",
        ) from error


def _are_seeds(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= SEEDS
        and all(isinstance(name, str) and _SEED_NAME.fullmatch(name) for name in value)
        and all(isinstance(seed, bytes) and len(seed) == 32 for seed in value.values())
    )


def _read(path: Path) -> bytes:
    data = _read_secret(path, _FILE, others=0o077)
    if data is None:
        raise StoreMissing(
            "keystore.missing", f"There is no keystore {path.name}.", "Make one: village node init."
        )
    return data


def _read_secret(path: Path, limit: int, others: int) -> bytes | None:
    """Read at most limit+1 bytes of a regular file; None if there is no such file.

    Refuse it if a bit of `others` is set in its mode. The mode is that of
    the descriptor read from, so a file swapped meanwhile gains nothing.
    """
    try:
        with disk_faults(f"Cannot read {path.name}"):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    with os.fdopen(descriptor, "rb") as file, disk_faults(f"Cannot read {path.name}"):
        status = os.fstat(descriptor)
        if status.st_mode & others:
            raise _permissions(path, "0600")
        return file.read(limit + 1) if stat.S_ISREG(status.st_mode) else b""


def _permissions(path: Path, mode: str) -> StoreError:
    return StoreError(
        "keystore.permissions", f"Others may use {path.name}.", f"chmod {mode} {path}"
    )


def _damaged() -> StoreError:
    return StoreError(
        "keystore.damaged",
        "The file is not a keystore, or it is damaged.",
        "Restore it from a backup.",
    )


# --- where the passphrase comes from ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prompt:
    """A person types it on the terminal."""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """It is the content of a file that the world cannot read."""

    path: Path


@dataclass(frozen=True, slots=True)
class SystemdCredential:
    """It is a credential that systemd decrypts for the service (LoadCredentialEncrypted=)."""

    name: str


Unlock = Prompt | SecretFile | SystemdCredential
UNLOCK: Final = "prompt, file:PATH or systemd-creds:NAME"
"""What `parse_unlock` takes, in words."""


def parse_unlock(text: str, base: Path) -> Unlock:
    """Parse "prompt", "file:PATH" (relative to `base`) or "systemd-creds:NAME".

    Raises StoreError ("keystore.unlock").
    """
    scheme, _, rest = text.partition(":")
    match scheme:
        case "prompt" if text == scheme:
            return Prompt()
        case "file" if rest and "\0" not in rest:
            return SecretFile(base / rest)
        case "systemd-creds" if _CREDENTIAL_NAME.fullmatch(rest):
            return SystemdCredential(rest)
        case "pkcs11":
            raise _no_unlock("PKCS#11 is not supported yet.")
        case _:
            raise _no_unlock("This is no way to unlock a keystore.")


def read_passphrase(
    unlock: Unlock, environment: Mapping[str, str], ask: Callable[[str], str] = getpass.getpass
) -> bytes:
    """Fetch the passphrase; of a file, without its last line break.

    Raises StoreMissing ("keystore.unlock"), or StoreError "keystore.permissions" if the world
    can read the file.
    """
    match unlock:
        case Prompt():
            return unicodedata.normalize("NFC", ask("Passphrase of the keystore: ")).encode()
        case SecretFile(path):
            return _passphrase_file(path)
        case SystemdCredential(name):
            folder = environment.get("CREDENTIALS_DIRECTORY")
            if not folder:
                raise StoreMissing(
                    "keystore.unlock",
                    "systemd passed no credentials to this process.",
                    f"Start it as a service with LoadCredentialEncrypted={name}.",
                )
            return _passphrase_file(Path(folder) / name)
        case _:
            assert_never(unlock)


def _passphrase_file(path: Path) -> bytes:
    data = _read_secret(path, PASSPHRASE.stop + 1, others=0o007)
    if not data:
        raise StoreMissing(
            "keystore.unlock",
            f"The secret file {path.name} is missing or empty.",
            "See keys.unlock in the configuration.",
        )
    return data.removesuffix(b"\n").removesuffix(b"\r")


def _no_unlock(detail: str) -> StoreError:
    return StoreError("keystore.unlock", detail, f"Use {UNLOCK}.")
