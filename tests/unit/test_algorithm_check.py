"""`village algorithm check`: every fault of a folder, with file and line, and nothing is run."""

import json

import pytest

from node import algorithm_check, environments
from node.algorithm_check import Known
from node.cli import talk
from node.cli.main import main
from node.config import ConfigError
from node.documents import algorithm_bundle, template
from protocol.kinds.algorithm import Bundle
from tests.agreements import seed

NAMES = {"scientific": seed("environment")}


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No daemon, and no environment but those of a test."""
    monkeypatch.setenv("VILLAGE_ENVIRONMENTS", str(tmp_path / "home"))
    monkeypatch.setenv("VILLAGE_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setattr(talk.CHOICES, "json", False)
    monkeypatch.setattr(talk.CHOICES, "socket", None)


@pytest.fixture
def folder(tmp_path):
    template.write("python", "mean-stay", tmp_path / "mean-stay")
    return tmp_path / "mean-stay"


@pytest.fixture
def packages(tmp_path):
    """A folder that looks like an environment with pandas."""
    packages = tmp_path / "packages"
    (packages / "pandas").mkdir(parents=True)
    (packages / "fast.cpython-311-x86_64-linux-gnu.so").touch()
    return packages


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """That of a template in Python."""
    folder = tmp_path_factory.mktemp("template") / "mean-stay"
    template.write("python", "mean-stay", folder)
    return algorithm_bundle.read(folder, NAMES).manifest


def faults(folder, packages=None):
    with pytest.raises(ConfigError) as refusal:
        algorithm_check.check(folder, Known(NAMES, packages))
    return str(refusal.value)


def test_a_template_has_no_fault(folder, packages):
    found = algorithm_check.check(folder, Known(NAMES, packages))
    assert (found.bundle.manifest.name, found.unchecked) == ("mean-stay", ())
    (unchecked,) = algorithm_check.check(folder, Known(NAMES, None)).unchecked
    assert unchecked.startswith("imports: ")


def test_every_fault_of_the_code_and_the_documents(folder, packages):
    (folder / "stays.py").write_text(
        "import json, pandas.api, fast, stays\n"
        "import sklearn.linear_model\n"
        "from lifelines import CoxPHFitter\n"
        "from .more import one\n"
        "try:\n    import numba\nexcept ImportError:\n    numba = None\n"
    )
    (folder / "more.py").write_text("one = 1\ndef broken(:\n")
    (folder / "null.py").write_bytes(b"a\0b")
    model = folder / "models" / "table.schema.json"
    model.write_text(model.read_text().replace('"maximum": 365', '"maxium": 365'))
    (folder / "contracts" / "stays-v1.odcs.yaml").write_text("kind: DataContract\n")
    told = faults(folder, packages)
    for fault in (
        "stays.py:2: The environment has no sklearn.",
        "stays.py:3: The environment has no lifelines.",
        "more.py:2: This is not Python",
        "null.py:0: This is not Python",
        "models/table.schema.json:0: the output model of table is open at",
        "contracts/stays-v1.odcs.yaml:0: a data contract is off",
    ):
        assert fault in told
    assert told.count("\n") == 5


@pytest.mark.parametrize("text", ["(" * 10_000, "-" * 1_000_000 + "1", "a." * 200_000 + "b"])
def test_code_that_is_made_to_break_the_parser_is_a_fault(text, manifest):
    bundle = Bundle(manifest=manifest, files={"stays.py": text.encode()})
    (fault,) = algorithm_check.code_faults(bundle, None)
    assert (fault.file, fault.detail[:19]) == ("stays.py", "This is not Python:")


def test_sql_is_checked_as_the_enclave_does(tmp_path):
    folder = tmp_path / "sql"
    template.write("sql", "mean-stay", folder)
    assert algorithm_check.check(folder, Known(NAMES, None)).unchecked == ()
    query = folder / "queries" / "summary" / "table.sql"
    query.write_text("SELECT 1;\nCOPY (SELECT 1) TO 'x'\n")
    assert "queries/summary/table.sql:" in faults(folder)


def test_a_name_means_one_digest(folder, packages, tmp_path):
    here = environments.measure(packages)
    environments.register("scientific", packages)
    found = algorithm_check.known(folder, None, {})
    assert (found.names, found.folder) == ({"scientific": here}, packages)
    assert algorithm_check.known(folder, None, {"scientific": here}).names["scientific"] == here
    with pytest.raises(environments.EnvironmentFault, match="at the node, and"):
        algorithm_check.known(folder, None, NAMES)
    manifest = folder / "manifest.yaml"
    text = manifest.read_text().replace(
        "environment: scientific", f'environment: "sha256:{here.hex()}"'
    )
    manifest.write_text(text)
    assert algorithm_check.known(folder, None, {}).folder == packages
    (tmp_path / "home" / "scientific").unlink()
    assert algorithm_check.known(folder, None, {}).folder is None


# --- the commands --------------------------------------------------------------------------------


def village(capsys, *words):
    code = main(["algorithm", *map(str, words)])
    return code, *capsys.readouterr()


def test_new_check_and_pack_need_no_daemon(tmp_path, packages, capsys):
    folder = tmp_path / "mine"
    code, said, _ = village(capsys, "new", "mine", "--kind", "sql", "--dir", folder)
    assert (code, "next: village algorithm try" in said) == (0, True)
    code, _, told = village(capsys, "new", "mine", "--dir", folder)
    assert (code, "something already" in told) == (2, True)
    assert village(capsys, "new", "mine", "--kind", "r")[0] == 2
    assert village(capsys, "new", "../mine")[0] == 2
    code, said, _ = village(capsys, "check", folder, "--environment", packages)
    assert (code, "no fault in 6 files" in said) == (0, True)
    code, _, told = village(capsys, "check", folder)
    assert (code, "No environment scientific is known here" in told) == (2, True)
    code, said, _ = village(capsys, "pack", folder, "--environment", packages, "--json")
    packed = json.loads(said)
    assert (code, packed["kind"]) == (0, "sql")
    assert packed["environment"] == environments.measure(packages).hex()
    assert village(capsys, "env", "list", "--json")[:2] == (0, "[]\n")


def test_faults_are_json_too(tmp_path, packages, capsys):
    folder = tmp_path / "mine"
    template.write("python", "mine", folder)
    (folder / "stays.py").write_text("import torch\n")
    code, _, told = village(capsys, "check", folder, "--environment", packages, "--json")
    answer = json.loads(told)
    assert (code, answer["code"]) == (2, "config.refused")
    (fault,) = answer["faults"]
    assert (fault["file"], fault["line"]) == ("stays.py", 1)
    assert "torch" in fault["detail"]
    code, _, told = village(capsys, "try", folder, "--environment", tmp_path / "none", "--json")
    assert (code, json.loads(told)["code"]) == (1, "environment.build")
