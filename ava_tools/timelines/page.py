"""Page about one video: the video with its boxes, a lane per person with bouts, the spectrogram."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ava_tools.support.html import data_uri, image_uri, load_template
from ava_tools.support.visualizer import draw_logmel
from avsf_det.data.clip_reader import LogMel
from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.write import write_video
from avsf_det.utils.atomic import atomic_path

from .bouts import Bout

MAX_WIDTH, MAX_FPS = 640, 25  # of the video in the page
MAX_EMBEDDED = 40_000_000  # bytes; a larger video lies beside the page
LOGMEL_SIZE = 1600, 96  # pixels
AUDIO_RATE = 16000  # Hz
TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)  # seconds
CHUNK_SEC = 8.0  # audio read at once
_VIDEO_OPTIONS = {"crf": "28", "preset": "veryfast", "movflags": "faststart"}


@dataclass(frozen=True)
class PersonBoxes:
    """Boxes of a person along a video.

    Attributes:
        person: id of the person.
        seconds: float64 (T,), ascending.
        boxes: float64 (T, 4), x1 y1 x2 y2 in 0..1 of the frame.
    """

    person: str
    seconds: np.ndarray
    boxes: np.ndarray


def write_page(
    path: str | Path,
    video: str,
    persons: Sequence[PersonBoxes],
    bouts: Sequence[Bout],
    *,
    step: float = 1.0,
    facts: str = "",
) -> None:
    """Write the page, and the video beside it if it is too large to be part of the page.

    Args:
        path: HTML file.
        video: video file.
        persons: boxes of each person; between keyframes the page interpolates them.
        bouts: bouts of this video.
        step: seconds between keyframes. Over more than 1.5 steps no box is shown.
        facts: line about the model and its rules, for people.

    Raises:
        VideoDecodeError: the video cannot be read.
    """
    path = Path(path)
    preview = path.with_suffix(".mp4")
    with SequentialVideoReader(video) as reader:
        duration = reader.duration
        scale = min(1.0, MAX_WIDTH / reader.width)
        width, height = (max(2, round(x * scale / 2) * 2) for x in (reader.width, reader.height))
        fps = max(1, min(round(reader.fps), MAX_FPS))
        logmel = _whole_logmel(reader)
        frames = _frames(reader, fps, (height, width))
        write_video(preview, frames, fps, audio_of=video, video_options=_VIDEO_OPTIONS)
    source = os.path.relpath(preview, path.parent)
    if preview.stat().st_size <= MAX_EMBEDDED:
        source = data_uri("video/mp4", preview.read_bytes())
        preview.unlink()
    data = {
        "duration": duration,
        "step": step,
        "persons": [
            {
                "person": p.person,
                "seconds": np.round(p.seconds, 3).tolist(),
                "boxes": np.round(p.boxes, 4).tolist(),
            }
            for p in persons
        ],
        "bouts": [b._asdict() for b in bouts],
    }
    html = load_template(Path(__file__).with_name("page.html")).render(
        title=Path(video).name,
        duration=duration,
        size=(width, height),
        source=source,
        logmel=logmel,
        lanes=_lanes([p.person for p in persons], bouts),
        actions=sorted({b.action for b in bouts}),
        ticks=_ticks(duration),
        facts=facts,
        # "</script>" in a name must not end the script.
        data=json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    )
    with atomic_path(path) as temporary:
        Path(temporary).write_text(html.encode(errors="replace").decode(), encoding="utf-8")


def _lanes(
    persons: Sequence[str], bouts: Sequence[Bout]
) -> list[tuple[str, str, list[list[tuple[int, Bout]]]]]:
    """Return (person, name, rows), where each row has the (index, bout) of one action."""
    rows: dict[str, dict[str, list]] = {person: {} for person in persons}
    for index, b in enumerate(bouts):
        rows.setdefault(b.person, {}).setdefault(b.action, []).append((index, b))
    return [(person, _name(person), list(lanes.values())) for person, lanes in rows.items()]


def _name(person: str) -> str:
    """Return the name of a person for people; ids of the tracker are numbers."""
    return f"Person {person}" if person.isdecimal() else person or "nobody"


def _ticks(duration: float) -> list[tuple[float, str]]:
    """Return (second, text) of up to ten round times along a video."""
    step = next((s for s in TICK_STEPS if duration / s <= 10), duration / 10)
    ticks = [k * step for k in range(int(0.97 * duration / step) + 1)]
    if duration < 60:
        return [(t, f"{t:.3g} s") for t in ticks]
    return [(t, f"{int(t // 60)}:{int(t % 60):02}") for t in ticks]


def _frames(reader: SequentialVideoReader, fps: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the frames of the whole video at a rate and a size (height, width)."""
    for i in range(max(1, math.floor(reader.duration * fps))):
        yield reader.get_frames_played_at([i / fps], size)[0]


def _whole_logmel(reader: SequentialVideoReader) -> str:
    """Return the spectrogram of the whole video as a JPEG data URI; "" without audio."""
    if not reader.has_audio:
        return ""
    logmel = LogMel(sample_rate=AUDIO_RATE, window_sec=0.032, hop_sec=0.016, num_mels=64)
    columns: list[np.ndarray] = []
    # Each column of the image is the mean of its part of the time, so memory stays small.
    per_chunk = max(1, round(LOGMEL_SIZE[0] * CHUNK_SEC / max(reader.duration, CHUNK_SEC)))
    for k in range(math.ceil(reader.duration / CHUNK_SEC)):
        end = min((k + 1) * CHUNK_SEC, reader.duration)
        samples = reader.get_samples_played_in_range(k * CHUNK_SEC, end, AUDIO_RATE)
        steps = logmel(samples).numpy()
        if len(steps):
            share = max(1, round(per_chunk * (end - k * CHUNK_SEC) / CHUNK_SEC))
            parts = np.array_split(steps, min(share, len(steps)))
            columns.extend(part.mean(axis=0) for part in parts)
    return image_uri(draw_logmel(np.stack(columns), *LOGMEL_SIZE))
