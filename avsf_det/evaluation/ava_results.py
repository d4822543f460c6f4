"""Results of scoring, for people and for JSON."""

from dataclasses import dataclass

import numpy as np

from ..structures import AVSFError

PROTOCOLS = {
    "default": "excluded keyframes are left out, detections on unknown keyframes are wrong",
    "activitynet": "the exclusion list is not used, each keyframe keeps its 50 highest-scored "
    "detections, those on keyframes that the ground-truth file lacks are dropped",
}
IOU_THRESHOLD = 0.5


class AVAEvaluationError(AVSFError):
    """Input that cannot be scored. The message says where, what was got and what to do."""


@dataclass(frozen=True)
class ClassResult:
    """AP of one class."""

    id: int  # in the label map
    name: str
    ap: float  # in 0..1, nan without ground truth
    num_ground_truth: int  # boxes
    num_detections: int


@dataclass(frozen=True)
class RankedClass:
    """Rows of one class, as AP counts them."""

    id: int  # in the label map
    name: str
    ground_truth: np.ndarray  # int64 (M,), rows of the ground truth, by keyframe
    detections: np.ndarray  # int64 (N,), rows of the detections, the highest rank first
    found: np.ndarray  # int64 (N,), ground-truth row that each detection finds; -1: it is wrong


@dataclass(frozen=True)
class AVAResult:
    """Result of :func:`avsf_det.evaluation.ava_map.evaluate_ava`."""

    protocol: str  # one of PROTOCOLS
    classes: list[ClassResult]  # in the order of the label map
    # Keyframes and rows that were used, matched and dropped. A box with k actions is k rows.
    counts: dict[str, int]

    @property
    def mean_ap(self) -> float:
        """Return the mean AP in 0..1 over the classes that have ground truth."""
        return float(np.mean([c.ap for c in self.classes if c.num_ground_truth]))

    def as_dict(self) -> dict:
        """Return everything as JSON values. AP is None for classes without ground truth."""
        ap = {c: c.ap if c.num_ground_truth else None for c in self.classes}
        return {
            "protocol": self.protocol,
            "mAP": self.mean_ap,
            "per_class": {str(c.id): ap[c] for c in self.classes},
            "per_class_by_name": {c.name: ap[c] for c in self.classes},
            "counts": self.counts,
        }

    def table(self) -> str:
        """Format AP per class, counts and mAP as text with one line per class."""
        width = max(len(c.name) for c in self.classes)
        lines = [
            f"| {'id':>4} | {'class':{width}} |     AP | ground truth | detections |",
            f"|-----:|:{'-' * (width + 1)}|-------:|-------------:|-----------:|",
        ]
        for c in self.classes:
            ap = f"{c.ap:.4f}" if c.num_ground_truth else "none"
            lines.append(
                f"| {c.id:>4} | {c.name:{width}} | {ap:>6} | {c.num_ground_truth:>12} "
                f"| {c.num_detections:>10} |"
            )
        lines += [f"{name.replace('_', ' ')}: {count}" for name, count in self.counts.items()]
        scored = sum(c.num_ground_truth > 0 for c in self.classes)
        lines += [
            f"protocol {self.protocol}: {PROTOCOLS[self.protocol]}",
            f"mAP@{IOU_THRESHOLD} of {scored} classes with ground truth, of {len(self.classes)}: "
            f"{self.mean_ap:.6f}",
        ]
        return "\n".join(lines)
