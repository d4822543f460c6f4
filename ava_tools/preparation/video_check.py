"""Decode video files from the first to the last frame and report what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from avsf_det.data.clip_reader import SILENCE_PEAK
from avsf_det.data.video.audio_reader import NOT_FINITE, MonoFrame, is_finite
from avsf_det.data.video.container import MediaFile
from avsf_det.data.video.formats import printable
from avsf_det.data.video.open_file import Kind, VideoDecodeError
from avsf_det.data.video.times import packet_time

# What readers make up for: the shape of pixels, rotation and mirroring, frames of another size or
# format, audio of another rate or with other channels.
NOTES = ("pixels", "orientation", "frames change", "audio changes")


@dataclass
class VideoCheck:
    """Facts about a file, found by decoding it; 0 where decoding failed."""

    seconds: float = 0.0  # length of the video stream as far as it decodes
    width: int = 0  # of frames as shown, in pixels
    height: int = 0
    fps: float = 0.0  # average frames per second
    frames: int = 0  # number of frames
    problems: Mapping[str, str] = field(default_factory=dict)  # of VIDEO_PROBLEMS -> explanation
    notes: Mapping[str, str] = field(default_factory=dict)  # one of NOTES -> explanation


@dataclass
class _Track:
    """Facts about a decoded stream."""

    start: float = 0.0  # seconds
    end: float = 0.0
    frames: int = 0
    peak: float = 0.0  # largest absolute sample of audio
    damages: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)  # kinds of frames after the first, and when


def check_video(
    path: str | None, min_sec: float = 0.0, max_gap: float = 0.3, last_sec: float = 0.0
) -> VideoCheck:
    """Decode all frames and the audio of a file.

    Args:
        path: path of the file; None for a file that is missing.
        min_sec: a shorter video is "too short", in seconds.
        max_gap: largest time between the starts or the ends of audio and frames, in seconds; more
            is "out of sync". visualize_sync.py compares the content of audio and frames.
        last_sec: second that must be in the file, as the last keyframe; more than a frame after
            the end is "second after the end".
    """
    if path is None:
        return VideoCheck(problems={"missing": "no such file"})
    try:
        with MediaFile(path) as file:
            return _check(file, min_sec, max_gap, last_sec)
    except VideoDecodeError as error:
        return VideoCheck(problems={"undecodable": _without_path(path, error)})


def presentation_times(path: str) -> np.ndarray:
    """Return the second at which each frame is shown, without decoding.

    Returns:
        float64 (frames,), ascending.

    Raises:
        VideoDecodeError: the file cannot be read.
    """
    with MediaFile(path) as file:
        file.reopen()
        packets = (p for p in file.packets("video") if p.stream.index == file.video.index)
        times = (packet_time(packet) for packet in packets if not packet.is_discard)
        ticks = np.array(sorted(time for time in times if time is not None))
        return ticks * float(file.time_base("video")) - float(file.zero)


def _check(file: MediaFile, min_sec: float, max_gap: float, last_sec: float) -> VideoCheck:
    video = _decode_all(file, "video")
    problems, damages = {}, video.damages
    notes = _note_geometry(file) | _first_of("frames change", video.changes)
    if file.audio is not None:
        audio = _decode_all(file, "audio")
        damages = damages + [damage for damage in audio.damages if damage not in damages]
        notes |= _first_of("audio changes", audio.changes)
        gaps = {"starts": audio.start - video.start, "ends": audio.end - video.end}
        gaps = {verb: gap for verb, gap in gaps.items() if abs(gap) > max_gap}
        if not audio.damages and audio.peak < SILENCE_PEAK:
            problems["silent"] = "the audio stream is silent"
        elif gaps:
            problems["out of sync"] = ", ".join(
                f"the audio {verb} {abs(gap):.2f} s {'after' if gap > 0 else 'before'} the frames"
                for verb, gap in gaps.items()
            )
    else:
        is_declared = any(s.index in file.empty_streams for s in file.container.streams.audio)
        problems["no sound"] = (
            "the audio stream is empty" if is_declared else "there is no audio stream"
        )
    problems |= _first_of("undecodable", damages)
    if video.end < min_sec:
        problems["too short"] = f"{video.end:.2f} s, a clip takes {min_sec:.2f} s"
    if last_sec > video.end + 1 / file.fps:
        ends = f"the csv has {last_sec:g} s, the frames end at {video.end:.2f} s"
        problems["second after the end"] = ends
    first = file.first_frame
    return VideoCheck(video.end, first.width, first.height, file.fps, video.frames, problems, notes)


def _note_geometry(file: MediaFile) -> dict[str, str]:
    """Return notes on how frames are shown."""
    first, notes = file.first_frame, {}
    stated = file.video.sample_aspect_ratio or 1
    if first.pixel_aspect != 1:
        aspect = f"{first.pixel_aspect.numerator}:{first.pixel_aspect.denominator}"
        notes["pixels"] = f"width to height {aspect}, shown as {first.width}x{first.height}"
    elif not 0.5 < stated < 2:
        aspect = f"{stated.numerator}:{stated.denominator}"
        notes["pixels"] = f"stated width to height {aspect}, taken as square"
    if first.quarter_turns or first.mirrored:
        turned = f"turned by {90 * first.quarter_turns} degrees"
        notes["orientation"] = turned + first.mirrored * ", mirrored"
    return notes


def _first_of(name: str, items: list[str]) -> dict[str, str]:
    """Return the first of some problems or notes, and how many more there are."""
    more = f", and {len(items) - 1} more" if len(items) > 1 else ""
    return {name: items[0] + more} if items else {}


def _decode_all(file: MediaFile, kind: Kind) -> _Track:
    """Decode one stream from start to end."""
    file.reopen()
    track, shape = _Track(), ""
    # Floating point is enough here: gaps are compared to tenths of a second.
    time_base, zero = float(file.time_base(kind)), float(file.zero)
    try:
        for pts, frame in file.decode(kind):
            if isinstance(frame, VideoDecodeError):
                track.damages.append(_without_path(file.path, frame))
                continue
            second = pts * time_base - zero
            if kind == "audio":
                length = frame.samples / frame.sample_rate
                now = f"{frame.sample_rate} Hz {frame.layout.name}"
                mono = MonoFrame(frame).mono
                track.peak = max(track.peak, float(np.abs(mono).max(initial=0)))
                if not is_finite(mono):
                    error = file.error(kind, NOT_FINITE, pts)
                    track.damages.append(_without_path(file.path, error))
            else:
                length, now = 1 / file.fps, f"{frame.width}x{frame.height} {frame.format.name}"
            if now != shape:
                track.changes += [f"to {now} at {second:.2f} s"] if shape else []
                shape = now
            track.start = second if not track.frames else min(track.start, second)
            track.end = max(track.end, second + length)
            track.frames += 1
        # What decoded may be all good and yet not all there.
        if file.declared_end is not None:
            file.check_not_truncated(file.declared_end)
    except VideoDecodeError as error:
        track.damages.append(_without_path(file.path, error))
    return track


def _without_path(path: str, error: VideoDecodeError) -> str:
    """Return the message of an error without the path of the file, which is shown beside it."""
    return str(error).removeprefix(f"{printable(path)}: ")
