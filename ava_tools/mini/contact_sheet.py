"""One picture to judge generated films by: moments with boxes and labels, their sound below."""

import cv2
import numpy as np

from ava_tools.mini.annotations import annotate
from ava_tools.mini.film import frames, soundtrack
from ava_tools.mini.script import ACTIONS, CLIP_REACH, FPS, HEIGHT, WIDTH, Movie, keyframes

_SCALE = 2
_STRIP, _TEXT = 96, 20  # heights of the spectrogram and of a line of text, pixels


def contact_sheet(movies: list[Movie], columns: int = 4, rows: int = 3) -> np.ndarray:
    """``rows`` x ``columns`` moments of ``movies``, (H, W, 3) uint8 RGB. Each is the frame with
    its boxes and labels, then the log-mel around it, then what is heard."""
    tiles = [_tile(movie, second) for movie, second in _choose(movies, rows * columns)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def log_mel(wave: np.ndarray, rate: int, bands: int = 64) -> np.ndarray:
    """(bands, columns) log power of 32 ms windows every 8 ms, low frequencies first; for eyes, not
    for models: each band is the one nearest frequency of the mel scale."""
    size, hop = round(0.032 * rate), round(0.008 * rate)
    windows = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(windows)) ** 2
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), bands + 1)[1:]
    picked = np.rint(700 * (10 ** (mels / 2595) - 1) * size / rate).astype(int)
    return np.log(power[:, picked].T + 1e-6)


def _choose(movies: list[Movie], count: int) -> list[tuple[Movie, float]]:
    """First what shows an action, a prop or a program of the pairs not shown yet, then whatever
    comes."""
    left = [(movie, second) for movie in movies for second in _moments(movie)]
    chosen, seen = [], set()
    while left and len(chosen) < count:
        news = [len(_content(*candidate) - seen) for candidate in left]
        best = left.pop(int(np.argmax(news)))
        seen |= _content(*best)
        chosen.append(best)
    return chosen


def _moments(movie: Movie) -> list[float]:
    """Mini-AVA's keyframes, or else the middle of each shot in which somebody acts."""
    if movie.shots[0].programs:
        return keyframes(movie)
    return [(shot.start + shot.end) / 2 for shot in movie.shots if any(shot.labels)]


def _content(movie: Movie, second: float) -> set[str]:
    shot = movie.shot_at(second)
    actions = {action for labels in shot.labels for action in labels}
    return actions.union(
        (f"{i} {name}" for i, name in enumerate(shot.programs)),
        (f"holds {prop}" for prop in _props(movie, second)),
        () if movie.ambience else (f"{movie.channels} channels",),
    )


def _props(movie: Movie, second: float) -> list[str]:
    return [actor.prop for actor in movie.shot_at(second).actors if actor.prop is not None]


def _note(movie: Movie, second: float) -> str:
    shot = movie.shot_at(second)
    if shot.programs:
        parts = [
            f"{pair} {name}" for pair, name in zip(("voice", "strike"), shot.programs, strict=True)
        ]
    elif movie.ambience:
        kinds = {s.kind for s in movie.sounds if shot.start <= s.start < shot.end}
        parts = sorted(kinds) or ["room noise"]
    else:
        parts = ["digital silence" if movie.channels else "no sound track"]
    return ", ".join([*parts, *_props(movie, second)])


def _tile(movie: Movie, second: float) -> np.ndarray:
    image = next(frames(movie, round(second * FPS)))
    image = cv2.resize(image, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_NEAREST)
    height, width = HEIGHT * _SCALE, WIDTH * _SCALE
    for _, (x1, y1, x2, y2), actions in annotate(movie, second):
        left, top = round(x1 * width), round(y1 * height)
        cv2.rectangle(image, (left, top), (round(x2 * width), round(y2 * height)), (255, 255, 0))
        for i, action in enumerate(sorted(actions, key=ACTIONS.index)):
            _write(image, action, (left + 2, max(top - 4 - 12 * i, 10)), (255, 255, 0))

    rate = movie.sample_rate
    first, last = (round(max(second + reach, 0) * rate) for reach in (-CLIP_REACH, CLIP_REACH))
    strip = log_mel(soundtrack(movie)[first:last], rate)[::-1]
    strip = np.clip((strip + 6) / 14 * 255, 0, 255).astype(np.uint8)
    strip = cv2.resize(strip, (width, _STRIP), interpolation=cv2.INTER_NEAREST)
    strip = cv2.applyColorMap(strip, cv2.COLORMAP_MAGMA)[..., ::-1]

    text = np.zeros((_TEXT, width, 3), np.uint8)
    caption = f"{movie.video_id} {second:04.4g}: {_note(movie, second)}"
    _write(text, caption, (4, 14), (220, 220, 220))
    return np.vstack([image, strip, text])


def _write(image: np.ndarray, text: str, at: tuple[int, int], color: tuple[int, int, int]) -> None:
    for paint, thickness in (((0, 0, 0), 3), (color, 1)):
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, paint, thickness, cv2.LINE_AA)
