"""The root of AWS Nitro Enclaves, G1. Documents bring the certificate: the pin is enough."""

from typing import Final

FINGERPRINT: Final = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
"""SHA-256 of its DER, as AWS publishes it."""
