"""The world of tests/enclave_rig.py with states, logs, and confidential code."""

from dataclasses import replace
from typing import Any

from protocol import shape
from protocol.kinds import agreement as k
from protocol.kinds import algorithm, host
from protocol.sealing import code
from tests.enclave_rig import Rig, Sealed, seed, sha256

MARKER = b"the-marker-of-confidential-code-7f3a"
"""Stands in the code's text, and in nothing else."""

CODE = b'''
"""A mean that is kept for later runs, and code that talks. %(marker)s"""

import json


def train(tables, parameters):
    values = tables["vitals-v1"].column("value").to_pylist()
    mean = sum(values) / len(values)
    return {"model": {"n": len(values), "mean": mean}, "weights": json.dumps(mean).encode()}


def keep(tables, parameters):
    return {"weights": b"x" * 5}


def predict(tables, parameters, states):
    n = tables["vitals-v1"].num_rows
    mean = json.loads(states["weights"]) if "weights" in states else 0
    return {"model": {"n": n, "mean": mean}}


def renew(tables, parameters, states):
    return {"weights": states.get("weights", b"") + b"+"}


def swell(tables, parameters):
    return {"weights": bytes(4 * 1024 * 1024 + 1)}


def crash(tables, parameters):
    print("row-001 has a secret \\x1b[2J")
    return inner({}[tables["vitals-v1"].num_rows])


def inner(value):
    return value


def hold(tables, parameters):
    import time

    print("%(marker)s")
    time.sleep(parameters.get("seconds", 0))
    return {"model": {"n": tables["vitals-v1"].num_rows, "mean": 1}}
''' % {b"marker": MARKER}

ENTRIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (("model", "weights"), ()),
    "keep": (("weights",), ()),
    "predict": (("model",), ("weights",)),
    "renew": (("weights",), ("weights",)),
    "swell": (("weights",), ()),
    "crash": (("model",), ()),
    "hold": (("model",), ()),
}
"""Entry point -> outputs, and states that it reads."""

SECONDS = algorithm.Parameter(name="seconds", type="integer", low=0, high=60)


class SealedRig(Rig):
    """`changes` are those of Rig, and `logs` (a Logs), `confidential`, `code` (bytes)."""

    def __init__(self, environment_digest: bytes, **changes: Any) -> None:
        self.code = changes.get("code", CODE)
        super().__init__(environment_digest, **changes)
        if self.document.algorithm.sealed is not None:
            self.blobs = tuple(blob for blob in self.blobs if blob != self.bundle)

    def _bundle(self, environment_digest: bytes) -> algorithm.Bundle:
        found = super()._bundle(environment_digest)
        entries = tuple(
            algorithm.Entry(
                name=name,
                function=f"vitals:{name}",
                parameters=(SECONDS,) if name == "hold" else (),
                outputs=outputs,
                states=states,
            )
            for name, (outputs, states) in ENTRIES.items()
        )
        manifest = replace(found.manifest, entries=entries)
        return algorithm.Bundle(manifest=manifest, files={"vitals.py": self.code})

    def _document(self, environment_digest: bytes, changes: dict[str, Any]) -> k.Agreement:
        found = super()._document(environment_digest, changes)
        state = k.Output(name="weights", format="state", to=(), subject=False)
        return replace(found, outputs=(*found.outputs, state), logs=self._logs(changes))

    def _logs(self, changes: dict[str, Any]) -> k.Logs | None:
        found = changes.get("logs")
        return None if found is None else k.Logs(to=(self.lab.did, self.sponsor.did), **found)

    def _algorithm(self, environment_digest: bytes) -> k.Algorithm:
        found = super()._algorithm(environment_digest)
        entries = tuple(
            k.AgreedEntry(name=name, parameters=(SECONDS,) if name == "hold" else ())
            for name in ENTRIES
        )
        return replace(found, entries=entries)

    def code_share(self, *enclaves: host.EnclaveKeys, plain: bytes | None = None) -> Sealed:
        """The confidential code as its provider's share."""
        return self.share(
            self.lab,
            [],
            *enclaves,
            plain=self.bundle if plain is None else plain,
            dataset=algorithm.CODE,
            contract=sha256(self.bundle),
        )


class ConfidentialRig(SealedRig):
    """The same, and the code is confidential: hospital-a may read it."""

    def _algorithm(self, environment_digest: bytes) -> k.Algorithm:
        found = super()._algorithm(environment_digest)
        readers = {one.did: one.participant.sealing for one in (self.lab, self.a)}
        self.sealed = shape.encode(code.seal(self.bundle, readers, seed("code key")))
        return replace(found, sealed=sha256(self.sealed))
