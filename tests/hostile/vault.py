"""A light peer that sends a person's share without the person's consent.

    python -m tests.hostile.vault -- vault run --config FILE

Everything else is the ordinary light peer: the letter, the admission, the seal to the verified
enclave. Only the envelope lacks the consent, so nobody but the enclave can notice.
"""

import sys
from collections.abc import Iterable

from node.cli.main import main as village
from node.vault import envelope
from node.vault.envelope import SealedShare, Secrets
from protocol.kinds.consent import PersonShare
from protocol.kinds.host import EnclaveKeys


def drop_consents() -> None:
    """Patch the step that seals the envelope."""
    honest = envelope.seal_envelopes

    def seal(
        agreement: bytes,
        person: Secrets,
        share: SealedShare,
        admission: bytes,
        consent: bytes,
        enclaves: Iterable[EnclaveKeys],
    ) -> PersonShare:
        del consent
        return honest(agreement, person, share, admission, b"", enclaves)

    envelope.seal_envelopes = seal


def main(arguments: list[str]) -> int:
    """Patch, then be the ordinary light peer."""
    match arguments:
        case ["--", *rest]:
            drop_consents()
            return int(village(rest) or 0)
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
