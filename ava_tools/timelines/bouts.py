"""Bouts of actions along the track of a person, from the scores of its keyframes.

    score  1 |        . x x .
             |      x         x . x             x
    high   --|----------------------------------------
    low    --|----------------------------------------
             |  x                     x x . x
             +---------------------------------------> time
                    [======bout=====]           [bout]

A bout starts where the smoothed score reaches `high`, and lasts as long as it stays above `low`, so
that a score that wavers around one threshold does not cut it into pieces.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from avsf_det.structures import AVSFError


class Bout(NamedTuple):
    """An action of a person from a start to an end.

    Attributes:
        video: video id.
        person: id of the person within the video.
        action: name of the action.
        start: seconds of the video.
        end: seconds of the video, after ``start``.
        mean: mean score of the keyframes in it, 0..1.
        peak: highest score of the keyframes in it, 0..1.
    """

    video: str
    person: str
    action: str
    start: float
    end: float
    mean: float = 1.0
    peak: float = 1.0


class Track(NamedTuple):
    """Scores of a person along a video.

    Attributes:
        video: video id.
        person: id of the person within the video.
        seconds: float64 (T,), times of the keyframes, ascending.
        scores: float64 (T, K), scores of the K actions, 0..1.
    """

    video: str
    person: str
    seconds: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class BoutRules:
    """Rules that make bouts of scores.

    Attributes:
        threshold: score that starts a bout.
        thresholds: action -> its own ``threshold``.
        release: fraction of the threshold below which a bout ends, 0..1.
        smoothing: odd number of keyframes of the running mean; 1 for none.
        max_gap: bouts of one person and action with at most so many seconds between them are
            joined.
        min_length: shorter bouts are dropped, seconds.
    """

    threshold: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
    release: float = 0.7
    smoothing: int = 1
    max_gap: float = 0.0
    min_length: float = 0.0

    def __post_init__(self) -> None:
        checks = {
            "threshold": 0 < self.threshold <= 1,
            "release": 0 < self.release <= 1,
            "smoothing": self.smoothing >= 1 and self.smoothing % 2 == 1,
            "max_gap": self.max_gap >= 0,
            "min_length": self.min_length >= 0,
        }
        wrong = [name for name, holds in checks.items() if not holds]
        wrong += [name for name, score in self.thresholds.items() if not 0 < score <= 1]
        if wrong:
            raise AVSFError(
                f"rules of bouts: '{wrong[0]}' is out of range; thresholds and release are in "
                "(0, 1], smoothing is odd, seconds are 0 or more"
            )


def find_bouts(
    tracks: Iterable[Track], actions: Sequence[str], rules: BoutRules, step: float = 1.0
) -> Iterator[Bout]:
    """Yield the bouts of each track, by action and start.

    Args:
        tracks: scores along each person's track.
        actions: names of the K actions.
        rules: see :class:`BoutRules`.
        step: seconds between keyframes. A keyframe represents ``step / 2`` on either side of it.
            Where the next keyframe of a track is more than 1.5 steps away, the person was not
            visible in between, and a bout ends.
    """
    for track in tracks:
        if not len(track.seconds):
            continue
        # Parts of the track without a gap: [0, 1, 2, 5, 6] s -> [0, 1, 2] and [5, 6].
        cuts = np.flatnonzero(np.diff(track.seconds) > 1.5 * step) + 1
        parts = np.split(np.arange(len(track.seconds)), cuts)
        for k, action in enumerate(actions):
            high = rules.thresholds.get(action, rules.threshold)
            spans: list[tuple[float, float, np.ndarray]] = []
            for part in parts:
                scores = track.scores[part, k]
                for first, last in _hysteresis(
                    _smooth(scores, rules.smoothing), high, rules.release * high
                ):
                    start = max(track.seconds[part[first]] - step / 2, 0.0)
                    end = track.seconds[part[last]] + step / 2
                    spans.append((start, end, scores[first : last + 1]))
            for start, end, inside in _join(spans, rules.max_gap):
                if end - start >= rules.min_length:
                    mean, peak = float(inside.mean()), float(inside.max())
                    yield Bout(track.video, track.person, action, start, end, mean, peak)


def _smooth(scores: np.ndarray, width: int) -> np.ndarray:
    """Return the running mean; at both ends over the keyframes that exist."""
    index = np.arange(len(scores))
    first = np.maximum(index - width // 2, 0)
    end = np.minimum(index + width // 2 + 1, len(scores))
    sums = np.concatenate([[0], np.cumsum(scores)])
    return (sums[end] - sums[first]) / (end - first)


def _hysteresis(scores: np.ndarray, high: float, low: float) -> Iterator[tuple[int, int]]:
    """Yield first and last index of the runs of scores >= low that reach ``high``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], scores >= low, [0]])))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if scores[first:end].max() >= high:
            yield int(first), int(end) - 1


def _join(
    spans: Sequence[tuple[float, float, np.ndarray]], max_gap: float
) -> list[tuple[float, float, np.ndarray]]:
    """Return the spans, those with at most ``max_gap`` seconds between them joined."""
    joined: list[tuple[float, float, np.ndarray]] = []
    for start, end, scores in spans:
        if joined and start - joined[-1][1] <= max_gap:
            first, _, before = joined.pop()
            joined.append((first, end, np.concatenate([before, scores])))
        else:
            joined.append((start, end, scores))
    return joined
