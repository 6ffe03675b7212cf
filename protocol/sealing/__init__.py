"""Sealing: key wraps and sealed streams."""
