"""Write drawn frames and the audio of a live stream to an mp4 while it runs."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from avsf_det.data.video.open_file import libav_path

from .live_buffer import AudioTrack

_TICK = Fraction(1, 90000)  # of frames, in seconds
_CHUNK = 1024  # audio samples of an AAC frame
_LIMITED = 1  # libav's number of a range
_ENCODING = {"preset": "ultrafast", "crf": "26", "threads": "0"}
# A killed run leaves a file of fragments that plays; the end makes a usual mp4 of it.
_MUXING = {"movflags": "hybrid_fragmented+frag_keyframe", "avoid_negative_ts": "disabled"}


class LiveWriter:
    """Writer of an mp4 with H.264 and AAC; a context manager that completes the file.

    Args:
        path: file to write.
        size: (height, width) of the frames, both even.
        colorspace: libav's number of the colour matrix of the frames.
        audio: track that is written; None: no audio stream.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int], colorspace: int, audio: AudioTrack | None
    ) -> None:
        self._audio = audio
        self._written = 0  # audio samples
        self._container = av.open(libav_path(path), "w", format="mp4", options=_MUXING)
        self._video: Any = self._container.add_stream("libx264", rate=25, options=_ENCODING)
        self._video.height, self._video.width = size
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.time_base, context.colorspace, context.color_range = _TICK, colorspace, _LIMITED
        self._sound: Any = None
        if audio is not None:
            layout = ("mono", "stereo")[audio.channels - 1]
            self._sound = self._container.add_stream("aac", rate=audio.rate, layout=layout)

    def write_frame(self, second: float, image: np.ndarray) -> None:
        """Write a frame: uint8 (H * 3 / 2, W) YUV, by ascending seconds from 0."""
        frame = av.VideoFrame.from_ndarray(image, "yuv420p")
        frame.pts, frame.time_base = round(second / _TICK), _TICK
        self._container.mux(self._video.encode(frame))

    def write_audio(self, until: float) -> None:
        """Write the audio up to a second, in whole chunks."""
        if self._audio is None:
            return
        while (self._written + _CHUNK) / self._audio.rate <= until:
            samples = self._audio.read(self._written, self._written + _CHUNK)
            layout = ("mono", "stereo")[self._audio.channels - 1]
            frame = av.AudioFrame.from_ndarray(samples, "fltp", layout)
            frame.sample_rate, frame.pts = self._audio.rate, self._written
            self._container.mux(self._sound.encode(frame))
            self._written += _CHUNK

    def __enter__(self) -> "LiveWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in (self._video, self._sound):
            if stream is not None:
                self._container.mux(stream.encode(None))
        self._container.close()
