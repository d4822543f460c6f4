"""Build the HTML of a report from the detections of one or more runs on the same dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ava_tools.measurement.intervals import (
    FEW_BOXES,
    Intervals,
    OperatingPoint,
    best_operating_point,
    bootstrap_ap,
)
from ava_tools.support.html import load_template
from avsf_det.data import VideoDecodeError
from avsf_det.evaluation.ava_map import (
    PROTOCOLS,
    RankedClass,
    average_precision,
    rank_detections,
)
from avsf_det.structures import ActionBoxes
from avsf_det.structures.addresses import is_address

from .clips import EncodedClip, encode_clip
from .errors import (
    KINDS,
    ErrorAnalysis,
    analyze_errors,
    count_by_video,
    list_errors,
    precision_recall,
)
from .gallery import Example, choose_examples
from .sources import EvaluatedDataset, ReportError
from .training import Training

MAX_RUNS = 4  # number of colours and dash patterns of the page
MAX_CONFUSIONS = 12  # listed beside the matrix
STEPS = 20  # score thresholds of the page, from 0 to 1
PLOT = 400, 300  # width and height of a precision-recall plot, in SVG units


@dataclass(frozen=True)
class Run:
    """Evaluation of one run, with one list entry per class.

    Attributes:
        name: name for people.
        ap: average precision, 0..1; nan for classes without ground truth.
        curves: precision-recall curves; see :func:`precision_recall`.
        errors: error analysis.
        points: score threshold with the best F1; None without detections or ground truth.
        intervals: bootstrap intervals of AP and mAP.
        counts: counts of the scorer.
    """

    name: str
    ap: list[float]
    curves: list[np.ndarray]
    errors: ErrorAnalysis
    points: list[OperatingPoint | None]
    intervals: Intervals
    counts: dict[str, int]

    @property
    def mean_ap(self) -> float:
        """Mean of AP over the classes with ground truth."""
        return float(np.nanmean(self.ap))


class Report(NamedTuple):
    """Page about an evaluation.

    Attributes:
        html: the page.
        problems: error message of each clip that cannot be read.
        errors: rows of a csv, header first; see :func:`list_errors`.
    """

    html: str
    problems: list[str]
    errors: list[list]


def build_report(
    evaluated: EvaluatedDataset,
    detections: Mapping[str, ActionBoxes],
    *,
    title: str,
    protocol: str = "default",
    max_clips: int = 50,
    trainings: Mapping[str, Training] | None = None,
    timelines: Mapping[str, str] | None = None,
    thresholds_file: str = "",
) -> Report:
    """Build the page.

    Args:
        evaluated: dataset of the runs.
        detections: name -> detections of a run. The first run is reported, the others are compared
            with it.
        title: title of the page.
        protocol: key of ``PROTOCOLS``.
        max_clips: largest number of examples with a clip; they are most of the file.
        trainings: name -> curves of the training of a run, where they are known.
        timelines: video id -> link to its page of timeline.py.
        thresholds_file: thresholds of the first run that timeline.py uses; "" if there are none.

    Raises:
        ReportError: too many runs.
        AVAEvaluationError: detections that cannot be scored.
    """
    if not 1 <= len(detections) <= MAX_RUNS:
        raise ReportError(f"{len(detections)} runs; a report has 1 to {MAX_RUNS}")
    runs = [_evaluate(name, rows, evaluated, protocol) for name, rows in detections.items()]
    worst_first = [int(i) for i in np.argsort(runs[0].ap) if not np.isnan(runs[0].ap[i])]
    examples = choose_examples(
        runs[0].errors,
        list(detections.values()),
        evaluated.ground_truth,
        evaluated.label_map,
        worst_first,
        max_clips,
    )
    clips, problems = _encode(examples, evaluated)
    names = list(evaluated.label_map.values())
    first = next(iter(detections.values()))
    html = load_template(Path(__file__).with_name("page.html")).render(
        title=title,
        dataset=evaluated.name,
        protocol=f"{protocol}: {PROTOCOLS[protocol]}",
        runs=runs,
        counts=runs[0].counts,
        names=names,
        classes=[_class_row(i, name, runs) for i, name in enumerate(names)],
        differences=[_differences(runs[0], other, names) for other in runs[1:]],
        first_class=_first_class(runs, worst_first[0]),
        kinds=KINDS,
        confused=[_confused(run.errors, names) for run in runs],
        examples=list(zip(examples, clips, strict=True)),
        places=[_place_in_video(x, evaluated) for x in examples],
        timelines=timelines or {},
        thresholds_file=thresholds_file,
        plot=PLOT,
        few=FEW_BOXES,
        videos=count_by_video(runs[0].errors, first, evaluated.ground_truth),
        thresholds=[_counts_by_threshold(c.ranked, first.scores) for c in runs[0].errors.classes],
        trainings=trainings or {},
    )
    # A file name whose bytes are not UTF-8 has lone surrogates, which no file can hold.
    return Report(
        html.encode(errors="replace").decode(),
        problems,
        list(list_errors(runs[0].errors, first, evaluated.ground_truth, names)),
    )


def _evaluate(name: str, rows: ActionBoxes, evaluated: EvaluatedDataset, protocol: str) -> Run:
    classes, counts = rank_detections(
        rows, evaluated.ground_truth, evaluated.label_map, evaluated.excluded, protocol
    )
    ranked = list(classes)
    return Run(
        name,
        [
            average_precision(c.found >= 0, len(c.ground_truth)) if len(c.ground_truth) else np.nan
            for c in ranked
        ],
        [precision_recall(c) for c in ranked],
        analyze_errors(ranked, rows, evaluated.ground_truth),
        [best_operating_point(c, rows.scores) for c in ranked],
        bootstrap_ap(ranked, rows, evaluated.ground_truth),
        counts,
    )


def _class_row(i: int, name: str, runs: Sequence[Run]) -> dict:
    """Return the values of one class for the template."""
    errors = [run.errors.classes[i] for run in runs]
    num = len(errors[0].ranked.ground_truth)
    found = [int(e.counts[0]) for e in errors]
    return {
        "index": i,
        "name": name,
        "num": num,
        "sort_key": (np.isnan(runs[0].ap[i]), -runs[0].ap[i]),  # the highest AP first
        "ap": [None if np.isnan(run.ap[i]) else run.ap[i] for run in runs],
        "interval": [None if np.isnan(run.ap[i]) else run.intervals.ap[i] for run in runs],
        "kinds": [e.counts.tolist() for e in errors],
        "missed": [len(e.missed) for e in errors],
        "paths": [curve_path(run.curves[i]) for run in runs],
        # Recall and precision of the predictions.
        "points": [
            (f / num, f / len(e.kind)) if len(e.kind) else None
            for f, e in zip(found, errors, strict=True)
        ],
    }


def _counts_by_threshold(ranked: RankedClass, scores: np.ndarray) -> dict[str, list[int]]:
    """Return the number of detections, and of correct ones, at or above k / STEPS."""
    by_rank = scores[ranked.detections]
    kept = np.searchsorted(-by_rank, -np.linspace(0, 1, STEPS + 1), side="right")
    found = np.concatenate([[0], np.cumsum(ranked.found >= 0)])
    return {"kept": kept.tolist(), "found": found[kept].tolist()}


def _place_in_video(example: Example, evaluated: EvaluatedDataset) -> str:
    """Return the link to the second of an example in its whole video; "" without a video."""
    video_id, second = example.keyframe
    if video_id not in evaluated.files:
        return ""
    path, offset = evaluated.files[video_id]
    link = path if is_address(path) else Path(path).absolute().as_uri()
    return f"{link}#t={max(second - offset, 0):g}"


def curve_path(curve: np.ndarray) -> str:
    """Return a precision-recall curve as SVG path data, in a plot of the size ``PLOT``.

    Args:
        curve: result of :func:`precision_recall`.
    """
    width, height = PLOT
    if not len(curve):
        return f"M0 {height}"
    steps = [f"V{(1 - p) * height:.1f}H{r * width:.1f}" for r, p in curve]
    return f"M0 {(1 - curve[0, 1]) * height:.1f}" + "".join(steps) + f"V{height}"


def _differences(run: Run, other: Run, names: Sequence[str]) -> dict:
    """Return AP of a run minus AP of another in percentage points, the greatest gain first.

    "zero", "left" and "width" place the bars, in percent of the axis.
    """
    points = 100 * (np.array(run.ap) - np.array(other.ap))
    order = [int(i) for i in np.argsort(-points, kind="stable") if not np.isnan(points[i])]
    low, high = min(0.0, np.nanmin(points)), max(0.0, np.nanmax(points))
    length = (high - low) or 1.0
    return {
        "other": other.name,
        "mean": 100 * (run.mean_ap - other.mean_ap),
        "zero": -100 * low / length,
        "bars": [
            {
                "name": names[i],
                "points": points[i],
                "ap": (run.ap[i], other.ap[i]),
                "left": 100 * (min(points[i], 0) - low) / length,
                "width": 100 * abs(points[i]) / length,
            }
            for i in order
        ],
    }


def _first_class(runs: Sequence[Run], worst: int) -> int:
    """Return the class to show first: where two runs differ most, or the worst of one run."""
    if len(runs) == 1:
        return worst
    return int(np.nanargmax(np.abs(np.array(runs[0].ap) - np.array(runs[1].ap))))


def _confused(errors: ErrorAnalysis, names: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """Return the most frequent confusions.

    Returns:
        true class, predicted class, confused boxes, all boxes of the true class.
    """
    off_diagonal = errors.confusions * ~np.eye(len(names), dtype=bool)
    order = np.argsort(-off_diagonal, axis=None, kind="stable")[:MAX_CONFUSIONS]
    pairs = [divmod(int(k), len(names)) for k in order]
    return [
        (names[g], names[p], int(off_diagonal[g, p]), len(errors.classes[g].ranked.ground_truth))
        for g, p in pairs
        if off_diagonal[g, p]
    ]


def _encode(
    examples: Sequence[Example], evaluated: EvaluatedDataset
) -> tuple[list[EncodedClip | str], list[str]]:
    """Return the clip of each example, or its error message; and all error messages."""
    clips: list[EncodedClip | str] = []
    for example in tqdm(examples, "clips", unit="clip", disable=not examples):
        video_id, second = example.keyframe
        if video_id not in evaluated.files:
            clips.append(f"no video of '{video_id}'")
            continue
        path, offset = evaluated.files[video_id]
        try:
            clips.append(encode_clip(path, second - offset))
        except VideoDecodeError as error:
            clips.append(str(error))
    return clips, [clip for clip in clips if isinstance(clip, str)]
