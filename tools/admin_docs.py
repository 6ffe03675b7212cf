"""Write docs/admin-api.md and docs/configuration.md, from the tables that the product itself uses.

``python tools/admin_docs.py`` writes both pages; a test compares them with what is rendered here.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from node import config
from node.admin.failure import STATUS
from node.admin.method import Method, Parameter
from node.admin.methods import METHODS

DOCS = Path(__file__).parents[1] / "docs"

API_HEAD = """\
# Admin API

A node serves this API on its admin socket (`admin.socket` in its
[configuration](configuration.md)), as HTTP/1.1 over a unix socket. `village`, the demo and the
Python client (`node/admin/client.py`) use nothing else.

    curl --unix-socket /run/village/admin.sock -X POST http://village/v1/node.status

| request | answer |
|---|---|
| `POST /v1/NOUN.VERB`, body: JSON object of the parameters | 200 and any JSON, or an error |
| `GET /v1/events?after=NUMBER` | server-sent events, without end: what happens, numbered |
| `GET /v1/openapi.json` | this page as OpenAPI 3.1 |
| `GET /metrics` | numbers for Prometheus |

Bytes are base64; ids are hexadecimal; times are unix seconds. Wherever an id is asked for, its
first four or more characters do, and a participant is `@name` or a did:key.

**Who may call.** The kernel says which user is on the other end (SO_PEERCRED). The daemon's own
user and root may do all; others what their unix group may: `read` looks, `operate` also pushes,
runs and exports, `govern` also signs and votes. Where groups are named, the socket is open (0660)
to the first of them, so all operators must be in that one.

**Errors** are `{"code", "message", "rule", "set_by", "fix"}`: which rule said no, who set it, what
would fix it; all codes are in [refusals.md](refusals.md). A rule of the protocol is status 422.

| code | status |
|---|---|
"""

API_TAIL = """
This page is written by `python tools/admin_docs.py` from `node/admin/methods.py`.
"""

CONFIG_HEAD = """\
# Configuration of a node

One TOML file. `village node run --config FILE` names every error at once, with its line. Relative
paths are relative to the folder of the file. A key that is not in this table is refused, and so is
one whose feature is not there yet.
"""

CONFIG_TAIL = """
This page is written by `python tools/admin_docs.py` from `node/config/sections.py`.
"""


def admin_api() -> str:
    """The page of all methods."""
    codes = "".join(f"| `{code}` | {status} |\n" for code, status in sorted(STATUS.items()))
    nouns: dict[str, list[Method]] = {}
    for method in METHODS.values():
        nouns.setdefault(method.name.partition(".")[0], []).append(method)
    sections = (_noun(noun, methods) for noun, methods in nouns.items())
    return API_HEAD + codes + "".join(sections) + API_TAIL


def _noun(noun: str, methods: list[Method]) -> str:
    return f"\n## {noun}\n" + "".join(_method(method) for method in methods)


def _method(method: Method) -> str:
    doc = " ".join(method.doc.split())
    lines = [f"\n### `{method.name}`\n", f"{doc} Permission: {method.permission}.\n"]
    if method.parameters:
        lines += ["| parameter | type | meaning |", "|---|---|---|"]
        lines += [_parameter(parameter) for parameter in method.parameters]
    return "\n".join(lines) + ("\n" if method.parameters else "")


def _parameter(parameter: Parameter) -> str:
    needed = "" if parameter.required else ", optional"
    return f"| `{parameter.name}` | {_type(parameter.schema)}{needed} | {parameter.doc} |"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("properties"):
        inner = (f"`{name}`: {_type(kind)}" for name, kind in schema["properties"].items())
        return f"objects {{{', '.join(inner)}}}"
    return "base64" if "contentEncoding" in schema else str(schema["type"])


def configuration() -> str:
    """The page of all keys."""
    sections: dict[str, list[config.Described]] = {}
    for key in config.describe():
        sections.setdefault(key.section, []).append(key)
    parts = [CONFIG_HEAD]
    for section, keys in sections.items():
        parts.append(f"\n## [{section}]\n\n| key | meaning | default |\n|---|---|---|\n")
        parts += [f"| `{key.key}` | {key.doc} | {_default(key)} |\n" for key in keys]
    return "".join([*parts, CONFIG_TAIL])


def _default(key: config.Described) -> str:
    if key.required:
        return "must stand"
    if key.default is None:
        return "absent"
    value = str(key.default).lower() if isinstance(key.default, bool) else repr(key.default)
    return f"`{value}`".replace("'", '"')


PAGES = {DOCS / "admin-api.md": admin_api, DOCS / "configuration.md": configuration}
"""Page -> what must stand in it."""


def main() -> int:
    """Write the pages."""
    DOCS.mkdir(exist_ok=True)
    for page, render in PAGES.items():
        page.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
