"""Probes of the sandbox: a table for each group. A row is a name, an attack and how it must end.

Read probe.py first. tests/hostile/test_probes.py makes each of them in every tier, and outside.
"""

from . import bombs, duckdb_escapes, files, kernel, leaks, network, processes

GROUPS = (network, files, processes, kernel, bombs, leaks)
WITH_PACKAGES = (duckdb_escapes,)
"""These need the packages of an environment; no attack of theirs ends its process."""
