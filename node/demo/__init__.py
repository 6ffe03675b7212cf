"""The demo: the whole of Village on one machine, with the public lung cancer study of 1994."""
