from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.structures import Instances

from ava_tools.action_demo.camera import watch

from ...media import paint_number, read_number

FPS, CLIP_SEC = 8, 1.0
NOBODY = np.zeros((0, 5), np.float32)


class Camera:
    """Frames with their number, ``FPS`` a second of a clock that only it moves; and a predictor
    that takes ``delay`` seconds."""

    def __init__(self, num_frames: int, delay: float = 0.0):
        self.now, self.number, self.num_frames, self.delay = 100.0, 0, num_frames, delay
        self.clip_reader = SimpleNamespace(clip_sec=CLIP_SEC)
        self.clips, self.person_frames = [], []

    def clock(self) -> float:
        return self.now

    def read(self) -> tuple[bool, np.ndarray | None]:
        if self.number == self.num_frames:
            return False, None
        image = paint_number(self.number, 16, 48)[..., ::-1]  # BGR, as OpenCV
        self.number += 1
        self.now += 1 / FPS
        return True, image

    def frame_times(self, second: float) -> list[float]:
        return [second - CLIP_SEC / 2 + i * 0.25 for i in range(4)]

    def find_persons(self, frame: np.ndarray) -> np.ndarray:
        self.person_frames.append(read_number(frame))
        return NOBODY

    def predict_frames(self, frames: np.ndarray, persons: np.ndarray) -> Instances:
        self.clips.append([read_number(frame) for frame in frames])
        self.now += self.delay
        return Instances(frames.shape[1:3])


def test_frames_come_half_a_clip_late_with_their_keyframe():
    camera = Camera(40)
    seen = list(watch(camera, camera, 1.0, clock=camera.clock))
    assert len(seen) == 36
    assert [s.second for s in seen] == [i / FPS for i in range(36)]
    assert [read_number(s.frame) for s in seen] == list(range(36))
    np.testing.assert_array_equal(seen[7].frame, paint_number(7, 16, 48))
    assert {s.keyframe for s in seen} == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert [s.keyframe for s in seen][6:10] == [0, 0, 1, 1]
    assert camera.person_frames == [0, 8, 16, 24, 32]
    assert camera.clips[0] == [0, 0, 0, 2]  # before the first frame that is shown
    assert camera.clips[2] == [12, 14, 16, 18]


def test_a_slow_computer_leaves_keyframes_out():
    camera = Camera(60, delay=2.5)
    seen = list(watch(camera, camera, 1.0, clock=camera.clock))
    keyframes = sorted({s.keyframe for s in seen})
    assert len(keyframes) == len(camera.clips) > 5
    assert {b - a for a, b in pairwise(keyframes)} == {2, 3}  # each takes 2.5 s and a frame
    assert all(0 <= s.second - s.keyframe < 1 for s in seen)  # the latest of all that were due


def test_it_ends_when_told_and_holds_few_frames():
    camera, held = Camera(10**6), []
    frames = watch(camera, camera, 1.0, stopped=lambda: len(held) == 200, clock=camera.clock)
    for _ in frames:
        held.append(len(frames.gi_frame.f_locals["recent"]))
    assert len(held) == 200
    assert max(held) <= (CLIP_SEC + 1.0) * FPS + 2


@pytest.mark.parametrize("num_frames", [0, 3])
def test_a_camera_that_ends_before_the_first_clip(num_frames):
    camera = Camera(num_frames)
    assert not list(watch(camera, camera, 1.0, clock=camera.clock))
