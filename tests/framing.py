"""What a sandbox writes on its output descriptor, made without one: for tests of the gate."""

import json
from typing import Any


def framed(values: dict[str, Any]) -> bytes:
    """Outputs as runners/common.py writes them: bytes are a state, all else is JSON."""
    items = [
        (name, "state", value)
        if isinstance(value, bytes)
        else (name, "json", json.dumps(value).encode())
        for name, value in values.items()
    ]
    return frames(items)


def frames(items: list[tuple[str, str, bytes]]) -> bytes:
    """The same of (name, format, content)."""
    head = json.dumps([[name, form, len(content)] for name, form, content in items]).encode()
    return len(head).to_bytes(8, "big") + head + b"".join(content for _, _, content in items)
