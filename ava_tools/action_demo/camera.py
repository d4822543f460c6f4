"""Predict the actions in the frames of a camera while it runs."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from detectron2.structures import Instances

from avsf_det.engine.predictor import ClipPredictor


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that is used."""

    def read(self) -> tuple[bool, np.ndarray]:
        """Return whether there is a frame, and the frame (H, W, 3) uint8 BGR."""
        ...


class CameraFrame(NamedTuple):
    """Frame of a camera with the predictions of the last keyframe.

    Attributes:
        second: time since the first frame, in seconds.
        frame: (H, W, 3) uint8 RGB, on screen at that second.
        keyframe: second of the last keyframe.
        instances: predictions of that keyframe.
    """

    second: float
    frame: np.ndarray
    keyframe: float
    instances: Instances


def watch(
    capture: Capture,
    predictor: ClipPredictor,
    interval: float,
    *,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[CameraFrame]:
    """Yield the frames of a camera, with new predictions every ``interval`` seconds.

    The model receives no audio. A keyframe needs half a clip after it, so frames are yielded that
    much later than they are read:

        first frame      frame that is yielded             frame that is read
             |----------------------|---- clip_sec / 2 ------------|

    A computer that is too slow for the interval skips keyframes. Frames that the camera drops
    meanwhile are missing in the clips.

    Args:
        capture: the camera.
        predictor: model, and person detector.
        interval: seconds between keyframes.
        stopped: called before each frame; True ends the iteration.
        clock: current time in seconds.
    """
    recent: deque[tuple[float, np.ndarray]] = deque()
    half, due = predictor.mapper.clip_sec / 2, 0.0
    start: float | None = None
    keyframe, instances = 0.0, None

    def on_screen(second: float) -> np.ndarray:
        shown = (frame for time_, frame in reversed(recent) if time_ <= second)
        return next(shown, recent[0][1])

    while not stopped():
        is_there, image = capture.read()
        if not is_there:
            return
        start = clock() if start is None else start
        now = clock() - start
        recent.append((now, np.ascontiguousarray(image[..., ::-1])))
        second = now - half
        if second < 0:
            continue
        if instances is None or second >= due:
            keyframe = max(due, second // interval * interval)
            frames = np.stack([on_screen(t) for t in predictor.frame_times(keyframe)])
            persons = predictor.find_persons(on_screen(keyframe))
            instances = predictor.predict_frames(frames, persons)
            due = keyframe + interval
        yield CameraFrame(second, on_screen(second), keyframe, instances)
        # The next clip starts at due - half; the next frame is yielded after this second.
        while len(recent) > 1 and recent[1][0] <= min(due - half, second):
            recent.popleft()
