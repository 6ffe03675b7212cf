"""The keystore opens with its passphrase only, says what is wrong, and is never half written."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.store import StoreError, StoreMissing, keystore
from node.store.keystore import Prompt, SecretFile, SystemdCredential, parse_unlock
from protocol.errors import Misuse

WORDS = b"correct horse battery staple"
SEEDS = {name: hashlib.sha256(name.encode()).digest() for name in ("node", "record", "store")}


@pytest.fixture
def fast(monkeypatch):
    """Less Argon2id where it is not what the test is about."""
    monkeypatch.setattr(keystore, "OPSLIMIT", 1)
    monkeypatch.setattr(keystore, "MEMLIMIT", 8192)


@pytest.fixture
def made(tmp_path, fast):
    path = tmp_path / "keys" / "keystore"
    keystore.create(path, WORDS, SEEDS)
    return path


def code(act, *arguments):
    with pytest.raises(StoreError) as caught:
        act(*arguments)
    return caught.value.code


def test_seeds_come_back_with_the_limits_of_a_new_file(tmp_path):
    path = tmp_path / "keystore"
    keystore.create(path, WORDS, SEEDS)
    assert keystore.open(path, WORDS) == SEEDS
    opslimit, memlimit = path.read_bytes()[16:20], path.read_bytes()[20:24]
    assert int.from_bytes(opslimit, "big") == 3
    assert int.from_bytes(memlimit, "big") == 64 * 1024 * 1024


def test_file_and_folder_are_private_and_nothing_else_is_left(made):
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    assert os.listdir(made.parent) == [made.name]
    assert not any(seed in made.read_bytes() for seed in SEEDS.values())


def test_a_wrong_passphrase_is_told_from_a_damaged_file(made):
    assert code(keystore.open, made, b"wrong passphrase") == "keystore.passphrase"
    whole = made.read_bytes()
    for position in range(len(whole)):
        altered = bytearray(whole)
        altered[position] ^= 0x80
        made.write_bytes(altered)
        assert code(keystore.open, made, WORDS) == "keystore.damaged"
    for length in (0, 10, len(whole) - 1):
        made.write_bytes(whole[:length])
        assert code(keystore.open, made, WORDS) == "keystore.damaged"


def resealed(data):
    return data + hashlib.sha256(data).digest()


def test_who_mends_the_digest_still_opens_nothing(made):
    body = bytearray(made.read_bytes()[:-32])
    for position in range(24, len(body)):  # salt, nonce, seeds
        altered = bytearray(body)
        altered[position] ^= 1
        made.write_bytes(resealed(bytes(altered)))
        assert code(keystore.open, made, WORDS) == "keystore.passphrase"


@pytest.mark.parametrize(("opslimit", "memlimit"), [(0, 8192), (2**31, 8192), (1, 2**31), (1, 64)])
def test_a_file_cannot_ask_for_more_work_than_the_bound(made, opslimit, memlimit):
    body = bytearray(made.read_bytes()[:-32])
    body[16:24] = opslimit.to_bytes(4, "big") + memlimit.to_bytes(4, "big")
    made.write_bytes(resealed(bytes(body)))
    assert code(keystore.open, made, WORDS) == "keystore.damaged"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_code(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "keystore"
    path.write_bytes(resealed(data))
    path.chmod(0o600)
    assert code(keystore.open, path, WORDS) == "keystore.damaged"


def test_an_existing_keystore_is_never_overwritten(made):
    before = made.read_bytes()
    assert code(keystore.create, made, WORDS, {}) == "keystore.exists"
    assert made.read_bytes() == before


def test_a_missing_or_too_large_file_is_named(made):
    assert code(keystore.open, made.with_name("none"), WORDS) == "keystore.missing"
    made.write_bytes(bytes(10_000_000))
    assert code(keystore.open, made, WORDS) == "keystore.damaged"


def test_the_passphrase_changes_and_the_seeds_stay(made):
    assert code(keystore.change_passphrase, made, b"wrong passphrase", b"x" * 9) == (
        "keystore.passphrase"
    )
    keystore.change_passphrase(made, WORDS, b"another passphrase")
    assert keystore.open(made, b"another passphrase") == SEEDS
    assert code(keystore.open, made, WORDS) == "keystore.passphrase"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_seeds_are_replaced_by_who_knows_the_passphrase(made):
    new = {**SEEDS, "record": b"n" * 32}
    assert code(keystore.replace, made, b"wrong passphrase", new) == "keystore.passphrase"
    keystore.replace(made, WORDS, new)
    assert keystore.open(made, WORDS) == new


def test_weak_passphrases_and_wrong_seeds_are_refused(tmp_path, fast):
    assert code(keystore.create, tmp_path / "k", b"short", SEEDS) == "keystore.weak"
    for wrong in ({"a": b"short"}, {"A B": bytes(32)}, {str(n): bytes(32) for n in range(999)}):
        with pytest.raises(Misuse):
            keystore.create(tmp_path / "k", WORDS, wrong)
    assert os.listdir(tmp_path) == []


def test_a_full_keystore_opens(tmp_path, fast):
    seeds = {f"{number:0128}": bytes(32) for number in range(keystore.SEEDS)}
    keystore.create(tmp_path / "k", WORDS, seeds)
    assert keystore.open(tmp_path / "k", WORDS) == seeds


def test_files_and_folders_that_others_may_use_are_refused(made):
    made.chmod(0o640)
    assert code(keystore.open, made, WORDS) == "keystore.permissions"
    made.parent.chmod(0o777)
    assert code(keystore.create, made.with_name("new"), WORDS, SEEDS) == "keystore.permissions"


def test_unlock_sources_parse():
    base = Path("/etc/village")
    assert parse_unlock("prompt", base) == Prompt()
    assert parse_unlock("file:secret", base) == SecretFile(base / "secret")
    assert parse_unlock("file:/run/secret", base) == SecretFile(Path("/run/secret"))
    assert parse_unlock("systemd-creds:village-keystore", base) == SystemdCredential(
        "village-keystore"
    )


@pytest.mark.parametrize(
    "text",
    ["", "prompt:", "file:", "file:a\0b", "systemd-creds:", "systemd-creds:../shadow",
     "systemd-creds:.", "pkcs11:token", "http://x"],
)  # fmt: skip
def test_other_unlock_sources_are_refused(text):
    assert code(parse_unlock, text, Path("/")) == "keystore.unlock"


def test_a_typed_passphrase_does_not_depend_on_the_keyboard():
    composed = keystore.read_passphrase(Prompt(), {}, ask=lambda _: "caf\u00e9 passphrase")
    assert composed == keystore.read_passphrase(Prompt(), {}, ask=lambda _: "cafe\u0301 passphrase")


def test_a_secret_file_is_read_without_its_line_break(tmp_path):
    secret = tmp_path / "secret"
    for content in (WORDS, WORDS + b"\n", WORDS + b"\r\n"):
        secret.write_bytes(content)
        secret.chmod(0o640)
        assert keystore.read_passphrase(SecretFile(secret), {}) == WORDS
        credential = SystemdCredential("secret")
        environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        assert keystore.read_passphrase(credential, environment) == WORDS


def test_a_secret_that_the_world_can_read_or_that_is_none_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(WORDS)
    secret.chmod(0o604)
    read = keystore.read_passphrase
    assert code(read, SecretFile(secret), {}) == "keystore.permissions"
    secret.chmod(0o600)
    secret.write_bytes(b"")
    assert code(read, SecretFile(secret), {}) == "keystore.unlock"
    assert code(read, SecretFile(tmp_path / "none"), {}) == "keystore.unlock"
    assert code(read, SystemdCredential("secret"), {}) == "keystore.unlock"
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StoreMissing):
        read(SecretFile(tmp_path / "pipe"), {})
