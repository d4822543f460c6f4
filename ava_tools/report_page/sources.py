"""What an AVA evaluation was of: classes, ground truth, videos; and where a run wrote its csv."""

import argparse
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det.data.datasets.annotation_files import find_videos
from avsf_det.evaluation.ava_map import (
    ActionBoxes,
    AVAEvaluationError,
    Keyframe,
    read_excluded,
    read_ground_truth,
    read_label_map,
)

CSV_NAME = "ava_predictions.csv"  # of AVAEvaluator


@dataclass(frozen=True)
class EvaluatedSet:
    """
    Attributes:
        name: of the data set, for people.
        label_map: action id -> name of the scored classes.
        ground_truth: annotated boxes with actions.
        excluded: keyframes that are not scored.
        files: video id -> its file and the second, in the csv's clock, at which that starts.
    """

    name: str
    label_map: dict[int, str]
    ground_truth: ActionBoxes
    excluded: frozenset[Keyframe]
    files: Mapping[str, tuple[str, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name an evaluated set: a config, or files."""
    parser.add_argument("--config-file", metavar="FILE", help="its first test set was evaluated")
    parser.add_argument("-l", "--labelmap", metavar="FILE", help="without a config: its classes")
    parser.add_argument("-g", "--groundtruth", metavar="FILE", help="without a config: its csv")
    parser.add_argument("-x", "--excluded", metavar="FILE", help="csv of excluded keyframes")
    parser.add_argument("--videos", metavar="DIR", help="without a config: <video_id>.mp4")
    parser.add_argument(
        "--offset", type=float, default=0.0, metavar="S", help="second at which the videos start"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")


def evaluated_set_of_arguments(args: argparse.Namespace, cfg: CfgNode) -> EvaluatedSet:
    """
    Args:
        args: of :func:`add_arguments`.
        cfg: the default config, into which that of the options is merged.

    Raises:
        AVAEvaluationError, AnnotationError: the options or what they name are wrong.
    """
    if bool(args.config_file) == bool(args.labelmap and args.groundtruth):
        raise AVAEvaluationError("give either --config-file, or --labelmap and --groundtruth")
    if not args.config_file:
        return evaluated_set_of_files(
            args.labelmap, args.groundtruth, args.excluded or "", args.videos or "", args.offset
        )
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    return evaluated_set_of_config(cfg)


def evaluated_set_of_config(cfg: CfgNode) -> EvaluatedSet:
    """The first data set of ``cfg.DATASETS.TEST``.

    Raises:
        AVAEvaluationError: it is not of AVA's kind.
    """
    name = cfg.DATASETS.TEST[0]
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type") != "ava":
        raise AVAEvaluationError(
            f"data set '{name}' has no person boxes with actions; name one of AVA's kind in "
            "DATASETS.TEST"
        )
    dicts = DatasetCatalog.get(name)
    names = dict(zip(metadata.action_csv_ids, metadata.action_classes, strict=True))
    scored = metadata.scored_action_csv_ids
    return EvaluatedSet(
        name,
        {i: names[i] for i in (names if scored is None else scored)},
        read_ground_truth(metadata.annotation_file),
        read_excluded(metadata.excluded_file) if metadata.excluded_file else frozenset(),
        {d["video_id"]: (d["file_name"], d["offset"]) for d in dicts},
    )


def evaluated_set_of_files(
    label_map: str, ground_truth: str, excluded: str, video_dir: str, offset: float
) -> EvaluatedSet:
    """The same from files.

    Args:
        excluded, video_dir: "" if there is none.
        offset: second of the csv's clock at which the videos start.
    """
    rows = read_ground_truth(ground_truth)
    files = find_videos(video_dir, ("*",), {v for v, _ in rows.keyframes}) if video_dir else {}
    return EvaluatedSet(
        Path(ground_truth).name.split(".")[0],
        read_label_map(label_map),
        rows,
        read_excluded(excluded) if excluded else frozenset(),
        {video_id: (path, offset) for video_id, path in files.items()},
    )


def find_detections(path: str, dataset_name: str) -> Path:
    """The csv of a run, given as that file, or as the folder of the run or of its evaluation.

    Raises:
        AVAEvaluationError: there is none; the message names the places.
    """
    place = Path(path)
    if not place.is_dir():
        return place
    candidates = [
        place / CSV_NAME,
        place / "inference" / CSV_NAME,
        place / "inference" / dataset_name / CSV_NAME,
    ]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise AVAEvaluationError(
        f"{path}: no {CSV_NAME} there, nor in {candidates[1].parent} or {candidates[2].parent}; "
        "evaluate the model first (train_net.py --eval-only), or name the csv"
    )


def keyframe_index(boxes: ActionBoxes, other: ActionBoxes) -> np.ndarray:
    """For each keyframe of ``other`` its index in those of ``boxes``, -1 where that has none."""
    position = {keyframe: i for i, keyframe in enumerate(boxes.keyframes)}
    return np.array([position.get(k, -1) for k in other.keyframes], np.int64)


def rows_at(boxes: ActionBoxes, keyframes: Collection[Keyframe]) -> dict[Keyframe, np.ndarray]:
    """The rows of each of the keyframes; none where ``boxes`` does not have it."""
    index = {i: k for i, k in enumerate(boxes.keyframes) if k in keyframes}
    rows = np.flatnonzero(np.isin(boxes.keyframe, list(index)))
    found = {k: rows[boxes.keyframe[rows] == i] for i, k in index.items()}
    return {k: found.get(k, rows[:0]) for k in keyframes}
