"""Generator of small datasets: videos of drawn, moving people with synchronous audio.

Rendering: ``figures`` draws people, ``motion`` computes their poses, ``background`` draws what is
behind them, ``audio_synthesis`` computes waveforms, ``rendering`` makes frames and
audio of a plan.

Planning: ``video_plan`` decides who does what and when in Mini-AVA, ``action_segments`` in the
datasets for classification. ``annotations`` (AVA), ``kinetics``, ``epic``, ``charades`` and
``ucf_hmdb`` write the annotations in the official formats. ``dataset_folder`` writes a dataset.
"""
