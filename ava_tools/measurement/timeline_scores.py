"""Figures of timelines: bouts of persons and tubes against annotations with ids of persons.

Annotations are keyframes, mostly one a second, and some seconds have none. So annotated time alone
counts: the spans of ``step`` seconds around the annotated keyframes of a video.

    annotated keyframes       x   x   x               x   x
    annotated time          [===========]           [=======]
    bout                  |-------|                     |-------------|
    counts as               [=====]                     [===]
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ava_tools.timelines.bouts import Bout, find_bouts
from ava_tools.timelines.thresholds import ANNOTATED

from .person_rows import PersonRows, match_rows
from .span_map import Detected, Tube, span_ap, span_f1, time_iou, tube_iou

TIME_IOUS = (0.3, 0.5, 0.7)
F1_TIME_IOU = 0.5
TUBE_IOUS = (0.2, 0.5)


@dataclass(frozen=True)
class ActionScores:
    """Figures of one action, in 0..1.

    Attributes:
        action: name.
        num_annotated: number of annotated bouts.
        num_found: number of found bouts in annotated time.
        f1: F1 of the bouts at a temporal IoU of 0.5.
        segment_ap: AP of the bouts at each of ``TIME_IOUS``.
        tube_ap: AP of the tubes at each of ``TUBE_IOUS``.
    """

    action: str
    num_annotated: int
    num_found: int
    f1: float
    segment_ap: tuple[float, ...]
    tube_ap: tuple[float, ...]

    @property
    def figures(self) -> list[float]:
        """F1 and all APs, in the order of :data:`COLUMNS`."""
        return [self.f1, *self.segment_ap, *self.tube_ap]


COLUMNS = (
    f"F1@{F1_TIME_IOU}",
    *(f"AP@{x}" for x in TIME_IOUS),
    *(f"tube AP@{x}" for x in TUBE_IOUS),
)


def score_timelines(
    bouts: Sequence[Bout],
    boxes: PersonRows,
    truth: PersonRows,
    actions: Sequence[str],
    step: float = 1.0,
) -> list[ActionScores]:
    """Return the figures of each annotated action.

    A found person is the annotated one whose boxes its own match at most keyframes; its bouts match
    bouts of that person alone. Tubes match by their boxes. The mean score of a bout ranks it.

    Args:
        bouts: found bouts.
        boxes: boxes of the persons of these bouts, by their ids.
        truth: annotations; scores are 1 or 0.
        actions: names of the columns of ``truth.scores``.
        step: seconds between annotated keyframes.
    """
    annotated_seconds: dict[str, list[float]] = defaultdict(list)
    for video, second in truth.keyframes:
        annotated_seconds[video].append(second)
    clocks = {video: _annotated_clock(s, step) for video, s in annotated_seconds.items()}
    names = _annotated_names(boxes, truth)
    true_bouts = list(find_bouts(truth.tracks(), actions, ANNOTATED, step))
    in_videos = [bout for bout in bouts if bout.video in clocks]

    def segments(rows: Iterable[Bout], name: Callable[[Bout], str]) -> list[Detected]:
        spans = (
            Detected((b.video, name(b)), b.action, clocks[b.video](b.start, b.end), b.mean)
            for b in rows
        )
        return [span for span in spans if span.span[1] > span.span[0]]

    found = segments(in_videos, lambda b: names.get((b.video, b.person), f"nobody {b.person}"))
    wanted = segments(true_bouts, lambda b: b.person)
    tubes, true_tubes = _tubes(in_videos, boxes.at(truth.keyframes)), _tubes(true_bouts, truth)
    f1 = span_f1(found, wanted, time_iou, F1_TIME_IOU)
    segment_ap = [span_ap(found, wanted, time_iou, x) for x in TIME_IOUS]
    tube_ap = [span_ap(tubes, true_tubes, tube_iou, x) for x in TUBE_IOUS]
    num_annotated, num_found = (Counter(span.action for span in x) for x in (wanted, found))
    return [
        ActionScores(
            action,
            num_annotated[action],
            num_found[action],
            f1[action],
            tuple(ap[action] for ap in segment_ap),
            tuple(ap[action] for ap in tube_ap),
        )
        for action in actions
        if num_annotated[action]
    ]


def format_scores(scores: Sequence[ActionScores]) -> str:
    """Return a table with a line per action and the mean over them."""
    width = max(len(s.action) for s in scores)
    lines = [f"{'action':{width}} | annotated | found | " + " | ".join(COLUMNS)]
    rows = [(s.action, s.num_annotated, s.num_found, s.figures) for s in scores]
    annotated, found = sum(s.num_annotated for s in scores), sum(s.num_found for s in scores)
    rows.append(("mean", annotated, found, np.mean([s.figures for s in scores], axis=0).tolist()))
    for name, num_annotated, num_found, figures in rows:
        cells = (f"{x:{len(c)}.3f}" for x, c in zip(figures, COLUMNS, strict=True))
        lines.append(f"{name:{width}} | {num_annotated:9} | {num_found:5} | " + " | ".join(cells))
    return "\n".join(lines)


def _annotated_clock(
    seconds: Sequence[float], step: float
) -> Callable[[float, float], tuple[float, float]]:
    """Return a map of spans to a clock that runs in annotated time only."""
    times = np.unique(seconds)
    starts = np.maximum(times - step / 2, 0)
    ends = np.minimum(times + step / 2, np.append(starts[1:], np.inf))
    knots = np.column_stack([starts, ends]).ravel()
    total = np.cumsum(ends - starts)
    clock = np.column_stack([total - (ends - starts), total]).ravel()
    return lambda start, end: tuple(np.interp([start, end], knots, clock).tolist())


def _annotated_names(boxes: PersonRows, truth: PersonRows) -> dict[tuple[str, str], str]:
    """Return (video, found person) -> annotated person, by the number of matched boxes."""
    owner = match_rows(boxes, truth)
    names = {}
    for (video, person), rows in boxes.rows_by_person().items():
        owners = truth.persons[owner[rows][owner[rows] >= 0]]
        if len(owners):
            names[video, person] = str(np.bincount(owners).argmax())
    return names


def _tubes(bouts: Iterable[Bout], boxes: PersonRows) -> list[Detected[Tube]]:
    """Return the boxes of each bout; a bout without any is left out."""
    rows_of, seconds, tubes = boxes.rows_by_person(), boxes.seconds, []
    for bout in bouts:
        rows = rows_of.get((bout.video, bout.person), np.zeros(0, np.int64))
        rows = rows[(seconds[rows] >= bout.start) & (seconds[rows] < bout.end)]
        if len(rows):
            tube = Tube(seconds[rows], boxes.boxes[rows])
            tubes.append(Detected(bout.video, bout.action, tube, bout.mean))
    return tubes
