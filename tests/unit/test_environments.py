"""Environments: built from a lock, all or nothing, with one digest wherever they are built."""

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from node import environments
from node.cli.main import main
from node.cli.talk import CHOICES
from node.environments import EnvironmentFault

ROOT = Path(__file__).parents[2]

UV = Path(sys.executable).with_name("uv")


def wheel(folder, name, *, more=b""):
    """A wheel with one module, and a script; its requirement with hash."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": b"ANSWER = 42\n" + more,
        f"{name}-1.0.data/scripts/{name}": b"#!python\nprint(42)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()[:-1]},"
        f"{len(data)}\n"
        for path, data in files.items()
    )
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    (folder / f"{name}-1.0-py3-none-any.whl").write_bytes(packed.getvalue())
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    return f"{name}==1.0 \\\n    --hash=sha256:{digest}\n"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("VILLAGE_ENVIRONMENTS", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with two packages and a lock of both; nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheels")
    (folder / "tools.lock").write_text(wheel(folder, "one") + wheel(folder, "two"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder))
        patch.setenv("PIP_CONFIG_FILE", "/dev/null")
        yield folder


@pytest.fixture(scope="module")
def built(wheels):
    """The environment of the lock, and what was said while it was built."""
    said = []
    found = environments.build(wheels / "tools.lock", wheels / "built" / "a", said.append)
    return found, said


@pytest.fixture
def lock(wheels, tmp_path):
    """A copy of the lock."""
    return shutil.copy(wheels / "tools.lock", tmp_path / "tools.lock")


def test_what_is_built(built):
    found, said = built
    assert [line.rpartition("  ")[2][:3] for line in said[:2]] == ["one", "two"]
    assert said[-2:] == ["installing", "measuring"]
    assert not found.already
    assert (found.folder / "one.py").read_bytes() == b"ANSWER = 42\n"
    assert not (found.folder / "bin").exists()
    assert found.folder.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in found.folder.parent.iterdir()] == ["a"]


def test_the_same_lock_gives_the_same_digest_and_uv_gives_it_too(built, wheels, lock, tmp_path):
    found, _ = built
    again = environments.build(lock, tmp_path / "deep" / "b", list)
    assert (again.digest, again.already) == (found.digest, False)

    # What the Makefile does.
    other = tmp_path / "uv"
    command = [UV, "pip", "install", "-q", "--python", sys.executable, "--require-hashes"]
    command += ["--no-deps", "--offline", "--no-index", "--find-links", wheels]
    command += ["--target", other, "-r", lock]
    subprocess.run(command, check=True)  # noqa: S603 (the locked tool)
    for mark in ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"):
        for path in other.rglob(mark):
            path.unlink()
    assert environments.measure(other) == found.digest


def test_what_is_there_is_kept_and_known_by_name(built, lock):
    found, _ = built
    said = []
    again = environments.build(lock, found.folder, said.append)
    assert (again.already, again.digest, said) == (True, found.digest, [])
    with lock.open("a") as text:
        text.write("# another lock\n")
    with pytest.raises(EnvironmentFault, match="not built from this lock"):
        environments.build(lock, found.folder, said.append)
    environments.register("tools", found.folder)
    environments.register("tools", found.folder)
    assert environments.local() == {"tools": found.folder}
    assert environments.digests(environments.local()) == {"tools": found.digest}


def test_a_lock_that_is_shipped_is_known_by_its_name_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = environments.lock_of("scientific")
    assert b"pyarrow==" in shipped.read_bytes()
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["package-data"]["node"]
    inside = shipped.relative_to(ROOT / "node")
    assert any(inside.match(pattern) for pattern in packages)
    for other in ("other", "./scientific", "../locks/scientific", "scientific.lock"):
        assert environments.lock_of(other) == Path(other)


def test_without_pip_it_says_so(lock, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFault, match="pip is not installed"):
        environments.build(lock, tmp_path / "built", list)


def test_a_name_means_one_folder(tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot be the name"):
        environments.register("../tools", tmp_path)
    (environments.home() / "tools").mkdir(parents=True)
    environments.register("tools", environments.home() / "tools")
    with pytest.raises(EnvironmentFault, match="of its own"):
        environments.register("tools", tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("sha256:", "sha256:0"), "pip could not install"),
        (lambda text: text.partition("\\")[0] + "\n", "pip could not install"),  # no hash
        (lambda _: "one\n", "no lock file"),
        (lambda text: text + "#" * environments.LOCK, "no lock file"),
    ],
)
def test_a_lock_that_cannot_be_installed_leaves_nothing(lock, tmp_path, change, told):
    lock.write_text(change(lock.read_text()))
    before = set(tmp_path.iterdir())
    with pytest.raises(EnvironmentFault, match=told):
        environments.build(lock, tmp_path / "a", list)
    assert set(tmp_path.iterdir()) == before


def test_what_is_no_environment(tmp_path):
    with pytest.raises(EnvironmentFault, match="no folder"):
        environments.measure(tmp_path / "none")
    (tmp_path / "link").symlink_to("/usr")
    with pytest.raises(EnvironmentFault, match="cannot be measured"):
        environments.measure(tmp_path)
    with pytest.raises(EnvironmentFault, match="Cannot read"):
        environments.build(tmp_path / "none.lock", tmp_path / "a", print)


def test_the_commands_need_no_daemon(built, wheels, capsys, monkeypatch, tmp_path):
    found, _ = built
    monkeypatch.setenv("VILLAGE_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setattr(CHOICES, "json", False)
    monkeypatch.setattr(CHOICES, "socket", None)
    lock = str(wheels / "tools.lock")
    assert main(["algorithm", "env", "build", lock, "--to", str(found.folder)]) == 0
    assert f"sha256:{found.digest.hex()}" in capsys.readouterr().out
    assert main(["algorithm", "env", "name", "tools"]) == 7
    assert main(["algorithm", "env", "name", "others"]) == 1
    assert "not known here" in capsys.readouterr().err
    assert main(["algorithm", "env", "build", str(tmp_path), "--to", str(tmp_path / "x")]) == 1
    assert main(["algorithm", "env", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": "tools",
            "digest": found.digest.hex(),
            "folder": str(found.folder),
            "node": "not named",
        }
    ]
