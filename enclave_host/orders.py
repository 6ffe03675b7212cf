"""Run orders, as the enclave reads them: by a party that may give one, within what is agreed."""

from enclave_host.parties import Parties
from protocol import kinds
from protocol.kinds.run import Order
from protocol.parameters import check_order
from protocol.record import Record


def read_order(parties: Parties, raw: bytes) -> tuple[Record, Order]:
    """A run order by a party that may give one, within the agreed entry. Raises Refused (run.order,
    record.*).
    """
    found = parties.of_party(raw, "order")
    order = kinds.read(Order, found)
    check_order(parties.document, found.author, order)
    return found, order
