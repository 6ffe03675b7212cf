"""`village evidence verify`: every real sample through the tool, and all ways to misuse it."""

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.cli import main as entry
from node.cli import talk
from protocol.attestation import endorsements, inspect, nitro, sgx, snp, tdx
from protocol.attestation.findings import Findings
from protocol.attestation.roots import amd, intel
from protocol.errors import RULES, Refused
from tests.attestation_rig_tpm import encode
from tests.attestation_x509 import NOW
from tests.vectors.attestation import samples
from tests.vectors.attestation.samples import Sample

TPM_AT = "2027-01-01T00:00:00Z"


def tpm_sample() -> Sample:
    """The quote of swtpm as the tool takes it: without a policy nobody asks for hardware."""
    folder = samples.folder("tpm")
    files = {"message": "quote.msg", "signature": "quote.sig", "pcrs": "quote.pcrs"}
    files |= {"ak_public": "ak.pub", "ek_certificate": "ek_rsa.crt"}
    parts = {name: (folder / f"swtpm-{stem}").read_bytes() for name, stem in files.items()}
    about = {"tech": "tpm", "verdict": "accept", "valid_at": TPM_AT}
    chain = (folder / "swtpm-ca.pem").read_bytes()
    return Sample("tpm-swtpm", about, encode(parts), {"ek_chain": chain})


EXAMINERS = {"nitro": nitro.examine, "sev-snp": snp.examine}
EXAMINERS |= {"tdx": tdx.examine, "sgx": sgx.examine}
NITRO, SNP = samples.nitro(), samples.snp()
INTEL = samples.intel("tdx") + samples.intel("sgx")
ALL = [*NITRO, *SNP, *INTEL, tpm_sample()]
GOOD = {
    technology: next(one for one in some if one.accepted)
    for technology, some in {
        "nitro": NITRO,
        "sev-snp": SNP,
        "tdx": samples.intel("tdx"),
        "sgx": samples.intel("sgx"),
        "tpm": [tpm_sample()],
    }.items()
}


def technology(sample: Sample) -> str:
    return {"snp": "sev-snp"}.get(sample.about["tech"], sample.about["tech"])


@pytest.fixture(autouse=True)
def choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk.CHOICES, "json", False)
    monkeypatch.setenv("NO_COLOR", "1")


def arguments(sample: Sample, folder: Path, policy: str = "baseline") -> list[str]:
    """The command line for a sample whose files are written to `folder`."""
    evidence = folder / "evidence"
    evidence.write_bytes(sample.evidence)
    found = ["evidence", "verify", "--technology", technology(sample)]
    found += ["--evidence", str(evidence), "--policy", policy, "--at", sample.about["valid_at"]]
    for name, data in sample.endorsements.items():
        file = folder / f"file-{name}"
        file.write_bytes(data)
        found += ["--collateral" if name == "collateral" else "--endorsement", str(file)]
    return found


def called(capsys: pytest.CaptureFixture[str], line: list[str]) -> tuple[int, str, str]:
    talk.CHOICES.json = False
    code = entry.main(line)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def answer(capsys: pytest.CaptureFixture[str], line: list[str]) -> dict[str, Any]:
    """The JSON of a call, whose exit code must be that of its verdict."""
    code, out, err = called(capsys, [*line, "--json"])
    found: dict[str, Any] = json.loads(out)
    assert err == ""
    assert code == {"accepted": 0, "refused": 3}[found["verdict"]]
    assert (found["verdict"] == "accepted") == (found["reasons"] == [])
    assert all(reason in RULES for reason in found["reasons"])
    return found


