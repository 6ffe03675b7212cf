"""Attesters against kernels and devices that are played by files, honest and hostile."""

import errno
import hashlib
import os
import stat
import uuid
from pathlib import Path

import pytest

from enclave_host import main
from enclave_host.attest import detect, files, tpm
from enclave_host.attest.configfs import ATTEMPTS, GUIDS, ConfigfsAttester, certificates
from enclave_host.attest.detect import Source, choose, diagnose
from enclave_host.attest.gramine import GramineAttester
from enclave_host.attest.nitro import RESPONSE, NitroAttester
from enclave_host.attest.simulated import SimulatedAttester
from enclave_host.attest.tpm import TpmAttester, without_padding
from protocol.errors import Refused
from tests.attest_fakes import FakeGramine, FakeNsm, FakeTsm, gramine

PREIMAGE = b"what evidence is bound to"
DATA = hashlib.sha512(PREIMAGE).digest()


def refused(what: str):
    return pytest.raises(Refused, match=rf"(?s)enclave\.attester.*{what}")


# --- configfs-tsm --------------------------------------------------------------------------------


@pytest.fixture
def tsm(tmp_path: Path):
    """Makes attesters on a kernel whose behaviour the arguments say."""

    def make(collateral: Path | None = None, **behaviour):
        kernel = type("Kernel", (FakeTsm,), {"writes": [], "made": []} | behaviour)
        attester = ConfigfsAttester(tmp_path, collateral, kernel)
        return attester, kernel

    yield make
    assert [path for path in tmp_path.iterdir() if path.name.startswith("village-")] == []


@pytest.mark.parametrize(("provider", "name"), [("sev_guest", "sev-snp"), ("tdx_guest", "tdx")])
def test_a_confidential_machine_reports_over_the_preimage(tsm, provider, name):
    attester, kernel = tsm(provider=provider)
    found = attester.evidence(PREIMAGE)
    assert (attester.technology, found.raw) == (name, b"report over " + DATA)
    assert kernel.writes == [DATA]  # one write of 64 bytes
    assert len(set(kernel.made)) == 2  # a folder of its own each time


def test_a_generation_moved_by_another_is_no_answer_of_ours(tsm):
    attester, kernel = tsm(meddle=1)
    assert attester.evidence(PREIMAGE).raw == b"report over " + DATA
    assert len(kernel.writes) == 2
    attester, kernel = tsm(meddle=ATTEMPTS)
    with refused("others wrote"):
        attester.evidence(PREIMAGE)
    assert len(kernel.writes) == ATTEMPTS


def test_an_unknown_or_changed_provider_is_refused(tsm):
    with refused("unknown provider 'arm_cca_guest'"):
        tsm(provider="arm_cca_guest")
    attester, kernel = tsm()
    kernel.provider = "tdx_guest"
    with refused("became 'tdx_guest'"):
        attester.evidence(PREIMAGE)


@pytest.mark.parametrize(
    ("report", "why"), [(b"x" * (32 * 1024 + 1), "more than"), (None, "cannot be read")]
)
def test_a_report_too_large_or_missing_is_refused(tsm, report, why):
    def answer(self, data):
        if report is None:
            (self.path / "outblob").unlink()
        return report

    attester, kernel = tsm()
    kernel.report = lambda _self, _data: report
    if report is None:
        kernel._answer = lambda _self, _data: None
    with refused(why):
        attester.evidence(PREIMAGE)


def test_a_generation_that_is_no_number_is_refused(tsm):
    attester, kernel = tsm()
    kernel.text = lambda self, name: (
        "many" if name == "generation" else files.Folder.text(self, name)
    )
    with refused("generation 'many'"):
        attester.evidence(PREIMAGE)


def test_a_short_write_is_refused(tsm, monkeypatch):
    attester, _ = tsm()
    monkeypatch.setattr(os, "write", lambda _file, data: len(data) - 1)
    with refused("took 63 of 64 bytes"):
        attester.evidence(PREIMAGE)


