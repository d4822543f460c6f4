"""Write the person boxes of many videos to a csv; a killed run loses at most one batch."""

import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from tqdm import tqdm

from ava_tools.inference.tracking import track_persons
from ava_tools.preparation.video_lists import videos_in
from ava_tools.support.json_lines import JsonLinesLog
from ava_tools.support.ranks import all_logs, file_size, gather, own_log, take_share
from avsf_det.data import AnnotationError, VideoDecodeError
from avsf_det.data.datasets.annotation_files import first_few
from avsf_det.data.video import SequentialVideoReader
from avsf_det.engine.predictor import FindPersons, keyframe_seconds
from avsf_det.evaluation.person_boxes import evaluate_persons
from avsf_det.structures import Keyframe, ava_csv
from avsf_det.structures.addresses import exists, is_folder, name_of, stem_of
from avsf_det.utils.atomic import open_atomic

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """Video file and its keyframes.

    Attributes:
        video_id: id in the csv.
        path: the file, or its address.
        offset: second of the csv's clock at which the file starts.
        seconds: keyframes in that clock; None: the whole file, at a fixed rate.
        name: path relative to the folder that it was found in.
        counts_frames: whether the clock, offset and keyframes, counts frames instead of seconds.
    """

    video_id: str
    path: str
    offset: float = 0.0
    seconds: tuple[float, ...] | None = None
    name: str = ""
    counts_frames: bool = False


def videos_of_dataset(name: str) -> list[Video]:
    """Return the videos of a registered dataset with their keyframes.

    Keyframes are the annotated ones. If the metadata has ``valid_sec`` (AVA's: the first and the
    last second that may be annotated), they are every whole second in that range.

    Raises:
        AnnotationError: there is no such dataset, or it has no keyframes.
    """
    if name not in DatasetCatalog.list():
        raise AnnotationError(f"no dataset is registered as '{name}'")
    if MetadataCatalog.get(name).evaluator_type not in ("ava", "tubes"):
        raise AnnotationError(f"dataset '{name}' is of clips without person boxes")
    seconds: dict[Video, list[float]] = {}
    for d in DatasetCatalog.get(name):
        counts_frames = d.get("clock") == "frames"
        video = Video(d["video_id"], d["file_name"], d["offset"], counts_frames=counts_frames)
        seconds.setdefault(video, []).append(d["timestamp"])
    if valid := MetadataCatalog.get(name).valid_sec:
        every = [float(second) for second in range(round(valid[0]), round(valid[1]) + 1)]
        seconds = dict.fromkeys(seconds, every)
    return [replace(video, seconds=tuple(s)) for video, s in seconds.items()]


def videos_of_path(path: str) -> list[Video]:
    """Return a video file or address, or all videos in a folder at any depth.

    The video id is the file name without its extension.

    Raises:
        AnnotationError: there is no video, or its name cannot be a video id.
    """
    if not exists(path):
        raise AnnotationError(f"{path}: no video there, and no folder")
    files = videos_in(path) if is_folder(path) else {name_of(path): path}
    videos: dict[str, Video] = {}
    for name, file in sorted(files.items(), key=lambda item: Path(item[0])):
        video_id = stem_of(file)
        if "," in video_id or ".." in video_id:
            raise AnnotationError(f"{file}: a video id has no comma and no '..'; rename the file")
        if video_id in videos:
            raise AnnotationError(
                f"{file}: has the video id of {videos[video_id].path}; rename one"
            )
        videos[video_id] = Video(video_id, file, name=name)
    return list(videos.values())


