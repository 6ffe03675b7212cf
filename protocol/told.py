"""Numbers that an algorithm chooses and everybody reads, such as the size of what it returned.

Told exactly, one number up to 16 million carries 24 bits past every output model, to parties that
are no recipients and to whoever runs a host. So small ones are told as they are, for people to act
on, and larger ones as the next power of two: 38 different numbers up to 16 MiB, about five bits.
"""

from typing import Final

EXACT: Final = 16
"""Up to here a number is told as it is."""


def told(number: int, limit: int = 0) -> int:
    """`number`, rounded up; what is within `limit` is not told as if it were above."""
    if number <= EXACT:
        return number
    above = 1 << (number - 1).bit_length()
    return min(above, limit) if number <= limit else above


def words(number: int) -> str:
    """The same in words."""
    return str(number) if number <= EXACT else f"up to {told(number)}"
