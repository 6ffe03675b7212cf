"""Questions and answers over any stream of frames: a closed list of requests, one answer each.

A frame body is deterministic CBOR {"op": name, "body": document}; an answer's op is "answer" or
"refused". A refusal of the other side is raised here as the same `Refused`.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from protocol import codec, shape
from protocol.errors import RULES, Refused
from protocol.shape import Name, Text

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedAnswer:
    """The other side said no: code of protocol.errors.RULES, detail, and whose rule it is."""

    code: Name
    detail: Text
    set_by: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An answer with nothing to add."""


class Dialogue:
    """The requests of one protocol: `requests` maps op to document, `limit` bounds a frame."""

    def __init__(self, requests: dict[str, type[Any]], limit: int, code: str) -> None:
        """`code` is the refusal for frames that are no request or answer of this protocol."""
        self._requests = requests
        self._names = {document: name for name, document in requests.items()}
        self._limit = limit
        self._code = code

    def pack_request(self, request: object) -> bytes:
        """A request as one frame body."""
        return codec.encode({"op": self._names[type(request)], "body": shape.write(request)})

    def read_request(self, frame: bytes) -> Any:  # noqa: ANN401 (one of the requests)
        """The request in a frame body. Raises Refused (codec.*, shape.mismatch, the own code)."""
        match codec.decode(frame, self._limit):
            case {"op": str(op), "body": dict(body), **rest} if not rest and op in self._requests:
                return shape.read(self._requests[op], body)
            case _:
                raise Refused(self._code)

    def pack_answer(self, answer: object) -> bytes:
        """An answer as one frame body."""
        op = "refused" if isinstance(answer, RefusedAnswer) else "answer"
        return codec.encode({"op": op, "body": shape.write(answer)})

    def pack_refusal(self, error: Refused) -> bytes:
        """A refusal as one frame body."""
        detail = error.detail[:2000]
        answer = RefusedAnswer(code=error.code, detail=detail, set_by=error.set_by)
        return self.pack_answer(answer)

    def read_answer(self, frame: bytes, document: type[T]) -> T:
        """The answer in a frame body. Raises Refused, also where the other side refused."""
        match codec.decode(frame, self._limit):
            case {"op": "answer", "body": dict(body), **rest} if not rest:
                return shape.read(document, body)
            case {"op": "refused", "body": dict(body), **rest} if not rest:
                said = shape.read(RefusedAnswer, body)
                code = said.code if said.code in RULES else self._code
                raise Refused(code, said.detail, set_by=said.set_by)
            case _:
                raise Refused(self._code)
