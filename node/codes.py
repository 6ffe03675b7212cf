"""One-time codes of letters: 128 random bits with a checksum, and the link that a QR code holds.

A code is 30 letters and digits (RFC 4648 base32) in groups of five: 16 random bytes, then 22 bits
of a digest over them. So a slip of the pen is found before anybody is asked.
"""

import base64
import binascii
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from protocol import keys
from protocol.errors import Refused

RANDOM: Final = 16
"""Random bytes of a code."""

LENGTH: Final = 30
"""Characters of a code without hyphens: 150 bits."""

LINK: Final = 1024
"""Characters of the longest link."""

_CHECK_BITS: Final = LENGTH * 5 - RANDOM * 8
_LOOKALIKES: Final = str.maketrans("018", "OIB", "- \t\r\n")
"""Base32 has no 0, 1 and 8: who types one means the letter."""


def make(chance: bytes) -> str:
    """The code of 16 random bytes, as it stands in a letter."""
    bits = int.from_bytes(chance, "big") << _CHECK_BITS | _check(chance)
    # 150 bits fill 30 characters; two zero bits in front make whole bytes of them.
    raw = (bits << 10).to_bytes(20, "big")
    text = base64.b32encode(raw).decode()[:LENGTH]
    return "-".join(text[start : start + 5] for start in range(0, LENGTH, 5))


def plain(code: str) -> str:
    """A code as it counts: case, blanks and hyphens do not matter, nor 0, 1, 8 for O, I, B."""
    return code.upper().translate(_LOOKALIKES)


def check(code: str) -> str:
    """The plain code. Raises Refused (enrolment.code) if a character is wrong or missing."""
    text = plain(code)
    try:
        raw = base64.b32decode(text + "AA") if len(text) == LENGTH and text.isascii() else b""
    except binascii.Error:
        raw = b""
    bits = int.from_bytes(raw, "big") >> 10
    chance = (bits >> _CHECK_BITS).to_bytes(RANDOM, "big")
    if not raw or bits & (1 << _CHECK_BITS) - 1 != _check(chance):
        raise Refused("enrolment.code", "a character of the code is wrong or missing")
    return text


def link(code: str, registrar: str) -> str:
    """What a QR code holds, and a vault takes as it is: the code, and where the registrar is."""
    return f"village:enrol?code={code}&registrar={quote(registrar, safe='/')}"


def read(text: str) -> tuple[str, str | None]:
    """Code and address of a link, or of a code as it was typed. Raises Refused (enrolment.code)."""
    if len(text) > LINK:
        raise Refused("enrolment.code", "this is no code and no link of a letter")
    if not text.lower().startswith("village:"):
        return check(text), None
    found = urlsplit(text.strip())
    fields = parse_qs(found.query, max_num_fields=4)
    codes, addresses = fields.get("code", []), fields.get("registrar", [])
    if found.path != "enrol" or len(codes) != 1 or len(addresses) != 1:
        raise Refused("enrolment.code", "the link is no link of a letter")
    return check(codes[0]), addresses[0]


def _check(chance: bytes) -> int:
    digest = keys.digest("enrolment-check", chance)
    return int.from_bytes(digest, "big") >> 256 - _CHECK_BITS