class PartialResults:
    """Boxes of finished batches, kept in a log whose first line holds the settings.

    Several processes write a log each, and read those of all.

    Args:
        path: log to continue, or to create.
        settings: everything that the boxes depend on.

    Attributes:
        batches: (video id, number of the batch) to a list of [second, boxes].

    Raises:
        AnnotationError: the log was made with other settings.
    """

    def __init__(self, path: str, settings: dict) -> None:
        self.batches: dict[tuple[str, int], list] = {}
        for log in all_logs(path):
            self._read(log, settings)
        self._log = JsonLinesLog(own_log(path))
        if next(iter(self._log), None) is None:
            self._log.append(settings)

    def _read(self, path: str, settings: dict) -> None:
        try:
            before, *records = [*JsonLinesLog(path)] or [None]
        except ValueError as error:  # a line that is not JSON
            raise AnnotationError(str(error)) from None
        if before is not None and before != settings:
            raise AnnotationError(
                f"{path}: was made with {json.dumps(before)}. Use the same settings, or delete it "
                "to start again"
            )
        for number, record in enumerate(records, 2):
            try:
                video_id, k, found = record
                for second, boxes in found:
                    float(second), np.array(boxes, float).reshape(-1, 5)
                self.batches[str(video_id), int(k)] = found
            except (TypeError, ValueError):
                raise AnnotationError(
                    f"{path}:{number}: not a line of boxes. Delete the file to start again"
                ) from None

    def add(self, video_id: str, batch: int, found: list) -> None:
        """Keep a batch: a list of [second, boxes]."""
        self._log.append([video_id, batch, found])
        self.batches[video_id, batch] = found

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def write_person_boxes(
    detector: FindPersons,
    videos: Sequence[Video],
    output: str,
    *,
    settings: dict,
    rate: float = 1.0,
    person_rate: float | None = None,
    batch_size: int = 4,
) -> tuple[dict[Keyframe, np.ndarray], list[VideoDecodeError]]:
    """Detect the persons at all keyframes, and write ``output`` at the end; processes share videos.

    Until then, and if there is a bad video, ``output`` + ".partial" holds the finished batches. A
    call with the same arguments resumes from it, and writes the same bytes as an unbroken run.

    Args:
        detector: person detector, such as :class:`PersonDetector`.
        videos: videos with their keyframes.
        output: csv to write.
        settings: everything that the boxes depend on; a log made with other settings is refused.
        rate: keyframes per second, for videos without ``seconds``.
        person_rate: frames per second in which persons are searched, to link them through the
            video; None: keyframes only, and persons have no ids.
        batch_size: number of frames that the detector gets at once, all of one video.

    Returns:
        boxes (N, 5) of each keyframe: x1, y1, x2, y2 in 0..1, score, and with ``person_rate`` the
        id as a sixth column; and the errors of bad videos, of which the csv has only the boxes
        before the damage.

    Raises:
        AnnotationError: ``output`` exists, or the log was made with other settings.
        AVSFError: the library that links persons is missing.
    """
    if person_rate is not None:
        track_persons([], [])  # without its library this fails now, and not after hours
        settings = {**settings, "person_rate": person_rate}
    partial_file = f"{output}.partial"
    if os.path.exists(output) and not all_logs(partial_file):
        raise AnnotationError(f"{output}: is there already. Delete it, or name another file")
    partial = PartialResults(partial_file, {**settings, "rate": rate, "batch_size": batch_size})
    found: dict[Keyframe, np.ndarray] = {}
    bad: list[VideoDecodeError] = []
    keyframes: dict[Video, list[float]] = {}  # before the end of the file
    for video in take_share(videos, lambda video: file_size(video.path)):
        try:
            with SequentialVideoReader(video.path) as reader:
                keyframes[video] = _keyframes(video, reader, rate)
        except VideoDecodeError as error:
            logger.error(error)
            bad.append(error)
    searched = {v: search_seconds(s, person_rate) for v, s in keyframes.items()}
    total, unit = sum(map(len, searched.values())), "frame" if person_rate else "keyframe"
    with tqdm(desc=f"{unit}s", total=total, unit=unit, mininterval=2) as progress:
        for video, seconds in searched.items():
            boxes_at: dict[float, np.ndarray] = {}
            try:
                for second, boxes in _detect(detector, video, seconds, partial, batch_size):
                    boxes_at[second] = np.array(boxes, np.float32).reshape(-1, 5)
                    progress.update()
            except VideoDecodeError as error:
                logger.error(error)
                bad.append(error)
            if person_rate is not None:
                tracked = track_persons([*boxes_at], [*boxes_at.values()])
                boxes_at = dict(zip(boxes_at, tracked, strict=True))
            found |= {(video.video_id, s): boxes_at[s] for s in keyframes[video] if s in boxes_at}
    partial.close()
    order = {video.video_id: i for i, video in enumerate(videos)}
    found = dict(sorted(gather([*found.items()]), key=lambda item: order[item[0][0]]))
    bad = gather(bad)
    if comm.is_main_process():
        with open_atomic(output) as file:
            ava_csv.write_person_boxes(file, ((k, boxes.tolist()) for k, boxes in found.items()))
        for log in [] if bad else all_logs(partial_file):
            os.remove(log)
    return found, bad


