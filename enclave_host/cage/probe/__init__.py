"""The algorithm that the doctor sends into the sandbox; it never runs in the trusted process."""
