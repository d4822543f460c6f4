"""Frames and audio of a video file, both by presentation time on one clock."""

import os
from collections.abc import Sequence

import numpy as np
import torch

from .audio_reader import AudioReader
from .container import MediaFile
from .frame_reader import FrameReader


class VideoReader:
    """Reader of one video file; use it as a context manager.

    Seconds count from the start of the earliest stream, as ffmpeg shows it: the first frame lies a
    whole number of frame periods after second 0 (see ``container``).

    Attributes:
        path: path of the file.
        width: width of frames as shown, after the rotation that the file asks for, in pixels.
        height: height of frames as shown, in pixels.
        fps: average frames per second.
        has_audio: whether the file has an audio stream.
        file: the open file.
        frame_reader: reads the frames.
        audio_reader: reads the audio.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int = 1) -> None:
        """Open a file.

        Args:
            path: path of the file.
            threads: number of decoding threads; 1 is best where several workers read.

        Raises:
            VideoDecodeError: there is no such file, it is no video, or no frame can be decoded.
        """
        self.file = MediaFile(path, threads=threads)
        self.path = self.file.path
        self.width, self.height = self.file.first_frame.width, self.file.first_frame.height
        self.fps = self.file.fps
        self.has_audio = self.file.audio is not None
        self.frame_reader = FrameReader(self.file)
        self.audio_reader = AudioReader(self.file)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self.file.close()

    @property
    def duration(self) -> float:
        """Second at which the video ends, as the file declares it."""
        return self.file.duration

    def get_frames_played_at(
        self,
        seconds: Sequence[float],
        size: tuple[int, int] | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> np.ndarray:
        """Return the frame on screen at each second: the last one presented at or before it.

        Before the first frame, that is the first one; after the last frame, the last one.

        Args:
            seconds: T times, in any order.
            size: (height, width) to scale to, in pixels as shown; the file's own by default.
            window: (x0, y0, x1, y1), the only part of the frames to convert, in pixels of frames
                of the file's own size; everything by default.

        Returns:
            uint8 (T, H, W, 3) RGB, equal to ffmpeg's ``-pix_fmt rgb24``.

        Raises:
            VideoDecodeError: a requested frame is damaged, or lies in the missing part of a file
                that stops before its declared end.
        """
        return self.frame_reader.get_frames_played_at(seconds, size, window)

    def get_samples_played_in_range(
        self, start: float, stop: float, sample_rate: int
    ) -> torch.Tensor:
        """Return the audio samples between two seconds.

        Sample k is sample ``round(start * sample_rate) + k`` of the whole resampled track: windows
        agree where they overlap, whatever was read before.

        Args:
            start: start of the window in seconds; may lie before the track.
            stop: end of the window in seconds; may lie after the track.
            sample_rate: sample rate of the result, in Hz.

        Returns:
            float32 (round((stop - start) * sample_rate),), mean of the channels in -1..1, zero
            where the track has no samples.

        Raises:
            VideoDecodeError: there is no audio stream, the audio is damaged, or the file stops
                before both ``stop`` and its declared end.
        """
        return self.audio_reader.get_samples_played_in_range(start, stop, sample_rate)
