"""The digest of an environment covers all that an algorithm can import, and nothing else."""

import hashlib
import os

import pytest

from enclave_host import environment
from enclave_host.environment import digest
from protocol.errors import Refused


@pytest.fixture
def tree(tmp_path):
    package = tmp_path / "environment" / "numpy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1")
    (package / "core.so").write_bytes(b"\x7fELF")
    (package.parent / "top.py").write_text("")
    return package.parent


def test_digest_is_what_its_docstring_says(tree):
    total = hashlib.sha256()
    for name in ("numpy/__init__.py", "numpy/core.so", "top.py"):
        total.update(name.encode() + b"\0" + hashlib.sha256((tree / name).read_bytes()).digest())
    assert digest(tree) == total.digest()


def test_any_change_is_seen(tree):
    seen = {digest(tree)}
    (tree / "numpy/core.so").write_bytes(b"\x7fELG")
    seen.add(digest(tree))
    (tree / "numpy/core.so").rename(tree / "numpy/other.so")
    seen.add(digest(tree))
    (tree / "numpy/evil.pyc").write_bytes(b"a module without source")
    seen.add(digest(tree))
    (tree / "numpy/bin").mkdir()
    (tree / "numpy/bin/x.py").write_text("only at the top is bin left out")
    seen.add(digest(tree))
    assert len(seen) == 5


@pytest.mark.parametrize(
    "name",
    [
        "numpy/__pycache__/x.cpython-311.pyc",
        "__pycache__/top.cpython-311.pyc",
        "numpy-2.dist-info/RECORD",
        "bin/f2py",
        ".lock",
        ".stamp",
    ],
)
def test_what_differs_between_machines_is_left_out(tree, name):
    before = digest(tree)
    (tree / name).parent.mkdir(exist_ok=True, parents=True)
    (tree / name).write_text("of this machine")
    assert digest(tree) == before


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_watched_environment_is_read_again_after_a_change(tree, monkeypatch, keep_times):
    reads = []
    honest = environment.digest
    monkeypatch.setattr(environment, "digest", lambda path: reads.append(path) or honest(path))
    watched = environment.Watched()
    assert watched.digest(tree) == watched.digest(tree) == honest(tree)
    assert len(reads) == 1
    file = tree / "numpy" / "core.so"
    before = file.stat()
    file.write_bytes(b"\x7fELG")  # as long as before
    if keep_times:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watched.digest(tree) == honest(tree)
    assert len(reads) == 2
    (tree / "new.py").write_text("")
    assert watched.digest(tree) == honest(tree)
    assert len(reads) == 3


def test_links_inside_count_as_their_content(tree):
    (tree / "numpy/link.so").symlink_to("core.so")
    linked = digest(tree)
    (tree / "numpy/link.so").unlink()
    (tree / "numpy/link.so").write_bytes(b"\x7fELF")
    assert digest(tree) == linked


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "missing", "numpy", "/"])
def test_links_that_leave_or_alias_are_refused(tree, target):
    (tree.parent / "outside").write_text("outside")
    (tree / "link").symlink_to(target)
    with pytest.raises(Refused) as caught:
        digest(tree)
    assert caught.value.code == "run.environment"


def test_what_is_no_plain_file_is_refused(tree):
    os.mkfifo(tree / "pipe")
    with pytest.raises(Refused, match="not a plain file"):
        digest(tree)


def test_no_environment_is_refused(tmp_path):
    with pytest.raises(Refused):
        digest(tmp_path / "missing")
