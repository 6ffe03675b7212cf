import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from node.config import ConfigError
from node.documents import algorithm_bundle, template
from protocol import limits, shape
from protocol.errors import Refused
from protocol.kinds.algorithm import Bundle, Contract, Entry, Model, Parameter, unpack
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


@pytest.mark.parametrize("name", ["cox-ph", "probe"])
def test_the_demo_ships_the_model_of_each_output(name):
    manifest = algorithm_bundle.pack(DEMO / name, ENVIRONMENTS).manifest
    outputs = {output for entry in manifest.entries for output in entry.outputs}
    assert {model.output for model in manifest.models} == outputs


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
        ("kind: python", "kind: prolog", "kind: The value is not allowed"),
        ("kind: python", "kind: sql", "There is no file 'cox:fit/model.sql'"),
        ("environment: scientific", "environment: other", "or: scientific"),
        ("environment: scientific", "environment: sha256:00", "No environment sha256:00 is known"),
        ("function: cox:fit", "function: cox.fit", "entries[0].function: This is no function"),
        ("function: cox:fit", 'function: "../cox:fit"', "This is no function"),
        ("function: cox:fit", "function: fit:fit", "There is no file 'fit.py'"),
        ("outputs: [table]", "outputs: []", "entries[1].outputs: It returns nothing"),
        ("outputs: [table]", "outputs: [table, table]", "twice"),
        ("name: by-site", "name: fit", "entries: A name stands there twice"),
        ("table: by-site.schema.json", "table: none.json", "no file 'none.json'"),
        (
            "table: by-site.schema.json",
            "tables: by-site.schema.json",
            "manifest.yaml:24: models.tables: Nothing in the manifest has this name",
        ),
        ("table: by-site.schema.json", "table: cox.py", "It ends in .json or"),
        (
            "kind: python",
            "kind: python\ncontracts: { lung-v2: README.md }",
            "contracts.lung-v2: Nothing in the manifest",
        ),
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


def test_every_fault_is_told_at_once(folder):
    edit(folder, "version: 1.0.0", "")
    edit(folder, "function: cox:fit", "function: fit:fit")
    edit(folder, "type: any_of", "type: some_of")
    (folder / "caf\u00e9.py").write_bytes(b"")
    (folder / "link.py").symlink_to("/etc/hostname")
    (folder / "COX.py").write_bytes(b"")
    told = problems(folder)
    for fault in ("version", "fit.py", "One of: any_of", "caf\\xe9.py:0", "link.py:0", "cox.py:0"):
        assert fault in told
    assert told.count("\n") == 5


def bundle(files, **changes):
    found = algorithm_bundle.pack(DEMO / "probe", ENVIRONMENTS).manifest
    manifest = replace(found, models=())
    files = {"survey.py": b"", **files}
    return shape.encode(Bundle(manifest=replace(manifest, **changes), files=files))


@pytest.mark.parametrize(
    "path",
    [
        "../survey.py",
        "/survey.py",
        "a//b.py",
        "a/./b.py",
        "a/../survey.py",
        "",
        "a/",
        ".hidden",
        "a/.git/config",
        "a\\b.py",
        "c:b.py",
        "a b.py",
        "a\x00.py",
        "a\n.py",
        "\u202eyp.evil",
        "surve\u0443.py",  # a Cyrillic letter
        "cafe\u0301.py",
        "Survey.py",
        "SURVEY.PY",
        "survey.py/inner.py",
        "SURVEY.py/inner.py",
        "/".join("a" * 14),
    ],
)
def test_paths_that_are_not_one_thing_everywhere_are_refused(path):
    assert unpack(bundle({"more/survey.py": b""})).files.keys() == {"survey.py", "more/survey.py"}
    with pytest.raises(Refused) as refusal:
        unpack(bundle({path: b""}))
    assert refusal.value.code == "algorithm.bundle"
    assert str(refusal.value).isascii()


def test_a_bundle_is_bounded():
    with pytest.raises(Refused, match="short text"):
        unpack(bundle({"a" * (limits.NAME + 1): b""}))
    with pytest.raises(Refused, match=str(limits.ITEMS)):
        unpack(bundle({f"f{n}": b"" for n in range(limits.ITEMS)}))
    with pytest.raises(Refused) as refusal:
        unpack(bundle({"big": bytes(limits.BLOB)}))
    assert refusal.value.code == "codec.too-large"


def entry(**changes):
    values = {"name": "survey", "function": "survey:survey", "parameters": (), "outputs": ("a",)}
    return Entry(**{**values, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"entries": ()},
        {"kind": "sql"},
        {"models": (Model(output="summary", file="none.json"),)},
        {"models": (Model(output="none", file="survey.py"),)},
        {"models": (Model(output="summary", file="survey.py"),) * 2},
        {"contracts": (Contract(dataset="lung-v1", file="none.yaml"),)},
        {"contracts": (Contract(dataset="none", file="survey.py"),)},
        {"inputs": ("lung-v1", "lung-v1")},
        {"inputs": ("../../.bashrc",)},
        {"inputs": ("village/code",)},
        {"inputs": ("lung v1",)},
        {"entries": (entry(name="a/b"),)},
        {"entries": (entry(outputs=("../../.bashrc",)),)},
        {"entries": (entry(outputs=("caf\u00e9",)),)},
        {"entries": (entry(states=("",)),)},
        {"entries": (entry(parameters=(Parameter(name="a b", type="integer"),)),)},
    ],
)
def test_a_manifest_and_its_files_hold_together(changes):
    assert unpack(bundle({}, entries=(entry(),))).manifest.entries == (entry(),)
    with pytest.raises(Refused) as refusal:
        unpack(bundle({}, **changes))
    assert refusal.value.code == "algorithm.bundle"


def test_models_and_contracts_in_the_bundle(folder):
    edit(folder, "kind: python", "kind: python\ncontracts: { lung-v1: lung.odcs.yaml }")
    edit(folder, "model: cox-result.schema.json", "model: m.odcs.yaml")
    for name in ("m.odcs.yaml", "lung.odcs.yaml"):
        (folder / name).write_bytes(b"")
    manifest = algorithm_bundle.pack(folder, ENVIRONMENTS).manifest
    assert manifest.models == (
        Model(output="model", file="m.odcs.yaml", format="arrow"),
        Model(output="own-risk", file="own-risk.schema.json", format="json"),
        Model(output="table", file="by-site.schema.json", format="json"),
    )
    assert manifest.contracts == (Contract(dataset="lung-v1", file="lung.odcs.yaml"),)


@pytest.mark.parametrize("kind", ["python", "sql"])
def test_templates_are_whole(kind, tmp_path):
    files = template.write(kind, "mean-stay", tmp_path / "new")
    packed = algorithm_bundle.pack(tmp_path / "new", ENVIRONMENTS)
    assert sorted(files) == sorted(packed.bundle.files)
    assert (packed.manifest.name, packed.manifest.kind) == ("mean-stay", kind)
    assert {one.output for one in packed.manifest.models} == {"table"}
    assert template.NAME.encode() not in b"".join(packed.bundle.files.values())
    with pytest.raises(ConfigError, match="something already"):
        template.write(kind, "mean-stay", tmp_path / "new")
    with pytest.raises(ConfigError, match="something already"):
        template.write(kind, "mean-stay", tmp_path / "new" / "README.md")


def test_a_folder_of_data_is_refused(folder):
    with (folder / "data.bin").open("wb") as data:
        data.truncate(limits.BLOB)  # a hole: nothing is written
    assert "too large" in problems(folder)
