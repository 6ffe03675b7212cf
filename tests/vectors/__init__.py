"""Language-neutral test vectors; README.md describes the format."""
