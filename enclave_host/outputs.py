"""Outputs in canonical form, their salted digests, and their sealing to each recipient."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, Literal
from unicodedata import is_normalized

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol import codec, limits, shape
from protocol.errors import Refused
from protocol.keys import digest
from protocol.kinds.run import Delivery, OutputDigest, SealedOutput, output_digest
from protocol.output_model import Path
from protocol.sealing import wrap
from protocol.strict_json import no_repeats
from protocol.told import told

Format = Literal["json", "arrow", "state"]
"""What an output is made of, as protocol.kinds.agreement.Output says."""

NO_FRAMES: Final = "the outputs are not in their frames"
"""One text for all faults: which one, the algorithm chooses, and the record is open to all."""

AROUND: Final = 1536
"""Bytes of a sealed output beside its content: above all the key exchange."""

HEAD: Final = 256 * 1024
"""Bytes of the head before the outputs: names, formats and sizes."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """One output for one recipient: its one canonical form, and the salt of its digest.

    `sealing` is the recipient's key; `gateway` is set for people.
    """

    name: str
    to: bytes
    person: bool
    gateway: bytes | None
    sealing: bytes
    salt: bytes
    format: Literal["json", "arrow"]
    content: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes to send it."""
        return told(len(self.content), limits.OUTPUT) + AROUND

    @property
    def digest(self) -> bytes:
        """What the run record says of it."""
        return output_digest(self.salt, self.content)

    def seal(self, run: bytes, number: int) -> Delivery:
        """The output, sealed to its recipient for this run."""
        size = len(self.content)
        inner = SealedOutput(
            run=run,
            name=self.name,
            salt=self.salt,
            format=self.format,
            content=self.content,
            padding=bytes(told(size, limits.OUTPUT) - size),
        )
        plain = shape.encode(inner)
        sealed = wrap.seal(plain, self.sealing, "output", run, self.name.encode(), self.to)
        return Delivery(
            run=run,
            number=number,
            name=self.name,
            to=self.to,
            person=self.person,
            gateway=self.gateway,
            sealed=sealed,
        )


def check_recipient(sealing: bytes) -> None:
    """Refuse (share.wrap) a sealing key that takes nothing: one would keep back a whole release."""
    wrap.seal(b"", sealing, "output")


@dataclass(frozen=True, slots=True)
class Returned:
    """One output as it came out of the sandbox; nothing in it was looked at yet."""

    format: Format
    content: bytes


def parse(raw: bytes) -> dict[str, Returned]:
    """What the algorithm returned, by name: see runners/common.py:write_outputs.

    Raises Refused (gate.schema, gate.quota): every length is bounded, and all of them add up.
    """
    if len(raw) > limits.OUTPUT:
        raise Refused("gate.quota", "all outputs together")
    size = int.from_bytes(raw[:8], "big")
    if len(raw) < 8 or not 0 < size <= min(HEAD, len(raw) - 8):
        raise Refused("gate.schema", NO_FRAMES)
    found: dict[str, Returned] = {}
    place = 8 + size
    for item in _head(raw[8:place]):
        match item:
            case [str(name), "json" | "arrow" | "state" as form, int(length)]:
                end = place + length
                fits = type(length) is int and place <= end <= len(raw)
            case _:
                raise Refused("gate.schema", NO_FRAMES)
        if not fits or name in found or len(name.encode("utf-8", "replace")) > limits.NAME:
            raise Refused("gate.schema", NO_FRAMES)
        found[name] = Returned(form, raw[place:end])
        place = end
    if place != len(raw):
        raise Refused("gate.schema", NO_FRAMES)
    return found