def test_a_machine_without_configfs_tsm(tmp_path):
    with refused("offers no configfs-tsm"):
        ConfigfsAttester(tmp_path / "report")


def table(*entries: tuple[str, bytes]) -> bytes:
    head, body = b"", b""
    for name, data in entries:
        start = 24 * (len(entries) + 1) + len(body)
        head += (
            uuid.UUID(name).bytes + start.to_bytes(4, "little") + len(data).to_bytes(4, "little")
        )
        body += data
    return head + bytes(24) + body


NAMES = {name: guid for guid, name in GUIDS.items()}


def test_certificates_come_from_the_host_or_from_the_operator(tsm, tmp_path):
    given = table((NAMES["vcek"], b"leaf"), (NAMES["ask"], b"ask"), (str(uuid.uuid4()), b"more"))
    folder = tmp_path / "collateral"
    folder.mkdir()
    attester, _ = tsm(folder, table=given)
    assert attester.evidence(PREIMAGE).endorsements == {"vcek": b"leaf", "ask": b"ask"}
    (folder / "crl.der").write_bytes(b"list of today")
    (folder / "ask.der").write_bytes(b"newer")
    assert attester.evidence(PREIMAGE).endorsements == {
        "vcek": b"leaf", "ask": b"newer", "crl": b"list of today",
    }  # fmt: skip
    (folder / "crl.der").write_bytes(b"list of tomorrow")  # read anew at each use
    assert attester.evidence(PREIMAGE).endorsements["crl"] == b"list of tomorrow"
    (folder / "collateral.json").write_bytes(b"{}")
    with refused("is not expected"):
        attester.evidence(PREIMAGE)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (uuid.UUID(NAMES["vcek"]).bytes + b"\x30\0\0\0\x05\0\0\0" + bytes(24), "cut off"),
        (uuid.UUID(NAMES["vcek"]).bytes + b"\xff" * 8 + bytes(24), "cut off"),
        (uuid.UUID(NAMES["vcek"]).bytes + bytes(8), "no end"),
        (b"\x01", "no end"),
    ],
)
def test_a_bent_table_of_certificates_is_refused(raw, why):
    with refused(why):
        certificates(raw)


def test_an_empty_table_is_none():
    assert certificates(b"") == certificates(bytes(24)) == certificates(bytes(4096)) == {}


# --- Nitro ---------------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "nsm"
    path.touch()
    return path


def test_a_nitro_enclave_gives_a_document_over_the_preimage(device):
    kernel = FakeNsm()
    found = NitroAttester(device, kernel).evidence(PREIMAGE)
    assert (found.raw, found.endorsements) == (b"document over " + DATA, {})
    wanted = {"Attestation": {"user_data": DATA, "nonce": None, "public_key": None}}
    assert kernel.asked == [wanted]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (OSError(errno.EMSGSIZE, "Message too long"), "Message too long"),
        ({"Error": "InputTooLarge"}, "no document"),
        ("Error", "no document"),
        (b"", "no document"),
        (b"\xff", "no document"),
        (b"\x9f" * RESPONSE, "no document"),
        ({"Attestation": {"document": b""}}, "empty document"),
        ({"Attestation": {"document": "text"}}, "empty document"),
        ({"Attestation": None}, "no document"),
    ],
)
def test_what_is_no_document_is_refused(device, answer, why):
    with refused(why):
        NitroAttester(device, FakeNsm(answer)).evidence(PREIMAGE)


def test_an_answer_longer_than_its_room_is_refused(device):
    with refused(f"answered with {RESPONSE + 1} bytes"):
        NitroAttester(device, FakeNsm(size=RESPONSE + 1)).evidence(PREIMAGE)


