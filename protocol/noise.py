"""Exact samplers of discrete noise over a stream of bytes that everybody with the key can repeat.

After Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020): algorithms
1 (Bernoulli of exp(-x)), 2 (discrete Laplace), 3 (discrete Gaussian), with rational numbers only,
so that no rounding of a machine is a channel. The stream is HKDF-SHA256 (RFC 5869) in blocks.
"""

from fractions import Fraction
from math import isqrt
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol import codec

BLOCK: Final = 1024
"""Bytes of one HKDF output; block n has the number n in its info."""


class Stream:
    """The bytes that belong to one place of one run: HKDF(key, info = [domain, *place, block])."""

    def __init__(self, key: bytes, *place: str) -> None:
        """`key` is the secret of the run, `place` says which noise this is: output, and path."""
        self._key = key
        self._place = place
        self._next = 0
        self._rest = b""

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self._rest) < size:
            info = codec.encode(["village/noise/v1", *self._place, self._next])
            kdf = HKDF(hashes.SHA256(), length=BLOCK, salt=None, info=info)
            self._rest += kdf.derive(self._key)
            self._next += 1
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def below(self, bound: int) -> int:
        """An integer from 0 to bound - 1, all equally likely: big-endian, high bits cleared, drawn
        again while it is too large. A bound of 1 takes nothing.
        """
        bits = (bound - 1).bit_length()
        while True:
            drawn = int.from_bytes(self.take((bits + 7) // 8), "big") & ((1 << bits) - 1)
            if drawn < bound:
                return drawn


def bernoulli(stream: Stream, chance: Fraction) -> bool:
    """True with probability `chance`, from 0 to 1."""
    return stream.below(chance.denominator) < chance.numerator


def bernoulli_exp(stream: Stream, x: Fraction) -> bool:
    """True with probability exp(-x), x >= 0: algorithm 1."""
    while x > 1:
        if not _bernoulli_exp_unit(stream, Fraction(1)):
            return False
        x -= 1
    return _bernoulli_exp_unit(stream, x)


def _bernoulli_exp_unit(stream: Stream, x: Fraction) -> bool:
    """The same for 0 <= x <= 1: the first k where Bernoulli(x/k) fails is odd."""
    k = 1
    while bernoulli(stream, x / k):
        k += 1
    return k % 2 == 1


def laplace(stream: Stream, scale: Fraction) -> int:
    """An integer n with probability proportional to exp(-|n| / scale), scale > 0: algorithm 2."""
    while True:
        magnitude = _geometric(stream, scale)
        negative = bernoulli(stream, Fraction(1, 2))
        if magnitude or not negative:  # else 0 would be twice as likely
            return -magnitude if negative else magnitude


def _geometric(stream: Stream, scale: Fraction) -> int:
    """An integer n >= 0 with probability proportional to exp(-n / scale)."""
    t, s = scale.numerator, scale.denominator
    while True:
        u = stream.below(t)
        if bernoulli_exp(stream, Fraction(u, t)):
            break
    v = 0
    while bernoulli_exp(stream, Fraction(1)):
        v += 1
    return (u + t * v) // s


def gaussian(stream: Stream, variance: Fraction) -> int:
    """An integer n with probability proportional to exp(-n^2 / (2 variance)): algorithm 3."""
    t = isqrt(variance.numerator // variance.denominator) + 1
    while True:
        candidate = laplace(stream, Fraction(t))
        excess = (abs(candidate) - variance / t) ** 2 / (2 * variance)
        if bernoulli_exp(stream, excess):
            return candidate
