"""A video file: what a stream decodes to by time, on one clock for frames and audio.

Some facts are found by reading parts of the file, once for each file.
"""

import functools
import itertools
import math
import os
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any, NamedTuple

import av

from .open_file import DecodedItem, Kind, OpenFile, Select, VideoDecodeError, demux, source_of
from .times import Clock, Timeline, as_fraction, packet_time

# Formats whose duration of the video stream is that of another stream, or a guess.
_DURATION_IS_GUESSED = ("asf", "asf_o", "flv")
# Formats whose clock may start again or jump: all their packets are read first. Their streams have
# one tick.
_SCANNED = ("mpegts", "mpeg")
# Frames that tell whether pts ascend, where each packet's pts may be its dts in spite of B-frames.
_TRIED_FRAMES = 32
# A file whose data end more seconds than this before its declared end is truncated.
_TRUNCATION_TOLERANCE = Fraction(1, 2)
# Pixels that are further from square than this factor are a mistake of the file, and ignored.
_MAX_PIXEL_ASPECT = 10
# Frames are not scaled for pixels that are nearly square, as after rounding a size.
_MIN_DISTORTION = Fraction(1, 100)


class FirstFrame(NamedTuple):
    """Facts that only a decoded frame tells; streams do not state them reliably.

    A frame is shown upright by turning it, then mirroring it, then giving it its size as shown.
    """

    pts: int  # in ticks of the video stream
    width: int  # as shown, in square pixels
    height: int
    quarter_turns: int  # counter-clockwise rotations by 90 degrees, 0..3
    mirrored: bool  # left and right are swapped, after the rotation
    pixel_aspect: Fraction  # width of a stored pixel divided by its height
    interlaced: bool  # the frame consists of two fields


class _Facts(NamedTuple):
    first_frame: FirstFrame
    empty_streams: frozenset[int]  # see OpenFile
    delay: int | None  # see PacketTimes, like the timeline
    timeline: Timeline | None


# Facts by path and time of modification. Decoding a first frame takes a tenth of the time of a
# clip, and a long video is opened for each of its clips.
_FACTS: dict[tuple[str, int], _Facts] = {}
_MAX_FACTS = 4096


