"""Score the actions in a video and draw them into a copy: first all scores, then the frames."""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from detectron2.structures import Instances
from tqdm import tqdm

from ava_tools.inference.person_boxes import Video
from ava_tools.support.ranks import file_size, gather, take_share
from avsf_det.data import VideoDecodeError
from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.open_file import source_of
from avsf_det.data.video.write import write_video
from avsf_det.engine.predictor import ClipPredictor, PredictorError, keyframe_seconds
from avsf_det.structures.addresses import name_of, stem_of
from avsf_det.utils.atomic import replace_atomic

from .drawing import draw_frames, num_frames, output_fps
from .prediction_log import PredictionLog
from .yuv import YUVReader

Item = TypeVar("Item")
# Options of libx264, on all cores. With the look-ahead that this preset leaves out, files are 40 %
# smaller in the same time; small partitions and subpixel steps save little.
_ENCODING = {"preset": "superfast", "crf": "26", "threads": "0"}
_ENCODING["x264-params"] = "mbtree=1:rc-lookahead=10:partitions=none:subme=0"
Boxes = Mapping[float, np.ndarray]  # second of the file to person boxes, see ClipPredictor


class ActionDemo:
    """Draw a model's predictions into videos, and keep the scores if asked to.

    While out.mp4 is made, scores are in out.part.jsonl, from which a killed run resumes, and frames
    in out.part.mp4. A damaged video leaves both.

    Args:
        predictor: model, and person detector.
        interval: seconds between keyframes.
        classes: names of the actions that are drawn; None: all.
        min_score: smallest score of drawn actions, 0..1.
        keep_scores: whether to leave out.jsonl and, in AVA's format, out.csv. If out.jsonl is there
            and the video is not, the video is drawn from the log.
        draw: whether videos are drawn; else only the scores are written.
        max_height: higher videos are drawn scaled down to this number of rows.

    Attributes:
        drawn_names: names of the drawn actions, in the order of the model's.
        digest: what the scores depend on, see :meth:`ClipPredictor.digest`.

    Raises:
        PredictorError: the model does not have such an action.
    """

    def __init__(
        self,
        predictor: ClipPredictor,
        *,
        interval: float = 1.0,
        classes: Sequence[str] | None = None,
        min_score: float = 0.3,
        keep_scores: bool = False,
        draw: bool = True,
        max_height: int = 720,
    ) -> None:
        names = predictor.class_names
        if unknown := set(classes or ()).difference(names):
            raise PredictorError(f"no action '{min(unknown)}'; there are: {'; '.join(names)}")
        self.predictor = predictor
        self.interval = interval
        self.min_score = min_score
        self.keep_scores = keep_scores or not draw
        self.draw = draw
        self.max_height = max_height
        self._drawn = [i for i, name in enumerate(names) if not classes or name in classes]
        self.drawn_names = [names[i] for i in self._drawn]
        self.digest = predictor.digest()

    def run(
        self, path: str | Path, output: str | Path, boxes: Boxes | None = None, offset: float = 0.0
    ) -> str:
        """Draw a video file. Steps that an earlier run completed are not repeated.

        Args:
            path: the video, or its address.
            output: .mp4 to write; the files of scores have the same name with .jsonl and .csv.
            boxes: person boxes, as for :class:`ClipPredictor`; None: the person detector finds
                them, every ``interval`` seconds.
            offset: second of out.csv's clock at which the file starts.

        Returns:
            a summary of one line.

        Raises:
            VideoDecodeError: the file cannot be read, or is damaged; frames and scores before the
                damage are kept.
            PredictorError: ``output`` is the input, or the log there is of another run, or a file
                is there that no log belongs to.
        """
        path, output = str(path), Path(output)
        scores, table = output.with_suffix(".jsonl"), output.with_suffix(".csv")
        if output.exists() and os.path.exists(path) and output.samefile(path):
            raise PredictorError(f"{output} is the input; choose another output")
        wanted = [output] * self.draw + [table, scores] * self.keep_scores
        if all(file.exists() for file in wanted):
            return f"{wanted[0]}: is there already (delete it to make it again)"
        log_path = scores if scores.exists() else output.with_suffix(".part.jsonl")
        if not log_path.exists() and (there := [file for file in wanted if file.exists()]):
            raise PredictorError(
                f"{there[0]}: is there, without {scores.name}. Delete it, or choose another output"
            )
        with SequentialVideoReader(path) as reader:
            duration, has_audio = reader.duration, reader.has_audio
        seconds = self._keyframes(path, duration, boxes)
        run_id = self._run_id(path, boxes)
        with PredictionLog(log_path, name_of(path), run_id, self.predictor.class_names) as log:
            damage = self._score(path, log, seconds, boxes)
            kept = log.path.name
            if self.draw:
                part = output.with_suffix(".part.mp4")
                drawing_damage = self._draw(path, log, part)
                damage, kept = damage or drawing_damage, f"{part.name} and {kept}"
            if damage:
                raise VideoDecodeError(f"{damage}; what comes before is in {kept}")
            if self.draw:
                replace_atomic(part, output)
            if self.keep_scores:
                log.write_ava_csv(table, stem_of(path), self.predictor.class_ids, offset)
            counts = f"keyframes: {len(seconds)}, persons: {log.count_persons()}"
            summary = f"{output if self.draw else table}: {counts}"
        self.finish(log, scores)
        return summary if has_audio else f"{summary}; no audio track: the model received silence"

    def _keyframes(self, path: str, duration: float, boxes: Boxes | None) -> list[float]:
        if boxes is None:
            return keyframe_seconds(duration, 1 / self.interval)
        seconds = sorted(boxes)
        if outside := [second for second in seconds if not 0 <= second <= duration]:
            raise PredictorError(
                f"{path} lasts {duration:g} s, but there are boxes for {outside[0]:g} s of it; "
                "check their seconds and the offset"
            )
        return seconds

    def _score(
        self, path: str, log: PredictionLog, seconds: Sequence[float], boxes: Boxes | None
    ) -> VideoDecodeError | None:
        """Log the keyframes that are not in the log; return the error that ended it early."""
        todo = [second for second in seconds if second > log.last]
        found = _UntilDamage(self.predictor(path, todo, boxes))
        title, done = f"{name_of(path)}: scores", len(seconds) - len(todo)
        for second, instances in tqdm(found, title, len(seconds), initial=done, mininterval=2):
            log.append(second, instances)
        return found.error

    def _draw(self, path: str, log: PredictionLog, part: Path) -> VideoDecodeError | None:
        """Write the drawn frames to ``part``; return the error that ended it early."""
        clip_reader = self.predictor.clip_reader
        with YUVReader(path, max_height=self.max_height) as reader:
            keyframes = log.read((reader.height, reader.width))
            frames = _UntilDamage(
                draw_frames(
                    reader,
                    ((second, self.select_drawn(found)) for second, found in keyframes),
                    self.drawn_names,
                    log_mel=None if clip_reader.mute else clip_reader.log_mel,
                    clip_sec=clip_reader.clip_sec,
                    interval=self.interval,
                    min_score=self.min_score,
                )
            )
            progress = tqdm(frames, f"{name_of(path)}: frames", num_frames(reader), mininterval=2)
            images = iter(progress)
            first = next(images, None)
            if first is None:  # not even the first frame can be read
                raise frames.error or VideoDecodeError(f"{path}: there is no frame")
            shown = chain([first], images)
            _write(part, shown, output_fps(reader.fps), path)
        return frames.error

    def select_drawn(self, found: Instances) -> Instances:
        """Return the instances with the scores of the drawn actions only."""
        fields = {**found.get_fields(), "action_scores": found.action_scores[:, self._drawn]}
        return Instances(found.image_size, **fields)

    def finish(self, log: PredictionLog, scores: Path) -> None:
        """Keep the log as ``scores``, or delete it unless it was there before."""
        if self.keep_scores:
            replace_atomic(log.path, scores)
        elif log.path != scores:
            log.path.unlink()

    def _run_id(self, path: str, boxes: Boxes | None) -> str:
        """Return 16 hexadecimal digits of everything that the scores of a video depend on."""
        source = source_of(path)
        size = os.path.getsize(source) if os.path.exists(source) else source
        sha = hashlib.sha256(f"{self.digest} {size} {self.interval}".encode())
        for second, persons in sorted(boxes.items()) if boxes is not None else ():
            sha.update(f"{second}".encode() + np.asarray(persons, np.float32).tobytes())
        return sha.hexdigest()[:16]


