"""Explanations of a low or missing mAP: usual mistakes in the form of detections."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..structures import ActionBoxes, Keyframe
from .ava_results import AVAEvaluationError, AVAResult

LOW_MAP = 0.1  # below it, the detections are scored again without each usual mistake
_CORRECTIONS: dict[str, Callable[[ActionBoxes], ActionBoxes]] = {
    "action ids that are one too low": lambda d: replace(d, actions=d.actions + 1),
    "action ids that are one too high": lambda d: replace(d, actions=d.actions - 1),
    "boxes written as y1,x1,y2,x2": lambda d: replace(d, boxes=d.boxes[:, [1, 0, 3, 2]]),
}


def explain_no_match(
    detections: ActionBoxes,
    ground_truth: ActionBoxes,
    label_map: Mapping[int, str],
    excluded: AbstractSet[Keyframe],
) -> str:
    """Return the message about detections without a single keyframe of the ground truth.

    Arguments are those of :func:`avsf_det.evaluation.ava_map.evaluate_ava`, with at least one row.
    """
    causes = []
    ids = np.unique(detections.actions)
    if not np.isin(ids, list(label_map)).any():
        causes.append(
            f"no class of the detections ({first_values(ids)}) is in the label map "
            f"({first_values(label_map)}): ids off by one, or another label map"
        )
    if set(detections.keyframes) <= excluded:
        causes.append("all keyframes of the detections are on the exclusion list")
    # Without a common video, differing timestamps say nothing.
    det_videos, gt_videos = ({v for v, _ in x.keyframes} for x in (detections, ground_truth))
    if not det_videos & gt_videos:
        hint = "another split, or ids written differently"
        if any(Path(v).name in gt_videos or Path(v).stem in gt_videos for v in det_videos):
            hint = "write the id alone, without folder and file extension"
        causes.append(
            f"no video id in common: detections have {first_values(det_videos)}, "
            f"the ground truth {first_values(gt_videos)}: {hint}"
        )
    elif not set(detections.keyframes) & set(ground_truth.keyframes):
        seconds = ([second for _, second in x.keyframes] for x in (detections, ground_truth))
        det_times, gt_times = (f"{min(times):g} to {max(times):g}" for times in seconds)
        causes.append(
            f"no timestamp in common: detections at {det_times}, ground truth at {gt_times}: both "
            "must be seconds of the video, not of a cut or frame numbers (0902 and 902 are equal)"
        )
    if np.abs(detections.boxes).max() > 2:
        causes.append("boxes look like pixels: they must be fractions of width and height, 0..1")
    said = "; ".join(causes) or (
        "the keyframes that both have carry no ground truth of the label map's classes, or are "
        "excluded"
    )
    return f"none of the {len(detections)} detections is on a keyframe of the ground truth: {said}"


def find_format_errors(
    detections: ActionBoxes,
    label_map: Mapping[int, str],
    result: AVAResult,
    evaluate: Callable[[ActionBoxes], AVAResult],
) -> list[str]:
    """Return lines about what may be wrong with the form of detections.

    If the mAP is below ``LOW_MAP``, the detections are scored again without each usual mistake. It
    is named if it costs more than half of the mAP and more than 0.05. ``evaluate`` scores other
    detections in the same way as those of ``result``.
    """
    lines = []
    unknown = ~np.isin(detections.actions, list(label_map))
    if unknown.any():
        lines.append(
            f"{int(unknown.sum())} of {len(detections)} detections are left out, as the label map "
            f"lacks their ids: {first_values(np.unique(detections.actions[unknown]), 10)}"
        )
    missing = [c.id for c in result.classes if c.num_ground_truth and not c.num_detections]
    if missing:
        lines.append(
            f"{len(missing)} classes have ground truth and not one detection, their AP is 0: ids "
            f"{first_values(missing, 10)}"
        )
    if not len(detections) or result.mean_ap >= LOW_MAP:  # scoring again takes as long
        return lines
    for mistake, correct in _CORRECTIONS.items():
        try:
            corrected = evaluate(correct(detections)).mean_ap
        except AVAEvaluationError:  # corrected, nothing is left to score
            continue
        if corrected > max(2 * result.mean_ap, result.mean_ap + 0.05):
            lines.append(f"{mistake}? Without that, mAP would be {corrected:.4f}")
    return lines


def first_values(values: Iterable, limit: int = 4) -> str:
    """Return the smallest values as text."""
    items = sorted(values)
    return ", ".join(str(v) for v in items[:limit]) + (", ..." if len(items) > limit else "")
