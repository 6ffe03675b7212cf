"""Other ways to bring one file to another process on this machine, each with its own programs.

Each takes a folder of its own and a file, and returns seconds from the sender's start to the end of
the receiver; the copy then stands in the folder as `out`. `Missing` says which program is not here.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.parties import free_port

LIMIT: Final = 900.0
"""Seconds for one copy."""

_READ: Final = 1 << 20
_BLOCK: Final = str(_READ)


class Missing(RuntimeError):
    """A program is not installed."""


def raw_tcp(folder: Path, file: Path) -> float:
    """sendfile into a TCP connection, and from there into a file: as fast as it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server, (folder / "out").open("wb") as out:

        def take() -> None:
            connection, _ = server.accept()
            buffer = memoryview(bytearray(_READ))
            with connection:
                while count := connection.recv_into(buffer):
                    out.write(buffer[:count])

        taker = threading.Thread(target=take)
        taker.start()
        begun = time.monotonic()
        with socket.create_connection(server.getsockname()) as sender, file.open("rb") as source:
            sender.sendfile(source)
        taker.join()
        return time.monotonic() - begun


def socat_tls(folder: Path, file: Path) -> float:
    """socat over TLS, each side with a certificate that the other demands."""
    _need("socat", "openssl")
    for name in ("a", "b"):
        _certificate(folder, name)
    port = free_port()
    listen = f"OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,cert={folder}/a.both"
    listen += f",cafile={folder}/b.crt,verify=1"
    dial = f"OPENSSL:127.0.0.1:{port},cert={folder}/b.both,cafile={folder}/a.crt"
    dial += ",verify=1,commonname=bench"
    receive = ["socat", "-u", "-b", _BLOCK, listen, f"CREATE:{folder}/out"]
    with _running(receive) as receiver:
        _await_port(port)
        begun = time.monotonic()
        _run(["socat", "-u", "-b", _BLOCK, f"FILE:{file}", dial])
        receiver.wait(LIMIT)
        return time.monotonic() - begun


def ssh(folder: Path, file: Path) -> float:
    """ssh with aes128-gcm, into `cat`."""
    with _sshd(folder) as options, file.open("rb") as source:
        command = ["ssh", *options, "127.0.0.1", f"cat > {folder}/out"]
        begun = time.monotonic()
        _run(command, stdin=source)
        return time.monotonic() - begun


def scp(folder: Path, file: Path) -> float:
    """scp with aes128-gcm."""
    with _sshd(folder) as options:
        command = ["scp", "-q", *options, str(file), f"127.0.0.1:{folder}/out"]
        begun = time.monotonic()
        _run(command)
        return time.monotonic() - begun


def age(folder: Path, file: Path) -> float:
    """age into a plain TCP connection, and age behind it."""
    _need("age", "age-keygen", "socat")
    made = subprocess.run(
        ["age-keygen", "-o", folder / "key"], capture_output=True, text=True, check=True
    )
    recipient = made.stderr.split()[-1]
    port = free_port()
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr"
    receive = f"socat -u -b {_BLOCK} {listen} - | age -d -i {folder}/key -o {folder}/out"
    send = f"age -r {recipient} < {file} | socat -u -b {_BLOCK} - TCP:127.0.0.1:{port}"
    with _running(["sh", "-c", receive]) as receiver:
        _await_port(port)
        begun = time.monotonic()
        _run(["sh", "-c", send])
        receiver.wait(LIMIT)
        return time.monotonic() - begun


def rclone(folder: Path, file: Path) -> float:
    """rclone's crypt over its own WebDAV server; `out` is read back through it, not timed."""
    _need("rclone")
    (folder / "served").mkdir()
    port = free_port()
    secret = subprocess.run(
        ["rclone", "obscure", "bench"], capture_output=True, text=True, check=True
    ).stdout.strip()
    config = folder / "rclone.conf"
    config.write_text(
        f"[dav]\ntype = webdav\nurl = http://127.0.0.1:{port}\nvendor = other\n"
        f"[sealed]\ntype = crypt\nremote = dav:\npassword = {secret}\n"
    )
    serve = ["rclone", "serve", "webdav", str(folder / "served"), "--addr", f"127.0.0.1:{port}"]
    client = ["rclone", "--config", str(config), "copyto"]
    with _running(serve):
        _await_port(port)
        begun = time.monotonic()
        _run([*client, str(file), "sealed:out"])
        spent = time.monotonic() - begun
        _run([*client, "sealed:out", str(folder / "out")])
        return spent


