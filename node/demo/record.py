"""What the demo writes down: each printed line with the id of the record behind it, and times."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

EVENTS: Final = "events.jsonl"
TIMINGS: Final = "timings.json"
MARK: Final = ".village-demo"
"""Stands in every folder that a demo wrote: only such a folder is written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One printed line. `at` is seconds from the start; `record` the id (hex) of the record or
    refusal behind it, empty where a line is only a heading or an explanation.
    """

    at: float
    scene: str
    kind: str
    text: str
    record: str


@dataclass(slots=True)
class Chronicle:
    """The folder of results. `show` is told of each line too."""

    folder: Path
    show: Callable[[Line], None]
    started: float = field(default_factory=time.monotonic)
    scene: str = ""
    timings: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.started

    def say(self, text: str, record: str = "", kind: str = "line") -> None:
        """Print a line and keep it in events.jsonl; `kind`: title, line, command, note."""
        line = Line(
            at=round(self.seconds, 3), scene=self.scene, kind=kind, text=text, record=record
        )
        with (self.folder / EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
        self.show(line)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Keep how many seconds the block took, under `name` in timings.json."""
        before = time.monotonic()
        yield
        self.timings[name] = round(time.monotonic() - before, 3)

    def keep(self, name: str, value: object) -> None:
        """Write a JSON file of the results."""
        text = json.dumps(value, indent=2, ensure_ascii=False)
        (self.folder / name).write_text(f"{text}\n", "utf-8")

    def close(self) -> None:
        """Write the timings."""
        self.timings["whole"] = round(self.seconds, 3)
        self.keep(TIMINGS, self.timings)
