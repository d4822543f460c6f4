"""Explanation of detections that match nothing: usual mistakes in their form."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np

from ..structures import ActionBoxes, Keyframe


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


def first_values(values: Iterable, limit: int = 4) -> str:
    """Return the smallest values as text."""
    items = sorted(values)
    return ", ".join(str(v) for v in items[:limit]) + (", ..." if len(items) > limit else "")
