"""Cut a part out of a movie, with its sound and without a loss, to the frame."""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from .reader import VideoReader

# Seconds copied before the cut, at least, and hidden by the file: codecs of sound lean on them.
_PREROLL = Fraction(1, 2)
_CLOCK_TOLERANCE = Fraction(1, 2000)  # seconds
# Of libx264, where frames are encoded anew: hardly to be told from the movie, and quick to decode.
# No other frame leans on any second one, so that a clip of every second frame needs no others.
_ENCODING = {
    **{"crf": "20", "preset": "veryfast", "tune": "fastdecode"},
    **{"bf": "1", "b_strategy": "0", "sc_threshold": "0"},
}


def cut_video(
    source: str | Path,
    target: str | Path,
    start: float,
    end: float,
    gop: int | None = None,
) -> None:
    """Write the part of a movie between two seconds into an mp4 file.

    Seconds are :class:`VideoReader`'s, of both files: at second t of the cut stands the frame that
    the movie shows at ``start + t``, or the one before. The cut begins with the frame that is on
    screen at ``start``; sound and frames move by the same time. Beyond the movie's end it ends.

    Frames and sound are copied as they are encoded. What lies between the key frame before
    ``start`` and ``start`` is copied too and hidden by the mp4's edit list.

    Args:
        gop: encode the frames anew (H.264) with a key frame every so many; the sound is copied.
            A frame in the middle is then found by decoding fewer others.

    Raises:
        VideoDecodeError: the movie cannot be read, ends before ``start``, or has codecs that mp4
            does not take.
    """
    with _Movie(str(source)) as movie:
        movie.cut(str(target), Fraction(start), Fraction(end), gop)


class _Movie(VideoReader):
    def cut(self, target: str, start: Fraction, end: Fraction, gop: int | None) -> None:
        if start >= self.duration:
            raise self._error("file", f"ends at {self.duration:.2f} s, before the part to cut")
        tick = self._video.time_base
        # Clocks of milliseconds round the times of frames.
        pts = math.floor((start + self._zero + min(tick / 2, _CLOCK_TOLERANCE)) / tick)
        packets, first = self._packets_around(max(pts, self._first_pts))
        if gop and self._quarter_turns:
            raise self._error("video", "is to be shown turned; cut it without a GOP")
        zero = first * tick
        last = zero + end - start
        try:
            # Times before 0 are what the edit list hides.
            with av.open(target, "w", "mp4", options={"avoid_negative_ts": "disabled"}) as output:
                self._write(output, packets, zero, last, gop)
        except (av.error.FFmpegError, ValueError) as error:
            names = [s.codec_context.name for s in (self._video, self._audio) if s]
            raise self._error(
                "file",
                f"cannot be written as mp4 ({error}). If it is about {' or '.join(names)}, encode "
                "the frames anew (a GOP), or turn the movie into H.264 and AAC",
            ) from error

    def _write(
        self,
        output: av.container.OutputContainer,
        packets: Iterator[av.Packet],
        zero: Fraction,
        last: Fraction,
        gop: int | None,
    ) -> None:
        """Write what lies between two seconds of the movie's container."""
        streams = {}
        if gop:
            encoder = self._add_encoder(output, gop)
        else:
            streams[self._video.index] = output.add_stream_from_template(self._video)
        if self._audio is not None:
            streams[self._audio.index] = output.add_stream_from_template(self._audio)
        going_on = {self._video.index, *streams}
        for packet in packets:
            index = packet.stream.index
            if packet.dts is None or index not in going_on:
                continue
            if packet.dts * packet.time_base >= last:
                going_on.remove(index)
                if not going_on:
                    break
            elif index in streams:
                if packet.pts is None:
                    raise self._error("video", "has no presentation times; encode it anew (a GOP)")
                shift = round(zero / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = streams[index]
                output.mux(packet)
            else:
                self._encode(output, encoder, self._frames_of(packet), zero, last)
        if gop:
            self._encode(output, encoder, self._frames_of(None), zero, last)
            output.mux(encoder.encode(None))

    def _packets_around(self, pts: int) -> tuple[Iterator[av.Packet], int]:
        """Packets from a key frame before a time on, and the pts of what is on screen then.

        Seeking may land late (see :meth:`VideoReader._decode_from`): then from further back.
        """
        back = math.ceil(_PREROLL / self._video.time_base)
        while True:
            from_start = pts - back <= self._first_pts
            try:
                self._container.seek(pts - back, stream=self._video)
            except av.error.FFmpegError:  # a format that cannot seek
                from_start = True
            if from_start:
                self._open()
            packets, read, shown = self._packets("video"), [], None
            for packet in packets:
                read.append(packet)
                time = packet.dts if packet.pts is None else packet.pts
                if packet.stream.index != self._video.index or time is None:
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
                raise self._error("video", "has no frame there", pts)
            back *= 2

    def _add_encoder(self, output: av.container.OutputContainer, gop: int) -> av.VideoStream:
        options = {**_ENCODING, "g": str(gop)}
        encoder = output.add_stream("libx264", rate=self._video.guessed_rate, options=options)
        encoder.width, encoder.height = self._video.width // 2 * 2, self._video.height // 2 * 2
        encoder.pix_fmt = "yuv420p"
        encoder.codec_context.time_base = self._video.time_base
        encoder.codec_context.thread_count = 1
        return encoder

    def _frames_of(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """What the decoder gives for a packet, and at the end for None."""
        try:
            frames = self._video.codec_context.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            pts = packet and packet.dts
            raise self._error("video", f"cannot be decoded ({error.strerror})", pts) from error
        for frame in frames:
            if frame.is_corrupt:
                raise self._error("video", "is damaged", frame.pts)
        return frames

    def _encode(
        self,
        output: av.container.OutputContainer,
        encoder: av.VideoStream,
        frames: list[av.VideoFrame],
        zero: Fraction,
        last: Fraction,
    ) -> None:
        """Write those of the frames that lie between two seconds of the movie's container."""
        time_base = self._video.time_base
        for frame in frames:
            if zero <= frame.pts * time_base < last:
                image = frame.reformat(encoder.width, encoder.height, "yuv420p")
                image.pts, image.time_base = frame.pts - round(zero / time_base), time_base
                image.pict_type = 0
                output.mux(encoder.encode(image))


def _fill_decoding_times(packets: list[av.Packet]) -> None:
    """Matroska does not store them, and after a seek the first cannot be worked out."""
    next_of: dict[int, int] = {}
    for packet in reversed(packets):
        if packet.dts is None and packet.pts is not None:
            known = next_of.get(packet.stream.index)
            packet.dts = packet.pts if known is None else known - (packet.duration or 1)
        if packet.dts is not None:
            next_of[packet.stream.index] = packet.dts
