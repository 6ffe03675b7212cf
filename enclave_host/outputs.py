"""Outputs in canonical form, their salted digests, and their sealing to each recipient."""

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol import codec, limits, shape
from protocol.errors import Refused
from protocol.keys import digest
from protocol.kinds.run import Delivery, OutputDigest, SealedOutput, output_digest
from protocol.sealing import wrap
from protocol.strict_json import no_repeats


@dataclass(frozen=True, slots=True)
class Leaving:
    """One output for one recipient: canonical JSON and the salt of its digest.

    `sealing` is the recipient's key; `gateway` is set for people.
    """

    name: str
    to: bytes
    person: bool
    gateway: bytes | None
    sealing: bytes
    salt: bytes
    json: bytes

    @property
    def digest(self) -> bytes:
        """What the run record says of it."""
        return output_digest(self.salt, self.json)

    def seal(self, run: bytes, number: int) -> Delivery:
        """The output, sealed to its recipient for this run."""
        plain = shape.encode(SealedOutput(run=run, name=self.name, salt=self.salt, json=self.json))
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


def parse(raw: bytes) -> dict[str, Any]:
    """What the algorithm returned: output name -> JSON value. Raises Refused (gate.*)."""
    if len(raw) > limits.OUTPUT:
        raise Refused("gate.quota", "all outputs together")
    try:
        value = json.loads(
            raw, object_pairs_hook=no_repeats, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise Refused("gate.schema", "the outputs are no JSON") from error
    if not isinstance(value, dict):
        raise Refused("gate.schema", "the outputs have no names")
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


def salt(secret: bytes, name: str, to: bytes) -> bytes:
    """The salt of one output for one recipient."""
    return digest("output-salt", secret, name.encode(), to)


def commitments(agreement: bytes, leaving: list[Leaving]) -> tuple[OutputDigest, ...]:
    """What the run record says about all that leaves; people appear together, never one by one."""
    found = [
        OutputDigest(name=one.name, to=one.to, digest=one.digest, size=len(one.json))
        for one in leaving
        if not one.person
    ]
    for name in sorted({one.name for one in leaving if one.person}):
        theirs = [one for one in leaving if one.person and one.name == name]
        together = digest("subject-outputs", *sorted(one.digest for one in theirs))
        size = sum(len(one.json) for one in theirs)
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
