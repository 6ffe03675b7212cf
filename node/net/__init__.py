"""The network behind one port: transport, sessions and bulk transfer."""
