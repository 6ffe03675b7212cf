"""One way to report: an object per system with ratio (median), min, max and the raw figures."""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any


def options(description: str) -> argparse.Namespace:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="under 60 seconds")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser.parse_args()


def entry(raw: list[float], unit: str, bar: float | None = None) -> dict[str, Any]:
    """Figures of one measurement; `ratio` is the median over the bar (1 without a bar)."""
    middle = statistics.median(raw)
    return {
        "ratio": round(middle / bar, 3) if bar else 1.0,
        "min": round(min(raw), 3),
        "median": round(middle, 3),
        "max": round(max(raw), 3),
        "unit": unit,
        "bar": bar,
        "raw": [round(value, 3) for value in raw],
    }


def report(title: str, figures: dict[str, Any], target: Path | None) -> None:
    """Print the figures as a table, and write them as JSON where asked."""
    print(f"{title}\n")
    for name, rows in figures.items():
        for what, row in rows.items():
            bar = f"  bar {row['bar']:g}" if row["bar"] else ""
            print(
                f"  {name:10} {what:24} {row['median']:10.3f} {row['unit']:8}"
                f" ({row['min']:.3f} to {row['max']:.3f}){bar}"
            )
    if target is not None:
        target.write_text(json.dumps(figures, indent=2) + "\n")
