"""The keys of own shares, sealed in the journal under the node's store key."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from node.store.journal import Journal
from protocol.errors import Refused
from protocol.sealing.stream import header_digest

NONCE = 12
"""Bytes of a random nonce; a node seals far fewer keys than 2^32."""


class ShareKeys:
    """Seals share keys for the disk, each bound to its share's header."""

    def __init__(self, journal: Journal, store_key: bytes) -> None:
        """`store_key` is the keyring's; share keys are under a key of their own derived from it."""
        derive = HKDF(SHA256(), length=32, salt=None, info=b"village/share-key-at-rest/v1")
        self._cipher = AESGCM(derive.derive(store_key))
        self._journal = journal

    def seal(self, key: bytes, header: bytes) -> bytes:
        """A share key as it may lie on a disk."""
        nonce = secrets.token_bytes(NONCE)
        return nonce + self._cipher.encrypt(nonce, key, header_digest(header))

    def open(self, sealed: bytes, header: bytes) -> bytes:
        """The key again. Raises Refused (run.share-missing) if it was altered or is another's."""
        try:
            return self._cipher.decrypt(sealed[:NONCE], sealed[NONCE:], header_digest(header))
        except InvalidTag as error:
            raise Refused("run.share-missing", "the kept share key does not open") from error

    def keep(self, share: bytes, sealed: bytes) -> None:
        """Keep a sealed key under its share's id; a share has one key for ever."""
        self._journal.add_share_key(share, sealed)

    def of(self, share: bytes, header: bytes) -> bytes:
        """The key of an own share. Raises Refused (run.share-missing)."""
        sealed = self._journal.share_key(share)
        if sealed is None:
            raise Refused("run.share-missing", "the share's key is not on this node")
        return self.open(sealed, header)
