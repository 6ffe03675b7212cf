"""The node: the daemon, its network, store, command line and console."""
