"""A real daemon: first start, running, killed, started again, stopped; and callers of all kinds."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from node.admin.client import AdminClient, AdminError, NoDaemon
from tests.e2e.daemons import ROOT, Daemon, daemons, eventually

pytestmark = pytest.mark.e2e

NOBODY = 65534


@pytest.fixture
def daemon(tmp_path):
    with daemons(tmp_path, "hospital-a") as (node,):
        yield node


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One daemon for the tests that leave it as it was."""
    with daemons(tmp_path_factory.mktemp("shared"), "hospital-a") as (node,):
        yield node


def python(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)  # noqa: S603


def test_the_life_of_a_daemon(daemon):
    ready = daemon.ready
    assert ready["event"] == "ready"
    assert ready["seconds"] > 0
    assert daemon.socket.stat().st_mode & 0o777 == 0o600
    assert (daemon.folder / "state").stat().st_mode & 0o777 == 0o700
    assert daemon.call("node.status")["did"] == ready["did"]
    again = daemon.init()
    assert (again["already"], again["did"]) == (True, ready["did"])
    daemon.call("algorithm.env", name="scientific", digest="ab" * 32)
    daemon.kill()
    assert daemon.socket.exists(), "a killed daemon leaves its socket"
    daemon.start()
    assert daemon.ready["did"] == ready["did"]
    assert daemon.ready["peer"] == ready["peer"]
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    with pytest.raises(NoDaemon):
        daemon.call("node.status")


def test_logs_are_json_and_hold_no_secret(daemon):
    daemon.stop()
    lines = (daemon.folder / "log").read_text().splitlines()
    assert [json.loads(line)["says"] for line in lines][-1] == "stopped"
    assert "correct horse" not in "".join(lines)


def test_it_stops_in_time_while_somebody_follows_events_and_reads_nothing(daemon):
    with socket.socket(socket.AF_UNIX) as idle, socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(daemon.socket))
        idle.connect(str(daemon.socket))
        idle.sendall(b"GET /v1/events HTTP/1.1\r\nHost: village\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        assert daemon.stop() == 0


def test_two_daemons_never_share_a_state(shared):
    second = shared.village("node", "run", "--config", shared.config, check=False)
    assert second.returncode == 1
    assert "in use by another daemon" in second.stderr
    assert shared.call("node.status")["name"] == "hospital-a"


def test_every_error_of_a_configuration_at_once_and_no_traceback(tmp_path):
    node = Daemon(tmp_path / "bad", "bad", extra='[limits]\npeers = "many"\n[nodes]\n')
    found = node.village("node", "run", "--config", node.config, check=False)
    assert found.returncode == 2
    assert "limits.peers" in found.stderr
    assert "nodes" in found.stderr
    assert "Traceback" not in found.stderr
    node.close()


def test_it_does_not_start_before_init_and_says_so(tmp_path):
    node = Daemon(tmp_path / "new", "new")
    found = node.village("node", "run", "--config", node.config, check=False)
    assert found.returncode == 1
    assert "village node init" in found.stderr
    node.close()


def test_a_wrong_passphrase_is_refused(daemon):
    daemon.stop()
    (daemon.folder / "passphrase").write_text("another passphrase altogether\n")
    found = daemon.village("node", "run", "--config", daemon.config, check=False)
    assert found.returncode == 1
    assert "keystore.passphrase" in found.stderr


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff garbage \r\n\r\n",
        b"POST /v1/node.status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{{{{{",
        b"POST /v1/node.status HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{",
        b"POST /v1/" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/events?after=x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_garbage_at_the_socket_ends_with_its_connection(shared, sent):
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(5)
        caller.connect(str(shared.socket))
        caller.sendall(sent)
        caller.shutdown(socket.SHUT_WR)
        answer = caller.recv(4096)
    assert not answer.startswith(b"HTTP/1.1 200")
    assert shared.call("node.status")["name"] == "hospital-a"
    assert "Traceback" not in (shared.folder / "log").read_text()


def test_wrong_calls_say_what_is_wrong(shared):
    cases = {
        "no.such": ({}, "admin.method"),
        "space.vote": ({}, "admin.parameters"),
        "record.show": ({"id": "zz"}, "id.short"),
        "refusal.list": ({"limit": "many"}, "admin.parameters"),
        "node.status": ({"verbose": True}, "admin.parameters"),
        "agreement.show": ({}, "id.unknown"),
        "run.start": ({"parameters": []}, "admin.parameters"),
    }
    for method, (parameters, code) in cases.items():
        with pytest.raises(AdminError) as refused:
            shared.call(method, **parameters)
        assert refused.value.code == code, method
        assert refused.value.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_foreign_user_is_refused_even_with_an_open_socket(shared):
    shared.socket.chmod(0o666)
    for folder in (shared.folder, *shared.folder.parents):
        if folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o011)
    code = textwrap.dedent(f"""
        import os, socket
        os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
        with socket.socket(socket.AF_UNIX) as s:
            s.connect({str(shared.socket)!r})
            s.sendall(b"POST /v1/node.status HTTP/1.0\\r\\nContent-Length: 0\\r\\n\\r\\n")
            while answer := s.recv(4096):
                print(answer.decode())
    """)
    answer = python(code)
    assert answer.stdout.startswith("HTTP/1.1 403"), answer
    assert "admin.permission" in answer.stdout


