import pytest

from avsf_det.data.clip_sampling import frame_times, span_around


def test_span_has_the_keyframe_at_its_middle():
    assert span_around(10.0, 3.0) == (8.5, 11.5)
    assert span_around(0.5, 2.0) == (-0.5, 1.5)


def test_frame_times():
    assert frame_times(1.0, 4, 2, 8.0) == [1.0, 1.25, 1.5, 1.75]


@pytest.mark.parametrize(
    ("num_frames", "stride", "fps"), [(32, 2, 30.0), (8, 8, 30.0), (4, 3, 25.0)]
)
def test_frames_span_the_clip_with_the_keyframe_in_it(num_frames: int, stride: int, fps: float):
    """As PySlowFast: of frames [k - L / 2, k + L / 2) every stride-th, hence k itself."""
    start, end = span_around(7.0, num_frames * stride / fps)
    times = frame_times(start, num_frames, stride, fps)
    assert times[num_frames // 2] == pytest.approx(7.0)
    assert times[0] == start
    assert times[-1] + stride / fps == pytest.approx(end)
    expected = [
        7.0 + (k - num_frames * stride / 2) / fps for k in range(0, num_frames * stride, stride)
    ]
    assert times == pytest.approx(expected)
