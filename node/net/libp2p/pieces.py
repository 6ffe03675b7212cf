"""Bytes that wait for a reader, or to be sent, in the pieces in which they came."""

from collections import deque

_LARGE = 4096


class Pieces:
    """A queue of bytes. A large piece is kept as it came, and copied once, when it is taken.

    A view keeps alive the whole message that it was cut from, and each object costs something: so
    small pieces, and small parts of a message, are put together, and a peer cannot make this hold
    much more than it sent.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.size = 0
        self._pieces: deque[memoryview | bytearray] = deque()

    def add(self, data: memoryview) -> None:
        """Put bytes at the end."""
        self.size += len(data)
        if len(data) >= _LARGE and 2 * len(data) >= memoryview(data.obj).nbytes:
            self._pieces.append(data)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += data
        else:
            self._pieces.append(bytearray(data))

    def take(self, count: int, head: bytes = b"") -> bytes:
        """Remove and return the first `count` bytes, behind `head`; there must be as many."""
        self.size -= count
        taken: list[bytes | bytearray | memoryview] = [head]
        while count:
            piece = self._pieces[0]
            taken.append(piece[:count])
            if len(piece) <= count:
                self._pieces.popleft()
            elif isinstance(piece, bytearray):
                del piece[:count]
            else:
                self._pieces[0] = piece[count:]
            count -= len(taken[-1])
        return b"".join(taken)

    def clear(self) -> None:
        """Forget everything."""
        self.size = 0
        self._pieces.clear()
