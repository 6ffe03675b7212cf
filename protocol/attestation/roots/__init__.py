"""Roots of hardware vendors, pinned by fingerprint. Nothing outside this folder adds a root."""
