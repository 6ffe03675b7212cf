"""The attested runtime: keys in memory, code in a sandbox, and only what was approved leaves."""
