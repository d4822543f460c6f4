"""Actions in what a camera sees, while it goes on."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from detectron2.structures import Instances

from .predictor import ClipPredictor


class Capture(Protocol):
    """What is needed of ``cv2.VideoCapture``."""

    def read(self) -> tuple[bool, np.ndarray]: ...


class Seen(NamedTuple):
    """
    Attributes:
        second: since the first frame.
        frame: (H, W, 3) uint8 RGB, on screen at that second.
        keyframe: second of the last keyframe.
        found: what persons did then.
    """

    second: float
    frame: np.ndarray
    keyframe: float
    found: Instances


def watch(
    capture: Capture,
    predictor: ClipPredictor,
    interval: float,
    *,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Seen]:
    """Frames of a camera, and every ``interval`` seconds what persons do; it does not listen.

    A keyframe needs half a clip that comes after it: all is given that much later, frames too. A
    computer that is too slow for the interval leaves keyframes out, and frames that the camera does
    not keep meanwhile are missing in the clips.

    Args:
        interval: seconds.
        stopped: asked before each frame.
        clock: seconds.
    """
    recent: deque[tuple[float, np.ndarray]] = deque()
    half, start, due = predictor.clip_reader.clip_sec / 2, None, 0.0
    keyframe = found = None

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
        if second >= due:
            keyframe = max(due, second // interval * interval)
            frames = np.stack([on_screen(t) for t in predictor.frame_times(keyframe)])
            found = predictor.predict_frames(frames, predictor.find_persons(on_screen(keyframe)))
            due = keyframe + interval
        yield Seen(second, on_screen(second), keyframe, found)
        while len(recent) > 1 and recent[1][0] <= min(due - half, second):
            recent.popleft()
