"""What Python's json would let pass in silence, and we do not."""

from typing import Any


def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose names are all different; for json.loads' object_pairs_hook.

    A name that stands twice could mean one thing to one reader and another to the next. Raises
    ValueError.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found
