"""Estimate the audio offset of a video with a model that was trained with MODEL.AVSYNC.

Visual windows are compared with audio windows of other times. Shorthands: W visual windows, K audio
windows, S shifts between them. Shifts are evenly spaced and ascending; a positive shift means that
the audio is later than the frames.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import numpy as np
import torch
from detectron2.config import CfgNode

from avsf_det.data import ClipReader, ReaderPerClip, VideoReader
from avsf_det.data.transforms import CropClipView, build_clip_augmentations, pack_frames
from avsf_det.modeling import AVPretrainer
from avsf_det.structures import AVSFError

MAX_WINDOWS = 24  # largest number of visual windows, evenly spread over the video
MIN_SHIFTS = 5
MIN_FRACTION = 0.25  # of the visual windows, which must have audio at a shift
AGREEMENT = 0.15  # seconds between peaks that count as the same
RESAMPLES = 200  # bootstrap samples of the windows, for the confidence
# Lowest confidence of a clear peak. In simulation, of videos without synchronous audio one in fifty
# of 10 s has a clear peak; of videos shorter than two clips, whose windows overlap, one in five.
MIN_CONFIDENCE = 0.9
BATCH_SIZE = 8
BLANK = 32  # pixels, smallest frames that all stages accept


class SyncError(AVSFError):
    """A model or a video whose frames and audio cannot be compared."""


@dataclass(frozen=True)
class Peak:
    """The shift with the highest similarity of frames and audio.

    Attributes:
        second: delay of the audio, seconds; negative if it is early.
        confidence: fraction of RESAMPLES bootstrap samples of the windows whose mean has its
            maximum within AGREEMENT of this one.
        is_inside: whether the similarity falls on both sides; else the peak may be out of reach.
    """

    second: float
    confidence: float
    is_inside: bool

    @property
    def is_clear(self) -> bool:
        """Return whether the peak can be trusted."""
        return self.is_inside and self.confidence >= MIN_CONFIDENCE

    def __str__(self) -> str:
        found = f"audio is {'early' if self.second < 0 else 'late'} by {abs(self.second):.2f} s"
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
    model: AVPretrainer,
    windows: Windows,
    path: str,
    *,
    levels: Sequence[str],
    max_shift: float,
    step: float,
    delay: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Compare frames with audio that is earlier and later.

    Args:
        model: an :class:`avsf_det.modeling.AVPretrainer` in eval mode.
        windows: reader of model inputs.
        path: video file.
        levels: levels of the embeddings; their mean cosine is used.
        max_shift: largest shift, seconds. Short videos have fewer shifts, because no audio beyond
            the ends of the file is used.
        step: distance between shifts, seconds.
        delay: seconds by which the audio is delayed first.

    Returns:
        shifts (S,) in seconds; and similarity (W, S), see :func:`align`.

    Raises:
        SyncError: the video is too short, or has too little audio.
        VideoDecodeError: the file cannot be read.
    """
    least = windows.clip_sec + MIN_SHIFTS * step
    with VideoReader(path) as reader:
        if not reader.has_audio:
            raise SyncError(f"{path}: has no audio track")
        if reader.duration < least:
            raise SyncError(f"{path}: lasts {reader.duration:.2f} s; {least:.2f} s are needed")
        room = reader.duration - windows.clip_sec
        # Windows start at multiples of the step, so audio windows are shared between shifts.
        visual_steps = np.unique(
            np.linspace(0, _count(room, step), MAX_WINDOWS).round().astype(int)
        )
        reach = _count(max_shift, step)
        shifts = np.arange(-reach, reach + 1)
        starts = {k: k * step - delay for k in np.unique(visual_steps[:, None] + shifts)}
        audio_inputs = {
            k: windows.read_audio(reader, start)
            for k, start in starts.items()
            if -1e-6 <= start <= room + 1e-6
        }
        audio_inputs = {k: clip for k, clip in audio_inputs.items() if _is_audible(model, clip)}
        if len(audio_inputs) < MIN_SHIFTS:
            raise SyncError(f"{path}: the audio in reach is silent or monotonous")
        audio = _embed(model, audio_inputs.values(), "audio", levels)
        visual = _embed(
            model, (windows.read_frames(reader, k * step) for k in visual_steps), "visual", levels
        )
    cosine = np.einsum("lwd,lkd->wk", visual, audio) / len(levels)
    similarity = align(cosine, visual_steps, np.array(list(audio_inputs)), shifts)
    known = np.flatnonzero(np.isfinite(similarity).any(axis=0))
    if len(known) < MIN_SHIFTS:
        raise SyncError(f"{path}: too little audio within {max_shift:g} s of the frames")
    part = slice(known[0], known[-1] + 1)
    return shifts[part] * step, similarity[:, part]


