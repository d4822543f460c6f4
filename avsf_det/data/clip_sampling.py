"""Which seconds of a video make a clip. Pure functions; all times are seconds of the file."""


def span_around(timestamp: float, length: float) -> tuple[float, float]:
    """(start, end) of the span of ``length`` seconds with the keyframe at its middle.

    It may reach beyond the file: readers show the first or last frame there, and silence.
    """
    return timestamp - length / 2, timestamp + length / 2


def frame_times(start: float, num_frames: int, stride: float, fps: float) -> list[float]:
    """Times of a clip's frames, ``stride / fps`` apart, the first at ``start``.

    Of a span of ``num_frames * stride / fps`` seconds around a keyframe, frame ``num_frames / 2``
    is the keyframe, as in PySlowFast.
    """
    return [start + i * stride / fps for i in range(num_frames)]
