"""An algorithm's modules come from memory, and look like any others to Python."""

import importlib
import importlib.resources
import linecache
import pkgutil
import sys
import traceback

import pytest

from enclave_host import runners
from enclave_host.cage import memory
from enclave_host.runners import common
from enclave_host.runners.python import Bundle

CODE = {
    "cox/__init__.py": b"from .deep.fit import fit\n",
    "cox/deep/__init__.py": b"",
    "cox/deep/fit.py": "# caf\u00e9\ndef fit():\n    raise ValueError('f\u00fcr')\n".encode(),
    "cox/deep/data/table.csv": b"a,b\n",
    "loose/part.py": b"number = 7\n",
    "single.py": b"from loose.part import number\n",
    "broken.py": b"def\n",
}


@pytest.fixture(autouse=True)
def bundle(monkeypatch):
    found = Bundle(CODE)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path[:-1], found, sys.meta_path[-1]])
    yield found
    for name in [one for one in sys.modules if one.partition(".")[0] in ("cox", "loose", "single")]:
        del sys.modules[name]


def test_packages_modules_and_folders_are_imported():
    single = importlib.import_module("single")
    assert single.number == 7
    assert single.__file__ == "/algorithm/single.py"
    deep = importlib.import_module("cox.deep")
    assert (deep.__package__, list(deep.__path__)) == ("cox.deep", ["/algorithm/cox/deep"])
    assert [one.name for one in map(importlib.util.find_spec, ("cox", "loose"))] == ["cox", "loose"]


def test_what_is_not_there_is_not_imported(bundle):
    for name in ("cox.other", "cox.deep.data.table", "other", "col"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    assert bundle.find_spec("other", None) is None
    with pytest.raises(SyntaxError) as caught:
        importlib.import_module("broken")
    assert caught.value.filename == "/algorithm/broken.py"


def test_what_python_has_built_in_is_not_replaced(monkeypatch, bundle):
    monkeypatch.setitem(bundle.code, "marshal.py", b"raise SystemExit")
    monkeypatch.delitem(sys.modules, "marshal")
    assert not hasattr(importlib.import_module("marshal"), "__file__")


def test_data_beside_the_code_is_read():
    assert pkgutil.get_data("cox.deep", "data/table.csv") == b"a,b\n"
    with pytest.raises(FileNotFoundError):
        pkgutil.get_data("cox.deep", "data/other.csv")
    folder = importlib.resources.files("cox.deep")
    assert (folder / "data" / "table.csv").read_text("utf-8") == "a,b\n"
    assert sorted(one.name for one in folder.iterdir()) == ["__init__.py", "data", "fit.py"]


def test_a_traceback_shows_the_line():
    linecache.clearcache()
    try:
        importlib.import_module("cox").fit()
    except ValueError:
        text = traceback.format_exc()
    assert 'File "/algorithm/cox/deep/fit.py", line 3, in fit\n    raise ValueError(' in text


def test_inputs_are_mapped_and_found_by_their_names():
    with memory.files({"state/b": b"two", "state/a": b"", "plan": b"{}"}) as inputs:
        job = common.Job(code={}, inputs=inputs, environment=None, entry="a:b", parameters="{}")
        states = common.named(job, "state/")
        assert list(states) == ["a", "b"]
        assert [bytes(common.mapped(one)) for one in states.values()] == [b"", b"two"]
        assert common.tables(job) == {}
        assert common.mapped(states["b"]).readonly


def test_the_exit_code_for_memory_is_the_launchers():
    assert common.LIMIT == runners.LIMIT_EXIT
