"""docs/deploy and configs/deploy: files that parse, commands that exist, and no claim of more."""

import configparser
import re
import shlex
import tomllib

import pytest

from enclave_host import config, main
from enclave_host.attest.detect import HARDWARE
from node import config as node_config
from node.documents import attestation
from protocol.attestation import policy
from tests.docs.test_tree import ROOT

CONFIGS = ROOT / "configs/deploy"
PAGES = sorted((ROOT / "docs/deploy").glob("*.md"))
ENCLAVES = sorted(CONFIGS.glob("*/enclave*.toml"))
POLICIES = sorted(CONFIGS.glob("*/policy*.yaml"))
UNITS = sorted(path for kind in ("service", "mount") for path in CONFIGS.rglob(f"*.{kind}"))
NODE = re.compile(r"\b(village [a-z]+ [a-z]+)\b")
INSIDE = "/opt/village/environments/scientific"


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", ENCLAVES, ids=name)
def test_a_configuration_of_an_enclave_parses(file, tmp_path):
    (tmp_path / "environment").mkdir()
    text = file.read_text()
    assert INSIDE in text
    copy = tmp_path / "enclave.toml"
    copy.write_text(text.replace(INSIDE, "environment"))
    found = config.load(copy)
    assert found.source.technology in HARDWARE
    copy.write_text(
        re.sub(r"^# (collateral|ek_certificate) ", r"\1 ", copy.read_text(), flags=re.M)
    )
    assert config.load(copy).source.collateral is not None or "nitro" in name(file)


def test_there_is_one_for_each_technology():
    said = {tomllib.loads(file.read_text())["attestation"]["technology"] for file in ENCLAVES}
    assert said == set(HARDWARE)


@pytest.mark.parametrize("file", POLICIES, ids=name)
def test_a_policy_parses_and_stands(file):
    assert policy.lint(attestation.load(file)) == []


def test_policies_name_each_technology_once():
    found = [set(policy.named(attestation.load(file))) for file in POLICIES]
    assert sorted(one for names in found for one in names) == sorted(HARDWARE)


def test_the_configuration_of_the_node_parses():
    found = node_config.load(CONFIGS / "host-node.toml")
    assert found.enclave.technology == "nitro"


@pytest.mark.parametrize("file", [*UNITS, CONFIGS / "confidential-vm/mkosi.conf"], ids=name)
def test_a_unit_parses(file):
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str
    parser.read_string(file.read_text())
    assert {"Unit", "Output"} & set(parser.sections())


def test_the_manifest_of_gramine_is_toml_that_trusts_all_that_it_mounts():
    text = (CONFIGS / "gramine-sgx/village-enclave.manifest.template").read_text()
    manifest = tomllib.loads(re.sub(r"\{\{ *([\w.]+)(\(\))? *\}\}", r"/\1", text))
    known = [*manifest["sgx"]["trusted_files"], *manifest["sgx"]["allowed_files"]]
    for mount in manifest["fs"]["mounts"]:
        uri = mount.get("uri")
        if uri is not None:
            assert any(uri == one or one.startswith(f"{uri}/") for one in known), mount
    assert (manifest["sgx"]["debug"], manifest["sgx"]["remote_attestation"]) == (False, "dcap")
    arguments = manifest["loader"]["argv"]
    main._parser().parse_args(arguments[arguments.index("enclave_host.main") + 1 :])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_says_first_what_was_never_run(page):
    lines = page.read_text().splitlines()
    assert lines[2].startswith("> **Never run on hardware by us.**")
    if page.name != "README.md":
        said = " ".join(" ".join(lines[2:10]).replace(">", "").split())
        assert "Run here" in said
        assert "Not run:" in said


def commands():
    """Each shell line of the pages, joined where it goes on."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                yield page, line


def test_commands_of_the_enclave_are_those_that_exist():
    checked = 0
    for text in [line for _, line in commands()] + [unit.read_text() for unit in UNITS]:
        for found in re.findall(
            r"village-enclave ((?:run|doctor|measure|sample|attest)\b.*)", text
        ):
            main._parser().parse_args(shlex.split(found, comments=True))
            checked += 1
    assert checked >= 5


def test_paths_that_pages_and_recipes_name_exist():
    texts = [page.read_text() for page in PAGES]
    texts += [(CONFIGS / one).read_text() for one in ("nitro/Dockerfile", "image.sh")]
    for text in texts:
        for path in re.findall(r"\bconfigs/deploy/[\w./-]*\w", text):
            made = path.rstrip("/").endswith("/root")
            assert made or (ROOT / path).exists(), path


def test_the_lock_of_the_image_has_all_that_the_runtime_imports():
    lock = (CONFIGS / "enclave.lock").read_text()
    whole = (ROOT / "requirements.lock").read_text()
    for pin in re.findall(r"^([\w.-]+==[\w.]+)", lock, re.MULTILINE):
        assert pin in whole, f"{pin} differs from requirements.lock"
    assert "://" not in lock
