"""Audiovisual synchronisation of a video: estimate the offset of its audio and draw it."""
