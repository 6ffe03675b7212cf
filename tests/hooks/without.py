"""Start a program of the product with one of its checks patched out of that process.

    python -m tests.hooks.without consent -- village-enclave run --config FILE
    python -m tests.hooks.without signature -- village node run --config FILE

Only for tests: with a check gone, the scene that shows it must fail. A simulated enclave cannot
notice such a patch; in a TEE it would be another measurement.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

PROGRAMS: Final = {
    "village": "node.cli.main",
    "village-enclave": "enclave_host.main",
}


def consent() -> None:
    """A person's share needs no consent, and none is ever out of scope."""
    from enclave_host import people, selection
    from protocol import token
    from protocol.kinds.consent import Consent

    def any_consent(parties: Any, agreed: Any, key: bytes, envelope: Any) -> Any:
        if envelope.consent:
            return token.open_(envelope.consent, "consent", Consent)
        invented = Consent(
            agreement=parties.id,
            ordinal=1,
            notice=agreed.notice,
            purpose=parties.document.purpose.term,
            categories=(),
            recipients=(),
            first=1,
            last=agreed.window,
            until=2**40,
            told=False,
            sealing=bytes(32),
            secret=hashlib.sha256(key).digest(),
            gateway=bytes(32),
        )
        return token.Token(hashlib.sha256(key).digest(), key, invented, b"")

    people._consent = any_consent
    selection._covered = lambda _consents, held, _number, _now: held.share.person is not None


def code() -> None:
    """The bundle is whatever the host provides."""
    from enclave_host.session import Session

    honest = Session.provide

    def provide(self: Any, blobs: tuple[bytes, ...]) -> None:
        wanted = self.parties.document.algorithm.bundle
        for blob in blobs:
            try:
                honest(self, (blob,))
            except Exception:
                self.blobs[wanted] = blob

    Session.provide = provide  # type: ignore[method-assign]


def gate() -> None:
    """Whatever the algorithm returns may leave: no output model, no count, no small cells."""
    from enclave_host import outputs
    from enclave_host.gate import Draft, Gate

    def outputs_(_: Any, raw: bytes) -> Draft:
        found = outputs.parse(raw).items()
        return Draft({name: outputs.read_json(one.content) for name, one in found})

    Gate._outputs = outputs_  # type: ignore[method-assign]
    Gate._contributors = _nothing  # type: ignore[method-assign]
    Gate._small_cells = _nothing  # type: ignore[method-assign]
    Gate._quota = _nothing  # type: ignore[method-assign]


def term() -> None:
    """An enclave goes on in a term that ended, and serves a lower one than it knows."""
    from enclave_host.session import Session
    from enclave_host.tenure import read_tenure

    def appoint(self: Any, request: Any) -> None:
        tenure = read_tenure(self.parties, request.certificate, request.host, request.standbys)
        if tenure.appointment.enclave == self.vault.id:
            self.tenure, self.newest = tenure, tenure.term

    Session.appoint = appoint  # type: ignore[method-assign]
    _patch_node_term()


def _patch_node_term() -> None:
    """An owner wraps a share key for whoever asks, in whatever term."""
    from node.session import Session
    from protocol.dialogue import Done

    Session._rewrap = lambda _self, _request: Done()  # type: ignore[method-assign]


def withdrawal() -> None:
    """Nobody ever withdrew."""
    from enclave_host.people import Consents

    Consents.withdrawn = lambda _self, _person: False  # type: ignore[method-assign]


def min_change() -> None:
    """Two results may differ by one person."""
    from enclave_host.gate import Gate

    Gate._min_change = _nothing  # type: ignore[method-assign]


def signature() -> None:
    """Every signature is good."""
    from protocol import keys

    keys.verify = _nothing


SWITCHES: Final[Mapping[str, Callable[[], None]]] = {
    "consent": consent,
    "code": code,
    "gate": gate,
    "term": term,
    "withdrawal": withdrawal,
    "min-change": min_change,
    "signature": signature,
}


def _nothing(*_: Any) -> None:
    return None


def main(arguments: list[str]) -> int:
    """Patch, then be the program."""
    match arguments:
        case [name, "--", program, *rest] if name in SWITCHES and program in PROGRAMS:
            sys.stderr.write(f"HOOK: this process runs without its check {name!r}\n")
            SWITCHES[name]()
            sys.argv = [program, *rest]
            return int(importlib.import_module(PROGRAMS[program]).main(rest) or 0)
        case _:
            known = ", ".join(SWITCHES)
            sys.stderr.write(f"usage: python -m tests.hooks.without NAME -- PROGRAM ...\n{known}\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
