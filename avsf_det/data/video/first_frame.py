"""What only a decoded frame tells about a video: its size, orientation, and shape of pixels."""

import math
import struct
from fractions import Fraction
from typing import Any, NamedTuple

import av

# Pixels that are further from square than this factor are a mistake of the file, and ignored.
_MAX_PIXEL_ASPECT = 10
# Frames are not scaled for pixels that are nearly square, as after rounding a size.
_MIN_DISTORTION = Fraction(1, 100)


class FirstFrame(NamedTuple):
    """Facts that only a decoded frame tells; streams do not state them reliably.

    A frame is shown upright by turning it, then mirroring it, then giving it its size as shown.

    Attributes:
        pts: in ticks of the video stream.
        width: width as shown, in square pixels.
        height: height as shown.
        quarter_turns: counter-clockwise rotations by 90 degrees, 0..3.
        mirrored: whether left and right are swapped, after the rotation.
        pixel_aspect: width of a stored pixel divided by its height.
        interlaced: whether the frame consists of two fields.
        empty_streams: indices of streams that are declared and have no packet, as far as known.
    """

    pts: int
    width: int
    height: int
    quarter_turns: int = 0
    mirrored: bool = False
    pixel_aspect: Fraction = Fraction(1)
    interlaced: bool = False
    empty_streams: frozenset[int] = frozenset()


def describe_first_frame(pts: int, frame: av.VideoFrame, stream: av.VideoStream) -> FirstFrame:
    """Return the facts of a frame that a stream's decoder has just returned."""
    # What the container says, else what the codec does.
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    is_possible = 1 / Fraction(_MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT
    if not is_possible or abs(aspect - 1) < _MIN_DISTORTION:
        aspect = Fraction(1)
    size = max(round(frame.width * aspect), 1), frame.height
    turns, mirrored = _orientation(frame)
    width, height = size[::-1] if turns % 2 else size
    interlaced = bool(frame.interlaced_frame)
    return FirstFrame(pts, width, height, turns, mirrored, aspect, interlaced)


def _orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Return quarter turns and mirroring, the nearest to what the display matrix asks for."""
    try:
        side_data: Any = frame.side_data
        a, b, _, c, d, *_ = struct.unpack("9i", bytes(side_data["DISPLAYMATRIX"]))
    except KeyError:
        return 0, False
    except ValueError:  # PyAV does not know the type of some other side data
        return round(frame.rotation / 90) % 4, False
    # A pixel (x, y) is shown at (a x + c y, b x + d y), y downwards; scales do not matter here.
    determinant = a * d - b * c
    if determinant == 0:
        return 0, False
    a, c = (-a, -c) if determinant < 0 else (a, c)
    angle = math.atan2(-b / math.hypot(b, d), a / math.hypot(a, c))
    return round(angle / (math.pi / 2)) % 4, determinant < 0
