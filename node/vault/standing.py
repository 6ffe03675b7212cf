"""Where a consent stands: made, in force, withdrawal sent, withdrawn from run N on.

A withdrawal binds run N once a quorum of parties gave receipts that name a number of at most N:
any quorum of statements for run N then has a party among it that shows the stop.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from node.vault.contents import Given
from protocol import token
from protocol.errors import ProtocolError, Refused
from protocol.identity import History
from protocol.kinds.consent import Consent, Stop, StopReceipt

State = Literal["made", "in force", "withdrawal sent", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Standing:
    """State of one consent. `parties` gave receipts for its withdrawal, `needed` make it binding,
    from run `bound` on.
    """

    state: State
    first: int
    last: int
    parties: int
    needed: int
    bound: int | None

    @property
    def words(self) -> str:
        """The state for people."""
        match self.state:
            case "made":
                return "signed, not yet with the enclave"
            case "in force":
                return f"in force for runs {self.first} to {self.last}"
            case "withdrawal sent":
                return f"withdrawal sent, {self.parties} of {self.needed} parties confirmed"
            case "withdrawn":
                return f"withdrawn, in force from run {self.bound}"


def standing(given: Given, parties: Mapping[bytes, History], needed: int) -> Standing:
    """Where a consent stands, by what the vault holds."""
    body = token.open_(given.consent, "consent", Consent).body
    state: State = "made" if given.share is None or given.share.receipt is None else "in force"
    numbers: list[int] = []
    bound: int | None = None
    if given.stop is not None:
        numbers = sorted(confirmed(given.stop, given.stop_receipts, parties).values())
        bound = numbers[needed - 1] if len(numbers) >= needed else None
        state = "withdrawal sent" if bound is None else "withdrawn"
    return Standing(state, body.first, body.last, len(numbers), needed, bound)


def confirmed(
    stop: bytes, receipts: Iterable[bytes], parties: Mapping[bytes, History]
) -> dict[bytes, int]:
    """Party -> the run number that its receipt for this stop names; what does not verify is
    nothing. A party that was told twice is bound by its first, lowest word.
    """
    wanted = token.open_(stop, "stop", Stop)
    keys = {key: did for did, party in parties.items() for key in party.live_keys}
    found: dict[bytes, int] = {}
    for raw in receipts:
        try:
            receipt = check_stop_receipt(raw, wanted)
        except ProtocolError:
            continue
        did = keys.get(receipt.key)
        if did is not None:
            found[did] = min(found.get(did, receipt.body.not_voted), receipt.body.not_voted)
    return found


def check_stop_receipt(raw: bytes, stop: token.Token[Stop]) -> token.Token[StopReceipt]:
    """A receipt for this very stop. Raises Refused (record.*, consent.scope)."""
    receipt = token.open_(raw, "stop-receipt", StopReceipt)
    if (receipt.body.stop, receipt.body.agreement) != (stop.id, stop.body.agreement):
        raise Refused("consent.scope", "the receipt is for another withdrawal")
    return receipt
