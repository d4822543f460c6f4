"""Find what an AVA evaluation was about: classes, ground truth, videos, detections."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from avsf_det.engine.defaults import add_config_options, load_config
from avsf_det.structures import ActionBoxes, AVSFError, Keyframe
from avsf_det.structures.addresses import exists, is_folder, join, name_of
from avsf_det.structures.ava_csv import read_detections, read_excluded_keyframes, read_ground_truth
from avsf_det.structures.label_map import read_label_map

if TYPE_CHECKING:
    from detectron2.config import CfgNode

CSV_NAME = "ava_predictions.csv"  # name that AVAEvaluator gives


class ReportError(AVSFError):
    """Input that cannot be reported or drawn."""


@dataclass(frozen=True)
class EvaluatedDataset:
    """Dataset of an evaluation.

    Attributes:
        name: name for people.
        label_map: action id -> name of the scored classes.
        ground_truth: annotated boxes with actions.
        excluded: keyframes that are not scored.
        files: video id -> path, and second on the csv's clock at which the file starts.
    """

    name: str
    label_map: Mapping[int, str]
    ground_truth: ActionBoxes
    excluded: frozenset[Keyframe]
    files: Mapping[str, tuple[str, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a dataset: a config, or files."""
    parser.add_argument(
        "--config-file", metavar="FILE", help="config whose first test dataset was evaluated"
    )
    parser.add_argument("-l", "--labelmap", metavar="FILE", help="without a config: label map")
    parser.add_argument("-g", "--groundtruth", metavar="FILE", help="without a config: csv")
    parser.add_argument("-x", "--excluded", metavar="FILE", help="csv of excluded keyframes")
    parser.add_argument("--videos", metavar="DIR", help="without a config: <video_id>.mp4")
    parser.add_argument(
        "--offset",
        type=float,
        default=0.0,
        metavar="S",
        help="second of the csv's clock at which the videos start",
    )
    add_config_options(parser)


def evaluated_dataset_of_arguments(args: argparse.Namespace) -> EvaluatedDataset:
    """Return the dataset that the options name.

    Args:
        args: arguments of :func:`add_arguments`.

    Raises:
        ReportError: the options contradict each other.
        AnnotationError: a file or video is missing or malformed.
    """
    if bool(args.config_file) == bool(args.labelmap and args.groundtruth):
        raise ReportError("give either --config-file, or --labelmap and --groundtruth")
    if not args.config_file:
        return evaluated_dataset_of_files(
            args.labelmap, args.groundtruth, args.excluded or "", args.videos or "", args.offset
        )
    return evaluated_dataset_of_config(load_config(args.config_file, args.opts))


