"""The mean height of all people, and how many they are."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def mean(tables: dict[str, pa.Table], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the output `mean`."""
    heights = tables["heights-v1"]["height"]
    return {"mean": {"people": len(heights), "height": pc.mean(heights).as_py()}}
