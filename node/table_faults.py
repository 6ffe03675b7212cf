"""Whether the enclave will take the models of an agreement's tables, asked before anyone signs.

The answer is the enclave's own: its code reads them, in a process of its own, and a node imports
neither that code nor a parser of YAML for this.
"""

import base64
import json
import sys
from collections.abc import Mapping
from typing import Final

from node.asking import ask
from protocol import limits
from protocol.kinds.agreement import Agreement

_COMMAND: Final = (sys.executable, "-I", "-m", "enclave_host.main", "models")


async def find(document: Agreement, blobs: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Every fault of the models of Arrow outputs in `document`; `blobs` by digest."""
    models = {
        output.name: base64.b64encode(blobs[output.schema][: limits.CONTRACT + 1]).decode()
        for output in document.outputs
        if output.format == "arrow" and output.schema is not None
    }
    if not models:
        return ()
    answer = await ask(_COMMAND, json.dumps(models).encode())
    try:
        return tuple(map(str, json.loads(answer or b"")))
    except (ValueError, TypeError):
        return (f"the models of {', '.join(sorted(models))} cannot be read",)
