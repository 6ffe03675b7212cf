"""The only folder that imports libp2p: host, guards and patches around it."""

from node.net.libp2p import fastecdsa_stand_in as fastecdsa_stand_in  # before any libp2p import
