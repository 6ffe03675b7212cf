"""Talking to anybody: every family of sockets, calls on descriptors, what lies about to talk to."""

import ctypes
import fcntl
import os
import socket
from collections.abc import Callable

from .probe import AIM, Probe, address, call, outside, packed

FAMILIES = [
    "unspec", "unix", "inet", "ax25", "ipx", "appletalk", "netrom", "bridge", "atmpvc", "x25",
    "inet6", "rose", "decnet", "netbeui", "security", "key", "netlink", "packet", "ash", "econet",
    "atmsvc", "rds", "sna", "irda", "pppox", "wanpipe", "llc", "ib", "mpls", "can", "tipc",
    "bluetooth", "iucv", "rxrpc", "isdn", "phonet", "ieee802154", "caif", "alg", "nfc", "vsock",
    "kcm", "qipcrtr", "smc", "xdp", "mctp",
]  # fmt: skip
"""Every address family that Linux ever gave a number, in that order, from 0."""

TYPES = (1, 2, 5, 3, 4)  # SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW, SOCK_RDM
NONE_SUCH = "EAFNOSUPPORT|EPROTONOSUPPORT|ESOCKTNOSUPPORT|EPROTOTYPE|EINVAL"
NO_SOCKET = "EAFNOSUPPORT"


def any_socket(family: int) -> Callable[[], object]:
    """A socket of a family, whatever its type: by the C library, which asks the kernel."""

    def attack() -> object:
        refusal = None
        for kind in TYPES:
            try:
                return socket.socket(family, kind).fileno()
            except OSError as error:
                refusal = refusal or error
        raise refusal or OSError

    return attack


def tcp() -> str:
    with socket.create_connection(("127.0.0.1", AIM["port"]), timeout=2):
        return "reached a TCP port of the host"


def udp() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"a row", ("127.0.0.1", AIM["port"]))
    return "sent a datagram"


def unix(where: Callable[[], str]) -> Callable[[], object]:
    def attack() -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(where())
        return "reached a unix socket of the host"

    return attack


def resolve() -> object:
    return socket.getaddrinfo("localhost", 80)


def vsock_to_host() -> str:
    """The host's side of a virtual machine, which no network namespace hides."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect((socket.VMADDR_CID_HOST, 1))
        except (ConnectionError, TimeoutError):
            return "the host answered"
    return "reached the host"


def pair() -> object:
    return [end.fileno() for end in socket.socketpair()]


def on_a_socket(name: str, *arguments: object) -> Callable[[], object]:
    """A call on a descriptor: in the sandbox the output's, which the filter must not even look at;
    outside one end of a pair.
    """

    def attack() -> object:
        if not outside():
            return call(name, 3, *arguments)
        mine, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
        theirs.send(b"x")
        if name in ("connect", "bind", "listen", "accept"):
            mine = socket.socket(socket.AF_UNIX)
        if name in ("listen", "accept"):
            mine.bind(b"\0" + os.urandom(8).hex().encode())
        if name == "accept":
            return accept_one(mine)
        return call(name, mine.fileno(), *arguments)

    return attack


def accept_one(listener: socket.socket) -> int:
    listener.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        return call("accept", listener.fileno(), None, None)


def autobind() -> ctypes.Array:
    """An unnamed unix address: the kernel chooses an abstract one."""
    return ctypes.create_string_buffer(b"\1\0", 2)


def connect_anywhere() -> object:
    if not outside():
        return call("connect", 3, autobind(), 2)
    with socket.socket(socket.AF_UNIX) as client:
        name = b"\1\0\0" + AIM["abstract"].encode()
        return call("connect", client.fileno(), name, len(name))


def send_message() -> object:
    """sendmsg(2), which can pass a descriptor."""
    text = ctypes.create_string_buffer(b"x", 1)
    vector = (ctypes.c_uint64 * 2)(address(text), 1)
    head = (ctypes.c_uint64 * 7)(0, 0, address(vector), 1, 0, 0, 0)
    mine, _theirs = socket.socketpair() if outside() else (None, None)
    return call("sendmsg", mine.fileno() if mine else 3, head, 0)


def inherited() -> object:
    """A descriptor that the enclave had open, and that is none of the inputs."""
    known = {*range(4), *AIM["inputs"].values()}
    found = [one for one in range(1024) if one not in known and is_open(one)]
    return found or None


def is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        return False
    return True


PROBES = [
    *(
        Probe(f"socket {name}", any_socket(number), NO_SOCKET, absent=NONE_SUCH)
        for number, name in enumerate(FAMILIES)
    ),
    Probe("socketpair", pair, NO_SOCKET),
    Probe("tcp to the host", tcp, NO_SOCKET),
    Probe("udp to the host", udp, NO_SOCKET),
    Probe("vsock to the host", vsock_to_host, NO_SOCKET, absent="EAFNOSUPPORT|ENODEV"),
    Probe("abstract unix socket", unix(lambda: "\0" + AIM["abstract"]), NO_SOCKET),
    Probe("unix socket in the environment", unix(lambda: AIM["in_environment"]), NO_SOCKET),
    Probe("unix socket of the enclave", unix(lambda: AIM["door"]), NO_SOCKET),
    Probe("resolve a name", resolve, "gaierror"),
    Probe("connect a descriptor", connect_anywhere, "EPERM"),
    Probe("bind a descriptor", on_a_socket("bind", autobind(), 2), "EPERM"),
    Probe("listen on a descriptor", on_a_socket("listen", 1), "EPERM"),
    Probe("accept on a descriptor", on_a_socket("accept", None, None), "EPERM"),
    Probe("send on a descriptor", on_a_socket("sendto", b"x", 1, 0, None, 0), "EPERM"),
    Probe("send a message", send_message, "EPERM"),
    Probe(
        "receive on a descriptor",
        on_a_socket("recvfrom", ctypes.create_string_buffer(8), 8, 0, None, None),
        "EPERM",
    ),
    Probe(
        "option of a descriptor",
        on_a_socket("setsockopt", 1, 7, packed(4096, size=4), 4),
        "EPERM",
    ),
    Probe("shut a descriptor down", on_a_socket("shutdown", 1), "EPERM"),
    Probe("inherited descriptors", inherited, "nothing"),
]
