"""The tests; docs/testing.md says what stands in which folder."""