# --- every real sample ---------------------------------------------------------------------------


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_verdict_and_claims(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, arguments(sample, tmp_path))
    assert found["verdict"] == {"accept": "accepted", "reject": "refused"}[sample.about["verdict"]]
    assert found["policy"] == "baseline"
    assert any(line.startswith("measurement") for line in found["not_proven"])
    assert any(line.startswith("freshness") for line in found["not_proven"])
    assert bool(found["proven"]) == sample.accepted
    if technology(sample) in EXAMINERS:
        examine, faults = EXAMINERS[technology(sample)], Findings()
        claims = examine(sample.evidence, sample.endorsements, None, sample.at, faults)
        assert claims is not None
        assert found["claims"] == inspect.said(claims)
        assert found["reasons"] == list(faults.codes)
        assert found["claims"]["report_data"] == claims.report_data.hex()


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_in_words(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, arguments(sample, tmp_path))
    assert code == (0 if sample.accepted else 3)
    first = out.splitlines()[0]
    assert first.startswith("ACCEPTED" if sample.accepted else "REFUSED")
    assert "for inspection only" in first
    assert ("(not to be believed)" in out) == (not sample.accepted)
    assert ("- nothing" in out) == (not sample.accepted)
    named = inspect.inspect(
        technology(sample), sample.evidence, sample.endorsements, None, sample.at
    )
    claims = named.claims
    values = (claims["platform"], claims["report_data"], *claims["registers"].values())
    said = (*values, *claims["facts"].values(), *claims["tcb"])
    assert all(str(value) in out for value in said if value)
    for words in (*named.details, *named.not_proven, *named.reasons):
        assert " ".join(words.split()) in " ".join(out.split())