def run_videos(
    demo: ActionDemo,
    videos: Sequence[Video],
    output: str,
    in_folder: bool,
    boxes_of: Mapping[str, Boxes] | None,
    offset: float,
) -> int:
    """Draw videos, or score them, one after the other; processes share them.

    Args:
        demo: model and drawing options.
        videos: the videos.
        output: file to write, or with ``in_folder`` the folder of the files.
        in_folder: whether each file has the name of its video.
        boxes_of: video id to person boxes; None: the person detector finds them.
        offset: see :meth:`ActionDemo.run`.

    Returns:
        1 if a video is bad, else 0.
    """
    failed = []
    for video in take_share(videos, lambda video: file_size(video.path)):
        file = Path(output)
        file = (file / video.name).with_suffix(".mp4") if in_folder else file
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            if boxes_of is not None and video.video_id not in boxes_of:
                raise PredictorError(f"--boxes has no boxes of video '{video.video_id}'")
            boxes = None if boxes_of is None else boxes_of[video.video_id]
            print(demo.run(video.path, file, boxes, offset), flush=True)
        except (VideoDecodeError, PredictorError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            failed.append(video.video_id)
    return int(bool(gather(failed)))


def _write(part: Path, frames: Iterable, fps: Fraction, audio_of: str) -> None:
    """Write a video; if the disk is full, remove what there is of it."""
    try:
        write_video(part, frames, fps, audio_of=audio_of, video_options=_ENCODING)
    except OSError:
        part.unlink(missing_ok=True)
        raise


class _UntilDamage(Generic[Item]):
    """Iterable over items up to a VideoDecodeError, which ends it and is kept in ``error``."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.error: VideoDecodeError | None = None
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self._items
        except VideoDecodeError as error:
            self.error = error