class MediaFile(OpenFile, AbstractContextManager["MediaFile"]):
    """An open video file that decodes by time.

    Raises:
        VideoDecodeError: there is no such file, it is no video, or no frame can be decoded.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int = 1) -> None:
        super().__init__(path, threads)
        facts = _find_facts(self)
        self.first_frame = facts.first_frame
        self.times.delay, self.times.timeline = facts.delay, facts.timeline
        if facts.empty_streams:
            self.empty_streams = facts.empty_streams
            self.reopen()
        guess = self.video.guessed_rate or self.video.average_rate or Fraction(25)
        rate = self.video.average_rate or guess
        rate = guess if rate > 2 * guess else rate  # that of DV counts ticks
        self.fps = float(rate)  # the average
        start: Any = self.container.start_time
        if facts.timeline is not None and facts.timeline.num_parts > 1:
            start = facts.timeline.start * self.time_base("video") * av.time_base
        self.clock = Clock(
            first_pts=self.first_frame.pts,
            tick=self.time_base("video"),
            frame_rate=as_fraction(guess),
            container_start=None if start is None else Fraction(start, av.time_base),
        )
        self.zero = self.clock.zero  # second 0 on the container's clock, in seconds

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def decode_from(
        self, kind: Kind, pts: int, select: Select | None = None
    ) -> Iterator[DecodedItem]:
        """Decode a stream from a time on.

        The first frame lies at or before ``pts``, unless the file starts later. Seeking lands too
        late where an index is missing or counts in decoding order, and the first frames after an
        I-frame may depend on frames before it (open GOP). Seeking is then repeated further and
        further back, and finally the file is read from its start, without ``select``.
        """
        start = self.audio.start_time if kind == "audio" and self.audio else self.first_frame.pts
        back = 0  # ticks: 0, one second, two, four, ...
        while start is not None and pts - back > start:
            if not self.seek(kind, pts - back):
                break
            decoded = self.decode(kind, after_seek=True, select=select)
            first = next(decoded, None)
            if first is not None and first[0] <= pts:
                return itertools.chain([first], decoded)
            back = 2 * back or math.ceil(1 / self.time_base(kind))
        self.reopen()
        return self.decode(kind)

    @functools.cached_property
    def duration(self) -> float:
        """Second at which the video ends.

        Where the container does not declare it, packets are read to the end of the file, which
        moves the position.
        """
        if self.times.timeline is not None:
            end = self.times.timeline.video_end
        elif self.video.duration and self.container.format.name not in _DURATION_IS_GUESSED:
            end = (self.video.start_time or 0) + self.video.duration
        else:
            end = _find_video_end(self, self.first_frame.pts)
        return float(end * self.time_base("video") - self.zero)

    def check_not_truncated(self, second: Fraction) -> None:
        """Raise VideoDecodeError if the file stops long before its declared end and a second.

        The second, at which no more packet was found, is one of the container's clock.
        """
        end, reached = self.declared_end, self.end_reached
        if self.times.timeline is not None or end is None:
            return  # no end is declared
        if second > reached and end - reached > _TRUNCATION_TOLERANCE:
            stop, last, asked = (float(time - self.zero) for time in (reached, end, second))
            problem = f"stops at {stop:.2f} s but should last {last:.2f} s, and {asked:.2f} s was "
            raise self.error("file", problem + "asked for")


def _find_facts(file: OpenFile) -> _Facts:
    """Find out what decoding depends on; the file has just been opened."""
    source = source_of(file.path)
    is_file = os.path.isfile(source)
    # A stream of a server without an end may start at another time when it is opened again.
    is_known = is_file or file.container.duration
    key = (file.path, os.stat(source).st_mtime_ns if is_file else 0) if is_known else None
    if key in _FACTS:
        return _FACTS[key]
    times = file.times
    if is_file and file.container.format.name in _SCANNED:
        times.timeline = _read_timeline(file)
    pts, frame = _decode_first_frame(file)
    first = describe_frame(pts, frame, file.video)
    empty_streams = file.empty_streams | _find_empty_audio(file)
    if times.states_decoding_times or not _pts_ascend(file):
        times.delay = 0
        times.delay = _find_delay(file)
        pts, _ = file.decode_first("video")
        first = first._replace(pts=pts)
    if len(_FACTS) >= _MAX_FACTS:
        _FACTS.clear()
    facts = _Facts(first, empty_streams, times.delay, times.timeline)
    if key:
        _FACTS[key] = facts
    return facts


def _decode_first_frame(file: OpenFile) -> DecodedItem:
    """Decode the first frame, of another video stream where the usual one has no packet."""
    try:
        return file.decode_first("video")
    except VideoDecodeError:
        videos = {stream.index for stream in file.container.streams.video}
        empty = videos - file.packet_ends.keys()
        if file.video.index not in empty or empty == videos:
            raise
        file.empty_streams = frozenset(empty)
        return file.decode_first("video")


def _read_timeline(file: OpenFile) -> Timeline:
    streams = [stream for stream in (file.video, file.audio) if stream]
    tick, period = file.time_base("video"), file.frame_period
    try:
        return Timeline(demux(file.container, streams), file.video.index, tick, period)
    except av.error.FFmpegError as error:
        raise file.error("file", f"cannot be read on ({error.strerror})") from error


def _pts_ascend(file: OpenFile) -> bool:
    """Return whether the first frames have ascending pts; called after the first one.

    Some files state as pts of a packet its dts, in spite of B-frames.
    """
    # With B-frames, the first packet waits to be shown, and pts do not ascend in the file.
    coded = [pts for pts, _ in file.times.first if pts is not None]
    suspect = file.video.codec_context.has_b_frames and (
        file.times.first[0][1] in coded[:1]
        or (file.container.format.name.startswith("matroska") and coded == sorted(coded))
    )
    if not suspect:
        return True
    file.reopen()
    shown = [pts for pts, _ in itertools.islice(file.decode("video"), _TRIED_FRAMES)]
    return shown == sorted(shown)


def _find_delay(file: OpenFile) -> int:
    """Return the time from the first packet's dts to that which makes the decoder show a frame."""
    file.reopen()
    start = None
    for packet in file.packets("video"):
        if packet.stream_index != file.video.index:
            continue
        start = packet.dts if start is None else start
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        if frames:
            release = frames[0].dts
            return 0 if start is None or release is None else release - start
    return 0


def _find_empty_audio(file: OpenFile) -> frozenset[int]:
    """Read on to the first audio packet; at the end, return all streams without packets."""
    audio = file.audio
    # Usually it is among the packets up to the first frame, which have been read.
    if audio is None or audio.frames or audio.index in file.packet_ends:
        return frozenset()
    if any(audio.index in file.packet_ends for _ in file.packets("audio")):
        return frozenset()
    indices = {stream.index for stream in file.container.streams.audio}
    return frozenset(indices - file.packet_ends.keys())


def _find_video_end(file: OpenFile, first_pts: int) -> int:
    """Read packets to the end of a file and return the end of its video stream, in ticks."""
    end, period, declared = None, file.frame_period, file.declared_end
    last = 0 if declared is None else math.ceil(declared / file.time_base("video"))
    for from_start in (not last or not file.seek("video", last), True):
        if from_start:
            file.reopen()
        for packet in file.packets("video"):
            if packet.stream_index == file.video.index and packet.size:
                time = packet_time(packet)
                if time is None:  # a raw stream
                    time = first_pts if end is None else end
                time += packet.duration or period
                end = time if end is None else max(end, time)
        if end is not None:
            break
    if declared is not None and declared - file.end_reached > _TRUNCATION_TOLERANCE:
        return last  # what is missing may hold frames
    return first_pts + period if end is None else end + (file.times.delay or 0)


def describe_frame(pts: int, frame: av.VideoFrame, stream: av.VideoStream) -> FirstFrame:
    """Return the facts of a frame that a stream's decoder has just returned."""
    # What the container says, else what the codec does.
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    aspect = as_fraction(stated or Fraction(1))
    is_possible = 1 / Fraction(_MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT
    if not is_possible or abs(aspect - 1) < _MIN_DISTORTION:
        aspect = Fraction(1)
    size = max(round(frame.width * aspect), 1), frame.height
    turns, mirrored = _orientation(frame)
    width, height = size[::-1] if turns % 2 else size
    is_interlaced = bool(frame.interlaced_frame)
    return FirstFrame(pts, width, height, turns, mirrored, aspect, is_interlaced)


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
