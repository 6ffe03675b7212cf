"""A JSON output held against its model: the closed schema of protocol.output_model, compiled."""

from typing import Any

import jsonschema_rs

from protocol import output_model
from protocol.errors import Refused


class OutputModel:
    """One output's schema. Raises Refused (gate.schema) unless it is closed."""

    def __init__(self, name: str, blob: bytes) -> None:
        """Read, check and compile the schema in `blob`."""
        self.name = name
        self.model = output_model.read(name, blob)
        self.cells = self.model.cells
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                self.model.schema,
                offline=True,
                pattern_options=jsonschema_rs.RegexOptions(),  # linear time, whatever the text
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise Refused("gate.schema", f"the output model of {name} is no schema") from error

    def check(self, value: Any) -> None:  # noqa: ANN401 (parsed JSON)
        """Refuse (gate.schema) a value that the model does not describe; no value is told."""
        try:
            valid = self._validator.is_valid(value)
        except ValueError as error:  # such as a regular expression's limit
            raise Refused("gate.schema", f"output {self.name} cannot be compared") from error
        if not valid:
            raise Refused("gate.schema", f"output {self.name}")
