"""Exports of annotation tools (VIA 3, CVAT), read into files in AVA's format."""
