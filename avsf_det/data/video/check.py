"""Read video files through, from the first to the last frame, and say what is wrong with them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..audio import is_silent
from .reader import VideoDecodeError, VideoReader

PROBLEMS = ("missing", "undecodable", "no sound", "silent", "out of sync", "too short")
_WINDOW = 4  # seconds of sound that are looked at together


@dataclass
class VideoCheck:
    """What a file holds, by decoding it; what could not be found out is 0.

    Attributes:
        seconds: of the video stream, as far as it decodes.
        width, height: pixels, as shown.
        problems: one of ``PROBLEMS`` -> what exactly; empty if the file is good.
    """

    seconds: float = 0.0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)


def check_video(path: str | None, min_sec: float = 0.0, max_gap: float = 0.3) -> VideoCheck:
    """Decode all frames and the sound of a file.

    Args:
        path: None for a file that is missing.
        min_sec: shorter videos are "too short".
        max_gap: seconds by which sound may start or end before or after the frames; more is "out of
            sync". Whether what is heard fits what is seen, visualize_sync.py finds out.
    """
    if path is None:
        return VideoCheck(problems={"missing": "no such file"})
    try:
        with _Scanner(path) as scanner:
            return scanner.check(min_sec, max_gap)
    except VideoDecodeError as error:
        return VideoCheck(problems={"undecodable": _without(path, error)})


def presentation_times(path: str) -> np.ndarray:
    """Second at which each frame is shown, float64 (frames,), ascending; nothing is decoded.

    Raises:
        VideoDecodeError: the file cannot be read.
    """
    with _Scanner(path) as scanner:
        return scanner.presentation_times()


@dataclass
class _Track:
    """What decoding a stream gave: seconds of the reader's clock, and what went wrong."""

    start: float = 0.0
    end: float = 0.0
    frames: int = 0
    damages: list[str] = field(default_factory=list)


class _Scanner(VideoReader):
    def check(self, min_sec: float, max_gap: float) -> VideoCheck:
        video = self._scan("video")
        problems = {}
        damages = video.damages
        if self.has_audio:
            audio = self._scan("audio")
            damages = damages + [d for d in audio.damages if d not in damages]
            if not audio.damages and self._is_silent(audio.end):
                problems["silent"] = "the sound track has nothing to hear"
            elif gap := _gap(video, audio, max_gap):
                problems["out of sync"] = gap
        else:
            problems["no sound"] = "there is no sound track"
        if damages:
            more = f", and {len(damages) - 1} more" if len(damages) > 1 else ""
            problems["undecodable"] = damages[0] + more
        if video.end < min_sec:
            problems["too short"] = f"{video.end:.2f} s, a clip takes {min_sec:.2f} s"
        return VideoCheck(video.end, self.width, self.height, self.fps, video.frames, problems)

    def presentation_times(self) -> np.ndarray:
        self._open()
        stream = self._video.index
        packets = (p for p in self._packets("video") if p.stream.index == stream)
        times = (p.dts if p.pts is None else p.pts for p in packets if not p.is_discard)
        ticks = np.array(sorted(t for t in times if t is not None))
        return ticks * float(self._video.time_base) - float(self._zero)

    def _is_silent(self, end: float) -> bool:
        """Whether there is nothing to hear up to a second; found out by the first sound."""
        rate = self._audio.codec_context.sample_rate
        starts = range(0, math.ceil(end), _WINDOW)
        return all(
            is_silent(self.get_samples_played_in_range(start, start + _WINDOW, rate))
            for start in starts
        )

    def _scan(self, kind: str) -> _Track:
        """Decode one stream from start to end."""
        self._open()
        stream, track = self._stream(kind), _Track()
        time_base, zero = float(stream.time_base), float(self._zero)
        try:
            for pts, frame in self._decode(kind):
                if isinstance(frame, VideoDecodeError):
                    track.damages.append(_without(self.path, frame))
                    continue
                length = frame.samples / frame.sample_rate if kind == "audio" else 1 / self.fps
                second = pts * time_base - zero
                track.start = second if not track.frames else min(track.start, second)
                track.end = max(track.end, second + length)
                track.frames += 1
            if (end := self._declared_end()) is not None:
                self._check_not_truncated(end)
        except VideoDecodeError as error:
            track.damages.append(_without(self.path, error))
        return track


def _gap(video: _Track, audio: _Track, max_gap: float) -> str:
    """In words by how much the ends of the tracks are apart, if by more than ``max_gap``."""
    apart = {"starts": audio.start - video.start, "ends": audio.end - video.end}
    return ", ".join(
        f"the sound {verb} {abs(gap):.2f} s {'after' if gap > 0 else 'before'} the frames"
        for verb, gap in apart.items()
        if abs(gap) > max_gap
    )


def _without(path: str, error: VideoDecodeError) -> str:
    """The error's message without the file's name, which stands beside it."""
    return str(error).removeprefix(f"{path}: ")