def evaluated_dataset_of_config(cfg: CfgNode) -> EvaluatedDataset:
    """Return the first dataset of ``cfg.DATASETS.TEST``.

    Raises:
        ConfigError: the dataset is not registered.
        ReportError: the dataset has no person boxes with actions.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from avsf_det.data.checks import check_datasets

    check_datasets(cfg.DATASETS.TEST, "DATASETS.TEST", needed=True)
    name = cfg.DATASETS.TEST[0]
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type") != "ava":
        raise ReportError(
            f"dataset '{name}' has no person boxes with actions; name one in AVA's format in "
            "DATASETS.TEST"
        )
    dicts = DatasetCatalog.get(name)
    names = dict(zip(metadata.action_csv_ids, metadata.action_classes, strict=True))
    scored = metadata.scored_action_csv_ids
    return EvaluatedDataset(
        name,
        {i: names[i] for i in (names if scored is None else scored)},
        read_ground_truth(metadata.annotation_file),
        read_excluded_keyframes(metadata.excluded_file) if metadata.excluded_file else frozenset(),
        {d["video_id"]: (d["file_name"], d["offset"]) for d in dicts},
    )


def evaluated_dataset_of_files(
    label_map: str, ground_truth: str, excluded: str, video_dir: str, offset: float
) -> EvaluatedDataset:
    """Return the dataset that files describe.

    Args:
        label_map: label map.
        ground_truth: csv of the annotated boxes.
        excluded: csv of the excluded keyframes; "" if there is none.
        video_dir: folder of the videos; "" if there is none.
        offset: second on the csv's clock at which the videos start.

    Raises:
        ReportError: the offset is not finite, or no video is in the folder.
        AnnotationError: a file or folder is missing or malformed.
    """
    from avsf_det.data.datasets.annotation_files import find_videos

    if not math.isfinite(offset):
        raise ReportError(f"--offset is {offset}; give the second at which the videos start")
    rows = read_ground_truth(ground_truth)
    ids = {video_id for video_id, _ in rows.keyframes}
    files = find_videos(video_dir, ("*",), ids) if video_dir else {}
    if video_dir and not files:
        raise ReportError(f"{video_dir}: no video of the ground truth, such as {min(ids)}.mp4")
    return EvaluatedDataset(
        name_of(ground_truth).split(".")[0],
        read_label_map(label_map, distinct_names=True),
        rows,
        read_excluded_keyframes(excluded) if excluded else frozenset(),
        {video_id: (path, offset) for video_id, path in files.items()},
    )


def find_detections(path: str, dataset_name: str) -> str:
    """Return the path or address of the csv of a run.

    Args:
        path: the csv, the OUTPUT_DIR of the run, or the folder of its evaluation.
        dataset_name: name of the evaluated dataset.

    Raises:
        ReportError: there is no csv; the message names the folders.
    """
    if not is_folder(path):
        return path
    folders = [path, join(path, "inference"), join(path, f"inference/{dataset_name}")]
    for folder in folders:
        if exists(file := join(folder, CSV_NAME)):
            return file
    raise ReportError(
        f"{path}: no {CSV_NAME} there, nor in {folders[1]} or {folders[2]}; "
        "evaluate the model first (train_net.py --eval-only), or name the csv"
    )


def read_run(path: str, dataset_name: str) -> ActionBoxes:
    """Read the detections of a run; see :func:`find_detections`.

    Raises:
        ReportError: there is no csv, or no detection in it.
        AnnotationError: a bad row.
    """
    file = find_detections(path, dataset_name)
    detections = read_detections(file)
    if not len(detections):
        raise ReportError(
            f"{file}: no detections, so there is nothing to show. Did the evaluation end? Its log "
            "gives the reason; repeat it with train_net.py --eval-only"
        )
    return detections


def find_timelines(path: str, output: str, videos: Collection[str]) -> dict[str, str]:
    """Return video id -> link from the report to its page of timeline.py.

    Args:
        path: folder of timeline.py; links are empty if it has none of the pages.
        output: file of the report, to which the links are relative.
        videos: ids of the evaluated videos.
    """
    pages = {video: os.path.join(path, f"{video}.html") for video in videos}
    here = os.path.dirname(os.path.abspath(output))
    return {
        video: quote(os.path.relpath(page, here))
        for video, page in pages.items()
        if os.path.isfile(page)
    }


def find_thresholds_file(path: str) -> str:
    """Return the file of fit_thresholds.py in the folder of a run; "" if there is none."""
    return next((str(file) for file in sorted(Path(path).glob("*.thresholds.json"))), "")


def keyframe_index(boxes: ActionBoxes, other: ActionBoxes) -> np.ndarray:
    """Return the index in ``boxes.keyframes`` of each of ``other.keyframes``; -1 if missing."""
    position = {keyframe: i for i, keyframe in enumerate(boxes.keyframes)}
    return np.array([position.get(k, -1) for k in other.keyframes], np.int64)


def rows_at(boxes: ActionBoxes, keyframes: Collection[Keyframe]) -> dict[Keyframe, np.ndarray]:
    """Return the row indices of each keyframe; empty if ``boxes`` does not have it."""
    index = {i: k for i, k in enumerate(boxes.keyframes) if k in keyframes}
    rows = np.flatnonzero(np.isin(boxes.keyframe, list(index)))
    found = {k: rows[boxes.keyframe[rows] == i] for i, k in index.items()}
    return {k: found.get(k, rows[:0]) for k in keyframes}
