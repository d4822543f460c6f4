"""Measurements of ``benchmark.py``: a module for each sub-command, and what these share.

A sub-command is a module with ``add_arguments(parser)``, ``run(args)`` and ``EXAMPLES``; its
docstring is the description that ``--help`` shows.
"""