@pytest.mark.parametrize("name", ["nitro", "sgx"])
def test_as_a_process_without_home_configuration_or_state(name: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    line = [sys.executable, "-m", "node.cli", *arguments(GOOD[name], tmp_path), "--json"]
    environment = {"HOME": str(empty), "XDG_RUNTIME_DIR": str(empty), "VILLAGE_SOCKET": "/none"}
    done = subprocess.run(  # noqa: S603 (our own program)
        line, cwd=Path(entry.__file__).parents[2], env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["verdict"] == "accepted"
    assert list(empty.iterdir()) == []


# --- files as people have them -------------------------------------------------------------------


def written(der: bytes) -> bytes:
    """A certificate in PEM."""
    lines = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("sample", SNP, ids=str)
def test_endorsements_of_any_name_order_and_form(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (leaf,) = sample.endorsements.values()
    pem = written(leaf)
    others = [*amd.ASK.values(), *amd.ARK.values()]
    bundle = b"".join(map(written, others))
    base = arguments(replace(sample, endorsements={}), tmp_path)
    for files in ([pem], [*others, leaf], [leaf, leaf], [bundle + pem], [b"text\n" + pem, bundle]):
        line = list(base)
        for place, data in enumerate(files):
            (tmp_path / f"{place}").write_bytes(data)
            line += ["--endorsement", str(tmp_path / f"{place}")]
        found = answer(capsys, line)
        assert (found["verdict"] == "accepted") == sample.accepted, len(files)
    assert answer(capsys, base)["verdict"] == "refused"


def test_two_leaves_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = [one for one in SNP if "vcek" in one.endorsements and one.accepted][:2]
    line = arguments(first, tmp_path)
    (tmp_path / "second").write_bytes(second.endorsements["vcek"])
    found = answer(capsys, [*line, "--endorsement", str(tmp_path / "second")])
    assert found["reasons"] == ["evidence.malformed"]
    assert found["claims"] == {}


@pytest.mark.parametrize("name", ["nitro", "sev-snp", "tdx", "sgx"])
def test_evidence_as_text(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = GOOD[name]
    for text in (
        sample.evidence.hex().encode(),
        sample.evidence.hex().upper().encode() + b"\n",
        base64.b64encode(sample.evidence),
        base64.encodebytes(sample.evidence),
        base64.urlsafe_b64encode(sample.evidence),
    ):
        found = answer(capsys, arguments(replace(sample, evidence=text), tmp_path))
        assert found["verdict"] == "accepted"
    for text in (b"0" + sample.evidence.hex().encode(), sample.evidence.hex().encode() + b"zz"):
        found = answer(capsys, arguments(replace(sample, evidence=text), tmp_path))
        assert found["verdict"] == "refused"


def test_text_of_other_evidence_stays_text() -> None:
    for name, sample in GOOD.items():
        for other in GOOD:
            if {name, other} & {"tpm"} or name == other:
                continue
            text = base64.b64encode(sample.evidence)
            assert endorsements.raw(other, text) == text
            assert endorsements.raw(name, sample.evidence) == sample.evidence


def test_a_pinned_root_beside_the_evidence_is_left_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root").write_bytes(intel.ROOT)
    line = [*arguments(GOOD["tdx"], tmp_path), "--endorsement", str(tmp_path / "root")]
    assert answer(capsys, line)["verdict"] == "accepted"


def test_collateral_is_known_by_its_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(GOOD["sgx"], tmp_path)
    line[line.index("--collateral")] = "--endorsement"
    assert answer(capsys, line)["verdict"] == "accepted"


# --- wrong files ---------------------------------------------------------------------------------

GARBAGE = {
    "empty": b"",
    "zeros": bytes(5000),
    "text": b"hello\n",
    "binary": bytes(range(256)) * 20,
    "JSON": b'{"a": [1, 2]}',
    "deep": b"[" * 200_000,
    "PEM of nothing": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "huge": bytes(300 * 1024),
}


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("name", GOOD)
def test_garbage_is_refused(
    name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = replace(GOOD[name], evidence=GARBAGE[kind])
    found = answer(capsys, arguments(bad, tmp_path))
    assert found["verdict"] == "refused"
    assert found["claims"] == {} or name == "sev-snp"
    for endorsement in GOOD[name].endorsements:
        if name == "tpm":
            continue  # without a policy its chain is its sender's word
        changed = {**GOOD[name].endorsements, endorsement: GARBAGE[kind]}
        found = answer(capsys, arguments(replace(GOOD[name], endorsements=changed), tmp_path))
        assert found["verdict"] == "refused"


def test_of_an_endless_file_little_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    for name in GOOD:
        line = ["evidence", "verify", "--technology", name, "--policy", "baseline"]
        assert answer(capsys, [*line, "--evidence", "/dev/zero"])["claims"] == {}
        line += ["--evidence", "/dev/null", "--endorsement", "/dev/zero"]
        assert answer(capsys, line)["verdict"] == "refused"


WRONG = {
    "no such file": (["--evidence", "/none/such"], "No such file"),
    "a folder": (["--evidence", "/"], "Is a directory"),
    "no such endorsement": (["--endorsement", "/none/such"], "No such file"),
    "a folder as collateral": (["--collateral", "/"], "Is a directory"),
    "no such policy": (["--policy", "/none/such"], "Cannot read"),
    "a folder as policy": (["--policy", "/"], "Cannot read"),
    "an endless policy": (["--policy", "/dev/zero"], "larger than"),
    "an empty policy": (["--policy", "/dev/null"], "max_age"),
    "no time": (["--at", "tomorrow"], "is no time"),
    "a time of another calendar": (["--at", "2026-13-01"], "is no time"),
    "a technology for tests": (["--technology", "simulated"], "is no technology"),
    "no technology": (["--technology", ""], "is no technology"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_use_is_exit_code_2(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, words = WRONG[kind]
    code, out, err = called(capsys, [*arguments(GOOD["tdx"], tmp_path), *more])
    assert (code, out) == (2, "")
    assert words in err


def test_an_unreadable_file_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = arguments(GOOD["tdx"], tmp_path)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    code, out, err = called(capsys, line)
    assert (code, out) == (2, "")
    assert "Permission denied" in err


def test_what_must_stand(capsys: pytest.CaptureFixture[str]) -> None:
    for line in ([], ["--technology", "tdx"], ["--evidence", "/dev/null", "--technology", "tdx"]):
        assert called(capsys, ["evidence", "verify", *line])[0] == 2


# --- time ----------------------------------------------------------------------------------------


def test_a_time_without_zone_is_utc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = arguments(GOOD["tdx"], tmp_path)
    written = {
        "2025-06-26T21:55:59": "2025-06-26T21:55:59Z",
        "2025-06-26T23:55:59+02:00": "2025-06-26T21:55:59Z",
        "2025-06-26": "2025-06-26T00:00:00Z",
        "20250626T215559Z": "2025-06-26T21:55:59Z",
    }
    for text, at in written.items():
        assert answer(capsys, [*line, "--at", text])["at"] == at


def test_it_is_judged_as_of_now_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(GOOD["nitro"], tmp_path)
    place = line.index("--at")
    found = answer(capsys, line[:place] + line[place + 2 :])
    assert found["reasons"] == ["evidence.chain"]


# --- a policy of one's own -----------------------------------------------------------------------

TDX_POLICY = """
  max_age: PT24H
  tdx:
    accept:
      - {{ mrtd: "{mrtd}", rtmr1: "{rtmr1}", rtmr2: "{rtmr2}" }}
    statuses: [UpToDate]
    evaluation: {evaluation}
"""


def policy(tmp_path: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    claims = answer(capsys, arguments(GOOD["tdx"], tmp_path))["claims"]
    values = {**claims["registers"], "evaluation": claims["tcb"]["evaluation"], **changes}
    return TDX_POLICY.format(**values)


def by(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    return answer(capsys, arguments(GOOD["tdx"], tmp_path, str(file)))


def test_a_policy_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = policy(tmp_path, capsys)
    alone = "\n".join(line[2:] for line in block.splitlines())
    for text in ("attestation:" + block, alone):
        found = by(text, tmp_path, capsys)
        assert (found["verdict"], found["policy"]) == ("accepted", "own")
        assert not any(line.startswith("measurement") for line in found["not_proven"])
        assert any("your policy" in line for line in found["proven"])
    code, out, _ = called(capsys, arguments(GOOD["tdx"], tmp_path, str(tmp_path / "policy.yaml")))
    assert code == 0
    assert out.splitlines()[0].endswith("by your policy")


def test_what_a_policy_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refusals = {
        "evidence.measurement": policy(tmp_path, capsys, rtmr2="11" * 48),
        "evidence.tcb": policy(tmp_path, capsys, evaluation=99),
        "evidence.platform": policy(tmp_path, capsys) + "    platforms: ['00']\n",
        "evidence.policy": policy(tmp_path, capsys, mrtd="00" * 48),
    }
    for code, text in refusals.items():
        assert code in by("attestation:" + text, tmp_path, capsys)["reasons"]
    swtpm = "  simulated: { accept: [{ software: '" + "11" * 32 + "' }] }\n"
    found = by("attestation:" + policy(tmp_path, capsys) + swtpm, tmp_path, capsys)
    assert found["reasons"] == ["evidence.policy"]
    other = "attestation:\n  max_age: PT1H\n  nitro: { accept: [{ pcr0: '" + "11" * 48 + "' }] }\n"
    assert by(other, tmp_path, capsys)["reasons"] == ["evidence.technology"]


def test_a_policy_is_read_strictly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = policy(tmp_path, capsys)
    for text in (
        "attestation:" + good + "    statuses: [UpToDate]\n",  # twice
        "attestation:" + good + "    crl: true\n",  # unknown
        "attestation:" + good + "other: 1\n",
        "attestation:" + good.replace("[UpToDate]", "[OutOfDate]"),
        "attestation:" + good.replace("PT24H", "24"),
        "attestation: []",
        "- 1",
        "attestation: &a {}",
    ):
        (tmp_path / "policy.yaml").write_text(text)
        line = arguments(GOOD["tdx"], tmp_path, str(tmp_path / "policy.yaml"))
        assert called(capsys, line)[0] == 2, text


# --- the library behind it -----------------------------------------------------------------------


def test_more_endorsements_than_anyone_has_are_refused() -> None:
    with pytest.raises(Refused, match="more than 16"):
        endorsements.by_name("sev-snp", [amd.ARK["milan"]] * 17)


def test_a_time_beyond_the_calendar_is_a_number() -> None:
    assert inspect.time(2**62) == str(2**62)
    assert inspect.time(NOW) == "2026-06-01T00:00:00Z"
