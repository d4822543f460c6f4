"""Draw the actions in a live stream into an mp4 with its sound, and keep the scores."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from detectron2.structures import Instances

from avsf_det.data import VideoDecodeError
from avsf_det.engine.predictor import PredictorError
from avsf_det.utils.atomic import replace_atomic

from .demo import ActionDemo
from .drawing import draw_prediction
from .live import Latency, LiveRun, StreamFrameConverter, stop_on_signals
from .live_source import LiveSource, warn
from .live_stream import LiveStream, StreamClock
from .live_writer import LiveWriter
from .prediction_log import PredictionLog
from .yuv import BT709, Overlay, drawn_size, planes, rgb_to_yuv

_REPORT_SEC = 10.0


class LiveDemo:
    """Draw the frames of a live stream with the scores of the newest keyframe.

    Args:
        demo: model and drawing options.
        sources: the source, and its microphone if that is another source.
        max_reconnects: tries in a row to open a lost stream again.
        show: called with each drawn frame, uint8 (H, W, 3) BGR; returns True to end the run.
    """

    def __init__(
        self,
        demo: ActionDemo,
        sources: Sequence[LiveSource],
        max_reconnects: int = 10,
        show: Callable[[np.ndarray], bool] | None = None,
    ) -> None:
        self._demo, self._show = demo, show
        self._stopped = threading.Event()
        self._clock = StreamClock()
        self._streams: list[LiveStream] = []
        for source in sources:
            try:
                stream = LiveStream(
                    source,
                    self._clock,
                    self._stopped,
                    has_video=not self._streams,
                    max_reconnects=max_reconnects,
                )
            except VideoDecodeError as error:
                if not self._streams:
                    raise
                warn(f"microphone {error}")
            else:
                self._streams.append(stream)
        self._latency = Latency()  # of frames
        self._shown = 0

    def run(self, output: str | Path) -> None:
        """Run until the stream ends, or until Ctrl-C.

        Args:
            output: .mp4 to write, or .csv without drawing; the files of scores have the same name.

        Raises:
            PredictorError: a file to write exists, or there was no frame.
            VideoDecodeError: the stream was lost for good; what came before is kept.
        """
        demo, output = self._demo, Path(output)
        part, table = output.with_suffix(".part.mp4"), output.with_suffix(".csv")
        log_path, scores = output.with_suffix(".part.jsonl"), output.with_suffix(".jsonl")
        kept = [output, table, scores] if demo.keep_scores else [output]
        # A killed run leaves both parts.
        if there := [str(file) for file in (*kept, part, log_path) if file.exists()]:
            raise PredictorError(f"{there[0]} exists; choose another output, or delete it")
        lost: VideoDecodeError | None = None
        names = demo.predictor.class_names
        with PredictionLog(log_path, output.name, demo.digest, names) as log:
            with stop_on_signals(self._stopped):
                run = LiveRun(
                    demo.predictor, self._streams, demo.interval, self._stopped, log.append
                )
                try:
                    self._show_frames(run, part)
                finally:
                    try:
                        run.close()
                    except VideoDecodeError as error:
                        lost = error
            if not self._shown:
                log_path.unlink()
                name = self._streams[0].source.name
                raise lost or PredictorError(f"{name}: ended before a frame could be shown")
            if demo.draw:
                replace_atomic(part, output)
            if demo.keep_scores:
                log.write_ava_csv(table, output.stem, demo.predictor.class_ids)
            print(f"{output}: {self._describe(run)}; persons: {log.count_persons()}", flush=True)
        demo.finish(log, scores)
        if lost is not None:
            raise VideoDecodeError(f"{lost}; what came before is in {output}")

    def _show_frames(self, run: LiveRun, part: Path) -> None:
        """Draw and write the frames of a run, and report every few seconds."""
        if run.buffer.audio is None:
            print("The stream has no audio: the model receives silence.", flush=True)
        print("Ctrl-C ends.", flush=True)
        report = self._clock.now() + _REPORT_SEC
        with ExitStack() as stack:
            painter: _Painter | None = None
            writer: LiveWriter | None = None
            second = 0.0
            for second, frame in run.frames():
                if self._demo.draw:
                    if painter is None or writer is None:
                        painter = _Painter(self._demo, self._streams[0])
                        colorspace = self._streams[0].colorspace
                        writer = stack.enter_context(
                            LiveWriter(part, painter.size, colorspace, run.buffer.audio)
                        )
                    image = painter.paint(frame, run.latest[1] if run.latest else None)
                    writer.write_frame(second, image)
                    writer.write_audio(run.buffer.audio_end(second))
                    if self._show is not None and self._show(
                        cv2.cvtColor(image, cv2.COLOR_YUV2BGR_I420)
                    ):
                        self._stopped.set()
                self._shown += 1
                self._latency.add(run.buffer.latency(second))
                if self._clock.now() >= report:
                    print(f"{second:.0f} s: {self._describe(run)}", flush=True)
                    report += _REPORT_SEC
            if writer is not None:
                end = second if self._stopped.is_set() else self._clock.latest
                writer.write_audio(run.buffer.audio_end(end))

    def _describe(self, run: LiveRun) -> str:
        """Return numbers of frames and keyframes, and latencies, since the start."""
        dropped = run.last_number + 1 - self._shown
        damaged = sum(stream.damaged for stream in self._streams)
        scorer = run.scorer
        return (
            f"{self._shown} frames, {dropped} dropped{f', {damaged} damaged' if damaged else ''}; "
            f"latency {self._latency}; {scorer.scored} keyframes, {scorer.skipped} left out; "
            f"latency of scores {run.latency}"
        )


class _Painter:
    """Draw predictions into the frames of a stream."""

    def __init__(self, demo: ActionDemo, stream: LiveStream) -> None:
        first = stream.first_frame
        assert first is not None
        self.size = drawn_size(first.height, first.width, demo.max_height)
        self._demo = demo
        self._matrix = rgb_to_yuv(stream.colorspace == BT709)
        self._convert = StreamFrameConverter(first, self.size, "yuv420p")
        self._drawn: Instances | None = None
        self._overlay: Overlay | None = None

    def paint(self, frame: object, found: Instances | None) -> np.ndarray:
        """Return a frame as uint8 (H * 3 / 2, W) YUV with predictions drawn into it."""
        if self._overlay is None or found is not self._drawn:
            self._drawn, demo = found, self._demo
            chosen = None if found is None else demo.select_drawn(found)
            draw = partial(draw_prediction, chosen, demo.drawn_names, demo.min_score)
            self._overlay = Overlay(draw, self.size, self._matrix)
        image = np.ascontiguousarray(self._convert(frame))
        self._overlay.paint(planes(image))
        return image


def show_in_window(image: np.ndarray) -> bool:
    """Show a frame uint8 (H, W, 3) BGR in a window; return whether q was pressed."""
    cv2.imshow("avsf_det", image)
    return cv2.waitKey(1) == ord("q")
