"""A person's vault, and the light peer that acts for it: verify everything, decide, keep.

The vault is a folder that opens with one passphrase. The light peer dials any gateway, believes
none, and seals what it sends to enclaves that it has verified itself.
"""
