import hashlib
import shutil
from pathlib import Path

import pytest

from node.config import ConfigError
from node.documents import algorithm_bundle
from protocol import limits
from protocol.kinds.algorithm import Parameter, unpack
from tests.agreements import seed

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "algorithms"
ENVIRONMENTS = {"scientific": seed("environment")}


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "cox-ph"
    shutil.copytree(DEMO / "cox-ph", copy)
    return copy


def edit(folder, old, new):
    path = folder / "manifest.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def problems(folder):
    with pytest.raises(ConfigError) as refusal:
        algorithm_bundle.pack(folder, ENVIRONMENTS)
    return str(refusal.value)


def test_cox_ph_of_the_demo():
    packed = algorithm_bundle.pack(DEMO / "cox-ph", ENVIRONMENTS)
    assert packed.digest == hashlib.sha256(packed.raw).digest()
    bundle = unpack(packed.raw)
    assert bundle.manifest == packed.manifest
    assert bundle.files["cox.py"] == (DEMO / "cox-ph" / "cox.py").read_bytes()
    manifest = packed.manifest
    assert (manifest.name, manifest.inputs) == ("cox-ph", ("lung-v1",))
    assert manifest.environment == seed("environment")
    fit, by_site = manifest.entries
    assert fit.function == "cox:fit"
    assert fit.parameters == (
        Parameter(name="covariates", type="any_of", choices=("age", "sex", "ph_ecog")),
    )
    assert fit.outputs == ("model", "own-risk")
    assert (by_site.parameters, by_site.outputs) == ((), ("table",))


def test_the_probe_of_the_demo():
    packed = algorithm_bundle.pack(DEMO / "probe", ENVIRONMENTS)
    assert [entry.function for entry in packed.manifest.entries] == ["survey:survey"]


def test_same_files_same_digest_and_one_byte_another(folder):
    digest = algorithm_bundle.pack(DEMO / "cox-ph", ENVIRONMENTS).digest
    assert algorithm_bundle.pack(folder, ENVIRONMENTS).digest == digest
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "cox.pyc").write_bytes(b"x")
    (folder / ".hidden").write_bytes(b"x")
    assert algorithm_bundle.pack(folder, ENVIRONMENTS).digest == digest
    with (folder / "cox.py").open("ab") as code:
        code.write(b"\n")
    assert algorithm_bundle.pack(folder, ENVIRONMENTS).digest != digest


def test_modules_in_folders_keep_their_path(folder):
    (folder / "lib").mkdir()
    (folder / "lib" / "more.py").write_bytes(b"pass\n")
    assert "lib/more.py" in unpack(algorithm_bundle.pack(folder, ENVIRONMENTS).raw).files


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("version: 1.0.0", "", "version: This is missing"),
        ("version: 1.0.0", "version: 1.0", "manifest.yaml:5"),
        ("kind: python", "kind: sql", "kind: The value is not allowed"),
        ("environment: scientific", "environment: other", "or: scientific"),
        ("environment: scientific", "environment: sha256:00", "no digest"),
        ("function: cox:fit", "function: cox.fit", "entries[0].function: This is no function"),
        ("function: cox:fit", 'function: "../cox:fit"', "This is no function"),
        ("choices: [age", "choice: [age", "choice: This key is unknown. Did you mean choices?"),
        ("choices: [age, sex, ph_ecog]", "choices: []", "nothing to choose"),
        ("type: any_of", "type: some_of", "One of: any_of, one_of, integer"),
        ("any_of, choices: [age, sex, ph_ecog]", "integer, low: 9, high: 1", "lower than low"),
        ("any_of, choices: [age, sex, ph_ecog]", "integer, low: 9", "high: This is missing"),
        ("parameters: []", "parameters: {}", "not a list of tables"),
        ("kind: python", "kind: python\nkind: python", "stands here twice"),
        ("licence: Apache-2.0", "licence: &a Apache-2.0", "Anchors"),
    ],
)
def test_mistakes_are_named_with_their_line(folder, old, new, told):
    edit(folder, old, new)
    assert told in problems(folder)


def test_a_range_of_integers(folder):
    edit(folder, "any_of, choices: [age, sex, ph_ecog]", "integer, low: 1, high: 9")
    entry = algorithm_bundle.pack(folder, ENVIRONMENTS).manifest.entries[0]
    assert entry.parameters == (Parameter(name="covariates", type="integer", low=1, high=9),)


def test_what_is_not_a_folder_of_plain_files(folder, tmp_path):
    assert "no manifest" in problems(tmp_path / "cox-ph" / "..")
    assert "Cannot read" in problems(tmp_path / "none")
    (folder / "link.py").symlink_to("/etc/hostname")
    assert "not a plain file" in problems(folder)
    (folder / "link.py").unlink()
    (folder / "linked").symlink_to(tmp_path)
    assert "not a plain file" in problems(folder)


def test_a_folder_of_data_is_refused(folder):
    with (folder / "data.bin").open("wb") as data:
        data.truncate(limits.BLOB)  # a hole: nothing is written
    assert "too large" in problems(folder)
