"""Wrappers that patch a process from outside: the product has no switch that disables a check."""
