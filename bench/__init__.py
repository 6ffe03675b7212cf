"""Benchmarks: printed, never asserted; `python -m bench` runs all of them."""
