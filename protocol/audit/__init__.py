"""Audit: bundles, receipts and the offline verifier."""
