"""Generated films: articulated figures that act, with sounds synchronous to what is seen.

``figures`` draws, ``motion`` moves, ``scenery`` is behind, ``sounds`` is heard, ``script`` decides
who does what and when, ``film`` puts a script on screen and on the sound track.
"""
