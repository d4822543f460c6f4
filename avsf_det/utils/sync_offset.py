"""By how much the sound of a video is out of sync, as a model trained with MODEL.AVSYNC sees it:
windows of sight are compared with sound of other times.

Shorthands: W windows of sight, K of sound, S shifts between the two. Shifts are evenly spaced and
ascending; positive ones are of sound that comes later than its sight.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn

from ..data import ClipReader, ReaderPerClip, VideoReader
from ..data.packing import pack_frames
from ..data.transforms import CropClipView, build_clip_augmentations
from ..structures import AVSFError

MAX_WINDOWS = 24  # of sight, evenly spread over the video
MIN_SHIFTS = 5
MIN_SHARE = 0.25  # of the windows of sight, that must have sound at a shift
AGREEMENT = 0.15  # seconds
RESAMPLES = 200  # of the windows, for the confidence
# Of a clear peak. Where nothing is in sync one in fifty videos of 10 s has one in simulation; of a
# video not twice as long as the clips, whose windows are hardly different, one in five.
MIN_CONFIDENCE = 0.9
BATCH_SIZE = 8
BLANK = 32  # pixels, the least that all stages take: of the frames that sound comes with


class SyncError(AVSFError):
    """A model or a video with which sight and sound cannot be compared."""


@dataclass(frozen=True)
class Peak:
    """The shift at which sight and sound are most alike.

    Attributes:
        second: by which the sound is late, or early if it is negative.
        confidence: share of RESAMPLES draws of as many windows, with replacement, whose mean has
            its maximum within AGREEMENT of it (a bootstrap).
        is_inside: whether it goes down on both sides; else it may be the slope of another peak.
    """

    second: float
    confidence: float
    is_inside: bool

    @property
    def is_clear(self) -> bool:
        return self.is_inside and self.confidence >= MIN_CONFIDENCE

    def __str__(self) -> str:
        found = f"sound is {'early' if self.second < 0 else 'late'} by {abs(self.second):.2f} s"
        return f"{found if self.is_clear else 'no clear peak'} (confidence {self.confidence:.0%})"


class Windows:
    """Model inputs as long as the config's clips, from a second of a video on.

    Args:
        cfg: config of the model.

    Attributes:
        clip_sec: length of a window in seconds.
    """

    def __init__(self, cfg: CfgNode) -> None:
        view = CropClipView(cfg.INPUT.MIN_SIZE_TEST, 0, cfg.TEST.VIEWS.SPATIAL)
        self._source = ReaderPerClip([*build_clip_augmentations(cfg, is_train=False), view])
        self._clip_reader = ClipReader(cfg, is_train=False)
        self.clip_sec = self._clip_reader.clip_sec

    def read_frames(self, reader: VideoReader, second: float) -> dict:
        """Return a model input with frames, and silence."""
        clip, _ = self._source.read_frames(reader, self._clip_reader.frame_times(second))
        audio, has_audio = self._clip_reader.spectrogram(None)
        return {"frames": pack_frames(clip), "audio": audio, "has_audio": has_audio}

    def read_audio(self, reader: VideoReader, second: float) -> dict:
        """Return a model input with audio, and blank frames, which its embedding ignores."""
        num_frames = self._clip_reader.num_frames
        frames = torch.zeros(1, dtype=torch.uint8).expand(3, num_frames, BLANK, BLANK)
        audio = self._clip_reader.read_audio(reader, second, second + self.clip_sec)
        return {"frames": frames, **audio}


def compare_shifted(
    model: nn.Module,
    windows: Windows,
    path: str,
    *,
    levels: Sequence[str],
    max_shift: float,
    step: float,
    delay: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Compare sight with sound that comes earlier and later.

    Args:
        model: an :class:`avsf_det.modeling.AVPretrainer` in eval mode.
        levels: of the embeddings; the mean of their cosines counts.
        max_shift, step: of the shifts, in seconds. No sound from beyond the file's ends is used,
            so short videos have fewer.
        delay: seconds; the sound is made late by so much before.

    Returns:
        shifts (S,) in seconds; and similarity (W, S), see :func:`align`.

    Raises:
        SyncError: if there is too little to see or to hear.
        VideoDecodeError: if the file cannot be read.
    """
    least = windows.clip_sec + MIN_SHIFTS * step
    with VideoReader(path) as reader:
        if not reader.has_audio:
            raise SyncError(f"{path}: has no sound track")
        if reader.duration < least:
            raise SyncError(f"{path}: lasts {reader.duration:.2f} s; {least:.2f} s are needed")
        room = reader.duration - windows.clip_sec
        # Times of windows, as seen, are multiples of the step.
        seen = np.unique(np.linspace(0, _count(room, step), MAX_WINDOWS).round().astype(int))
        reach = _count(max_shift, step)
        shifts = np.arange(-reach, reach + 1)
        starts = {k: k * step - delay for k in np.unique(seen[:, None] + shifts)}
        sounds = {
            k: windows.read_audio(reader, start)
            for k, start in starts.items()
            if -1e-6 <= start <= room + 1e-6
        }
        sounds = {k: clip for k, clip in sounds.items() if _is_audible(model, clip)}
        if len(sounds) < MIN_SHIFTS:
            raise SyncError(f"{path}: the sound in reach is silent or monotonous")
        sound = _embed(model, sounds.values(), "audio", levels)
        sight = _embed(
            model, (windows.read_frames(reader, k * step) for k in seen), "visual", levels
        )
    cosine = np.einsum("lwd,lkd->wk", sight, sound) / len(levels)
    similarity = align(cosine, seen, np.array(list(sounds)), shifts)
    known = np.flatnonzero(np.isfinite(similarity).any(axis=0))
    if len(known) < MIN_SHIFTS:
        raise SyncError(f"{path}: too little sound within {max_shift:g} s of what is seen")
    part = slice(known[0], known[-1] + 1)
    return shifts[part] * step, similarity[:, part]