def search_seconds(keyframes: Sequence[float], person_rate: float | None) -> list[float]:
    """Return the keyframes, and with a rate as many seconds between them as it takes, ascending.

    They divide the time between two keyframes evenly, at ``person_rate`` or a little more often.
    """
    if person_rate is None:
        return [*keyframes]
    keyframes, seconds = sorted(keyframes), []
    for start, end in pairwise(keyframes):
        steps = max(1, math.ceil((end - start) * person_rate - 1e-6))
        seconds += [start + k * (end - start) / steps for k in range(steps)]
    return seconds + keyframes[-1:]


def _detect(
    detector: FindPersons,
    video: Video,
    seconds: Sequence[float],
    partial: PartialResults,
    batch_size: int,
) -> Iterator[tuple[float, list]]:
    """Yield second and rounded boxes of each keyframe; finished batches come from the log."""
    with SequentialVideoReader(video.path) as reader:
        for k, start in enumerate(range(0, len(seconds), batch_size)):
            batch = [*seconds[start : start + batch_size]]
            found = partial.batches.get((video.video_id, k), [])
            if [second for second, _ in found] != batch:
                rate = reader.fps if video.counts_frames else 1.0
                times = [(second - video.offset) / rate for second in batch]
                boxes = detector(list(reader.get_frames_played_at(times)))
                found = [[t, _round(b)] for t, b in zip(batch, boxes, strict=True)]
                partial.add(video.video_id, k, found)
            yield from found


def _keyframes(video: Video, reader: SequentialVideoReader, rate: float) -> list[float]:
    """Return the keyframes before the end of the file, in the csv's clock."""
    if video.seconds is None:
        return keyframe_seconds(reader.duration, rate)
    rate = reader.fps if video.counts_frames else 1.0
    end = video.offset + (reader.duration + 1 / reader.fps) * rate
    seconds = [second for second in video.seconds if second <= end]
    if missing := len(video.seconds) - len(seconds):
        logger.warning(
            f"{video.path}: lasts {reader.duration:g} s; {missing} of the {len(video.seconds)} "
            "keyframes lie after its end"
        )
    return seconds


def _round(boxes: np.ndarray) -> list[list[float]]:
    """Round to the csv's four digits, and leave out boxes without area, which readers refuse."""
    rows = [[round(x, 4) for x in box] for box in boxes.tolist()]
    return [row for row in rows if row[0] < row[2] and row[1] < row[3]]


def describe_absence(found: dict[Keyframe, np.ndarray], score_thresh: float) -> list[str]:
    """Return a line that names the videos in which nobody was found, or none."""
    counts: dict[str, int] = {}
    for (video_id, _), boxes in found.items():
        counts[video_id] = counts.get(video_id, 0) + len(boxes)
    if not (empty := [video_id for video_id, count in counts.items() if not count]):
        return []
    which = "any video" if len(empty) == len(counts) else f"{len(empty)} videos, {first_few(empty)}"
    return [
        f"warning: nobody was found in {which}, with a score of {score_thresh:g} or more. Look at "
        "a video, and lower MODEL.PERSON_DETECTOR.SCORE_THRESH or take another detector"
    ]


def describe_quality(found: dict[Keyframe, np.ndarray], dataset_name: str) -> str:
    """Return a line about the boxes at a dataset's annotated keyframes."""
    annotated = {
        (d["video_id"], d["timestamp"]): np.array([a["bbox"] for a in d["annotations"]])
        for d in DatasetCatalog.get(dataset_name)
    }
    result = evaluate_persons({k: boxes[:, :5] for k, boxes in found.items()}, annotated)
    matched, detections = result.counts["matched_boxes"], result.counts["detections"]
    return (
        f"{dataset_name}, persons at IoU 0.5: AP {result.mean_ap:.3f}; {matched} of "
        f"{result.counts['ground_truth_boxes']} annotated persons found, {detections - matched} "
        f"of {detections} boxes match no person"
    )
