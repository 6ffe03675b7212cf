"""A person's stop, checked: signed by a key that a registrar of the agreement admitted."""

from collections.abc import Collection

from protocol import token
from protocol.errors import Refused
from protocol.kinds.consent import Stop, StopRight
from protocol.token import Token


def open_stop(raw: bytes, agreement: bytes, registrar_keys: Collection[bytes]) -> Token[Stop]:
    """Verify a stop of `agreement`, with its right to be one.

    Raises Refused (consent.scope, credential.issuer, credential.subject, record.*).
    """
    stop = token.open_(raw, "stop", Stop)
    if stop.body.agreement != agreement:
        raise Refused("consent.scope", "a withdrawal under another agreement")
    right = token.open_(stop.body.right, "stop-right", StopRight)
    if right.key not in registrar_keys:
        raise Refused("credential.issuer", "no registrar of the agreement gave this right to stop")
    if right.body != StopRight(agreement=agreement, key=stop.key):
        raise Refused("credential.subject", "the right to stop is of another key or agreement")
    return stop
