"""Logs as JSON, one object a line: what journald and every collector can read. Never a secret."""

import json
import logging
import time
from typing import Final, TextIO

_QUIET: Final = ("libp2p", "hypercorn", "httpx", "httpcore", "multiaddr", "anyio")
"""Libraries whose lines below a warning say nothing to an operator."""


class JsonLines(logging.Formatter):
    """A log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; an exception goes in whole, so that a fault can be found."""
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "where": record.name,
            "says": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json(level: str, stream: TextIO) -> None:
    """Send all logs at `level` (debug, info, warning, error) and above to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.getLogger().level, logging.WARNING))
