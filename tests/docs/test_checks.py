"""The scripts of `make check` refuse what they exist to refuse."""

from pathlib import Path

import pytest

from tools import foreign, lock, sizes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n" * 601, "601 lines"),
        ("def f():\n" + "    pass\n" * 60, "f has 61 lines"),
        ("class PeerManager: ...\n", "class PeerManager"),
        ("class RecordInfo: ...\n", "class RecordInfo"),
    ],
)
def test_sizes_refuses(tmp_path, text, reason):
    (tmp_path / "a.py").write_text(text)
    (line,) = sizes.offences(tmp_path / "a.py")
    assert reason in line
    assert sizes.main([str(tmp_path)]) == 1


def test_sizes_accepts_what_is_within_the_limits(tmp_path):
    text = "def f():\n" + "    pass\n" * 59 + "class Information: ...\n" + "x = 1\n" * 539
    (tmp_path / "a.py").write_text(text)
    assert list(sizes.offences(tmp_path / "a.py")) == []


def test_sizes_of_nothing_is_an_error(tmp_path):
    assert sizes.main([str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("protocol/a.py", "import httpx\n", "may not import httpx"),
        ("protocol/a.py", "def f():\n    from yaml import load\n", "may not import yaml"),
        ("protocol/a.py", "import dcap_qvl\n", "may not import dcap_qvl"),
        ("protocol/a.py", "from nacl.utils import random\n", "chance is an argument"),
        ("protocol/a.py", "from nacl import utils\n", "chance is an argument"),
        ("protocol/a.py", "open('x')\n", "does not call open()"),
        ("enclave_host/a.py", "import pyarrow\n", "may not import pyarrow"),
    ],
)
def test_foreign_refuses(tmp_path, monkeypatch, path, text, reason):
    assert reason in "".join(_foreign(tmp_path, monkeypatch, path, text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("protocol/a.py", "import cbor2, hashlib\nfrom nacl.signing import SigningKey\n"),
        ("protocol/attestation/tdx.py", "import dcap_qvl\n"),
        ("protocol/audit/__main__.py", "open('x')\n"),
        ("enclave_host/a.py", "import trio\nfrom protocol import codec\n"),
    ],
)
def test_foreign_accepts(tmp_path, monkeypatch, path, text):
    assert _foreign(tmp_path, monkeypatch, path, text) == []


def _foreign(tmp_path, monkeypatch, path, text):
    monkeypatch.chdir(tmp_path)
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text(text)
    return list(foreign.offences(Path(path)))


def test_lock_drops_only_what_is_never_installed():
    kept = "a==1 \\\n    --hash=sha256:00\n    # via never\n"
    dropped = "b==2 ; sys_platform == 'never' \\\n    --hash=sha256:11\n    # via c\n"
    assert lock.installable(kept + dropped + kept) == kept + kept


@pytest.mark.parametrize("name", sorted(lock.LOCKS))
def test_locks_hold_exact_versions_and_hashes_and_no_address(name):
    text = (ROOT / name).read_text()
    found = [entry for entry in lock.entries(text) if entry]
    assert found
    assert "://" not in text
    for entry in found:
        assert "==" in entry.partition("\n")[0]
        assert "--hash=sha256:" in entry
