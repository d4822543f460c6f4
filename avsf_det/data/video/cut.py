"""Cut a part out of a video, exact to the frame, or repeat a video, both without loss."""

import math
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from .container import MediaFile
from .open_file import Packets, libav_path
from .reader import FrameConverter
from .times import FrameTimes, packet_time

# Copied before the cut, at least, and hidden by the edit list: audio codecs depend on it.
_PREROLL_SEC = Fraction(1, 2)
_CLOCK_TOLERANCE_SEC = Fraction(1, 2000)
# libx264 options for re-encoding: visually close to the source and fast to decode. Every second
# frame is a non-reference B-frame, so that a clip of stride 2 decodes without them.
_ENCODING = {
    **{"crf": "20", "preset": "veryfast", "tune": "fastdecode"},
    **{"bf": "1", "b_strategy": "0", "sc_threshold": "0"},
}


def cut_video(
    source: str | Path, target: str | Path, start: float, end: float, gop: int | None = None
) -> None:
    """Write the part of a video between two seconds to an mp4 file.

    Seconds are those of :class:`VideoReader` in both files: second t of the cut shows the frame
    that the video shows at ``start + t``, or the one before it. The cut starts with the frame on
    screen at ``start``; audio and frames are shifted by the same time. It ends where the video
    ends, if that is earlier than ``end``.

    Frames and audio are copied as they are encoded; the file asks for the same rotation, mirroring
    and shape of pixels. Packets between the I-frame before ``start`` and ``start`` are copied too,
    and hidden by the edit list of the mp4 file.

    With ``gop`` the frames are re-encoded (H.264) with an I-frame after this many frames, upright
    and with square pixels, and audio is copied. A frame in the middle then depends on fewer others.

    Raises:
        VideoDecodeError: the video cannot be read, ends before ``start``, or has codecs that mp4
            does not support.
    """
    with MediaFile(source) as file:
        if start >= file.duration:
            raise file.error("file", f"ends at {file.duration:.2f} s, before the part to cut")
        tick = file.time_base("video")
        # A millisecond clock rounds frame times.
        pts = math.floor((Fraction(start) + file.zero + min(tick / 2, _CLOCK_TOLERANCE_SEC)) / tick)
        packets, first = _packets_from(file, max(pts, file.first_frame.pts))
        part = first * tick, first * tick + Fraction(end) - Fraction(start)
        try:
            # The edit list hides what has times before 0.
            options = {"avoid_negative_ts": "disabled"}
            with av.open(libav_path(target), "w", "mp4", options=options) as output:
                _write_part(output, file, packets, part, gop)
        except (av.error.FFmpegError, ValueError) as error:
            names = [s.codec_context.name for s in (file.video, file.audio) if s]
            reason = getattr(error, "strerror", error)
            raise file.error(
                "file",
                f"cannot be written as mp4 ({reason}). If it is about {' or '.join(names)}, or the "
                "audio changes its rate, encode the frames again (a GOP), or convert the video to "
                "H.264 and AAC",
            ) from error


def repeat_video(source: str | Path, target: str | Path, times: int, seconds: int) -> None:
    """Copy the packets of a video several times, end to end, each repetition of ``seconds``."""
    latest: dict[int, int] = {}
    with MediaFile(source) as file, av.open(libav_path(target), "w") as output:
        streams = [output.add_stream_from_template(s) for s in file.container.streams]
        for i in range(times):
            file.container.seek(0)
            for packet in file.packets("video"):
                if packet.dts is None or packet.pts is None:
                    continue
                stream, shift = packet.stream.index, round(i * seconds / packet.time_base)
                packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                # The audio of a repetition may be a packet longer than the repetition.
                if packet.dts > latest.get(stream, packet.dts - 1):
                    latest[stream], packet.stream = packet.dts, streams[stream]
                    output.mux(packet)


