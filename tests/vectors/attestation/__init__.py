"""Evidence: real samples, read from where they are kept, and synthetic ones of our own making."""
