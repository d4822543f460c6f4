"""Contact sheet to check a generated dataset by eye: frames with boxes, their audio below."""

import cv2
import numpy as np

from ava_tools.mini.annotations import annotate
from ava_tools.mini.ava_plan import CLIP_REACH, keyframes
from ava_tools.mini.rendering import render_audio, render_frames
from ava_tools.mini.video_plan import ACTIONS, FPS, HEIGHT, WIDTH, VideoPlan

_SCALE = 2
_SPECTROGRAM_HEIGHT, _TEXT_HEIGHT = 96, 20  # pixels


def draw_contact_sheet(videos: list[VideoPlan], columns: int = 4, rows: int = 3) -> np.ndarray:
    """Draw ``rows`` x ``columns`` moments of some videos.

    Returns:
        (H, W, 3) uint8 RGB. Each moment is a frame with boxes and labels, the spectrogram around
        it, and a caption that describes its audio.
    """
    tiles = [_draw_tile(video, second) for video, second in _choose(videos, rows * columns)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def log_mel(wave: np.ndarray, rate: int, bands: int = 64) -> np.ndarray:
    """Return an approximate log-mel spectrogram, for viewing only.

    Each band is the one frequency that is nearest to it on the mel scale.

    Args:
        wave: (samples,) float.
        rate: sample rate, Hz.
        bands: number of mel bands.

    Returns:
        (bands, time steps) log power of 32 ms windows every 8 ms, low frequencies first.
    """
    size, hop = round(0.032 * rate), round(0.008 * rate)
    windows = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(windows)) ** 2
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), bands + 1)[1:]
    bins = np.rint(700 * (10 ** (mels / 2595) - 1) * size / rate).astype(int)
    return np.log(power[:, bins].T + 1e-6)


def _choose(videos: list[VideoPlan], count: int) -> list[tuple[VideoPlan, float]]:
    """Choose moments greedily: the one with most content that is not shown yet comes next."""
    left = [(video, second) for video in videos for second in _moments(video)]
    chosen: list[tuple[VideoPlan, float]] = []
    shown: set[str] = set()
    while left and len(chosen) < count:
        gains = [len(_content(*moment) - shown) for moment in left]
        best = left.pop(int(np.argmax(gains)))
        shown |= _content(*best)
        chosen.append(best)
    return chosen


def _moments(video: VideoPlan) -> list[float]:
    """Return Mini-AVA's keyframes; else the middle of each shot with an action."""
    if video.shots[0].pair_modes:
        return [float(second) for second in keyframes(video)]
    return [(shot.start + shot.end) / 2 for shot in video.shots if any(shot.labels)]


def _content(video: VideoPlan, second: float) -> set[str]:
    """Return what a moment shows: actions, modes of the audio pairs, objects, kind of audio."""
    shot = video.shot_at(second)
    actions = {action for labels in shot.labels for action in labels}
    return actions.union(
        (f"{i} {mode}" for i, mode in enumerate(shot.pair_modes)),
        (f"holds {prop}" for prop in _props(video, second)),
        () if video.room_noise else (f"{video.channels} channels",),
    )


def _props(video: VideoPlan, second: float) -> list[str]:
    return [actor.prop for actor in video.shot_at(second).actors if actor.prop is not None]


def _describe_audio(video: VideoPlan, second: float) -> str:
    shot = video.shot_at(second)
    if shot.pair_modes:
        parts = [
            f"{pair} {mode}"
            for pair, mode in zip(("voice", "strike"), shot.pair_modes, strict=True)
        ]
    elif video.room_noise:
        kinds = {e.kind for e in video.audio_events if shot.start <= e.start < shot.end}
        parts = sorted(kinds) or ["background noise"]
    else:
        parts = ["digital silence" if video.channels else "no audio track"]
    return ", ".join([*parts, *_props(video, second)])


def _draw_tile(video: VideoPlan, second: float) -> np.ndarray:
    image = next(render_frames(video, round(second * FPS)))
    image = cv2.resize(image, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_NEAREST)
    height, width = HEIGHT * _SCALE, WIDTH * _SCALE
    for _, (x1, y1, x2, y2), actions in annotate(video, second):
        left, top = round(x1 * width), round(y1 * height)
        cv2.rectangle(image, (left, top), (round(x2 * width), round(y2 * height)), (255, 255, 0))
        for i, action in enumerate(sorted(actions, key=ACTIONS.index)):
            _write(image, action, (left + 2, max(top - 4 - 12 * i, 10)), (255, 255, 0))

    rate = video.sample_rate
    first, last = (round(max(second + reach, 0) * rate) for reach in (-CLIP_REACH, CLIP_REACH))
    spectrogram = log_mel(render_audio(video)[first:last], rate)[::-1]
    spectrogram = np.clip((spectrogram + 6) / 14 * 255, 0, 255).astype(np.uint8)
    size = (width, _SPECTROGRAM_HEIGHT)
    spectrogram = cv2.resize(spectrogram, size, interpolation=cv2.INTER_NEAREST)
    spectrogram = cv2.applyColorMap(spectrogram, cv2.COLORMAP_MAGMA)[..., ::-1]

    text = np.zeros((_TEXT_HEIGHT, width, 3), np.uint8)
    caption = f"{video.video_id} {second:04.4g}: {_describe_audio(video, second)}"
    _write(text, caption, (4, 14), (220, 220, 220))
    return np.vstack([image, spectrogram, text])


def _write(image: np.ndarray, text: str, at: tuple[int, int], color: tuple[int, int, int]) -> None:
    """Write outlined text into an image, in place."""
    for paint, thickness in (((0, 0, 0), 3), (color, 1)):
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, paint, thickness, cv2.LINE_AA)
