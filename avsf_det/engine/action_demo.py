"""From a video to the same video with actions drawn into it: first all scores, then pictures."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from detectron2.structures import Instances
from tqdm import tqdm

from avsf_det.data import VideoDecodeError
from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.write import write_video
from avsf_det.utils.action_video import draw_frames, num_frames, output_fps
from avsf_det.utils.visualizer import draw_clip_frame

from .camera import Capture, watch
from .prediction_log import PredictionLog
from .predictor import ClipPredictor, PredictorError, keyframe_seconds

Item = TypeVar("Item")


class ActionDemo:
    """Draws what a model says, and keeps the scores if asked to.

    On the way to out.mp4, scores go to out.part.jsonl, from where a run that was killed goes on,
    and pictures to out.part.mp4. A video that is damaged somewhere leaves both.
    """

    def __init__(
        self,
        predictor: ClipPredictor,
        *,
        interval: float = 1.0,
        classes: Sequence[str] | None = None,
        min_score: float = 0.3,
        keep_scores: bool = False,
    ):
        """
        Args:
            interval: seconds between keyframes.
            classes: names of the actions that are drawn; None: all.
            min_score: of actions that are drawn.
            keep_scores: leave out.jsonl and, in AVA's format, out.csv; if out.jsonl is there and
                the video is not, it is drawn from that.

        Raises:
            PredictorError: the model does not have such an action.
        """
        names = predictor.class_names
        if unknown := set(classes or ()).difference(names):
            raise PredictorError(f"no action '{min(unknown)}'; there are: {'; '.join(names)}")
        self.predictor = predictor
        self.interval = interval
        self.min_score = min_score
        self.keep_scores = keep_scores
        self._drawn = [i for i, name in enumerate(names) if not classes or name in classes]
        self._drawn_names = [names[i] for i in self._drawn]
        self._digest = predictor.digest()

    def run(
        self,
        path: str | Path,
        output: str | Path,
        boxes: Mapping[float, np.ndarray] | None = None,
        offset: float = 0.0,
    ) -> str:
        """Of a file. What is there already is not done again.

        Args:
            output: .mp4 to write.
            boxes: of the persons, as for :class:`ClipPredictor`; None: a detector finds them, every
                ``interval``.
            offset: second of out.csv's clock at which the file starts.

        Returns:
            a line that says what was done.

        Raises:
            VideoDecodeError: the file cannot be read, or not to its end; up to there, all is done.
            PredictorError: ``output`` is the input, or the scores of another run are there.
        """
        path, output = Path(path), Path(output)
        scores, table = output.with_suffix(".jsonl"), output.with_suffix(".csv")
        if output.exists() and output.samefile(path):
            raise PredictorError(f"{output} is the input; choose another output")
        if all(
            file.exists() for file in ([output, scores, table] if self.keep_scores else [output])
        ):
            return f"{output}: is there already (delete it to make it anew)"
        with SequentialVideoReader(str(path)) as reader:
            duration, has_audio = reader.duration, reader.has_audio
        seconds = keyframe_seconds(duration, 1 / self.interval)
        if boxes is not None:
            seconds = sorted(boxes)
            if outside := [second for second in seconds if not 0 <= second <= duration]:
                raise PredictorError(
                    f"{path} lasts {duration:g} s, but there are boxes for {outside[0]:g} s of it; "
                    "check their seconds and the offset"
                )
        log = PredictionLog(
            scores if scores.exists() else output.with_suffix(".part.jsonl"),
            path.name,
            self._run_id(path, boxes),
            self.predictor.class_names,
        )
        damage: list[VideoDecodeError] = []
        self._score(path, log, seconds, boxes, damage)
        part = output.with_suffix(".part.mp4")
        self._draw(path, log, part, damage)
        if damage:
            raise VideoDecodeError(f"{damage[0]}; what comes before is in {part} and {log.path}")
        part.replace(output)
        if self.keep_scores:
            log.write_ava_csv(table, path.stem, self.predictor.class_ids, offset)
        told = f"{output}: keyframes: {len(seconds)}, persons: {log.count_persons()}"
        self._end(log, scores)
        return told if has_audio else f"{told}; no sound track: the model heard silence"

    def watch(
        self,
        capture: Capture,
        output: str | Path,
        stopped: Callable[[], bool] = lambda: False,
        look: Callable[[np.ndarray], None] = lambda image: None,
    ) -> str:
        """Of a camera, until it ends or ``stopped()``; without sound. See :func:`camera.watch`.

        Args:
            output: .mp4 to write.
            look: is given each frame as it is drawn, uint8 (H, W, 3) RGB.

        Returns:
            a line that says what was done.

        Raises:
            PredictorError: no picture came, or ``output`` exists.
        """
        output = Path(output)
        if output.exists():
            raise PredictorError(f"{output} exists; choose another output")
        part_log = output.with_suffix(".part.jsonl")
        part_log.unlink(missing_ok=True)
        log = PredictionLog(part_log, "camera", self._digest, self.predictor.class_names)

        def drawn() -> Iterator[tuple[float, np.ndarray]]:
            for seen in watch(capture, self.predictor, self.interval, stopped=stopped):
                if seen.keyframe > log.last:
                    log.append(seen.keyframe, seen.found)
                found = self._chosen(seen.found)
                image = draw_clip_frame(
                    seen.frame, found, self._drawn_names, min_score=self.min_score
                )
                look(image)
                yield seen.second, image

        images = drawn()
        first = next(images, None)
        if first is None:
            raise PredictorError("the camera gave no picture, or for less than half a clip")
        part = output.with_suffix(".part.mp4")
        write_video(part, chain([first], images), None, video_options={"preset": "ultrafast"})
        part.replace(output)
        if self.keep_scores:
            log.write_ava_csv(output.with_suffix(".csv"), "camera", self.predictor.class_ids)
        told = f"{output}: persons: {log.count_persons()}"
        self._end(log, output.with_suffix(".jsonl"))
        return told

    def _score(
        self,
        path: Path,
        log: PredictionLog,
        seconds: Sequence[float],
        boxes: Mapping[float, np.ndarray] | None,
        damage: list[VideoDecodeError],
    ) -> None:
        todo = [second for second in seconds if second > log.last]
        found = _up_to_damage(self.predictor(path, todo, boxes), damage)
        progress = tqdm(
            found,
            f"{path.name}: scores",
            len(seconds),
            initial=len(seconds) - len(todo),
            mininterval=2,
        )
        for second, instances in progress:
            log.append(second, instances)

    def _draw(
        self, path: Path, log: PredictionLog, part: Path, damage: list[VideoDecodeError]
    ) -> None:
        clip_reader = self.predictor.clip_reader
        with SequentialVideoReader(str(path)) as reader:
            found = log.read((reader.height, reader.width))
            frames = draw_frames(
                reader,
                ((second, self._chosen(instances)) for second, instances in found),
                self._drawn_names,
                log_mel=None if clip_reader.mute else clip_reader.log_mel,
                clip_sec=clip_reader.clip_sec,
                interval=self.interval,
                min_score=self.min_score,
            )
            frames = tqdm(frames, f"{path.name}: frames", num_frames(reader), mininterval=2)
            frames = _up_to_damage(frames, damage)
            first = next(frames, None)
            if first is None:
                raise damage[0]
            write_video(
                part,
                chain([first], frames),
                output_fps(reader.fps),
                audio_of=path,
                video_options={"preset": "veryfast"},
            )

    def _chosen(self, found: Instances) -> Instances:
        """With the scores of the actions that are drawn only."""
        fields = {**found.get_fields(), "action_scores": found.action_scores[:, self._drawn]}
        return Instances(found.image_size, **fields)

    def _end(self, log: PredictionLog, scores: Path) -> None:
        if self.keep_scores:
            log.path.replace(scores)
        elif log.path != scores:
            log.path.unlink()

    def _run_id(self, path: Path, boxes: Mapping[float, np.ndarray] | None) -> str:
        """16 hexadecimal digits of what the scores of a video depend on."""
        sha = hashlib.sha256(f"{self._digest} {path.stat().st_size} {self.interval}".encode())
        for second, persons in sorted(boxes.items()) if boxes is not None else ():
            sha.update(f"{second}".encode() + np.asarray(persons, np.float32).tobytes())
        return sha.hexdigest()[:16]


def _up_to_damage(items: Iterable[Item], damage: list[VideoDecodeError]) -> Iterator[Item]:
    """The items before an error, and the error into a list."""
    try:
        yield from items
    except VideoDecodeError as error:
        damage.append(error)
