"""The local door of a node: one table of methods, served on a unix socket, and its client."""