def align(
    cosine: np.ndarray, visual_steps: np.ndarray, audio_steps: np.ndarray, shifts: np.ndarray
) -> np.ndarray:
    """Double-centre a similarity matrix, and arrange it by shift.

    Centring subtracts row and column means and adds the grand mean: an embedding that is similar to
    everything carries no timing information.

    Args:
        cosine: (W, K) cosine of each visual and each audio window.
        visual_steps: (W,) int, times of the visual windows in steps.
        audio_steps: (K,) int, times of the audio windows in steps, ascending.
        shifts: (S,) int, shifts in steps.

    Returns:
        (W, S); NaN where the audio window is missing, and at shifts that too few windows have.
    """
    centred = cosine - cosine.mean(axis=0) - cosine.mean(axis=1, keepdims=True) + cosine.mean()
    wanted = visual_steps[:, None] + shifts
    column = np.searchsorted(audio_steps, wanted).clip(max=len(audio_steps) - 1)
    found = np.take_along_axis(centred, column, axis=1)
    found[audio_steps[column] != wanted] = np.nan
    found[:, np.isfinite(found).mean(axis=0) < MIN_FRACTION] = np.nan
    return found


def mean_curve(similarity: np.ndarray) -> np.ndarray:
    """Return the mean (S,) of a similarity (W, S) over windows; NaN where it is unknown."""
    return np.ma.masked_invalid(similarity).mean(axis=0).filled(np.nan)


def find_peak(shifts: np.ndarray, similarity: np.ndarray) -> Peak:
    """Find the maximum of the mean over windows, refined by a parabola through its neighbours.

    Args:
        shifts: (S,) shifts, seconds.
        similarity: (W, S), NaN where unknown.
    """
    curve = mean_curve(similarity)
    top = int(np.nanargmax(curve))
    before, here, after = np.pad(curve, 1, constant_values=np.nan)[top : top + 3]
    second, curvature = float(shifts[top]), 2 * here - before - after
    if curvature > 0:  # false for NaN, beside an unknown shift
        second += float((after - before) / (2 * curvature) * (shifts[1] - shifts[0]))
    draws = np.random.default_rng(0).integers(len(similarity), size=(RESAMPLES, len(similarity)))
    tops = np.array([_argmax(mean_curve(similarity[draw])) for draw in draws])
    agree = np.abs(shifts[tops] - shifts[top]) < AGREEMENT + 1e-6
    return Peak(second, float(agree.mean()), bool(curvature > 0))


def _argmax(curve: np.ndarray) -> int:
    """Return the index of the highest known value; -1 if none is known."""
    return int(np.nanargmax(curve)) if np.isfinite(curve).any() else -1


def _count(seconds: float, step: float) -> int:
    """Return the number of whole steps."""
    return int(seconds / step + 1e-6)


def _is_audible(model: AVPretrainer, clip: dict) -> bool:
    """Return whether audio varies more than MODEL.AVSYNC.MIN_VARIANCE, as in training."""
    head, std = model.avsync_head, cast(torch.Tensor, model.audio_std).item()
    assert head is not None
    variance = (clip["audio"] / std).var(correction=0).item()
    return clip["has_audio"] and variance > head.min_variance


@torch.no_grad()
def _embed(
    model: AVPretrainer, clips: Iterable[dict], sense: str, levels: Sequence[str]
) -> np.ndarray:
    """Return unit vectors (levels, N, D) of N model inputs; ``sense`` is "visual" or "audio"."""
    rows, clips = [], iter(clips)
    while batch := list(islice(clips, BATCH_SIZE)):
        found = [output["embeddings"] for output in model(batch)]
        rows += [[2 * x[level][sense].cpu().numpy() for level in levels] for x in found]
    return np.stack(rows, axis=1)