def libp2p(folder: Path, file: Path) -> float:
    """A stream of stock py-libp2p: TCP, Noise, yamux, as it is installed."""
    port = free_port()
    program = [sys.executable, "-m", "bench.stock_libp2p"]
    receive = [*program, "receive", str(port), str(folder / "out")]
    with _running(receive, stdout=subprocess.PIPE) as receiver:
        peer = receiver.stdout.readline().decode().strip() if receiver.stdout else ""
        if not peer:
            raise Missing("py-libp2p does not start")
        send = [*program, "send", str(port), str(file), peer]
        said = subprocess.run(send, check=True, timeout=LIMIT, capture_output=True).stdout
        receiver.wait(LIMIT)
        return float(said)


def wormhole(folder: Path, file: Path) -> float:
    """magic-wormhole, with a mailbox server of its own."""
    _need("wormhole", "twist")
    port = free_port()
    serve = ["twist", "wormhole-mailbox", "--port", f"tcp:{port}:interface=127.0.0.1"]
    program = ["wormhole", "--relay-url", f"ws://127.0.0.1:{port}/v1", "--transit-helper", ""]
    code = "7-bench-bench"
    with _running([*serve, "--channel-db", ":memory:"], cwd=folder, stdout=subprocess.DEVNULL):
        _await_port(port)
        take = [
            *program,
            "receive",
            "--hide-progress",
            "--accept-file",
            "-o",
            f"{folder}/out",
            code,
        ]
        begun = time.monotonic()
        with _running(take, stdout=subprocess.DEVNULL) as receiver:
            send = [*program, "send", "--hide-progress", "--code", code, str(file)]
            _run(send, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            receiver.wait(LIMIT)
        return time.monotonic() - begun


RIVALS: Final[Mapping[str, Callable[[Path, Path], float]]] = {
    "mutual TLS (socat)": socat_tls,
    "ssh aes128-gcm": ssh,
    "scp aes128-gcm": scp,
    "age | socat": age,
    "rclone crypt": rclone,
    "stock libp2p": libp2p,
    "magic-wormhole": wormhole,
}


def _need(*programs: str) -> None:
    missing = [one for one in programs if shutil.which(one) is None]
    if missing:
        raise Missing(f"{', '.join(missing)} is not installed")


def _run(command: list[str], **options: object) -> None:
    subprocess.run(command, check=True, timeout=LIMIT, **options)  # type: ignore[call-overload]


@contextlib.contextmanager
def _running(command: list[str], **options: object) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _await_port(port: int) -> None:
    """Wait until somebody listens, without a connection, which some would take for the sender."""
    wanted, deadline = f":{port:04X} ", time.monotonic() + 20
    while time.monotonic() < deadline:
        tables = "".join(Path(f"/proc/net/tcp{n}").read_text() for n in ("", "6"))
        if any(wanted in line and " 0A " in line for line in tables.splitlines()):
            return
        time.sleep(0.02)
    raise Missing(f"nobody listens on port {port}")


def _certificate(folder: Path, name: str) -> None:
    """A self-signed certificate, alone and with its key."""
    key, crt = folder / f"{name}.key", folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", "/CN=bench", "-keyout", str(key), "-out", str(crt)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / f"{name}.both").write_text(key.read_text() + crt.read_text())


@contextlib.contextmanager
def _sshd(folder: Path) -> Iterator[list[str]]:
    """A server of our own; the options of a client."""
    _need("ssh", "scp", "ssh-keygen")
    server = Path("/usr/sbin/sshd")
    if not server.exists():
        raise Missing("sshd is not installed")
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    port = free_port()
    config = folder / "sshd.conf"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPermitRootLogin yes\n"
        f"PidFile none\nSubsystem sftp internal-sftp\n"
    )
    options = ["-c", "aes128-gcm@openssh.com", "-i", str(folder / "user")]
    options += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={os.devnull}"]
    options += ["-o", "LogLevel=ERROR", "-o", "Compression=no", "-o", f"Port={port}"]
    with _running([str(server), "-D", "-f", str(config)]):
        _await_port(port)
        yield options
