"""From videos to bouts: find and link persons, score their keyframes, and write what was found."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ava_tools.action_demo.prediction_log import PredictionLog
from ava_tools.inference.tracking import track_persons
from ava_tools.support.json_lines import JsonLinesLog
from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.open_file import source_of
from avsf_det.engine.predictor import ClipPredictor, PredictorError, keyframe_seconds
from avsf_det.structures.addresses import name_of, stem_of

from .bouts import Bout, BoutRules, Track, find_bouts
from .page import PersonBoxes, write_page
from .persons import Frames, boxes_by_person, by_person

MIN_PERSON = 0.5  # person score; boxes below it are not scored


@dataclass(frozen=True)
class Timeline:
    """Result of one video.

    Attributes:
        path: video file.
        duration: seconds.
        fps: frames per second.
        boxes: second to the boxes (N, 6) of persons: x1 y1 x2 y2 in 0..1, score, id.
        step: seconds between the frames with boxes.
        bouts: bouts of each person.
    """

    path: str
    duration: float
    fps: float
    boxes: Frames
    step: float
    bouts: list[Bout]

    @property
    def persons(self) -> list[PersonBoxes]:
        """Boxes of each person."""
        return boxes_by_person(self.boxes)


class TimelineMaker:
    """Make timelines of videos with one model.

    Per video, ``NAME.persons.jsonl`` (boxes) and ``NAME.jsonl`` (scores) are logs from which a
    killed run resumes.

    Args:
        predictor: model, and person detector.
        folder: folder of the logs and pages, which is created.
        rules: rules that make bouts of scores.
        keyframe_rate: scored keyframes per second.
        person_rate: frames per second in which persons are searched, a multiple of
            ``keyframe_rate``.

    Raises:
        PredictorError: the rates do not fit.
    """

    def __init__(
        self,
        predictor: ClipPredictor,
        folder: Path,
        rules: BoutRules,
        keyframe_rate: float = 1.0,
        person_rate: float = 5.0,
    ) -> None:
        every = person_rate / keyframe_rate
        if every < 1 or every != round(every):
            raise PredictorError(
                f"persons are searched {person_rate:g} times and scored {keyframe_rate:g} times a "
                "second; the first must be a multiple of the second"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.predictor, self.folder, self.rules = predictor, folder, rules
        self.step = 1 / keyframe_rate
        self._person_rate, self._every = person_rate, round(every)
        self._digest = predictor.digest()

    def run(self, path: str, boxes: dict[float, np.ndarray] | None = None) -> Timeline:
        """Return the timeline of a video. Steps that an earlier run completed are not repeated.

        Args:
            path: the video.
            boxes: second to person boxes, (N, 5): x1 y1 x2 y2 in 0..1, score, or (N, 6) with the
                id; None: the person detector finds them. Boxes without ids are linked. Of seconds
                closer than the keyframe rate, only as many are scored.

        Raises:
            VideoDecodeError: the video cannot be read.
            PredictorError: a log is of another run.
            AVSFError: the library that links persons is missing.
        """
        with SequentialVideoReader(path) as reader:
            duration, fps = reader.duration, reader.fps
        if boxes is None:
            track_persons([], [])  # without its library this fails now, and not after hours
            seconds = keyframe_seconds(duration, self._person_rate)
            found = self._find_persons(path, seconds)
            keyframes, step = seconds[:: self._every], 1 / self._person_rate
        else:
            seconds = sorted(boxes)
            found = [np.asarray(boxes[second], float) for second in seconds]
            keyframes = _thin_out(seconds, self.step)
            step = float(np.median([self.step, *np.diff(seconds).clip(max=self.step)]))
        if any(rows.shape[1:] != (6,) for rows in found):
            found = track_persons(seconds, found)
        # A box of no track is a chance detection.
        persons = {s: rows[rows[:, 5] >= 0] for s, rows in zip(seconds, found, strict=True)}
        scored = {s: persons[s][persons[s][:, 4] >= MIN_PERSON] for s in keyframes}
        scores = self._score(path, {second: rows[:, :5] for second, rows in scored.items()})
        rows = by_person((second, scored[second][:, 5], scores[second]) for second in keyframes)
        tracks = [Track(stem_of(path), str(person), *arrays) for person, arrays in rows.items()]
        bouts = list(find_bouts(tracks, self.predictor.class_names, self.rules, self.step))
        clipped = [b._replace(end=min(b.end, duration)) for b in bouts if b.start < duration]
        return Timeline(path, duration, fps, persons, step, clipped)

    def write_page(self, timeline: Timeline, facts: str) -> Path:
        """Write ``NAME.html`` about a video, and return its path."""
        page = self.folder / f"{stem_of(timeline.path)}.html"
        write_page(
            page,
            timeline.path,
            timeline.persons,
            timeline.bouts,
            step=timeline.step,
            facts=facts,
        )
        return page

    def _find_persons(self, path: str, seconds: Sequence[float]) -> list[np.ndarray]:
        """Return the boxes (N, 5) at each second, from the log as far as it goes."""
        log = JsonLinesLog(self.folder / f"{stem_of(path)}.persons.jsonl")
        identity = f"{self._run_id(path)} {self._person_rate:g}"
        found = []
        for record in log:
            if record.get("run") != identity:
                raise PredictorError(
                    f"{log.path}: of another video, detector or rate. Delete it, or choose another "
                    "--output"
                )
            found.append(np.array(record["boxes"]).reshape(-1, 5))
        todo = seconds[len(found) :]
        with SequentialVideoReader(path) as reader:
            title = f"{name_of(path)}: persons"
            for second in tqdm(todo, title, len(seconds), initial=len(found), mininterval=2):
                boxes = self.predictor.find_persons(reader.get_frames_played_at([second])[0])
                # Rounded as in the log, so that a resumed run has the same boxes.
                found.append(np.asarray(boxes, float).reshape(-1, 5).round(5))
                log.append({"run": identity, "boxes": found[-1].tolist()})
        log.close()
        return found

    def _score(self, path: str, boxes: dict[float, np.ndarray]) -> dict[float, np.ndarray]:
        """Return the action scores (N, K) at each keyframe, from the log as far as it goes."""
        sha = hashlib.sha256(self._run_id(path).encode())
        for second, persons in boxes.items():
            sha.update(f"{second}".encode() + persons.astype(np.float32).tobytes())
        log_path, names = self.folder / f"{stem_of(path)}.jsonl", self.predictor.class_names
        with PredictionLog(log_path, name_of(path), sha.hexdigest()[:16], names) as log:
            todo = [second for second in boxes if second > log.last]
            title, done = f"{name_of(path)}: scores", len(boxes) - len(todo)
            found = self.predictor(path, todo, boxes)
            for second, instances in tqdm(found, title, len(boxes), initial=done, mininterval=2):
                log.append(second, instances)
            return {second: x.action_scores.numpy() for second, x in log.read()}

    def _run_id(self, path: str) -> str:
        source = source_of(path)
        size = os.path.getsize(source) if os.path.exists(source) else source
        return hashlib.sha256(f"{self._digest} {size}".encode()).hexdigest()[:16]


def _thin_out(seconds: Sequence[float], step: float) -> list[float]:
    """Return the seconds without those that follow another by less than ``step``."""
    kept: list[float] = []
    for second in seconds:
        if not kept or second >= kept[-1] + step - 1e-6:
            kept.append(second)
    return kept