def test_a_machine_without_the_device(tmp_path, device):
    with refused("this is no Nitro enclave"):
        NitroAttester(tmp_path / "none")
    attester = NitroAttester(device, FakeNsm())
    device.unlink()
    with refused("No such file"):
        attester.evidence(PREIMAGE)


# --- Gramine -------------------------------------------------------------------------------------


def test_an_sgx_enclave_gives_a_quote_over_the_preimage(tmp_path):
    folder = tmp_path / "collateral"
    folder.mkdir()
    (folder / "collateral.json").write_bytes(b'{"of": "today"}')
    found = GramineAttester(gramine(tmp_path / "a"), folder, FakeGramine).evidence(PREIMAGE)
    assert found.raw == bytes(368) + DATA + b"signature"
    assert found.endorsements == {"collateral": b'{"of": "today"}'}


def test_a_quote_over_other_data_is_refused(tmp_path):
    root = gramine(tmp_path / "a")
    for quote in (bytes(500), b"", bytes(368) + DATA[:63]):
        kernel = type("Kernel", (FakeGramine,), {"quote": lambda _self, _data, quote=quote: quote})
        with refused("over other data"):
            GramineAttester(root, None, kernel).evidence(PREIMAGE)
    kernel = type("Kernel", (FakeGramine,), {"quote": lambda _self, _data: b"x" * 20_000})
    with refused("more than"):
        GramineAttester(root, None, kernel).evidence(PREIMAGE)


def test_gramine_without_dcap_is_refused(tmp_path):
    with refused("must say dcap"):
        GramineAttester(gramine(tmp_path / "a", "none"))
    with refused("cannot be read"):
        GramineAttester(tmp_path / "none")


def test_collateral_that_is_missing_is_refused(tmp_path):
    attester = GramineAttester(gramine(tmp_path / "a"), tmp_path / "none", FakeGramine)
    with refused("none cannot be read"):
        attester.evidence(PREIMAGE)


# --- TPM: tools that misbehave; tests/e2e/test_swtpm.py has live ones -----------------------------


HERE = "device:/dev/null"
"""A device that is there: it is the tools that are played."""


@pytest.fixture
def tools(tmp_path: Path):
    """Makes a folder of tools that all are one shell script."""

    def make(script: str) -> Path:
        folder = tmp_path / "tools"
        folder.mkdir(exist_ok=True)
        for step in ("flushcontext", "createek", "createak", "nvread", "quote"):
            file = folder / f"tpm2_{step}"
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(stat.S_IRWXU)
        return folder

    return make


def test_tools_that_are_missing_fail_or_leave_nothing(tmp_path, tools, device):
    with refused("install tpm2-tools"):
        TpmAttester("tpm", HERE, tools=tmp_path)
    with refused("this machine has no TPM"):
        TpmAttester("tpm", f"device:{tmp_path}/none")
    with refused("tpm2_flushcontext failed: no TPM here"):
        TpmAttester("tpm", HERE, tools=tools("echo no TPM here >&2; exit 1"))
    with refused("ak.pub cannot be read"):
        TpmAttester("tpm", HERE, tools=tools("exit 0"), certificate=device)
    steps = tpm._Steps(tmp_path, tools("exec /bin/sleep 5"), tpm.TCTI)
    with refused("took longer than 0.1 s"):
        steps.run("quote", seconds=0.1)
    with refused("at most"):
        steps.write("credential", bytes(10_000))


def test_tools_see_nothing_of_our_environment(tmp_path, tools, monkeypatch):
    monkeypatch.setenv("VILLAGE_SECRET", "of the enclave")
    with refused(f"failed: PATH=.*TPM2TOOLS_TCTI={HERE}") as caught:
        TpmAttester("tpm", HERE, tools=tools("/usr/bin/env | /usr/bin/sort >&2; exit 1"))
    assert "VILLAGE" not in str(caught.value)


