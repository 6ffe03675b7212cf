"""The table of methods as an OpenAPI 3.1 document."""

from collections.abc import Iterable
from typing import Any

from node.admin.method import Method

_ERROR = {
    "type": "object",
    "properties": {
        name: {"type": "string"} for name in ("code", "message", "rule", "set_by", "fix")
    },
}


def document(methods: Iterable[Method], version: str) -> dict[str, Any]:
    """The OpenAPI document of all methods."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Village admin API", "version": version},
        "paths": {f"/v1/{method.name}": {"post": _operation(method)} for method in methods},
    }


def _operation(method: Method) -> dict[str, Any]:
    properties = {parameter.name: parameter.schema for parameter in method.parameters}
    required = [parameter.name for parameter in method.parameters if parameter.required]
    body = {"type": "object", "properties": properties, "required": required}
    return {
        "operationId": method.name,
        "description": method.doc,
        "tags": [method.name.partition(".")[0]],
        "x-permission": method.permission,
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {}}},
            "default": {
                "description": "Refused, or failed: why, and what would fix it.",
                "content": {"application/json": {"schema": _ERROR}},
            },
        },
    }