def align(
    cosine: np.ndarray, seen: np.ndarray, heard: np.ndarray, shifts: np.ndarray
) -> np.ndarray:
    """Similarities by shift. From each, the means of its sight with all sounds and of its sound
    with all sights are taken off: what is like everything says nothing about time.

    Args:
        cosine: (W, K).
        seen, heard, shifts: (W,), (K,), (S,) int, in steps; ``heard`` ascends.

    Returns:
        (W, S), NaN where there is no such sound, and for shifts of which too few windows have one.
    """
    centred = cosine - cosine.mean(axis=0) - cosine.mean(axis=1, keepdims=True) + cosine.mean()
    wanted = seen[:, None] + shifts
    column = np.searchsorted(heard, wanted).clip(max=len(heard) - 1)
    found = np.take_along_axis(centred, column, axis=1)
    found[heard[column] != wanted] = np.nan
    found[:, np.isfinite(found).mean(axis=0) < MIN_SHARE] = np.nan
    return found


def mean_curve(similarity: np.ndarray) -> np.ndarray:
    """(W, S) to its mean over windows (S,); NaN where that is unknown."""
    return np.ma.masked_invalid(similarity).mean(axis=0).filled(np.nan)


def find_peak(shifts: np.ndarray, similarity: np.ndarray) -> Peak:
    """The maximum of the mean over windows, refined by a parabola through its neighbours.

    Args:
        shifts: (S,) seconds.
        similarity: (W, S), NaN where unknown.
    """
    curve = mean_curve(similarity)
    top = int(np.nanargmax(curve))
    before, here, after = np.pad(curve, 1, constant_values=np.nan)[top : top + 3]
    second, bend = float(shifts[top]), 2 * here - before - after
    if bend > 0:
        second += float((after - before) / (2 * bend) * (shifts[1] - shifts[0]))
    draws = np.random.default_rng(0).integers(len(similarity), size=(RESAMPLES, len(similarity)))
    tops = np.array([_argmax(mean_curve(similarity[draw])) for draw in draws])
    agree = np.abs(shifts[tops] - shifts[top]) < AGREEMENT + 1e-6
    return Peak(second, float(agree.mean()), bool(bend > 0))


def _argmax(curve: np.ndarray) -> int:
    """Of what is known; -1 if nothing is."""
    return int(np.nanargmax(curve)) if np.isfinite(curve).any() else -1


def _count(seconds: float, step: float) -> int:
    """Whole steps."""
    return int(seconds / step + 1e-6)


def _is_audible(model: nn.Module, clip: dict) -> bool:
    """By the threshold of training, MODEL.AVSYNC.MIN_VARIANCE."""
    variance = (clip["audio"] / model.audio_std.item()).var(correction=0).item()
    return clip["has_audio"] and variance > model.avsync_head.min_variance


@torch.no_grad()
def _embed(
    model: nn.Module, clips: Iterable[dict], sense: str, levels: Sequence[str]
) -> np.ndarray:
    """Unit vectors (levels, N, D) of N model inputs; ``sense`` is "visual" or "audio"."""
    rows, clips = [], iter(clips)
    while batch := list(islice(clips, BATCH_SIZE)):
        found = [output["embeddings"] for output in model(batch)]
        rows += [[2 * x[level][sense].cpu().numpy() for level in levels] for x in found]
    return np.stack(rows, axis=1)
