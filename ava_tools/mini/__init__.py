"""Generated films: articulated figures that act, with sounds synchronous to what is seen.

``figures`` draws, ``motion`` moves, ``scenery`` is behind, ``sounds`` is heard, ``film`` puts a
script on screen and on the sound track. ``script`` decides who does what and when in Mini-AVA,
``acts`` in the sets for classification. ``annotations`` (AVA), ``kinetics``, ``epic``, ``charades``
and ``ucf_hmdb`` say it in each format; ``folder`` keeps what is written.
"""
