"""Person boxes of many videos to a csv, in a way that a kill costs no more than one batch."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from avsf_det.data import AnnotationError, VideoDecodeError
from avsf_det.data.datasets.annotation_files import VIDEO_EXTENSIONS
from avsf_det.data.video import SequentialVideoReader

from .predictor import keyframe_seconds

Keyframe = tuple[str, float]  # video id, seconds in the csv's clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """A file, and the keyframes to look at.

    Attributes:
        offset: second of the csv's clock at which the file starts.
        seconds: keyframes in that clock; None: the whole file, at a rate.
    """

    video_id: str
    path: str
    offset: float = 0.0
    seconds: tuple[float, ...] | None = None


def videos_of_dataset(name: str) -> list[Video]:
    """The videos of a registered data set, with its annotated keyframes; if it says between which
    seconds it may be annotated (``valid_sec``, as AVA does), with every whole second of these.

    Raises:
        AnnotationError: there is no such data set, or it is not one of keyframes.
    """
    if name not in DatasetCatalog.list():
        raise AnnotationError(f"no data set is registered as '{name}'")
    if MetadataCatalog.get(name).evaluator_type != "ava":
        raise AnnotationError(f"data set '{name}' is of clips without person boxes")
    seconds: dict[Video, list[float]] = {}
    for d in DatasetCatalog.get(name):
        video = Video(d["video_id"], d["file_name"], d["offset"])
        seconds.setdefault(video, []).append(d["timestamp"])
    if valid := MetadataCatalog.get(name).valid_sec:
        every = [float(second) for second in range(round(valid[0]), round(valid[1]) + 1)]
        seconds = dict.fromkeys(seconds, every)
    return [Video(v.video_id, v.path, v.offset, tuple(s)) for v, s in seconds.items()]


def videos_of_path(path: Path) -> list[Video]:
    """A file, or all videos in a folder and below. The video id is the name without extension.

    Raises:
        AnnotationError: there is no video, or its name cannot be a video id.
    """
    files = [path] if path.is_file() else []
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in VIDEO_EXTENSIONS)
    if not files:
        raise AnnotationError(f"{path}: there is no video ({' '.join(VIDEO_EXTENSIONS)})")
    file_of: dict[str, Path] = {}
    for file in files:
        if "," in file.stem or ".." in file.stem:
            raise AnnotationError(f"{file}: a video id has no comma and no '..'; rename the file")
        if file.stem in file_of:
            raise AnnotationError(f"{file}: has the video id of {file_of[file.stem]}; rename one")
        file_of[file.stem] = file
    return [Video(video_id, str(file)) for video_id, file in file_of.items()]


class PartialResults:
    """What was found so far, by video id and number of the batch: a list of [second, boxes].

    It is kept in a file with a line of JSON for each, after a line that holds ``settings``.
    """

    def __init__(self, path: str, settings: dict):
        """
        Raises:
            AnnotationError: the file is there, made with other settings.
        """
        lines = []
        if os.path.exists(path):
            with open(path, "rb") as file:  # its last line may be torn
                lines = [line for line in file if line.endswith(b"\n")]
        if lines and json.loads(lines[0]) != settings:
            raise AnnotationError(
                f"{path}: was made with {lines[0].decode().strip()}. Give the same again, or "
                "delete it to begin anew"
            )
        self.batches = {(video_id, k): found for video_id, k, found in map(json.loads, lines[1:])}
        self._file = open(path, "ab")
        self._file.truncate(sum(map(len, lines)))
        if not lines:
            self._write(settings)

    def add(self, video_id: str, batch: int, found: list) -> None:
        self._write([video_id, batch, found])
        self.batches[video_id, batch] = found

    def close(self) -> None:
        self._file.close()

    def _write(self, value: object) -> None:
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()


def write_person_boxes(
    detector: Callable[[Sequence[np.ndarray]], list[np.ndarray]],
    videos: Sequence[Video],
    output: str,
    *,
    settings: dict,
    rate: float = 1.0,
    batch_size: int = 4,
) -> tuple[dict[Keyframe, np.ndarray], list[VideoDecodeError]]:
    """Detect the persons at all keyframes, and write ``output`` when that is done.

    Until then, and if there is a bad video, ``output`` + ".partial" has what was found; a call
    with the same arguments goes on from there, to the same bytes.

    Args:
        detector: as :class:`PersonDetector`.
        settings: what the boxes depend on; a partial file made with others is refused.
        rate: keyframes a second, of videos without ``seconds``.
        batch_size: frames of a video that the detector is given at once.

    Returns:
        keyframe to boxes float32 (N, 5): x1, y1, x2, y2 in 0..1, score; and the errors of bad
        videos, of which only the boxes before the damage are in the file.

    Raises:
        AnnotationError: ``output`` exists, or there is a partial file with other settings.
    """
    partial_file = f"{output}.partial"
    if os.path.exists(output) and not os.path.exists(partial_file):
        raise AnnotationError(f"{output}: is there already. Delete it, or name another file")
    os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    partial = PartialResults(partial_file, {**settings, "rate": rate, "batch_size": batch_size})
    found, bad = {}, []
    for video in tqdm(videos, "videos", mininterval=2):
        try:
            for second, boxes in _search(detector, video, partial, rate, batch_size):
                found[video.video_id, second] = np.array(boxes, np.float32).reshape(-1, 5)
        except VideoDecodeError as error:
            logger.error(error)
            bad.append(error)
    partial.close()
    with open(f"{output}.tmp", "w") as file:
        file.writelines(_rows(found))
    os.replace(f"{output}.tmp", output)
    if not bad:
        os.remove(partial_file)
    return found, bad


def _search(
    detector, video: Video, partial: PartialResults, rate: float, batch_size: int
) -> Iterator[tuple[float, list]]:
    """Go through a video once, forwards, past the batches that were found before.

    Yields:
        second, and boxes as :func:`_rounded` gives them.
    """
    with SequentialVideoReader(video.path) as reader:
        seconds = _keyframes(video, reader, rate)
        starts = range(0, len(seconds), batch_size)
        for k, start in enumerate(tqdm(starts, video.video_id, leave=False, mininterval=2)):
            batch = seconds[start : start + batch_size]
            found = partial.batches.get((video.video_id, k), [])
            if [second for second, _ in found] != batch:
                boxes = detector(
                    reader.get_frames_played_at([second - video.offset for second in batch])
                )
                found = [[t, _rounded(b)] for t, b in zip(batch, boxes, strict=True)]
                partial.add(video.video_id, k, found)
            yield from found


def _keyframes(video: Video, reader: SequentialVideoReader, rate: float) -> list[float]:
    """Those that the file has; in the csv's clock."""
    if video.seconds is None:
        return keyframe_seconds(reader.duration, rate)
    end = video.offset + reader.duration + 1 / reader.fps
    seconds = [second for second in video.seconds if second <= end]
    if missing := len(video.seconds) - len(seconds):
        logger.warning(
            f"{video.path}: lasts {reader.duration:g} s; {missing} of the {len(video.seconds)} "
            "keyframes lie behind its end"
        )
    return seconds


def _rounded(boxes: np.ndarray) -> list[list[float]]:
    """With the csv's four digits; what has no area then is left out, as the csv's readers want."""
    rows = [[round(x, 4) for x in box] for box in boxes.tolist()]
    return [row for row in rows if row[0] < row[2] and row[1] < row[3]]


def _rows(found: dict[Keyframe, np.ndarray]) -> Iterator[str]:
    """Whole seconds have four digits, as in AVA."""
    for (video_id, second), boxes in found.items():
        time = f"{second:04.0f}" if float(second).is_integer() else repr(second)
        for *box, score in boxes.tolist():
            yield f"{video_id},{time},{','.join(f'{x:.4f}' for x in box)},,{score:.4f}\n"
