"""What holds for every test."""

from hypothesis import settings

from node.net.libp2p import fastecdsa_stand_in

fastecdsa_stand_in.install()  # a test may import libp2p before anything of ours does

# No deadline for one example: on a busy machine it measures the machine.
settings.register_profile("village", deadline=None)
settings.load_profile("village")