def test_events_are_followed_and_numbers_counted(daemon):
    card = daemon.call("key.export")["card"]
    founders = [{"card": card, "roles": ["data-provider"]}]
    made = daemon.call("space.new", name="alone", purpose="none", founders=founders, registrars=[])
    with AdminClient(daemon.socket) as client:
        events = client.events(after=0)
        seen = [next(events) for _ in range(2)]
        events.close()
    assert [one["event"] for one in seen] == ["space opened", "vote"]
    assert seen[0]["topic"] == made["space"]
    assert daemon.call("space.list")[0]["founded"]
    numbers = eventually(
        lambda: 'village_records_total{kind="vote"} 1.0' in daemon.client.metrics()
    )
    assert numbers


def test_the_command_line_speaks_for_people_and_for_programs(shared):
    status = shared.village("status")
    assert "nothing waits on you" in status.stdout
    assert json.loads(shared.village("status", "--json").stdout)["name"] == "hospital-a"
    missing = shared.village("record", "show", "abcdef", check=False)
    assert missing.returncode == 5
    assert missing.stderr.startswith("id.unknown: ")
    assert shared.village("space", "vote", check=False).returncode == 2
    none = shared.village("status", "--socket", shared.folder / "none.sock", check=False)
    assert none.returncode == 7
    assert "Traceback" not in missing.stderr + none.stderr
    shared.village("key", "export", "--out", shared.folder / "a.card")
    assert re.fullmatch(r"[A-Za-z0-9+/=]+\n", (shared.folder / "a.card").read_text())


def test_help_of_every_command_has_an_example_and_starts_fast(shared):
    from node.cli.main import COMMANDS

    version = shared.village("version")
    assert version.stdout.startswith("village ")
    code = textwrap.dedent("""
        from node.cli.main import main, COMMANDS
        for word in COMMANDS:
            main([word, "--help"])
    """)
    page = python(code)
    assert page.returncode == 0, page.stderr
    assert page.stdout.count("Usage: village ") == len(COMMANDS)


def test_the_console_opens_once_with_its_link_and_only_looks(tmp_path):
    with daemons(tmp_path, "hospital-a", extra='[console]\nlisten = "127.0.0.1:0"\n') as (node,):
        link = urlsplit(node.village("console").stdout.strip())
        assert link.hostname == "127.0.0.1"

        def get(path, **headers):
            with closing(HTTPConnection(link.hostname, link.port, timeout=10)) as connection:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read().decode()

        assert get("/")[0] in (401, 403)
        status, headers, _ = get(f"{link.path or '/'}?{link.query}")
        assert status in (302, 303, 307)
        cookie = headers["set-cookie"].partition(";")[0]
        status, _, page = get("/", cookie=cookie)
        assert (status, "hospital-a" in page) == (200, True)
        assert get(f"{link.path or '/'}?{link.query}")[0] in (401, 403)


def test_a_node_without_console_says_so(shared):
    assert shared.village("console", check=False).returncode == 2
