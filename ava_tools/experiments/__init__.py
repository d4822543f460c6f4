"""Runs of train_net.py that a tool starts, reads and compares: the Mini-AVA demo, ablations."""
