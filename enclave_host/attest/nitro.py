"""AWS Nitro Enclaves through the Nitro Secure Module, /dev/nsm.

One ioctl carries a request and room for the answer, both CBOR (nsm_api of the Nitro Enclaves SDK).
"""

import ctypes
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cbor2

from enclave_host.attest import CODE, Attester, Evidence
from protocol.errors import Refused

DEVICE: Final = Path("/dev/nsm")
REQUEST: Final = 0x1000
RESPONSE: Final = 0x3000


class Span(ctypes.Structure):
    """A struct iovec: where bytes are, and how many."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Message(ctypes.Structure):
    """A struct nsm_message: the request, and room for the response."""

    _fields_ = (("request", Span), ("response", Span))


IOCTL: Final = 3 << 30 | ctypes.sizeof(Message) << 16 | 0x0A << 8
"""_IOWR(0x0A, 0, struct nsm_message)."""

Ioctl = Callable[[int, int, Message], object]


class NitroAttester(Attester):
    """Evidence of a Nitro enclave. `ioctl` is an argument for tests."""

    technology = "nitro"

    def __init__(self, device: Path = DEVICE, ioctl: Ioctl = fcntl.ioctl) -> None:
        """Raises Refused (enclave.attester) if the device is not there."""
        self._device, self._ioctl = device, ioctl
        self._lock = threading.Lock()
        if not device.exists():
            raise Refused(CODE, f"{device} is not there: this is no Nitro enclave")

    def evidence(self, preimage: bytes) -> Evidence:
        """A document whose user_data is the SHA-512 of `preimage`."""
        data = hashlib.sha512(preimage).digest()
        question = {"Attestation": {"user_data": data, "nonce": None, "public_key": None}}
        with self._lock:
            answer = self._ask(cbor2.dumps(question))
        return Evidence(_document(answer))

    def _ask(self, request: bytes) -> bytes:
        ask = ctypes.create_string_buffer(request, len(request))
        room = ctypes.create_string_buffer(RESPONSE)
        message = Message(
            Span(ctypes.addressof(ask), len(request)), Span(ctypes.addressof(room), RESPONSE)
        )
        try:
            device = os.open(self._device, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._ioctl(device, IOCTL, message)
            finally:
                os.close(device)
        except OSError as error:
            raise Refused(CODE, f"{self._device}: {error.strerror}") from error
        if message.response.size > RESPONSE:
            raise Refused(CODE, f"{self._device} answered with {message.response.size} bytes")
        return room.raw[: message.response.size]


def _document(answer: bytes) -> bytes:
    """The document in an answer {"Attestation": {"document": bytes}}. Raises Refused."""
    try:
        read: Any = cbor2.loads(answer)
        document = read["Attestation"]["document"]
    except (cbor2.CBORError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(CODE, f"the Nitro Secure Module gave no document: {answer[:64]!r}") from error
    if not isinstance(document, bytes) or not document:
        raise Refused(CODE, "the Nitro Secure Module gave an empty document")
    return document