def test_padding_after_a_certificate_is_left_out():
    der = b"\x30\x82\x01\x00" + bytes(256)
    assert without_padding(der + b"\xff" * 100) == without_padding(der) == der
    for bent in (b"", b"\x30\x82", der[:-1], b"\x31" + der[1:]):
        with refused("is not DER"):
            without_padding(bent)


# --- which one -----------------------------------------------------------------------------------


def source(tmp_path: Path, technology: str, **places) -> Source:
    """A machine that has nothing but the places named."""
    nowhere = {"nsm": tmp_path / "0", "tsm": tmp_path / "1", "gramine": tmp_path / "2"}
    return Source(technology=technology, tcti=f"device:{tmp_path}/3", **(nowhere | places))


@pytest.mark.parametrize("technology", ["nitro", "sgx", "sev-snp", "tdx", "tpm", "swtpm", "auto"])
def test_a_named_technology_that_is_absent_fails_closed(tmp_path, technology):
    with pytest.raises(Refused) as caught:
        choose(source(tmp_path, technology), bytes(32))
    assert caught.value.code == "enclave.attester"
    assert caught.value.detail


def test_auto_never_is_a_simulation_and_says_all_that_it_tried(tmp_path):
    with pytest.raises(Refused) as caught:
        choose(source(tmp_path, "auto"), bytes(32))
    for technology in detect.HARDWARE:
        assert f"{technology}: " in caught.value.detail
    assert set(detect.LABELS) == {"simulated", "swtpm"}
    assert not set(detect.HARDWARE) & set(detect.LABELS)


def test_auto_takes_what_is_there(tmp_path, device):
    assert choose(source(tmp_path, "auto", nsm=device), bytes(32)).technology == "nitro"
    root = gramine(tmp_path / "gramine")
    assert choose(source(tmp_path, "auto", gramine=root), bytes(32)).technology == "sgx"


def test_another_technology_than_the_named_one_is_refused(tmp_path, monkeypatch):
    kernel = type("Kernel", (FakeTsm,), {"provider": "tdx_guest", "writes": [], "made": []})
    found = ConfigfsAttester(tmp_path, None, kernel)
    monkeypatch.setitem(detect.ATTESTERS, "sev-snp", lambda _: found)
    with refused("offers tdx, not sev-snp"):
        choose(source(tmp_path, "sev-snp"), bytes(32))


def test_a_simulation_must_be_named(tmp_path):
    attester = choose(source(tmp_path, "simulated"), bytes(32))
    assert isinstance(attester, SimulatedAttester)
    with refused("opens no credential"):
        attester.activate(b"credential")


def test_a_diagnosis_names_each(tmp_path, device):
    found = diagnose(source(tmp_path, "auto", nsm=device))
    assert list(found) == list(detect.HARDWARE)
    assert [name for name, fault in found.items() if not fault] == ["nitro"]


def test_an_enclave_without_its_technology_does_not_start(tmp_path, capsys):
    (tmp_path / "environment").mkdir()
    file = tmp_path / "enclave.toml"
    file.write_text(
        f'[enclave]\nsocket = "{tmp_path}/e.sock"\nenvironments = ["environment"]\n'
        f'[attestation]\ntechnology = "tpm"\ntpm = "device:{tmp_path}/none"\n'
    )
    assert main.main(["sample", "--config", str(file), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"enclave.attester: {tmp_path}/none is not there: this machine has no TPM"
    assert "village-enclave doctor" in said[1]


def test_a_sample_is_evidence_and_what_goes_with_it(tmp_path, capsys):
    (tmp_path / "environment").mkdir()
    file = tmp_path / "enclave.toml"
    file.write_text(
        f'[enclave]\nsocket = "{tmp_path}/e.sock"\nenvironments = ["environment"]\n'
        '[attestation]\ntechnology = "simulated"\n'
    )
    assert main.main(["sample", "--config", str(file), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "simulated: evidence\n"
    assert (tmp_path / "out/evidence").stat().st_size > 100
