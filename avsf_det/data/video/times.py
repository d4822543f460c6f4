"""Times of packets and frames of a media file, on one clock with the seconds of the caller."""

import math
from bisect import bisect, bisect_left
from collections.abc import Callable, Iterable
from fractions import Fraction
from operator import itemgetter
from typing import Any, NamedTuple

import av

# Slack for seconds that a caller computed in floating point.
_TOLERANCE_SEC = Fraction(1, 10**6)

# Formats that state when packets are decoded, not when frames are shown; so does Matroska for
# streams of AVI (those with a codec tag).
_DECODING_TIMES = ("avi", "asf", "asf_o")
# Packets that tell whether frames wait in the decoder; the first frame needs no more.
_FIRST_PACKETS = 16
# A step of dts that far backward or forward is a jump of the clock. Below, it is a gap.
_BACKWARD_SEC, _FORWARD_SEC = Fraction(1, 10), 10
# Tracks of a part overlap the part before it by at most this, as audio frames outlast the last
# video frame.
_OVERLAP_SEC = Fraction(1, 2)


def as_fraction(number: Any) -> Fraction:
    """Return a rational number of PyAV, which has a type of its own from version 19 on."""
    return Fraction(number.numerator, number.denominator)


class Clock:
    """Relation between seconds, pts of the video stream and the container's clock.

    One clock serves frames and audio. Second 0 is the start of the earliest stream, moved onto the
    grid of the frames. For example, a file of 25 frames per second starts with audio at 1.20 s, and
    its first frame (#0) follows at 1.49 s::

        container's clock    1.20 1.21      1.25     ...     1.49      1.53     = pts * tick
        audio packets         |--------------|--------------|--------------|----
        frames                                                |#0       |#1
        pts (1 / 90000 s)                                     134100    137700
        seconds                   0.00      0.04     ...     0.28      0.32     = clock - zero
                                  ^
                                  zero = 1.49 - 7 * 0.04 = 1.21: whole frame periods before #0

    A tick is the time base of the video stream, in seconds. ``container_start`` is the start of the
    earliest stream, in seconds of the container's clock; None if unknown.
    """

    def __init__(
        self, first_pts: int, tick: Fraction, frame_rate: Fraction, container_start: Fraction | None
    ) -> None:
        self._first_pts = first_pts
        self.zero = first_pts * tick
        if container_start is not None:
            # A gap of less than a frame period comes from the priming samples of an audio codec or
            # the rounding of a millisecond clock, and is ignored.
            frames_late = (self.zero - container_start) * frame_rate
            self.zero -= (round(frames_late) if frames_late >= 1 else 0) / frame_rate
        # A millisecond clock rounds frame times by up to half a tick; coarser ticks are frames.
        tolerance = tick / 2 if tick <= Fraction(1, 1000) else _TOLERANCE_SEC
        # At second s, pts <= (s + a / b) * c / d for these (a, b, c, d), exactly. Integers, since
        # computing with fractions took longer than scaling a frame.
        self._ratios = (*(tolerance + self.zero).as_integer_ratio(), *(1 / tick).as_integer_ratio())

    def pts_played_at(self, second: float) -> int:
        """Return the latest pts that is reached at a second, not before that of the first frame."""
        a, b, c, d = self._ratios
        n, m = second.as_integer_ratio()
        return max((n * b + a * m) * c // (m * b * d), self._first_pts)


class FrameTimes:
    """Presentation times of frames in the order of a decoder's output, in ticks.

    A frame without pts is shown at the dts of the packet that made the decoder release it: both
    ascend together. Without that too (the last frames in the decoder, raw streams), it follows the
    frame before it.

    ``first`` is the time of the first frame if nothing states it; None if unknown, then frames have
    no time before the first that states one. ``length_of`` returns the usual length of a frame.
    """

    def __init__(self, first: int | None, length_of: Callable[[Any], int]) -> None:
        self.contradicted = False  # the first stated time lies before those counted up to it
        self._first, self._length_of = first, length_of
        self._last: tuple[int, Any] | None = None  # time and frame
        self._is_counting = True  # nothing has been stated

    def time_of(self, frame: av.VideoFrame | av.AudioFrame) -> int | None:
        """Return the time of the next frame, and set its pts to it."""
        time = stated = frame.dts if frame.pts is None else frame.pts
        if stated is None:
            time = self._last[0] + self._length_of(self._last[1]) if self._last else self._first
        elif self._is_counting:
            self._is_counting = False
            self.contradicted = self._last is not None and stated < self._last[0]
        if time is not None:
            self._last = time, frame
            frame.pts = time
        return time


class PacketTimes:
    """Gives the packets of an open file their times."""

    def __init__(self) -> None:
        # Times of all packets, for formats whose clock may jump.
        self.timeline: Timeline | None = None
        # Ticks that frames wait in the decoder, where the pts of packets are unusable: they are
        # removed then, and frames are timed by dts. None where pts are right.
        self.delay: int | None = None

    def start(self, format_name: str, video: av.VideoStream, audio: av.AudioStream | None) -> None:
        """Start again with the streams of a file that has just been opened."""
        # Whether the container holds no pts of the video stream.
        self.states_decoding_times = format_name in _DECODING_TIMES or (
            format_name.startswith("matroska") and bool(video.codec_context.codec_tag.strip("\0"))
        )
        # pts and dts of the first video packets, as stated.
        self.first: list[tuple[Any, Any]] = []
        self._video = video
        self.ticks_per_sec = {
            stream.index: math.ceil(1 / stream.time_base)
            for stream in (video, audio)
            if stream and stream.time_base
        }
        self.move_to(0)

    def move_to(self, position: int) -> None:
        """Forget the packets before: the next ones lie at or after a position in the file."""
        self._position = position  # in bytes
        self._positions: dict[int, int] = {}  # stream index -> that of its latest packet
        # Of the next video packet, where these are counted; None before an I-frame.
        self._number = None if position else 0

    @property
    def seeks_by_position(self) -> bool:
        """Whether the format's own seeking by time leads astray."""
        return self.timeline is not None and (self.timeline.num_parts > 1 or self.timeline.counts)

    def mend(self, packet: av.Packet) -> None:
        """Set pts and dts of the next packet; without a timeline, only video packets need it."""
        is_video = packet.stream_index == self._video.index
        if is_video and len(self.first) < _FIRST_PACKETS:
            self.first.append((packet.pts, packet.dts))
        if self.timeline is not None:
            self._mend_by_timeline(self.timeline, packet)
        if is_video and self.delay is not None:
            # Without pts, a frame is shown at the dts of the packet that releases it.
            time = packet.dts if self.states_decoding_times else packet.pts
            packet.dts = None if time is None else time - self.delay
            packet.pts = None if self._video.codec_context.has_b_frames else packet.dts

    def _mend_by_timeline(self, timeline: "Timeline", packet: av.Packet) -> None:
        index = packet.stream_index
        if timeline.counts and index == self._video.index:
            if self._number is None and packet.is_keyframe:
                self._number = timeline.first_keyframe(self._position)
            if self._number is None:
                packet.pts = packet.dts = None
            else:
                packet.pts, packet.dts = timeline.times_of(self._number)
                self._number += 1
        elif timeline.num_parts > 1:
            position = packet.pos
            if position is None:  # that of the packet before it
                position = self._positions.get(index, self._position)
            self._positions[index] = position
            offset = timeline.offset_at(position)
            packet.pts = None if packet.pts is None else packet.pts + offset
            packet.dts = None if packet.dts is None else packet.dts + offset


class _Row(NamedTuple):
    """A packet of a stream in use; times in ticks."""

    position: int  # in the file, in bytes
    stream: int  # index
    pts: int | None
    dts: int | None
    length: int
    is_keyframe: bool


class Timeline:
    """Times of the packets of an MPEG transport or program stream, found by reading all of them.

    The clock of joined files starts again or jumps. As in ffmpeg, each part then follows the one
    before it without a gap. Packets belong to a part by their position in the file; all streams of
    these formats have the same tick. In program streams, where video packets share a PES packet,
    libav misses their times after seeking: they are then counted from an I-frame on.

    ``start`` is the earliest pts in the first part, ``end`` the latest end of a packet; ``counts``
    tells whether video packets are counted.

    It is made of all packets of the streams in use, from the start of the file on, the index of the
    video stream, the time base of the streams in seconds, and the time between frames in ticks.
    """

    def __init__(
        self, packets: Iterable[av.Packet], video: int, tick: Fraction, period: int
    ) -> None:
        rows, self.counts = _read_rows(packets, video, period)
        parts = _split(rows, tick)
        self._starts, self._offsets = [0], [0]
        self._index: dict[int, list[tuple[int, int]]] = {}  # stream: (pts of an I-frame, position)
        self._video: list[_Row] = []  # in decoding order, on the continuous clock
        ends: dict[int, int] = {}
        for part in parts:
            begins: dict[int, int] = {}
            for row in part:
                if row.pts is not None:
                    begins[row.stream] = min(row.pts, begins.get(row.stream, row.pts))
            if ends and begins:
                steps = {s: ends[s] - begin for s, begin in begins.items() if s in ends}
                offset = steps.get(video, max(ends.values()) - min(begins.values()))
                longest = max(steps.values(), default=offset)
                self._offsets.append(longest if longest > offset + _OVERLAP_SEC / tick else offset)
                self._starts.append(part[0].position)
            else:
                self.start = min(begins.values(), default=0)
            self._add(part, video, ends)
        self.num_parts = len(self._starts)
        self.end = max(ends.values(), default=0)
        self.video_end = ends.get(video, self.end)

    def _add(self, part: list[_Row], video: int, ends: dict[int, int]) -> None:
        """Add the packets of a part; ``ends`` maps a stream to the latest end of its packets."""
        shift = self._offsets[-1]
        for row in part:
            pts, dts = (t if t is None else t + shift for t in (row.pts, row.dts))
            if self.counts and row.stream == video:
                self._video.append(row._replace(pts=pts, dts=dts))
            if pts is None:  # only its place among the others says when it is shown
                ends[row.stream] = ends.get(row.stream, 0) + row.length
                continue
            ends[row.stream] = max(pts + row.length, ends.get(row.stream, pts))
            if row.is_keyframe:
                self._index.setdefault(row.stream, []).append((pts, row.position))

    def offset_at(self, position: int) -> int:
        """Return what the pts of packets at a position in the file lack, in ticks."""
        return self._offsets[bisect(self._starts, position) - 1]

    def position_of(self, stream: int, pts: int) -> int:
        """Return the position of the last I-frame of a stream up to a time, or of the first."""
        index = self._index.get(stream, [(0, 0)])
        return index[max(bisect(index, pts, key=itemgetter(0)) - 1, 0)][1]

    def first_keyframe(self, position: int) -> int:
        """Return the number of the first I-frame at or after a position, in decoding order."""
        start = bisect_left(self._video, position, key=itemgetter(0))
        return next(
            (i for i in range(start, len(self._video)) if self._video[i].is_keyframe), start
        )

    def times_of(self, number: int) -> tuple[int | None, int | None]:
        """Return pts and dts of a video packet by its number in decoding order."""
        return self._video[number][2:4] if number < len(self._video) else (None, None)


def _read_rows(packets: Iterable[av.Packet], video: int, period: int) -> tuple[list[_Row], bool]:
    """Return the packets by position in the file, and whether video packets share a position."""
    rows: list[_Row] = []
    positions: dict[int, int] = {}
    shared = False
    for packet in packets:
        if not packet.size:
            continue
        stream, position = packet.stream_index, packet.pos
        if position is None:  # that of the packet before it, in the same PES packet
            position = positions.get(stream, 0)
            shared = shared or stream == video
        positions[stream] = position
        pts = packet.dts if packet.pts is None else packet.pts
        length = packet.duration or (period if stream == video else 0)
        rows.append(_Row(position, stream, pts, packet.dts, length, packet.is_keyframe))
    return sorted(rows, key=itemgetter(0)), shared


def _split(rows: Iterable[_Row], tick: Fraction) -> list[list[_Row]]:
    """Return the parts of a file: a new one starts where the clock of a stream jumps."""
    backward, forward = _BACKWARD_SEC / tick, _FORWARD_SEC / tick
    parts: list[list[_Row]] = [[]]
    latest: dict[int, int] = {}
    for row in rows:
        time = row.dts
        if time is not None:
            last = latest.get(row.stream)
            if latest and (
                (last is not None and time < last - backward)
                or time > max(latest.values()) + forward
            ):
                parts.append([])
                latest, last = {}, None
            latest[row.stream] = time if last is None else max(time, last)
        parts[-1].append(row)
    return parts


def packet_time(packet: av.Packet) -> int | None:
    """Return the pts of a packet, or the dts where the container stores no pts (AVI)."""
    return packet.dts if packet.pts is None else packet.pts
