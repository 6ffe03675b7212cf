"""The peers that a node remembers."""

import json
from collections.abc import Sequence
from typing import Final

from node.store import PeerRow
from node.store.tables import Tables

PEERS: Final = 10_000
"""Peers remembered, besides banned ones; those not seen for longest go first."""

PEER_ADDRESSES: Final = 16
"""Addresses remembered of one peer."""

_SEE_PEER: Final = """
INSERT INTO peer (peer, addresses, seen, banned) VALUES (?, ?, ?, 0)
ON CONFLICT (peer) DO UPDATE SET addresses = excluded.addresses, seen = excluded.seen
"""

_FORGET_PEERS: Final = """
DELETE FROM peer WHERE NOT banned AND number NOT IN
    (SELECT number FROM peer WHERE NOT banned ORDER BY seen DESC LIMIT ?)
"""

_BAN_PEER: Final = """
INSERT INTO peer (peer, addresses, seen, banned) VALUES (?, '[]', 0, ?)
ON CONFLICT (peer) DO UPDATE SET banned = excluded.banned
"""


class Peers(Tables):
    """Where peers were last reached, and who is banned."""

    def see_peer(self, peer: str, addresses: Sequence[str], at: int) -> None:
        """Remember a peer with its newest addresses; a ban stays."""
        known = json.dumps(list(addresses)[:PEER_ADDRESSES])
        with self._writing() as connection:
            connection.execute(_SEE_PEER, (peer, known, at))
            connection.execute(_FORGET_PEERS, (PEERS,))

    def ban_peer(self, peer: str, banned: bool) -> None:
        """Ban a peer, known or not, or lift the ban."""
        with self._writing() as connection:
            connection.execute(_BAN_PEER, (peer, banned))

    def peers(self) -> list[PeerRow]:
        """All peers, the last seen first."""
        rows = self._rows("SELECT peer, addresses, seen, banned FROM peer ORDER BY seen DESC, peer")
        return [
            PeerRow(peer=peer, addresses=tuple(json.loads(known)), seen=seen, banned=bool(banned))
            for peer, known, seen, banned in rows
        ]
