"""Vaults over real libp2p: the process that serves many, and the command line that needs none."""

import json
import os
import selectors
import subprocess
import sys
from contextlib import contextmanager

import pytest

from node.admin.client import AdminClient, AdminError
from tests.e2e.daemons import ROOT, START, STOP, Daemon

pytestmark = pytest.mark.e2e

CONFIG = """\
[vaults]
folder = "vaults"
socket = "vaults.sock"
gateways = ["{address}"]
registrar = "{address}"
"""


@pytest.fixture
def registrar(tmp_path):
    node = Daemon(tmp_path / "registrar", "registrar", "[registrar]\nenabled = true\n")
    node.init()
    node.start()
    try:
        yield node
    finally:
        node.stop()


@contextmanager
def vaults(folder, address):
    """The light peer's process, and a client of it."""
    folder.mkdir(exist_ok=True)
    config = folder / "vaults.toml"
    config.write_text(CONFIG.format(address=address))
    command = [sys.executable, "-m", "node.cli", "vault", "run", "--config", str(config)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(START)
        assert json.loads(process.stdout.readline())["event"] == "ready"
        with AdminClient(folder / "vaults.sock") as client:
            yield client
    finally:
        process.terminate()
        assert process.wait(STOP) == 0
        process.stdout.close()


def village(folder, *arguments):
    environment = {
        **os.environ,
        "VILLAGE_VAULT": str(folder),
        "VILLAGE_UNLOCK": f"file:{folder.parent / 'passphrase'}",
    }
    environment.pop("VILLAGE_SOCKET", None)
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "node.cli", *arguments, "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def letter(registrar, person):
    return registrar.call("enrolment.new", person=person, category="patient", days=1)["code"]


def secret_file(folder):
    file = folder / "passphrase"
    file.touch(0o600)
    file.write_text("correct horse battery staple\n")
    return f"file:{file}"


def test_a_process_serves_many_vaults(tmp_path, registrar):
    address = registrar.ready["addresses"][0]
    unlock = secret_file(tmp_path)
    with vaults(tmp_path / "light", address) as client:
        for person in ("01", "02"):
            client.call("vault.new", vault=person, unlock=unlock)
            code = letter(registrar, f"row-{person}")
            assert client.call("vault.enrol", vault=person, code=code)["enrolled"]
        with pytest.raises(AdminError) as caught:
            client.call("vault.enrol", vault="01", code="AAAAA-AAAAA-AAAAA-AAAAA")
        assert (caught.value.code, caught.value.status) == ("enrolment.code", 422)
        assert client.call("consent.offers", vault="01") == []
        with pytest.raises(AdminError) as caught:
            client.call("consent.give", vault="01", agreement="ab" * 32)
        assert caught.value.code == "topic.unknown"
        assert [one["vault"] for one in client.call("vault.list")] == ["01", "02"]
    assert [one["state"] for one in registrar.call("enrolment.list")] == ["used", "used"]
    # What was enrolled is there again after the process ended.
    with vaults(tmp_path / "light", address) as client:
        assert client.call("vault.open", vault="01", unlock=unlock)["enrolled"]


def test_the_command_line_needs_no_daemon(tmp_path, registrar):
    address = registrar.ready["addresses"][0]
    secret_file(tmp_path)
    vault = tmp_path / "vault"
    assert village(vault, "vault", "list").returncode == 1
    assert json.loads(village(vault, "vault", "new", "me").stdout)["vault"] == "me"
    (tmp_path / "own.csv").write_text("person,age\nrow-224,75\n")
    added = village(vault, "vault", "add", str(tmp_path / "own.csv"), "--dataset", "lung-v1")
    assert added.returncode == 0, added.stderr
    code = letter(registrar, "row-224")
    enrolled = village(vault, "vault", "enrol", code, "--registrar", address)
    assert json.loads(enrolled.stdout)["enrolled"], enrolled.stderr
    stolen = village(tmp_path / "other", "vault", "new", "thief")
    assert stolen.returncode == 0
    stolen = village(tmp_path / "other", "vault", "enrol", code, "--registrar", address)
    assert stolen.returncode == 3
    assert json.loads(stolen.stderr)["code"] == "enrolment.code"
    assert village(vault, "consent", "list").stdout.strip() == "[]"
    assert village(vault, "consent", "offers", "--gateway", address).returncode == 0
    assert village(vault, "consent", "withdraw", "lung").returncode == 5
    assert village(vault, "consent", "show", "lung").returncode == 2
    nowhere = address.replace("/tcp/", "/tcp/1")[:60]
    assert village(vault, "consent", "offers", "--gateway", nowhere).returncode == 1
    exported = json.loads(village(vault, "vault", "export").stdout)
    assert exported["rows"]["lung-v1"].startswith("person,age")