def _head(text: bytes) -> list[Any]:
    try:
        head = json.loads(text, parse_float=_no_constant, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused("gate.schema", NO_FRAMES) from error
    if not isinstance(head, list) or len(head) > limits.ITEMS:
        raise Refused("gate.schema", NO_FRAMES)
    return head


def read_json(text: bytes) -> Any:  # noqa: ANN401 (JSON)
    """The one value in an output of format json. Raises Refused (gate.schema).

    Text is in Unicode's normal form C: which of two spellings came would be a bit.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=no_repeats, parse_constant=_no_constant, parse_float=_finite
        )
        normal = is_normalized("NFC", json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError) as error:
        raise Refused("gate.schema", "an output is no JSON") from error
    if not normal:
        raise Refused("gate.schema", "an output is no JSON")
    return value


def rounded(value: Any, decimals: int) -> Any:  # noqa: ANN401 (JSON)
    """The value with every number rounded. A number has one form: -0 and 0.0 are 0, 2.0 is 2; a
    choice between two would be a bit that no output model bounds.
    """
    match value:
        case float():
            exact = round(value, decimals)
            return int(exact) if exact.is_integer() else exact
        case list():
            return [rounded(item, decimals) for item in value]
        case dict():
            return {name: rounded(item, decimals) for name, item in value.items()}
        case _:
            return value


def ordered(value: Any, sets: Iterable[Path]) -> Any:  # noqa: ANN401 (JSON)
    """The value with every list at one of these paths in order: of a set, order says nothing."""
    for path in sets:
        for found in _lists(value, path):
            found.sort(key=canonical)
    return value


def _lists(value: Any, path: Path) -> Iterator[list[Any]]:  # noqa: ANN401 (JSON)
    if not path:
        yield value
    elif path[0] == "*":
        for item in value:
            yield from _lists(item, path[1:])
    elif path[0] in value:
        yield from _lists(value[path[0]], path[1:])


def longest(value: Any) -> int:  # noqa: ANN401 (JSON)
    """The items of the longest list in a value."""
    match value:
        case list():
            return max(len(value), *map(longest, value), 0)
        case dict():
            return max(map(longest, value.values()), default=0)
        case _:
            return 0


def canonical(value: Any) -> bytes:  # noqa: ANN401 (JSON)
    """The one JSON text of a value: names sorted, no spaces, UTF-8."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "replace")


def salts(share_keys: list[bytes], *context: bytes) -> bytes:
    """The secret of a run from which the salts of its outputs come: 32 bytes.

    It depends on all share keys and on agreement, number, order and inputs: the same run repeated
    gives the same salts, so that after a fail-over both results can be compared, and nobody outside
    can guess one.
    """
    info = codec.encode(["village/run-salts/v1", *context])
    kdf = HKDF(hashes.SHA256(), length=32, salt=None, info=info)
    return kdf.derive(b"".join(share_keys))


def noise_key(share_keys: list[bytes], *context: bytes) -> bytes:
    """The secret of a run from which its noise comes, made as `salts`: 32 bytes.

    Nobody outside can take the noise away; the same run repeated has the same noise, so that a
    withheld frame wins no second sample.
    """
    info = codec.encode(["village/run-noise/v1", *context])
    kdf = HKDF(hashes.SHA256(), length=32, salt=None, info=info)
    return kdf.derive(b"".join(share_keys))


def person_key(secret: bytes) -> bytes:
    """The key of what stands for a person in the tables of this run: no other run has it."""
    return digest("row-person", secret)


def salt(secret: bytes, name: str, to: bytes) -> bytes:
    """The salt of one output for one recipient."""
    return digest("output-salt", secret, name.encode(), to)


def commitments(
    agreement: bytes, leaving: Sequence[Leaving], limit: int
) -> tuple[OutputDigest, ...]:
    """What the run record says about all that leaves; people appear together, never one by one.
    Sizes are `told`, as within `limit` bytes.
    """
    found = [
        OutputDigest(
            name=one.name, to=one.to, digest=one.digest, size=told(len(one.content), limit)
        )
        for one in leaving
        if not one.person
    ]
    for name in sorted({one.name for one in leaving if one.person}):
        theirs = [one for one in leaving if one.person and one.name == name]
        together = digest("subject-outputs", *sorted(one.digest for one in theirs))
        size = told(sum(len(one.content) for one in theirs))
        found.append(OutputDigest(name=name, to=agreement, digest=together, size=size))
    return tuple(found)


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    """Python reads 1e400 as infinity, which is no JSON."""
    value = float(text)
    if not isfinite(value):
        raise ValueError("a number too large")
    return value
