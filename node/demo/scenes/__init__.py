"""The scenes of the demo, one file each; node/demo/play.py plays them in order."""
