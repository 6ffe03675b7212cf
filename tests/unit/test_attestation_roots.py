"""No test root reaches a production node: roots are an argument that nothing of ours passes.

Tried: source, both configurations, policies, and the environment of a process.
"""

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enclave_host import config as enclave_config
from node import config as node_config
from protocol import shape
from protocol.attestation import appraise, intel, nitro, sgx, snp, tdx
from protocol.errors import Refused
from protocol.kinds.attestation import Attestation
from tests.attestation_rig import NitroRig
from tests.attestation_x509 import NOW

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for name in ("node", "enclave_host") for path in (ROOT / name).rglob("*.py"))
ARGUMENTS = {"roots", "examiners"}
NAMES = {"PINNED", "EXAMINERS", "FINGERPRINTS", "FINGERPRINT"}
KEYS = ["roots", "root", "trust", "test_roots", "anchors", "ca", "fingerprints"]
VARIABLES = [
    f"{prefix}{name}"
    for prefix in ("", "VILLAGE_", "VILLAGE_ATTESTATION_", "NITRO_", "AMD_", "SSL_CERT_")
    for name in ("ROOT", "ROOTS", "TEST_ROOTS", "FILE", "DIR", "FINGERPRINT", "TRUST", "DEBUG")
]


def offences(tree: ast.AST) -> list[str]:
    """Where code hands roots on, or puts others in the place of ours."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(name)) if name in ARGUMENTS:
                found.append(f"{node.value.lineno}: passes {name}")
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()) if name in NAMES:
                found.append(f"{node.lineno}: sets {name}")
            case ast.ImportFrom(module=str(module)) if module.startswith(
                "protocol.attestation.roots"
            ):
                found.append(f"{node.lineno}: imports {module}")
            case ast.Call(func=ast.Name(id="setattr" | "vars")) if _names(node) & NAMES:
                found.append(f"{node.lineno}: sets by name")
    return found


def _names(node: ast.AST) -> set[str]:
    return {
        inner.value
        for inner in ast.walk(node)
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
    }


def test_offences_are_found() -> None:
    assert offences(ast.parse("nitro.examine(e, {}, None, 0, f, roots=mine)")) == [
        "1: passes roots"
    ]
    assert offences(ast.parse("nitro.PINNED = mine")) == ["1: sets PINNED"]
    assert offences(ast.parse("setattr(nitro, 'PINNED', 1)")) == ["1: sets by name"]
    assert offences(ast.parse("from protocol.attestation.roots import aws")) != []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_of_ours_passes_roots(path: Path) -> None:
    assert offences(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_examiners_of_a_node_have_the_pinned_roots() -> None:
    assert appraise.EXAMINERS["nitro"] is nitro.examine
    assert appraise.EXAMINERS["sev-snp"] is snp.examine
    assert nitro.examine.__defaults__ == (nitro.PINNED,)
    assert snp.examine.__defaults__ == (snp.PINNED,)
    for module in (sgx, tdx):
        assert appraise.EXAMINERS[module.TECHNOLOGY] is module.examine
        assert module.examine.__defaults__ == (intel.PINNED,)
    assert hashlib.sha256(intel.PINNED.certificate).digest() == intel.PINNED.fingerprint
    assert len(nitro.PINNED) == 1
    assert set(snp.PINNED.fingerprints) == {"milan", "genoa", "turin"}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("section", ["attestation", "node", "enclave", "policy", "network"])
def test_no_key_of_a_configuration_names_roots(section: str, key: str, tmp_path: Path) -> None:
    pin = next(iter(NitroRig().roots)).hex()
    file = tmp_path / "node.toml"
    file.write_text(f'[{section}]\n{key} = ["{pin}"]\n')
    with pytest.raises(node_config.ConfigError) as refused:
        node_config.load(file)
    assert any(key in problem.key or section in problem.key for problem in refused.value.problems)
    with pytest.raises(enclave_config.ConfigError, match=f"{key}|{section}"):
        enclave_config.load(file)


@pytest.mark.parametrize("key", KEYS)
def test_no_field_of_a_policy_names_roots(key: str) -> None:
    terms = {"accept": [{"pcr0": b"\x01" * 48}]}
    policy: dict[str, Any] = {"max_age": 3600, "nitro": terms}
    assert shape.read(Attestation, policy).nitro is not None
    pins = [next(iter(NitroRig().roots))]
    for wrong in ({**policy, key: pins}, {**policy, "nitro": {**terms, key: pins}}):
        with pytest.raises(Refused, match=r"shape\.mismatch"):
            shape.read(Attestation, wrong)


PROGRAM = f"""
import sys
from protocol.attestation.findings import Findings
from protocol.attestation.appraise import EXAMINERS
found = Findings()
EXAMINERS["nitro"](sys.stdin.buffer.read(), {{}}, None, {NOW}, found)
print(*found.codes)
"""


def test_no_variable_of_the_environment_names_roots(tmp_path: Path) -> None:
    rig = NitroRig()
    root = tmp_path / "root.der"
    root.write_bytes(rig.path[0].der)
    for value in (str(root), str(tmp_path), next(iter(rig.roots)).hex(), "1"):
        process = subprocess.run(  # noqa: S603 (our own program)
            [sys.executable, "-c", PROGRAM],
            input=rig.produce().evidence,
            env={**os.environ, **dict.fromkeys(VARIABLES, value)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        assert process.stdout.split() == [b"evidence.chain"]
