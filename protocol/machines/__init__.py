"""Machines: pure values that handle events and return effects."""