def _packets_from(file: MediaFile, pts: int) -> tuple[Packets, int]:
    """Return the packets from an I-frame before a time on, and the pts of the frame shown then.

    Seeking may land too late (see :meth:`MediaFile.decode_from`), then it is repeated further back.
    """
    back = math.ceil(_PREROLL_SEC / file.time_base("video"))
    while True:
        from_start = pts - back <= file.first_frame.pts
        if not file.seek("video", pts - back):
            from_start = True
        if from_start:
            file.reopen()
        packets, read, shown = file.packets("video"), [], None
        for packet in packets:
            read.append(packet)
            time = packet_time(packet)
            if packet.stream.index != file.video.index or time is None:
                continue
            if shown is None and not from_start and not (packet.is_keyframe and time <= pts):
                break  # too late
            if time <= pts:
                shown = time if shown is None else max(shown, time)
            if packet.dts is not None and packet.dts > pts:
                break
        if shown is not None:
            _fill_decoding_times(read)
            return chain(read, packets), shown
        if from_start:
            raise file.error("video", "has no frame there", pts)
        back *= 2


def _fill_decoding_times(packets: list[av.Packet]) -> None:
    """Set missing dts: Matroska does not store them, and libav cannot derive the first ones."""
    next_of: dict[int, int] = {}
    for packet in reversed(packets):
        if packet.dts is None and packet.pts is not None:
            known = next_of.get(packet.stream.index)
            packet.dts = packet.pts if known is None else known - (packet.duration or 1)
        if packet.dts is not None:
            next_of[packet.stream.index] = packet.dts


def _write_part(
    output: av.container.OutputContainer,
    file: MediaFile,
    packets: Packets,
    part: tuple[Fraction, Fraction],
    gop: int | None,
) -> None:
    """Write a part (start, end on the container's clock): copied, or re-encoded with a GOP."""
    zero, last = part
    streams: dict[int, av.stream.Stream] = {}  # those that are copied
    encoder = _Encoder(output, file, part, gop) if gop else None
    if encoder is None:
        stream = output.add_stream_from_template(file.video)
        # The container may know the shape of pixels better than the codec.
        stream.codec_context.sample_aspect_ratio = file.video.sample_aspect_ratio or Fraction(0)
        streams[file.video.index] = stream
    if file.audio is not None:
        streams[file.audio.index] = output.add_stream_from_template(file.audio)
    unfinished = {file.video.index, *streams}
    for packet in packets:
        index = packet.stream.index
        if packet.dts is None or index not in unfinished:
            continue
        if packet.dts * packet.time_base >= last:
            unfinished.remove(index)
            if not unfinished:
                break
        elif index in streams:
            if packet.pts is None:
                raise file.error("video", "has no presentation times; encode it again (a GOP)")
            shift = round(zero / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = streams[index]
            output.mux(packet)
        elif encoder is not None:
            output.mux(encoder.encode(packet))
    if encoder is not None:
        output.mux(encoder.encode(None))
        output.mux(encoder.stream.encode(None))


class _Encoder:
    """Re-encodes the frames of a part: upright, of square pixels."""

    def __init__(
        self,
        output: av.container.OutputContainer,
        file: MediaFile,
        part: tuple[Fraction, Fraction],
        gop: int,
    ) -> None:
        self._file, self._part, self._tick = file, part, file.time_base("video")
        options = {**_ENCODING, "g": str(gop)}
        self.stream = output.add_stream("libx264", rate=file.video.guessed_rate, options=options)
        # 4:2:0 frames have an even size.
        first, pix_fmt = file.first_frame, "yuv420p"
        width, height = (max(x // 2 * 2, 2) for x in (first.width, first.height))
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, pix_fmt
        self.stream.codec_context.time_base = self._tick
        self.stream.codec_context.thread_count = 1
        self._convert = FrameConverter(file, height, width, pix_fmt)
        self._times = FrameTimes(None, lambda frame: file.frame_period)

    def encode(self, packet: av.Packet | None) -> list[av.Packet]:
        """Re-encode the frames of a packet that lie in the part; None: those in the decoder."""
        file, (zero, last) = self._file, self._part
        try:
            frames = file.video.codec_context.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            pts = None if packet is None else packet.dts
            raise file.error("video", f"cannot be decoded ({error.strerror})", pts) from error
        encoded = []
        for frame in frames:
            if frame.is_corrupt:
                raise file.error("video", "is damaged", frame.pts)
            if self._times.time_of(frame) is None or frame.pts is None:
                raise file.error("video", "has no presentation times")
            if zero <= frame.pts * self._tick < last:
                image = self._convert(frame)
                image.pts, image.time_base = frame.pts - round(zero / self._tick), self._tick
                image.pict_type = 0  # the encoder decides, not the type in the source
                encoded += self.stream.encode(image)
        return encoded
