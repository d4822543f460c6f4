"""Frames and audio of a live source on one clock, through lost connections."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import av

from avsf_det.data import VideoDecodeError
from avsf_det.data.video.container import FirstFrame, describe_frame
from avsf_det.data.video.open_file import demux
from avsf_det.data.video.times import FrameTimes

from .live_source import SILENT_SEC, LiveSource, warn

_READ_TRIES = 3  # failed reads in a row after which a stream is lost
_MAX_WAIT_SEC = 30.0  # between two tries to open a stream again
_BACKWARD_SEC, _FORWARD_SEC = 1.0, 10.0  # greater steps of timestamps are a new clock
_MAX_WAITING = 500  # audio frames that are kept until the first video frame
_UNSPECIFIED = 2  # libav's number of a colour matrix
_RAW: Any = av.format.Flags.no_timestamps.value


class LiveItem(NamedTuple):
    """Decoded frame or piece of audio.

    Attributes:
        second: its time on the clock of the stream.
        frame: PyAV's VideoFrame or AudioFrame.
    """

    second: float
    frame: av.VideoFrame | av.AudioFrame


class StreamClock:
    """Seconds since the first frame of a stream, for all its connections.

    In a connection, seconds follow the timestamps, which are common to frames and audio. Those of a
    new connection may start again: its first frame is put at the time that has really passed.

        timestamps    5.0 .. 9.0 (lost)      0.0 ...
        seconds       0.0 .. 4.0             6.5 ...      2.5 s without a stream

    Args:
        now: current time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.latest = 0.0  # end of the latest item
        self._start: float | None = None
        self._shift: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there has been a frame."""
        return self._shift is not None

    def connect(self, timestamp: float) -> None:
        """Start a connection with the timestamp of its first frame, in seconds."""
        now = self.now()
        self._start = now if self._start is None else self._start
        self._shift = max(now - self._start, self.latest) - timestamp

    def second(self, timestamp: float, length: float) -> float:
        """Return the second of an item of a length in seconds."""
        assert self._shift is not None
        second = timestamp + self._shift
        self.latest = max(self.latest, second + length)
        return second


class LiveStream:
    """Iterable over the decoded frames and audio of a source until it ends.

    A failed read is retried. A lost stream is opened again, with a message and a growing wait
    before each try. Damaged frames are left out and counted.

    Attributes:
        has_audio: whether the source has audio.
        sample_rate: of its audio as declared, in Hz; 0 if unknown.
        channels: number of channels of its audio.
        first_frame: what the first frame tells; None before it.
        colorspace: libav's number of the colour matrix of YUV.
        damaged: number of packets and frames that were left out.

    Args:
        source: stream or device.
        clock: clock that the source shares with others, such as its microphone.
        stopped: once set, the iteration ends with the next packet.
        has_video: False for a microphone, whose timestamps are on the clock of the camera.
        max_reconnects: tries in a row to open a lost stream again.
        wait_sec: wait before the first try; it doubles with each.

    Raises:
        VideoDecodeError: the source cannot be opened or, in the iteration, was lost for good.
    """

    def __init__(
        self,
        source: LiveSource,
        clock: StreamClock,
        stopped: threading.Event,
        *,
        has_video: bool = True,
        max_reconnects: int = 10,
        wait_sec: float = 1.0,
    ) -> None:
        self.source, self.clock, self.stopped = source, clock, stopped
        self.first_frame: FirstFrame | None = None
        self.colorspace = _UNSPECIFIED
        self.damaged = 0
        self._has_video = has_video
        self._max_reconnects, self._wait_sec = max_reconnects, wait_sec
        self._tries = 0  # since the last decoded frame
        self._container = self._open()
        _, audio = _best_streams(self._container)
        self.has_audio = audio is not None
        self.sample_rate = audio.codec_context.sample_rate if audio else 0
        self.channels = audio.codec_context.channels if audio else 0

    def __iter__(self) -> Iterator[LiveItem]:
        while not self.stopped.is_set():
            try:
                with self._container:
                    yield from self._read_connection()
                return
            except _LostError as error:
                self._reconnect(str(error))

    def _open(self) -> Any:
        container = self.source.open()
        if self._has_video and _best_streams(container)[0] is None:
            container.close()
            raise VideoDecodeError(f"{self.source.name}: there is no video in it")
        return container

    def _reconnect(self, problem: str) -> None:
        """Open the source again, unless stopped while waiting."""
        name = self.source.name
        while self._tries < self._max_reconnects:
            wait = min(self._wait_sec * 2**self._tries, _MAX_WAIT_SEC)
            self._tries += 1
            tries = f"try {self._tries} of {self._max_reconnects}"
            warn(f"{name}: {problem}; it is opened again in {wait:g} s ({tries})")
            if self.stopped.wait(wait):
                return
            try:
                self._container = self._open()
                return
            except VideoDecodeError as error:
                problem = str(error).removeprefix(f"{name}: ")
        raise VideoDecodeError(
            f"{name}: {problem}; given up after {self._tries} tries to open it again"
        )

    def _read_connection(self) -> Iterator[LiveItem]:
        """Decode one connection."""
        container = self._container
        video, audio = _best_streams(container)
        streams = [s for s in (video if self._has_video else None, audio) if s is not None]
        # A raw stream has no timestamps: its frames are counted.
        first = 0 if int(container.format.flags) & _RAW else None
        times = {s.index: FrameTimes(first, _length_in_ticks(s)) for s in streams}
        is_waiting = self._has_video  # for the first frame, which sets the clock
        waiting: deque[tuple[float, Any, Any]] = deque(maxlen=_MAX_WAITING)
        start = 0.0  # of the connection: reading time - second
        for stream, frame in self._frames(container, streams):
            ticks = times[stream.index].time_of(frame)
            if ticks is None:
                continue
            timestamp = float(ticks * stream.time_base)
            if is_waiting and isinstance(frame, av.VideoFrame):
                is_waiting = False
                self.clock.connect(timestamp)
                self._describe(ticks, frame, stream)
                start = self.clock.now() - self.clock.second(timestamp, 0)
            waiting.append((timestamp, frame, stream))
            if is_waiting or not self.clock.is_set:
                continue
            self._tries = 0
            while waiting:
                item = self._item(*waiting.popleft())
                if self.source.is_paced:
                    self.stopped.wait(max(0.0, item.second + start - self.clock.now()))
                yield item

    def _frames(self, container: Any, streams: list) -> Iterator[tuple[Any, Any]]:
        """Yield the stream and each decoded frame of it."""
        for packet in self._packets(container, streams):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    yield packet.stream, frame

    def _packets(self, container: Any, streams: list) -> Iterator[av.Packet]:
        failures, last = 0, self.clock.now()
        latest: dict[int, float] = {}  # dts in seconds by stream index
        while not self.stopped.is_set():
            try:
                for packet in demux(container, streams):
                    failures, last = 0, self.clock.now()
                    _check_clock(packet, latest)
                    yield packet
                    if self.stopped.is_set():
                        return
                return
            except av.error.FFmpegError as error:
                is_silent = isinstance(error, av.error.ExitError)  # the limit of a read
                if isinstance(error, av.error.BlockingIOError):  # a device between two frames
                    is_silent = self.clock.now() - last >= SILENT_SEC
                else:
                    failures += 1
                if is_silent:
                    raise _LostError(f"nothing came for {SILENT_SEC} s") from error
                if failures >= _READ_TRIES:
                    raise _LostError(f"lost ({error.strerror})") from error
                self.stopped.wait(0.005)

    def _item(self, timestamp: float, frame: Any, stream: Any) -> LiveItem:
        length = float(_length_in_ticks(stream)(frame) * stream.time_base)
        return LiveItem(self.clock.second(timestamp, length), frame)

    def _describe(self, pts: int, frame: av.VideoFrame, stream: Any) -> None:
        if self.first_frame is None:
            self.first_frame = describe_frame(pts, frame, stream)
            self.colorspace = stream.codec_context.colorspace


class _LostError(Exception):
    """Connection that gives no more packets."""


def _best_streams(container: Any) -> tuple[Any, Any]:
    """Return the video and the audio stream, or None; audio may be declared, and begin later."""
    streams = container.streams
    return streams.best("video"), streams.best("audio") or next(iter(streams.audio), None)


def _check_clock(packet: av.Packet, latest: dict[int, float]) -> None:
    """Raise _LostError where the timestamps of a stream start again."""
    if packet.dts is None or packet.time_base is None:
        return
    second = float(packet.dts * packet.time_base)
    step = second - latest.get(packet.stream_index, second)
    if not -_BACKWARD_SEC <= step <= _FORWARD_SEC:
        raise _LostError(f"its clock jumps by {step:.1f} s")
    latest[packet.stream_index] = second


def _length_in_ticks(stream: Any) -> Callable[[Any], int]:
    """Return a function that returns the usual length of a frame of a stream."""

    def length(frame: av.VideoFrame | av.AudioFrame) -> int:
        if isinstance(frame, av.AudioFrame):
            return round(frame.samples / (frame.sample_rate * stream.time_base))
        rate = stream.guessed_rate or stream.average_rate or 25
        return max(1, round(1 / (rate * stream.time_base)))

    return length
